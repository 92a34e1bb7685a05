//! The watchdog on the commit: a disk that hangs gives no error, so somebody who does not wait for it has to speak.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::failures::Failures;
use crate::store::{Store, StoreError};

/// Between two looks at the most.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reports a commit or sync that takes longer than the deadline; touches no file itself.
pub(super) async fn watch(store: Arc<Store>, deadline: Duration, failures: Failures) {
    let mut looks = interval(LOOK_EVERY.min(deadline));
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if let Some(stalled) = store.stalled()
            && stalled > deadline
        {
            let seconds = stalled.as_secs();
            return failures.report("watchdog", StoreError::Stalled { seconds });
        }
    }
}
