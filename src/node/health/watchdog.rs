//! The watchdog on commits and syncs. A hanging disk returns no error, so a task that does not wait for the disk reports it. If
//! the commit waits for an error that another thread has received, the watchdog asks the store for that error, on a separate
//! thread that may hang as well.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

use super::failures::Failures;
use crate::store::{Store, StoreError};

/// The maximum interval between checks.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Checks further apart than this multiple of the interval mean that the whole node was frozen, not just the disk.
const FROZEN_LOOKS: u32 = 3;

/// The duration of a commit after which the store is asked for errors that have occurred already.
const NUDGE_AFTER: Duration = Duration::from_secs(1);

/// Reports a commit or sync that takes longer than the deadline. Does not access files itself.
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

/// The time since the node was last frozen. A commit that was running while the node was frozen says nothing about the disk.
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

    /// Records a check. Returns for how long the node has run without a freeze.
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

    // Without this, a node that was frozen during a commit reports its disk as hanging when it continues.
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
