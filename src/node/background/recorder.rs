//! Writes sealed states as runs, behind the turn's back, in the order in which they were sealed, and full stretches of the
//! index; and hands on the recordings that finished, each behind its state.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use tokio::sync::watch;

use super::recorder_queue::Work;
use crate::process::recording::Recording;
use crate::process::registers::Sealed;
use crate::store::{Store, StoreError};

/// Writes states. It waits for nobody but the disk: turns may have to wait for it.
pub(in crate::node) struct Recorder {
    pub(in crate::node) store: Arc<Store>,
    /// To whom builds the parts, which may take long. Recordings are small, and bounded by the process.
    pub(in crate::node) finished: Sender<Recording>,
    /// Counts what was written; whoever waits for a state or a part looks again.
    pub(in crate::node) written: watch::Sender<u64>,
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
                // Durable with the next state: until then the journal has it.
                Work::Stretches => self.store.write_stretches()?,
                Work::Finished(recording) => {
                    // It outlives this thread unless it has failed, and then the node is going down.
                    let _gone = self.finished.send(recording);
                }
            }
        }
        Ok(())
    }

    fn write_state(&self, sealed: Sealed) -> Result<(), StoreError> {
        let state = self.store.write_state(sealed)?;
        // A state must not outlast the one before it: a restart from it would never see that one sealed again. And the
        // engine writes on threads of its own: an error that they met is seen here, not at a client's next operation.
        self.store.sync()?;
        tracing::debug!(
            cut = %state.position,
            accounts = state.accounts,
            new_bytes = state.new_bytes,
            "state written"
        );
        Ok(())
    }
}
