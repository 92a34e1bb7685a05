//! The time that a request to storage on a network may take. It grows with the bytes of the request, so that a slow connection ships
//! and reads large objects, too, only later.

use std::time::Duration;

use object_store::{Error, ObjectMeta, Result};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};

use super::{ArchiveError, Objects};

/// The time limits of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// Of a request without content.
    base: Duration,
    /// The bytes for which it may take a second more.
    bytes_per_second: u64,
}

impl TimeLimits {
    /// Of a request with so many bytes.
    pub(super) fn of(self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1_000) / self.bytes_per_second;
        self.base.saturating_add(Duration::from_millis(millis))
    }
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(30),
            bytes_per_second: 128 << 10,
        }
    }
}

impl Objects {
    /// Executes a request with so many bytes within its time. In a directory there is none: the file system would go on, and each
    /// repetition would hold another thread.
    pub(super) async fn in_time<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        if self.is_directory() {
            return request.await;
        }
        let limit = self.limits.of(bytes);
        let done = timeout(limit, request).await;
        done.unwrap_or_else(|_| {
            let reason = format!("no answer within {} s", limit.as_secs());
            Err(Error::Generic {
                store: "object storage",
                source: reason.into(),
            })
        })
    }

    // The next object of a list of a folder.
    pub(super) async fn next_of(
        &self,
        listed: &mut (impl Stream<Item = Result<ObjectMeta>> + Unpin),
        folder: &str,
    ) -> std::result::Result<Option<ObjectMeta>, ArchiveError> {
        let next = async { listed.next().await.transpose() };
        let next = self.in_time(0, next).await;
        next.map_err(|error| self.failed("list", folder, &error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::watched::watched;

    // Without this a node on a slow connection ends each put of a large segment and repeats it, for ever, and nothing of it is archived; or
    // it waits for a connection that is dead.
    #[tokio::test]
    async fn a_large_object_has_more_time_than_a_small_one() {
        let (mut objects, seen) = watched();
        objects.limits = TimeLimits {
            base: Duration::from_millis(50),
            bytes_per_second: 1,
        };
        seen.slow_down(Duration::from_millis(300));
        let put = objects.create("large", vec![7; 1_000]).await;
        put.expect("it has more than a quarter of an hour");
        let late = objects.create("small", Vec::new()).await;
        let late = late.expect_err("it has 50 ms");
        assert!(late.to_string().contains("no answer within"), "{late}");
        assert!(matches!(late, ArchiveError::Failed { again: true, .. }));
    }

    #[test]
    fn the_time_grows_with_the_bytes() {
        let limits = TimeLimits::default();
        assert_eq!(limits.of(0), Duration::from_secs(30));
        assert_eq!(limits.of(8 << 20), Duration::from_secs(30 + 64));
        assert!(limits.of(u64::MAX) > limits.of(1 << 30));
    }
}
