//! Reads objects ahead of their use: an archive answers slowly, but many requests at once.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use crate::archive::ArchiveError;

/// The number of requests under way. Segments of the usual size then take 32 MiB.
const AHEAD: usize = 4;

/// Reads of consecutive things, in order. Those that are not used any more are ended when this is dropped.
pub(in crate::offsite) struct ReadAhead<T> {
    reads: VecDeque<JoinHandle<Result<T, ArchiveError>>>,
}

impl<T: Send + 'static> ReadAhead<T> {
    pub(in crate::offsite) fn new() -> Self {
        Self {
            reads: VecDeque::new(),
        }
    }

    /// The result of the oldest read; `None` if there is none. `next` begins another.
    ///
    /// # Errors
    /// That of the read.
    pub(in crate::offsite) async fn next<F>(
        &mut self,
        mut next: impl FnMut() -> Option<F>,
    ) -> Result<Option<T>, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>> + Send + 'static,
    {
        while self.reads.len() < AHEAD {
            let Some(read) = next() else { break };
            self.reads.push_back(tokio::spawn(read));
        }
        let Some(read) = self.reads.pop_front() else {
            return Ok(None);
        };
        let ended = |error: tokio::task::JoinError| ArchiveError::Failed {
            url: String::new(),
            verb: "read",
            key: String::new(),
            reason: error.to_string(),
            again: false,
        };
        read.await.map_err(ended)?.map(Some)
    }
}

impl<T> Drop for ReadAhead<T> {
    fn drop(&mut self) {
        self.reads.iter().for_each(JoinHandle::abort);
    }
}
