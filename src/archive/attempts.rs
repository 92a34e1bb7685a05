//! The attempts of one request: one that fails and may succeed is repeated after a pause. One that is under way is not cut off when the
//! patience ends.

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
    began: Instant,
    until: Instant,
    /// Those that have failed.
    failed: u32,
    pause: Duration,
    /// When the log was told last.
    said: Option<Instant>,
}

impl Attempts {
    pub(super) fn within(patience: Duration) -> Self {
        let began = Instant::now();
        Self {
            began,
            until: began + patience,
            failed: 0,
            pause: PAUSE_FIRST,
            said: None,
        }
    }

    /// Waits for the next attempt, or gives up.
    pub(super) async fn next(&mut self, error: ArchiveError) -> Result<(), ArchiveError> {
        self.failed = self.failed.saturating_add(1);
        if !error.may_pass() {
            return Err(error);
        }
        if Instant::now() >= self.until {
            return Err(error.after(self.failed, self.began.elapsed()));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::time_limits::TimeLimits;
    use crate::archive::watched::watched;

    // Without this an operator reads "no answer within 30 s" of a start that has waited for minutes, or of one whose patience is a second.
    #[tokio::test]
    async fn a_request_that_is_given_up_says_how_often_and_how_long_it_was_tried() {
        for (patience, attempts) in [(0, "one attempt in 0"), (200, "attempts in 0")] {
            let (mut objects, seen) = watched();
            objects.limits = Some(TimeLimits {
                base: Duration::from_millis(50),
                bytes_per_second: 1,
            });
            seen.slow_down(Duration::from_secs(60));
            let objects = objects.patient(Duration::from_millis(patience));
            let created = objects.create("epochs/1", Vec::new()).await;
            let given_up = created.expect_err("it hangs").to_string();
            for part in ["cannot create epochs/1", "no answer within", attempts] {
                assert!(given_up.contains(part), "{part}: {given_up}");
            }
        }
    }
}
