//! Waits for conditions with a deadline: no test sleeps, and none hangs.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, timeout};

/// Far more than any condition takes, even on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Polls until `look` returns a value; `what` names the condition if it fails.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let found = async {
        loop {
            ticks.tick().await;
            if let Some(found) = look().await {
                return found;
            }
        }
    };
    let found = timeout(PATIENCE, found).await;
    found.unwrap_or_else(|_| unreachable!("within {PATIENCE:?} there was no sign of: {what}"))
}
