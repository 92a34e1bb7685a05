//! Reads objects ahead of their use: an archive answers slowly, but many requests at once.

use std::collections::VecDeque;

use tokio::task::JoinHandle;

use super::ArchiveError;

/// The number of requests for whole objects under way. Segments of the usual size then take 32 MiB.
pub(super) const OBJECTS_AHEAD: usize = 4;
/// A larger object is read when it is its turn, alone, so each of the requests ahead takes at most this memory.
pub(super) const AHEAD_BYTES_MAX: u64 = 17 << 20;
/// The number of requests for heads under way, or for objects that are not greater.
pub const HEADS_AHEAD: usize = 32;

/// A read under way; it is ended when this is dropped.
pub(super) struct Read<T>(JoinHandle<Result<T, ArchiveError>>);

impl<T: Send + 'static> Read<T> {
    fn begin(read: impl Future<Output = Result<T, ArchiveError>> + Send + 'static) -> Self {
        Self(tokio::spawn(read))
    }
}

impl<T> Drop for Read<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads of consecutive things, in order.
pub struct ReadAhead<T> {
    reads: VecDeque<Read<T>>,
    /// The number of requests under way.
    width: usize,
}

impl<T: Send + 'static> ReadAhead<T> {
    /// Reads with so many requests at once.
    #[must_use]
    pub fn new(width: usize) -> Self {
        let reads = VecDeque::new();
        Self { reads, width }
    }

    /// The result of the oldest read; `None` if there is none. `next` begins another.
    ///
    /// # Errors
    /// That of the read.
    pub async fn next<F>(
        &mut self,
        mut next: impl FnMut() -> Option<F>,
    ) -> Result<Option<T>, ArchiveError>
    where
        F: Future<Output = Result<T, ArchiveError>> + Send + 'static,
    {
        while self.reads.len() < self.width {
            let Some(read) = next() else { break };
            self.reads.push_back(Read::begin(read));
        }
        let Some(read) = self.reads.pop_front() else {
            return Ok(None);
        };
        joined(read).await.map(Some)
    }

    // Takes the oldest read, to be awaited elsewhere; `next` begins another, and is told whether it is the only one.
    pub(super) fn take<F>(&mut self, mut next: impl FnMut(bool) -> Option<F>) -> Option<Read<T>>
    where
        F: Future<Output = Result<T, ArchiveError>> + Send + 'static,
    {
        while self.reads.len() < self.width {
            let Some(read) = next(self.reads.is_empty()) else {
                break;
            };
            self.reads.push_back(Read::begin(read));
        }
        self.reads.pop_front()
    }

    // Whether no read is under way.
    pub(super) fn is_idle(&self) -> bool {
        self.reads.is_empty()
    }

    // The number of reads that were begun and not taken.
    pub(super) fn under_way(&self) -> u64 {
        self.reads.len() as u64
    }

    // From now on with so many requests at once.
    pub(super) fn widen(&mut self, width: usize) {
        self.width = width;
    }
}

pub(super) async fn joined<T>(mut read: Read<T>) -> Result<T, ArchiveError> {
    let ended = |error: tokio::task::JoinError| ArchiveError::Failed {
        url: String::new(),
        verb: "read",
        key: String::new(),
        reason: error.to_string(),
        cause: "it was not read".to_owned(),
        again: false,
    };
    (&mut read.0).await.map_err(ended)?
}

#[cfg(test)]
mod tests {
    use std::future::pending;
    use std::sync::Arc;

    use super::*;

    // Without this, what a read waits for goes on behind a command that has its answer, and fails with it at its end.
    #[tokio::test]
    async fn a_read_within_a_read_ends_with_it() {
        let held = Arc::new(());
        let (mut starts, mut whole) = (ReadAhead::new(2), ReadAhead::new(2));
        let start = |_| {
            let held = Arc::clone(&held);
            Some(async move {
                let _held = held;
                pending::<Result<(), ArchiveError>>().await
            })
        };
        let read = whole.take(|_| starts.take(start).map(joined));
        tokio::task::yield_now().await;
        assert!(Arc::strong_count(&held) > 1);
        drop((read, whole, starts));
        while Arc::strong_count(&held) > 1 {
            tokio::task::yield_now().await;
        }
    }
}
