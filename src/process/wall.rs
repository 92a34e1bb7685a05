//! The believed wall clock of a process.
//!
//! Turns are labelled with times permanently, so a wrong wall clock must not reach the journal, and that of a peer must not
//! move this one. Three rules apply `bound`, the configured `clock.ahead_max`:
//!
//! 1. **Jumps of the own clock.** The believed clock advances at the pace of the monotonic clock. The wall clock is followed
//!    while it is within `bound` of that. Beyond, it is followed only if most of the answering peers show the same, or, if no
//!    peer answers, after it has kept its offset for as long as `bound`.
//! 2. **The start.** A wall clock within `bound` of the newest time in the journal is believed. Any other is compared with
//!    those of the peers, and the lower median is believed, before the first turn is labelled.
//! 3. **Received times.** A message is delivered once its time is at most `bound` ahead of the believed clock. Until then it
//!    waits, unacknowledged, and so do the messages behind it. No receipt is labelled earlier than its sending, with or
//!    without this rule.
//!
//! Hence no turn is labelled later than the believed clock has shown, plus `bound`, plus one tick per turn. Proof by induction:
//! a turn's time is one tick past the greatest of the turn before, the believed clock, and the messages delivered in it, each
//! within the limit. The turns up to an instant are a consistent cut on all processes: a receipt is labelled later than its
//! sending, and rule 3 only delays it. If the believed clock was set back by more than `bound`, or the journal had run ahead
//! before the start, the newest time so far replaces the believed clock in rule 3 until the clock has caught up. This lets a
//! cluster whose clocks are set back together continue; such a clock has shown that time itself.
//!
//! **Misled clocks.** A clock whose believed time is within `bound` of the true time labels turns, and passes instants that are
//! asked about, up to 2 × `bound` ahead of it: rule 3 adds one. A start over such a journal believes a wall clock within
//! `bound` of that (rule 2), 3 × `bound` ahead, and labels turns up to 4 × `bound` ahead. A clock further ahead, or more than
//! `bound` behind, is **misled**, and the rules do not bound it. This happens in three cases: the clock jumped while no peer
//! answered and kept its offset for as long as `bound` (rule 1); it started wrong without an answer from a peer, or most peers
//! were equally wrong (rule 2); or it was more than 2 × `bound` ahead at consecutive starts, each over the journal of the run
//! before. No rule bounds a clock that is behind.
//!
//! Pure like the rest of `process`: clock readings come in as values.

use super::clock::Hlc;

/// The maximum distance of a turn, or of an instant that a process has answered for, ahead of the true time, in multiples of
/// the bound. Holds for clocks that are not misled.
pub const TURN_AHEAD_MAX: u64 = 4;
/// The maximum distance ahead of another correct process's clock, which may be one bound behind the true time.
pub const ANSWERED_AHEAD_MAX: u64 = TURN_AHEAD_MAX + 1;

/// One reading of both clocks of a node, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock, since the Unix epoch.
    pub wall_us: u64,
    /// The monotonic clock, since any fixed instant.
    pub elapsed_us: u64,
}

/// How far a wall clock is ahead of the monotonic clock of this node, microseconds. As an offset, readings of peers are
/// comparable whenever they were taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(i64);

impl ClockReading {
    /// The offset of the wall clock.
    #[must_use]
    pub fn offset(self) -> Offset {
        self.offset_of(self.wall_us)
    }

    /// The offset of another clock that showed `wall_us` at this reading.
    #[must_use]
    pub fn offset_of(self, wall_us: u64) -> Offset {
        let signed = |us: u64| i64::try_from(us).unwrap_or(i64::MAX);
        Offset(signed(wall_us).saturating_sub(signed(self.elapsed_us)))
    }

    // What a clock of this offset shows at this reading.
    fn shows(self, offset: Offset) -> u64 {
        self.elapsed_us.saturating_add_signed(offset.0)
    }
}

impl Offset {
    /// How far this clock is ahead of another one, microseconds; negative if it is behind.
    #[must_use]
    pub fn ahead_of(self, other: Self) -> i64 {
        self.0.saturating_sub(other.0)
    }
}

