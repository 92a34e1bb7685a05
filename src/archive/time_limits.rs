//! The time that a request to storage on a network may take. It grows with the bytes of the request, so that a slow connection ships
//! and reads large objects, too, only later.

use std::time::Duration;

/// The time limits of requests.
#[derive(Debug, Clone, Copy)]
pub(super) struct TimeLimits {
    /// Of a request without content.
    pub(super) base: Duration,
    /// The bytes for which it may take a second more.
    pub(super) bytes_per_second: u64,
}

impl TimeLimits {
    /// Of a request with so many bytes.
    pub(super) fn of(self, bytes: u64) -> Duration {
        let millis = bytes.saturating_mul(1_000) / self.bytes_per_second;
        self.base.saturating_add(Duration::from_millis(millis))
    }
}

impl Default for TimeLimits {
    fn default() -> Self {
        Self {
            base: Duration::from_secs(30),
            bytes_per_second: 128 << 10,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_grows_with_the_bytes() {
        let limits = TimeLimits::default();
        assert_eq!(limits.of(0), Duration::from_secs(30));
        assert_eq!(limits.of(8 << 20), Duration::from_secs(30 + 64));
        assert!(limits.of(u64::MAX) > limits.of(1 << 30));
    }
}
