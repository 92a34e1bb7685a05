//! The watchdog on the commit: a disk that hangs gives no error, so somebody who does not wait for it has to speak. One that
//! gave its error to another thread has it asked for, on a thread that may hang as well.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::failures::Failures;
use crate::store::{Store, StoreError};

/// Between two looks at the most.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Looks that are further apart than so many times the usual: the whole node stood still, and not the disk alone.
const FROZEN_LOOKS: u32 = 3;

/// A commit that takes longer may wait for what has failed already.
const NUDGE_AFTER: Duration = Duration::from_secs(1);

/// Reports a commit or sync that takes longer than the deadline; touches no file itself.
pub(in crate::node) async fn watch(store: Arc<Store>, deadline: Duration, failures: Failures) {
    let every = LOOK_EVERY.min(deadline);
    let mut looks = interval(every);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut awake = Awake::new(every, Instant::now());
    let mut nudging: Option<JoinHandle<()>> = None;
    loop {
        looks.tick().await;
        let awake_for = awake.look(Instant::now());
        let Some(stalled) = store.stalled() else {
            continue;
        };
        if stalled.min(awake_for) > deadline {
            let seconds = stalled.as_secs();
            return failures.report("watchdog", StoreError::Stalled { seconds });
        }
        if stalled > NUDGE_AFTER && nudging.as_ref().is_none_or(JoinHandle::is_finished) {
            let (store, failures) = (Arc::clone(&store), failures.clone());
            nudging = Some(std::thread::spawn(move || {
                if let Err(error) = store.nudge() {
                    failures.report("watchdog", error);
                }
            }));
        }
    }
}

/// Since when the node runs without having been frozen: a minute that a commit was under way in a frozen node says
/// nothing about the disk.
struct Awake {
    every: Duration,
    since: Instant,
    looked: Instant,
}

impl Awake {
    fn new(every: Duration, now: Instant) -> Self {
        Self {
            every,
            since: now,
            looked: now,
        }
    }

    /// For how long it has been awake.
    fn look(&mut self, now: Instant) -> Duration {
        if now - self.looked > self.every * FROZEN_LOOKS {
            self.since = now;
        }
        self.looked = now;
        now - self.since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this, a node that is frozen in the middle of a commit takes its disk for dead when it goes on.
    #[test]
    fn the_time_of_a_freeze_does_not_count() {
        let second = Duration::from_secs(1);
        let start = Instant::now();
        let mut awake = Awake::new(second, start);
        for passed in 1..=40 {
            assert_eq!(awake.look(start + second * passed), second * passed);
        }
        let thawed = start + second * 100;
        assert_eq!(awake.look(thawed), Duration::ZERO);
        assert_eq!(awake.look(thawed + second), second);
    }
}
