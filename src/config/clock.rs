//! The wall clock of a node, and how far it is followed.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far clocks may be ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockSettings {
    /// How far a leap of the own wall clock is followed at once, and how far the time of a message may be ahead of the
    /// clock here.
    pub ahead_max: Duration,
    /// Where the time comes from.
    pub wall: WallClock,
}

impl Default for ClockSettings {
    fn default() -> Self {
        Self {
            ahead_max: Duration::from_secs(60),
            wall: WallClock::default(),
        }
    }
}

/// The wall clock of the system, or one that is off by as much as a test says.
#[derive(Debug, Clone, Default)]
pub struct WallClock {
    off_us: Arc<AtomicI64>,
}

impl WallClock {
    /// What it shows, microseconds since the Unix epoch.
    #[must_use]
    pub fn read_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        });
        since.saturating_add_signed(self.off_us.load(Ordering::Relaxed))
    }

    /// Puts it off the system's clock by so many microseconds, for all its clones.
    pub fn put_off(&self, off_us: i64) {
        self.off_us.store(off_us, Ordering::Relaxed);
    }
}

impl PartialEq for WallClock {
    fn eq(&self, other: &Self) -> bool {
        self.off_us.load(Ordering::Relaxed) == other.off_us.load(Ordering::Relaxed)
    }
}

impl Eq for WallClock {}
