//! The recorder: writes sealed states as runs, in the order of sealing, and full segments of the account index, in the
//! background. Passes on finished recordings after the states sealed before them.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use tokio::sync::watch;

use super::recorder_queue::Work;
use crate::node::health::metrics::Metrics;
use crate::process::recording::Recording;
use crate::process::registers::Sealed;
use crate::store::{Store, StoreError};

/// Writes states. It waits only for the disk, because turns may have to wait for it.
pub(in crate::node) struct Recorder {
    pub(in crate::node) store: Arc<Store>,
    /// The queue of the part writer, which may take long. Recordings are small, and the process bounds their number.
    pub(in crate::node) finished: Sender<Recording>,
    /// The number of writes; a change wakes those that wait for a state or a part.
    pub(in crate::node) written: watch::Sender<u64>,
    pub(in crate::node) metrics: Arc<Metrics>,
}

impl Recorder {
    /// Runs until the committer has ended.
    pub(in crate::node) fn run(self, work: &Receiver<Work>) -> Result<(), StoreError> {
        while let Ok(next) = work.recv() {
            match next {
                Work::Sealed(sealed, _room) => {
                    self.write_state(sealed)?;
                    self.written.send_modify(|count| *count += 1);
                }
                // Durable with the next state; until then the journal is enough.
                Work::Stretches => self.store.account_index().write_full()?,
                Work::Finished(recording) => {
                    // The part writer outlives this thread unless it has failed, and then the node is stopping.
                    let _gone = self.finished.send(recording);
                }
            }
        }
        Ok(())
    }

    fn write_state(&self, sealed: Sealed) -> Result<(), StoreError> {
        let state = self.store.states().write(sealed)?;
        // A state must not become durable before the one before it: a restart from it would never seal that one again. The sync
        // also reports errors of the engine's own writer threads here instead of at a client's next operation.
        self.store.sync()?;
        self.metrics.recorded(state.new_bytes);
        tracing::debug!(
            cut = %state.position,
            accounts = state.accounts,
            new_bytes = state.new_bytes,
            "state written"
        );
        Ok(())
    }
}
