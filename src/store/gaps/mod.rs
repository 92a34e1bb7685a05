//! The gaps of the journal: what this store cannot know because it is an older copy of itself.
//!
//! [`ranges`] holds the gaps, [`starts`] finds them by what peers know of this store, and [`caught_up`] says from which
//! instant the journal answers again. [`unknown`] says it all as intervals.

pub(super) mod caught_up;
pub(super) mod ranges;
pub(super) mod starts;
mod unknown;

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Store;
use super::error::StoreError;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
pub use unknown::Unknown;

/// All that is noted about gaps.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KnownGaps {
    /// The turns of each gap.
    pub ranges: Vec<RangeInclusive<Lsn>>,
    /// The last turns of gaps, with the clock values from which answers exist.
    pub caught_up: BTreeMap<Lsn, Hlc>,
}

/// The gaps of the journal.
#[derive(Clone, Copy)]
pub struct Gaps<'a> {
    pub(super) store: &'a Store,
}

impl Gaps<'_> {
    /// Whether turns may be missing after the newest one, because the store is an older copy.
    #[must_use]
    pub fn is_at_end(self) -> bool {
        self.store.gaps.is_behind(self.store.journal.position())
    }

    /// Whether any gap is noted, or has ended long ago.
    #[must_use]
    pub fn are_any(self) -> bool {
        self.store.gaps.newest().is_some()
    }

    /// All that is noted.
    #[must_use]
    pub fn known(self) -> KnownGaps {
        KnownGaps {
            ranges: self.store.gaps.all(),
            caught_up: self.store.caught_up.all(),
        }
    }

    /// Notes, durably, what was noted in a store that this one replaces.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn take_over(self, known: &KnownGaps) -> Result<(), StoreError> {
        for turns in &known.ranges {
            ranges::note(&self.store.meta, turns)?;
            self.store.gaps.add(turns);
        }
        for (gap, since) in &known.caught_up {
            self.catch_up(*gap, *since)?;
        }
        self.store.sync()
    }

    /// The last turn before the newest gap.
    #[must_use]
    pub fn newest(self) -> Option<Lsn> {
        self.store.gaps.newest()
    }

    /// Whether the state at an instant is after a gap.
    ///
    /// # Errors
    /// As [`crate::store::Past::position_at`].
    pub fn is_behind_gap(self, time: Hlc) -> Result<bool, StoreError> {
        // The common case.
        if self.store.gaps.newest().is_none() {
            return Ok(false);
        }
        let gap = self
            .store
            .gaps
            .newest_before(self.store.past().position_at(time)?);
        Ok(gap.is_some())
    }
}
