//! Stores finished recordings as parts, in a thread separate from turns and recorder: reading an hour's backlog takes long, and
//! only requests for the part wait for it.

use std::sync::Arc;
use std::sync::mpsc::Receiver;

use tokio::sync::watch;

use crate::history::part::Part;
use crate::node::turn::queue::Queue;
use crate::process::ids::ProcessId;
use crate::process::input::Input;
use crate::process::recording::Recording;
use crate::store::{Store, StoreError};

/// The maximum number of recordings stored together; each holds a chunk of every channel in memory.
const TOGETHER_MAX: usize = 64;

/// The part writer.
pub(in crate::node) struct PartWriter {
    pub(in crate::node) me: ProcessId,
    pub(in crate::node) store: Arc<Store>,
    pub(in crate::node) queue: Queue,
    /// The number of writes; a change wakes those that wait for a state or a part.
    pub(in crate::node) written: watch::Sender<u64>,
}

impl PartWriter {
    /// Runs until the recorder has ended. Recordings that finish together share one pass over the journal.
    pub(in crate::node) fn run(self, finished: &Receiver<Recording>) -> Result<(), StoreError> {
        while let Ok(first) = finished.recv() {
            let more = finished.try_iter().take(TOGETHER_MAX - 1);
            let recordings: Vec<_> = std::iter::once(first).chain(more).collect();
            let parts = self.store_parts(&recordings)?;
            self.written.send_modify(|count| *count += 1);
            for part in parts {
                let snapshot = part.snapshot;
                // The turn never waits for this thread. If the turn has ended, the part is found at the next start.
                let _ended = self.queue.tell_blocking(Input::PartStored { snapshot });
            }
        }
        Ok(())
    }

    fn store_parts(&self, recordings: &[Recording]) -> Result<Vec<Part>, StoreError> {
        // Until the parts are stored, nothing in the store names the chunks of their messages.
        let _writing = self.store.chunks().writing();
        let parts = self.build(recordings)?;
        self.store.parts().put_all(&parts)?;
        Ok(parts)
    }

    // Builds the parts together, or one by one if that fails: a fault in one recording must affect neither the others nor the
    // node.
    fn build(&self, recordings: &[Recording]) -> Result<Vec<Part>, StoreError> {
        match self.store.parts().build_all(&self.me, recordings) {
            Ok(parts) if parts.len() == recordings.len() => return Ok(parts),
            Err(error) if error.is_fatal() => return Err(error),
            Ok(_) | Err(_) => {}
        }
        let mut parts = Vec::new();
        for recording in recordings {
            let Recording { snapshot, cut, .. } = recording;
            match self.store.parts().build(&self.me, recording) {
                Ok(Some(part)) => parts.push(part),
                // The recording stays open and is tried again after the next start.
                Ok(None) => {
                    tracing::warn!(%snapshot, %cut, "cannot build the part: its state is not written")
                }
                Err(error) if error.is_fatal() => return Err(error),
                Err(error) => {
                    tracing::warn!(%snapshot, cut = cut.0, %error, "cannot build the part; the recording stays unfinished")
                }
            }
        }
        Ok(parts)
    }
}