/// A wall clock further than the bound from the believed one while no peer answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Apart {
    offset: Offset,
    since_us: u64,
}

/// The believed clock of one process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Wall {
    bound_us: u64,
    /// The newest time in the journal when it was opened, or the newest that the believed clock has shown since.
    newest: Hlc,
    /// `None` until the wall clock has been compared at the start.
    believed: Option<Offset>,
    apart: Option<Apart>,
}

impl Wall {
    /// The clock at a start. The wall clock is believed at once if it is near the newest time in the journal. `bound_us` is in
    /// microseconds.
    #[must_use]
    pub fn new(bound_us: u64, newest: Hlc, now: ClockReading) -> Self {
        let mut wall = Self {
            bound_us,
            newest,
            believed: None,
            apart: None,
        };
        if wall.is_near(now.offset(), now.offset_of(newest.wall_us())) {
            wall.believed = Some(now.offset());
        }
        wall
    }

    /// Whether turns may be labelled.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.believed.is_some()
    }

    /// Ends the start with the offsets of the peers that answered: the lower median, the own clock included, is believed. The
    /// own clock counts as not behind the newest time in its journal. Without peers it is believed as it is.
    pub fn settle(&mut self, now: ClockReading, peers: &[Offset]) {
        if self.believed.is_some() {
            return;
        }
        let own = now.offset();
        self.believed = Some(match peers {
            [] => own,
            peers => lower_median(own.max(now.offset_of(self.newest.wall_us())), peers),
        });
    }

    /// Compares the wall clock with the believed one and with those of the answering peers; called periodically. Returns
    /// whether the believed clock has jumped.
    pub fn compare(&mut self, now: ClockReading, peers: &[Offset]) -> bool {
        let (Some(believed), own) = (self.believed, now.offset()) else {
            return false;
        };
        self.newest = self.newest.max(Hlc::at(self.now_us(now)));
        if self.is_near(own, believed) {
            self.apart = None;
            // Small corrections accumulate, unless the peers show that the own clock drifts away.
            if own.ahead_of(lower_median(own, peers)).unsigned_abs() <= self.bound_us {
                self.believed = Some(own);
            }
            return false;
        }
        let follows = match peers {
            [] => self.has_stood(now, own),
            peers => {
                self.apart = None;
                let confirm = peers.iter().filter(|peer| self.is_near(**peer, own));
                confirm.count() * 2 > peers.len()
            }
        };
        if follows {
            self.apart = None;
            self.believed = Some(own);
        }
        follows
    }

    // Whether the wall clock has kept this offset for as long as the bound.
    fn has_stood(&mut self, now: ClockReading, own: Offset) -> bool {
        let moved = |apart: &Apart| !self.is_near(apart.offset, own);
        if self.apart.as_ref().is_none_or(moved) {
            self.apart = Some(Apart {
                offset: own,
                since_us: now.elapsed_us,
            });
        }
        let since = self.apart.map_or(now.elapsed_us, |apart| apart.since_us);
        now.elapsed_us.saturating_sub(since) >= self.bound_us
    }

    /// The time that labels turns, microseconds since the Unix epoch; the wall clock until the clock is settled.
    #[must_use]
    pub fn now_us(&self, now: ClockReading) -> u64 {
        now.shows(self.believed_at(now))
    }

    /// How far the wall clock is ahead of the believed one, microseconds.
    #[must_use]
    pub fn skew_us(&self, now: ClockReading) -> i64 {
        now.offset().ahead_of(self.believed_at(now))
    }

    /// How far another clock is ahead of the believed one, microseconds.
    #[must_use]
    pub fn skew_of(&self, now: ClockReading, other: Offset) -> i64 {
        other.ahead_of(self.believed_at(now))
    }

    /// The newest time that may be received now. Until the clock is settled, only the newest time of the journal counts.
    #[must_use]
    pub fn limit(&self, now: ClockReading) -> Hlc {
        let present = match self.is_settled() {
            true => self.now_us(now),
            false => self.newest.wall_us(),
        };
        let limit = present.saturating_add(self.bound_us);
        let base = match self.newest.wall_us() > limit {
            true => self.newest.wall_us(),
            false => present,
        };
        Hlc::at(base.saturating_add(self.bound_us)).last_of_label()
    }

    /// How far a time is ahead of the believed clock, microseconds; `None` if it may be received now.
    #[must_use]
    pub fn too_early(&self, now: ClockReading, time: Hlc) -> Option<u64> {
        (time > self.limit(now)).then(|| time.wall_us().saturating_sub(self.now_us(now)))
    }

    /// Whether a figure of [`Wall::skew_us`] or [`Wall::skew_of`] exceeds the bound.
    #[must_use]
    pub fn is_skewed(&self, skew_us: i64) -> bool {
        skew_us.unsigned_abs() > self.bound_us
    }

    fn believed_at(&self, now: ClockReading) -> Offset {
        let own = now.offset();
        match self.believed {
            Some(believed) if !self.is_near(own, believed) => believed,
            _ => own,
        }
    }

    fn is_near(&self, one: Offset, other: Offset) -> bool {
        !self.is_skewed(one.ahead_of(other))
    }
}

