//! The wall clock of a node and the limits within which it is trusted.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The limits of clocks that run ahead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClockSettings {
    /// The largest forward jump of the local wall clock that is followed at once, and the most by which the time of a
    /// received message may be ahead of the local clock.
    pub ahead_max: Duration,
    /// The source of the time.
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

/// The wall clock of the system, plus an offset that tests set.
#[derive(Debug, Clone, Default)]
pub struct WallClock {
    off_us: Arc<AtomicI64>,
}

impl WallClock {
    /// Microseconds since the Unix epoch.
    #[must_use]
    pub fn read_us(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.map_or(0, |since| {
            u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
        });
        since.saturating_add_signed(self.off_us.load(Ordering::Relaxed))
    }

    /// Sets the offset from the system's clock in microseconds, for all clones.
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
