//! The attempts of one request: one that fails and may succeed is repeated after a pause.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::ArchiveError;

/// The pauses before a failed request is repeated.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The shortest time between two log lines about one request.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The attempts of one request.
pub(super) struct Attempts {
    until: Instant,
    pause: Duration,
    /// When the log was told last.
    said: Option<Instant>,
}

impl Attempts {
    pub(super) fn within(patience: Duration) -> Self {
        Self {
            until: Instant::now() + patience,
            pause: PAUSE_FIRST,
            said: None,
        }
    }

    /// Waits for the next attempt, or gives up.
    pub(super) async fn next(&mut self, error: ArchiveError) -> Result<(), ArchiveError> {
        if !error.may_pass() || Instant::now() >= self.until {
            return Err(error);
        }
        if self.said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
            self.said = Some(Instant::now());
            tracing::warn!(%error, "the archive does not answer; trying again");
        }
        sleep(self.pause).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        Ok(())
    }
}
