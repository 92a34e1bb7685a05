//! Since when an older copy of a store has caught up. Behind a gap the clock of the process may be behind what the original had
//! reached: the machine shows an earlier time. The journal answers only for instants by which it has passed the clocks of the
//! peers, and so what the original told them. Which meetings that takes the node decides.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::Store;
use super::error::StoreError;
use super::frame::Kind;
use super::schema;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;

const PREFIX: &str = "caught-up-";

/// The instants, by the last turn before the gap.
pub(super) struct CaughtUp(RwLock<Known>);

#[derive(Default)]
struct Known {
    since: BTreeMap<Lsn, Hlc>,
    /// Whether a gap that is not here is one behind which nothing is known yet.
    is_awaited: bool,
}

impl CaughtUp {
    pub(super) fn open(meta: &sled::Tree) -> Result<Self, StoreError> {
        let since = schema::numbered(meta, PREFIX)?.into_iter();
        let since = since.map(|(gap, since)| (Lsn(gap), Hlc(since)));
        Ok(Self(RwLock::new(Known {
            since: since.collect(),
            is_awaited: false,
        })))
    }

    /// From which instant on there are answers behind a gap; `None` if there are none yet.
    pub(super) fn since(&self, gap: Lsn) -> Option<Hlc> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let without = (!known.is_awaited).then(Hlc::default);
        known.since.get(&gap).copied().or(without)
    }
}

impl Store {
    /// From now on nothing is known behind a gap before [`Store::catches_up`] was called for it. A store that no node has open
    /// meets no peers.
    pub fn awaits_peers(&self) {
        let known = self.caught_up.0.write();
        known.unwrap_or_else(PoisonError::into_inner).is_awaited = true;
    }

    /// The last turn before the newest gap.
    #[must_use]
    pub fn newest_gap(&self) -> Option<Lsn> {
        self.gaps.newest()
    }

    /// From which instant on there are answers behind the newest gap; `None` where there is no gap, or there are none yet.
    #[must_use]
    pub fn caught_up_since(&self) -> Option<Hlc> {
        self.caught_up.since(self.gaps.newest()?)
    }

    /// Whether what happened by an instant is behind a gap.
    ///
    /// # Errors
    /// As [`Store::position_at`].
    pub fn is_behind_gap(&self, time: Hlc) -> Result<bool, StoreError> {
        // Nearly always so.
        if self.gaps.newest().is_none() {
            return Ok(false);
        }
        let gap = self.gaps.newest_before(self.position_at(time)?);
        Ok(gap.is_some())
    }

    /// Takes note, durably, that from an instant on the clock is past those of enough peers; the earliest counts.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn catches_up(&self, gap: Lsn, since: Hlc) -> Result<(), StoreError> {
        let known = self.caught_up.0.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if known.since.get(&gap).is_some_and(|known| *known <= since) {
            return Ok(());
        }
        let key = format!("{PREFIX}{gap}");
        schema::put(&self.meta, key.as_bytes(), Kind::Number, &since.0)?;
        self.sync()?;
        known.since.insert(gap, since);
        Ok(())
    }
}