// Of an even number the lesser of the two in the middle: a clock that is behind only delays, while times that are ahead are
// permanent.
fn lower_median(own: Offset, peers: &[Offset]) -> Offset {
    let mut all: Vec<Offset> = peers.iter().copied().chain([own]).collect();
    all.sort_unstable();
    all[(all.len() - 1) / 2]
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;
    const MINUTE: u64 = 60 * SECOND;
    const YEAR: u64 = 365 * 24 * 60 * MINUTE;
    const NOON: u64 = 1_700_000_000 * SECOND;

    // `off` microseconds beside the true time, `since` microseconds after the start.
    fn reading(since: u64, off: i64) -> ClockReading {
        ClockReading {
            wall_us: (NOON + since).saturating_add_signed(off),
            elapsed_us: 7 + since,
        }
    }

    fn clock(newest_us: u64, now: ClockReading) -> Wall {
        Wall::new(MINUTE, Hlc::at(newest_us), now)
    }

    fn year() -> i64 {
        i64::try_from(YEAR).expect("it fits")
    }

    #[test]
    fn a_leap_is_not_followed_and_a_small_correction_is() {
        let mut wall = clock(NOON - SECOND, reading(0, 0));
        assert!(wall.is_settled(), "it goes on from its journal");
        let jumped = reading(SECOND, year());
        assert_eq!(wall.now_us(jumped), NOON + SECOND);
        assert_eq!(wall.skew_us(jumped), year());
        assert!(!wall.compare(jumped, &[]));
        let back = reading(2 * SECOND, -500_000);
        assert_eq!(wall.now_us(back), NOON + 1_500_000);
        assert!(!wall.compare(back, &[]));
        // Each step is 59 s after the one before, so each correction must have been followed.
        for step in 1..4 {
            let now = reading(3 * SECOND, 59 * step * 1_000_000);
            assert!(!wall.compare(now, &[]));
            assert_eq!(wall.now_us(now), now.wall_us);
        }
    }

    #[test]
    fn peers_that_contradict_stop_a_clock_that_creeps_away() {
        let mut wall = clock(NOON, reading(0, 0));
        for step in 1..10 {
            let peer = reading(SECOND, 0).offset();
            wall.compare(reading(SECOND, 59 * step * 1_000_000), &[peer]);
        }
        let shown = wall.now_us(reading(2 * SECOND, year()));
        assert!(shown <= NOON + 2 * SECOND + MINUTE, "{shown}");
    }

    #[test]
    fn a_leap_is_followed_where_the_peers_made_it_too() {
        let mut wall = clock(NOON, reading(0, 0));
        let now = reading(SECOND, year());
        let (ahead, behind) = (now.offset(), reading(SECOND, 0).offset());
        assert!(!wall.compare(now, &[behind, ahead]), "a tie");
        assert!(wall.compare(now, &[ahead, ahead, behind]));
        assert_eq!(wall.now_us(now), now.wall_us);
    }

    #[test]
    fn without_peers_a_leap_is_followed_when_it_has_stood() {
        let mut wall = clock(NOON, reading(0, 0));
        assert!(!wall.compare(reading(SECOND, year()), &[]));
        assert!(!wall.compare(reading(50 * SECOND, -year()), &[]));
        assert!(!wall.compare(reading(100 * SECOND, -year()), &[]));
        assert!(wall.compare(reading(111 * SECOND, -year()), &[]));
    }

    #[test]
    fn a_start_after_a_long_time_compares_with_the_peers() {
        let true_time = reading(0, 0).offset();
        let mut ahead = clock(0, reading(0, year()));
        assert!(!ahead.is_settled());
        let is_early = |time_us| {
            ahead
                .too_early(reading(0, year()), Hlc::at(time_us))
                .is_some()
        };
        assert!(is_early(NOON), "no clock is believed yet");
        ahead.settle(reading(0, year()), &[true_time]);
        assert_eq!(ahead.now_us(reading(SECOND, year())), NOON + SECOND);
        let mut alone = clock(NOON - YEAR, reading(0, 0));
        alone.settle(reading(0, 0), &[]);
        assert_eq!(alone.now_us(reading(SECOND, 0)), NOON + SECOND);
        // Two right clocks and one without a battery: the result is the same whichever of them starts.
        let dead = reading(0, -40 * year()).offset();
        let mut right = clock(NOON - YEAR, reading(0, 0));
        right.settle(reading(0, 0), &[true_time, dead]);
        assert_eq!(right.now_us(reading(SECOND, 0)), NOON + SECOND);
    }

    #[test]
    fn what_is_too_early_waits_for_the_clock() {
        let wall = clock(NOON, reading(0, 0));
        let early = Hlc::at(NOON + MINUTE + 2 * SECOND);
        assert_eq!(wall.too_early(reading(0, 0), early), Some(62 * SECOND));
        assert_eq!(wall.too_early(reading(2 * SECOND, 0), early), None);
        let jumped = reading(SECOND, year());
        assert_eq!(wall.too_early(jumped, early), Some(61 * SECOND));
    }

    // Without this, a cluster that had followed a wrong clock together would deliver nothing until the true time catches up.
    #[test]
    fn a_cluster_that_had_run_ahead_goes_on() {
        let ahead = NOON + YEAR;
        let mut wall = clock(ahead, reading(0, 0));
        wall.settle(reading(0, 0), &[reading(0, 0).offset()]);
        let now = reading(SECOND, 0);
        assert_eq!(wall.now_us(now), NOON + SECOND);
        assert_eq!(wall.too_early(now, Hlc::at(ahead + 5)), None);
        assert!(wall.too_early(now, Hlc::at(ahead + 2 * MINUTE)).is_some());
    }

    // Without this, processes that were started with a wrong clock and are set right while they run would deliver nothing until
    // the true time catches up.
    #[test]
    fn a_cluster_that_is_set_back_while_it_runs_goes_on() {
        let hour = 60 * MINUTE;
        let ahead = |since| reading(since, 60 * 60 * 1_000_000);
        let mut wall = clock(0, ahead(0));
        wall.settle(ahead(0), &[ahead(0).offset()]);
        assert!(!wall.compare(ahead(SECOND), &[ahead(0).offset()]));
        let now = reading(2 * SECOND, 0);
        assert!(wall.compare(now, &[now.offset()]));
        assert_eq!(wall.now_us(now), now.wall_us, "set back");
        let sent_before = NOON + hour + 2 * SECOND;
        assert_eq!(wall.too_early(now, Hlc::at(sent_before)), None);
        // Rule 3 does not extend further because of earlier times.
        let beyond = Hlc::at(sent_before + MINUTE + 1);
        assert!(wall.too_early(now, beyond).is_some());
        for step in 1..10 {
            wall.compare(reading(2 * SECOND + step, 0), &[now.offset()]);
        }
        assert!(wall.too_early(now, beyond).is_some());
        let caught_up = reading(hour, 0);
        let limit = Hlc::at(caught_up.wall_us + MINUTE).last_of_label();
        assert_eq!(wall.limit(caught_up), limit);
    }
}
