//! Credits that went to a `suspense` account: counted, and warned of at the first and then rarely.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::metrics::counter::Counter;

use crate::process::ids::AccountId;

/// A node under attack must not fill its log.
const WARN_EVERY: Duration = Duration::from_secs(3600);

/// The credits to `suspense` since the start of the node.
#[derive(Default)]
pub(in crate::node) struct SuspenseCredits {
    counter: Counter,
    warned: Mutex<Option<Instant>>,
}

impl SuspenseCredits {
    pub(super) fn counter(&self) -> Counter {
        self.counter.clone()
    }

    /// Counts a durable credit to the account.
    pub(in crate::node) fn count(&self, account: &AccountId) {
        self.counter.inc();
        if self.is_to_warn(Instant::now()) {
            let credits = self.counter.get();
            tracing::warn!(
                %account,
                credits,
                "a credit went to suspense, because its account cannot take it; the history of suspense names that account"
            );
        }
    }

    fn is_to_warn(&self, now: Instant) -> bool {
        let mut warned = self.warned.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = warned.is_none_or(|last| now.duration_since(last) >= WARN_EVERY);
        if is_due {
            *warned = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_credit_is_warned_of_and_then_one_an_hour() {
        let credits = SuspenseCredits::default();
        let start = Instant::now();
        let warned = [0, 1, 3599, 3600, 3601, 7199, 7200]
            .map(|seconds| credits.is_to_warn(start + Duration::from_secs(seconds)));
        assert_eq!(warned, [true, false, false, true, false, false, true]);
    }
}
