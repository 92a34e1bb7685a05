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

/// Pieces of work that are done together; each holds a chunk of every channel in memory.
const TOGETHER_MAX: usize = 63;

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
    /// Runs until the committer has ended. What waits is done together: recordings that finish together make one pass
    /// over the journal.
    pub(super) fn run(self, work: &Receiver<Work>) -> Result<(), StoreError> {
        while let Ok(next) = work.recv() {
            let mut finished = Vec::new();
            for next in std::iter::once(next).chain(work.try_iter().take(TOGETHER_MAX)) {
                match next {
                    Work::Sealed(sealed) => self.write_state(sealed)?,
                    Work::Finished(recording) => finished.push(recording),
                }
            }
            if !finished.is_empty() {
                self.store_parts(&finished)?;
            }
            self.written.send_modify(|count| *count += 1);
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

    fn store_parts(&self, recordings: &[Recording]) -> Result<(), StoreError> {
        let parts = self.store.build_parts(&self.me, recordings)?;
        assert_eq!(
            parts.len(),
            recordings.len(),
            "a state is written before its recording can finish"
        );
        self.store.put_parts(&parts)?;
        for part in parts {
            let snapshot = part.snapshot;
            // If the turn has ended, the part is found again at the next start.
            let _ended = self.queue.tell_blocking(Input::PartStored { snapshot });
        }
        Ok(())
    }
}
