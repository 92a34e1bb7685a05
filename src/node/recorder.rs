//! Writes what a recording handed over, behind the turn's back: sealed states as runs, finished recordings as parts.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tokio::sync::watch;

use super::queue::Queue;
use crate::process::event::Input;
use crate::process::ids::ProcessId;
use crate::process::registers::Sealed;
use crate::process::snapshot::Recording;
use crate::store::{Store, StoreError};

/// What is to be written, in the order in which it happened.
pub(super) enum Work {
    /// A state that was sealed.
    Sealed(Sealed),
    /// A recording whose channels are all closed.
    Finished(Recording),
}

/// Writes states and parts.
pub(super) struct Recorder {
    pub(super) me: ProcessId,
    pub(super) store: Arc<Store>,
    pub(super) queue: Queue,
    /// Counts what was written; whoever waits for a state or a part looks again.
    pub(super) written: watch::Sender<u64>,
}

impl Recorder {
    /// Runs until the committer has ended.
    pub(super) fn run(self, work: &Receiver<Work>) -> Result<(), StoreError> {
        while let Ok(next) = work.recv() {
            match next {
                Work::Sealed(sealed) => {
                    let state = self.store.write_state(sealed)?;
                    // The engine writes on threads of its own: an error that they met is seen here, not at some
                    // client's next operation.
                    self.store.sync()?;
                    tracing::debug!(
                        cut = %state.position,
                        accounts = state.accounts,
                        new_bytes = state.new_bytes,
                        "state written"
                    );
                }
                Work::Finished(recording) => self.store_part(&recording)?,
            }
            self.written.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    fn store_part(&self, recording: &Recording) -> Result<(), StoreError> {
        let part = self.store.build_part(&self.me, recording)?;
        let part = part.expect("a state is written before its recording can finish");
        self.store.put_part(&part)?;
        let snapshot = recording.snapshot.clone();
        // If the turn has ended, the part is found again at the next start.
        let _ended = self.queue.tell_blocking(Input::PartStored { snapshot });
        Ok(())
    }
}
