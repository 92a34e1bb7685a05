//! Detects jumps of the wall clock. After a jump nothing is deleted by age until the clock is steady again: it may jump back,
//! while deletions are permanent.

use std::time::Duration;

use tokio::time::Instant;

/// The maximum difference between the advances of the wall clock and the monotonic clock from one check to the next.
const DIVERGED_MAX: Duration = Duration::from_secs(60);
/// How long the two clocks must then advance together.
const STEADY_FOR: Duration = Duration::from_secs(600);

/// The wall clock at the last check.
pub(in crate::node) struct JumpDetector {
    wall_us: u64,
    at: Instant,
    jumped_at: Option<Instant>,
}

impl JumpDetector {
    /// Starts with the present wall clock, which must be trusted.
    pub(in crate::node) fn believed(wall_us: u64, at: Instant) -> Self {
        let jumped_at = None;
        Self {
            wall_us,
            at,
            jumped_at,
        }
    }

    /// Checks the clocks. Returns whether the wall clock is steady.
    pub(in crate::node) fn is_steady(&mut self, wall_us: u64, at: Instant) -> bool {
        let passed = u64::try_from((at - self.at).as_micros()).unwrap_or(u64::MAX);
        let diverged_us = wall_us.abs_diff(self.wall_us.saturating_add(passed));
        (self.wall_us, self.at) = (wall_us, at);
        if Duration::from_micros(diverged_us) > DIVERGED_MAX {
            let seconds = diverged_us / 1_000_000;
            tracing::warn!(
                seconds,
                "the wall clock has jumped; deletion by age is suspended"
            );
            self.jumped_at = Some(at);
        }
        self.jumped_at
            .is_none_or(|jumped_at| at - jumped_at >= STEADY_FOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_leaps_is_believed_after_a_while() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let us = |seconds: u64| (1_000_000 + seconds) * 1_000_000;
        let mut clock = JumpDetector::believed(us(0), start);
        assert!(clock.is_steady(us(1), at(1)));
        assert!(clock.is_steady(us(1000), at(1000)), "a look may come late");
        assert!(!clock.is_steady(us(90_000), at(1001)));
        assert!(!clock.is_steady(us(1002), at(1002)), "and back");
        assert!(!clock.is_steady(us(1500), at(1500)));
        assert!(clock.is_steady(us(1602), at(1602)));
    }
}
