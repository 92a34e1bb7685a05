//! The instant from which an older copy of a store can answer again. After a gap the clock of the process may be behind
//! what the original had reached, for example on a machine with an earlier time. The journal therefore answers only for
//! instants after its clock has passed those of the peers, and thereby everything that the original told them. The node
//! decides which handshakes that requires.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

use super::Gaps;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

const PREFIX: &str = "caught-up-";

/// The instants by the last turn before the gap.
pub(in crate::store) struct CaughtUp(RwLock<Known>);

#[derive(Default)]
struct Known {
    since: BTreeMap<Lsn, Hlc>,
    /// Whether a gap without an entry has not caught up yet.
    is_awaited: bool,
}

impl CaughtUp {
    pub(in crate::store) fn open(meta: &sled::Tree) -> Result<Self, StoreError> {
        let since = schema::numbered(meta, PREFIX)?.into_iter();
        let since = since.map(|(gap, since)| (Lsn(gap), Hlc(since)));
        Ok(Self(RwLock::new(Known {
            since: since.collect(),
            is_awaited: false,
        })))
    }

    /// All instants that are noted.
    pub(in crate::store) fn all(&self) -> BTreeMap<Lsn, Hlc> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        known.since.clone()
    }

    /// The first instant that can be answered after a gap; `None` if it has not caught up yet.
    pub(in crate::store) fn since(&self, gap: Lsn) -> Option<Hlc> {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let without = (!known.is_awaited).then(Hlc::default);
        known.since.get(&gap).copied().or(without)
    }
}

impl Gaps<'_> {
    /// From now on a gap has no answers until [`Gaps::catch_up`] is called for it. Not called for a store opened
    /// without a node, which has no peers.
    pub fn await_peers(self) {
        let known = self.store.caught_up.0.write();
        known.unwrap_or_else(PoisonError::into_inner).is_awaited = true;
    }

    /// The first instant that can be answered after the newest gap; `None` if there is no gap or it has not caught up
    /// yet.
    #[must_use]
    pub fn caught_up_since(self) -> Option<Hlc> {
        self.store.caught_up.since(self.store.gaps.newest()?)
    }

    /// Notes durably that from an instant on the clock has passed those of enough peers. The earliest instant is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn catch_up(self, gap: Lsn, since: Hlc) -> Result<(), StoreError> {
        let known = self.store.caught_up.0.write();
        let mut known = known.unwrap_or_else(PoisonError::into_inner);
        if known.since.get(&gap).is_some_and(|known| *known <= since) {
            return Ok(());
        }
        let key = format!("{PREFIX}{gap}");
        schema::put(&self.store.meta, key.as_bytes(), Kind::Number, &since.0)?;
        self.store.sync()?;
        known.since.insert(gap, since);
        Ok(())
    }
}
