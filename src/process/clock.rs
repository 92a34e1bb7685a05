//! Logical clocks as plain values. This module does not read the wall clock.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A Lamport clock (Lamport 1978): orders events by cause and carries no time.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Lamport(pub u64);

impl Lamport {
    /// The clock after an event of the own process.
    #[must_use]
    pub fn tick(self) -> Self {
        Self(self.0 + 1)
    }

    /// The clock after receiving a message sent at `sender`.
    #[must_use]
    pub fn receive(self, sender: Self) -> Self {
        self.reach(sender).tick()
    }

    /// The clock advanced to at least that of another process, without an event.
    #[must_use]
    pub fn reach(self, other: Self) -> Self {
        // A foreign process may send any number; half of the range stays free for the own ticks.
        self.max(Self(other.0.min(u64::MAX / 2)))
    }
}

/// Both clocks of a process after a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Clocks {
    /// The Lamport clock.
    pub logical: Lamport,
    /// The hybrid logical clock.
    pub time: Hlc,
}

/// A hybrid logical clock (Kulkarni et al. 2014): close to wall time, and at every receipt greater than at the sending.
///
/// Layout: microseconds since the Unix epoch in the upper 52 bits, a counter in the lower 12. A counter that overflows carries
/// into the microseconds, which keeps the order.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct Hlc(pub u64);

const COUNTER_BITS: u32 = 12;
/// The newest clock value that is followed, in the year 2112. 2^44 values above it remain for ticks.
const NEWEST: u64 = u64::MAX - (1 << 44);

impl Hlc {
    /// The first value of the instant `wall_us`, microseconds since the Unix epoch.
    #[must_use]
    pub fn at(wall_us: u64) -> Self {
        Self((wall_us.min(NEWEST >> COUNTER_BITS)) << COUNTER_BITS)
    }

    /// The last value of the same microsecond, so that a query for this instant includes all of it.
    #[must_use]
    pub fn last_of_label(self) -> Self {
        Self(self.0 | ((1 << COUNTER_BITS) - 1))
    }

    /// The next value, given the wall clock in microseconds. It always increases, even if the wall clock goes back.
    #[must_use]
    pub fn tick(self, wall_us: u64) -> Self {
        Self::at(wall_us).max(Self(self.0.saturating_add(1)))
    }

    /// The clock advanced to at least that of the sender, capped so that 2^44 values remain for ticks.
    #[must_use]
    pub fn receive(self, sender: Self) -> Self {
        self.max(Self(sender.0.min(NEWEST)))
    }

    /// The value `us` microseconds later.
    #[must_use]
    pub fn later_by(self, us: u64) -> Self {
        Self(self.0.saturating_add(us.saturating_mul(1 << COUNTER_BITS)))
    }

    /// Microseconds since the Unix epoch, for display.
    #[must_use]
    pub fn wall_us(self) -> u64 {
        self.0 >> COUNTER_BITS
    }
}

impl fmt::Display for Hlc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_clock_never_goes_back() {
        let noon = Hlc::at(1_000_000);
        let later = noon.tick(0);
        assert!(later > noon, "the wall clock was put back");
        assert_eq!(later.tick(2_000_000), Hlc::at(2_000_000));
        assert_eq!(Hlc::at(1_000_000).wall_us(), 1_000_000);
    }

    #[test]
    fn clocks_survive_the_greatest_foreign_value() {
        assert!(Lamport(5).receive(Lamport(u64::MAX)) > Lamport(5));
        let far = Hlc::at(7).receive(Hlc(u64::MAX)).tick(7);
        assert!(far > Hlc::at(7));
        assert!(far.tick(7) > far);
    }

    #[test]
    fn clocks_follow_the_wall_until_2112() {
        let new_year_2100_us = 4_102_444_800_000_000;
        assert_eq!(Hlc::at(new_year_2100_us).wall_us(), new_year_2100_us);
        assert_eq!(Hlc::at(3).later_by(4), Hlc::at(7));
        assert_eq!(Hlc::at(3).later_by(u64::MAX), Hlc(u64::MAX));
        let end = Hlc::at(u64::MAX);
        assert!(end.tick(u64::MAX) > end, "it ticks on at the end of time");
    }
}
