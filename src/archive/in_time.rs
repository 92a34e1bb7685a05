//! Requests to storage on a network, each within its time.

use object_store::{Error, ObjectMeta, Result};
use tokio::time::timeout;
use tokio_stream::{Stream, StreamExt as _};

use super::diagnosis::NO_ANSWER;
use super::{ArchiveError, Objects};

impl Objects {
    /// Executes a request with so many bytes within its time, if that is limited.
    pub(super) async fn in_time<T>(
        &self,
        bytes: u64,
        request: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let Some(limits) = self.limits else {
            return request.await;
        };
        let limit = limits.of(bytes);
        let done = timeout(limit, request).await;
        done.unwrap_or_else(|_| {
            let reason = format!("{NO_ANSWER}{} s", limit.as_secs());
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
    use std::time::Duration;

    use super::*;
    use crate::archive::time_limits::TimeLimits;
    use crate::archive::watched::watched;

    // Without this a node on a slow connection ends each put of a large segment and repeats it, for ever, and nothing of it is archived; or
    // it waits for a connection that is dead.
    #[tokio::test]
    async fn a_large_object_has_more_time_than_a_small_one() {
        let (mut objects, seen) = watched();
        objects.limits = Some(TimeLimits {
            base: Duration::from_millis(50),
            bytes_per_second: 1,
        });
        seen.slow_down(Duration::from_millis(300));
        let put = objects.create("large", vec![7; 1_000]).await;
        put.expect("it has more than a quarter of an hour");
        let late = objects.create("small", Vec::new()).await;
        let late = late.expect_err("it has 50 ms");
        assert!(late.to_string().contains("no answer within"), "{late}");
        assert!(matches!(late, ArchiveError::Failed { again: true, .. }));
    }
}
