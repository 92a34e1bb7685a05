//! Moves the beginning of a store to the newest recorded state at or before an instant. The states and turns before it
//! are deleted with their index; the state replaces them.
//!
//! Data that is still needed is not deleted: the newest written state, for a restart; the recording of a part that is
//! not yet built; and messages that a peer has not acknowledged. The state is read back completely before anything is
//! deleted, since it can no longer be rebuilt from the journal, and the new beginning is durable before that as well. A
//! crash in between therefore leaves too many turns, never too few; the next trim deletes them.

use super::Retention;
use crate::process::cell::Cell;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::store::engine::schema;
use crate::store::engine::schema::position_key;
use crate::store::error::StoreError;
use crate::store::journal::Horizon;
use crate::store::states::merge::Cells;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::state::StoredState;

/// The entries deleted between two checks whether to continue.
const STEP_ENTRIES: usize = 1024;

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Trimmed {
    /// Recorded states.
    pub states: usize,
    /// Turns of the journal.
    pub turns: usize,
}

impl Retention<'_> {
    /// Deletes everything before the newest state that is at or before `instant` and not needed, unless the archive or the
    /// tables lack some of it, and what an earlier trim has left. There is one trim at a time, and none during a backup. Stops early when
    /// `goes_on` returns false, and reports what was done.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if that state is not whole: the journal before it may be needed and is kept.
    pub fn trim(self, instant: Hlc, goes_on: impl Fn() -> bool) -> Result<Trimmed, StoreError> {
        let Some(_deleting) = self.store.standstill.deleting() else {
            return Ok(Trimmed::default());
        };
        let goes_on = || goes_on() && !self.store.standstill.is_wanted();
        let shipped = self.store.journal.shipped();
        let state = self.beginning(instant)?;
        let is_kept_elsewhere = |cut| cut <= shipped && self.is_tabled(cut);
        if let Some(state) = state.filter(|state| is_kept_elsewhere(state.recorded.position)) {
            self.begin_at(&state)?;
        }
        let mut trimmed = Trimmed::default();
        let first = self.store.journal.first();
        if first == Lsn(1) {
            return Ok(trimmed);
        }
        for cut in self.store.states.before(Lsn(first.0 - 1)) {
            if !goes_on() {
                return Ok(trimmed);
            }
            self.store.states.remove(cut?)?;
            trimmed.states += 1;
        }
        while goes_on() {
            let removed = self.store.journal.remove_oldest(STEP_ENTRIES)?;
            trimmed.turns += removed;
            if removed < STEP_ENTRIES {
                break;
            }
        }
        if trimmed != Trimmed::default() {
            self.store.sync()?;
        }
        Ok(trimmed)
    }

    // The state at which the store may begin, if it is later than the current beginning.
    fn beginning(self, instant: Hlc) -> Result<Option<StoredState>, StoreError> {
        let Some(newest) = self.store.states.newest_written()? else {
            return Ok(None);
        };
        // The turn that recorded a state is the one after its cut and has its time.
        let recorded = match self.store.past().position_at(instant) {
            Ok(position) if position > Lsn(0) => Lsn(position.0 - 1),
            Ok(_) | Err(StoreError::BeforeHorizon { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let last = newest.needed_from().min(recorded);
        let cut = self.store.states.cuts_until(last).next().transpose()?;
        match cut.filter(|cut| cut.next() > self.store.journal.first()) {
            Some(cut) => self.store.states.get(cut),
            None => Ok(None),
        }
    }

    fn begin_at(self, state: &StoredState) -> Result<(), StoreError> {
        self.read_back(state)?;
        let horizon = Horizon::behind(state);
        horizon.write(&self.store.meta)?;
        self.store.sync()?;
        self.store
            .account_index
            .begin_at(horizon.first, || self.store.journal.begin_at(horizon))
    }

    fn read_back(self, state: &StoredState) -> Result<(), StoreError> {
        let recorded = &state.recorded;
        let contradiction = |problem: &str| {
            let what = schema::name(Kind::State, &position_key(recorded.position));
            StoreError::damaged(what, Damage::Contradiction(problem.to_owned()))
        };
        if self.store.journal.hash_up_to(recorded.position)? != recorded.journal {
            return Err(contradiction(
                "the journal has another hash at its position",
            ));
        }
        let (mut accounts, mut total) = (0, 0);
        for cell in Cells::new(&self.store.chunks, &recorded.runs, None)? {
            if let Cell::Account { balance, .. } = cell? {
                accounts += 1;
                total += i128::from(balance);
            }
        }
        if (accounts, total) != (recorded.accounts, recorded.balance_total) {
            return Err(contradiction("its accounts do not add up to its figures"));
        }
        Ok(())
    }
}
