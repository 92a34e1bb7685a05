//! Waits for a condition, with a deadline.

use std::time::Duration;

use tokio::time::{Instant, interval};

const WAIT_MAX: Duration = Duration::from_secs(20);

/// Asks again and again until there is an answer.
pub(crate) async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    let mut ticks = interval(Duration::from_millis(20));
    loop {
        ticks.tick().await;
        if let Some(found) = ask().await {
            return found;
        }
        assert!(
            begun.elapsed() < WAIT_MAX,
            "not within {WAIT_MAX:?}: {what}"
        );
    }
}
