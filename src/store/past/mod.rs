//! The past of this process at any position of its journal: the newest recorded state before the position, and the turns after
//! that state.

mod before;
mod changes;
mod elsewhere;
mod excerpt;
mod page;
pub(super) mod recent;
mod recorded;
mod touched;

pub use page::{Marked, StatementPage, StatementQuery};

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use super::Store;
use super::account_index::{MatchQuery, key_of_account};
use super::engine::schema::{name, position_key};
use super::error::StoreError;
use super::journal::Horizon;
use super::states::merge::Cells;
use super::stored::codec::Entry;
use super::stored::frame::{Damage, Kind};
use super::stored::state::StoredState;
use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::history::statement::entries;
use crate::process::cell::{Cell, CellKey};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Hash, Lsn, ProcessId, SnapshotId};
use recent::Recent;

/// The maximum number of turns searched for the first recognitions. Processes recognize each other when they start.
const MEETINGS_WITHIN: usize = 4096;

/// The past of this process: totals, balances and statements at any position of its journal.
#[derive(Clone, Copy)]
pub struct Past<'a> {
    pub(super) store: &'a Store,
}

impl<'a> Past<'a> {
    /// The beginning of the past: the first turn of the journal, and the clock value from which answers exist. `None` if
    /// nothing was deleted.
    #[must_use]
    pub fn horizon(self) -> Option<(Lsn, Hlc)> {
        let Horizon { first, since } = self.store.journal.horizon();
        (first > Lsn(1)).then_some((first, since))
    }

    /// The newest turn at or before a clock value; 0 if there is none. Final once the clock of the process has passed the
    /// value.
    ///
    /// # Errors
    /// [`StoreError::BeforeHorizon`]; [`StoreError::Damaged`] if a deciding turn is unreadable.
    pub fn position_at(self, time: Hlc) -> Result<Lsn, StoreError> {
        self.retry_if_trimmed(|horizon| {
            let found = self.search(horizon.first, time)?;
            match found < horizon.first && time < horizon.since {
                true => Err(horizon.refusal()),
                false => Ok(found),
            }
        })
    }

    /// The newest turn at or before a clock value; `None` if the journal does not know that time: it begins later, or the store
    /// was replaced by an older copy and has not caught up with its peers by then.
    ///
    /// # Errors
    /// As [`Self::position_at`].
    pub fn known_at(self, time: Hlc) -> Result<Option<Lsn>, StoreError> {
        let position = self.position_at(time)?;
        let is_known = position > Lsn(0) && !self.store.gaps.is_behind(position);
        let gap = self.store.gaps.newest_before(position);
        let since = gap.map_or(Some(Hlc::default()), |gap| self.store.caught_up.since(gap));
        let has_caught_up = since.is_some_and(|since| since <= time);
        Ok((is_known && has_caught_up).then_some(position))
    }

    /// Whether the journal begins after a clock value, and the store was then no older copy of one that went on.
    ///
    /// # Errors
    /// As [`Self::position_at`].
    pub fn begins_after(self, time: Hlc) -> Result<bool, StoreError> {
        Ok(self.position_at(time)? == Lsn(0) && !self.store.gaps.is_behind(Lsn(0)))
    }

    /// The instant since which this journal knows everything that happened: its first turn, the instant at which it had caught
    /// up after its newest gap, or, if older turns were deleted, the retention horizon. `None` while there is no turn.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known_since(self) -> Result<Option<Hlc>, StoreError> {
        self.retry_if_trimmed(|horizon| {
            let newest = self.store.journal.position();
            let since = match (horizon.first, newest) {
                (Lsn(1), Lsn(0)) => return Ok(None),
                (Lsn(1), _) => self.store.journal.time(Lsn(1))?,
                _ => horizon.since,
            };
            let Some(gap) = self.store.gaps.newest_before(newest) else {
                return Ok(Some(since));
            };
            // Before it has caught up, only the newest turn after the gap counts as known.
            let caught_up = self.store.caught_up.since(gap);
            let caught_up = caught_up.map_or_else(|| self.store.journal.time(newest), Ok)?;
            let first = gap.next();
            let put_back = match horizon.first <= first {
                true => self.store.journal.time(first)?,
                false => since,
            };
            Ok(Some(since.max(put_back).max(caught_up)))
        })
    }

    /// The times of the recognitions of peers after a gap, as far as they are among the first turns there.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn met_since_gap(self, gap: Lsn) -> Result<BTreeMap<ProcessId, Hlc>, StoreError> {
        self.retry_if_trimmed(|horizon| {
            let first = gap.next().max(horizon.first);
            let count = usize::try_from(
                self.store
                    .journal
                    .position()
                    .next()
                    .0
                    .saturating_sub(first.0),
            );
            let count = count.map_or(MEETINGS_WITHIN, |count| count.min(MEETINGS_WITHIN));
            let mut met = BTreeMap::new();
            for entry in self.store.journal.scan(first, None).take(count) {
                for (peer, identity, since) in entry?.turn.recognitions() {
                    if !identity.is_given_up() {
                        let first = met.entry(peer.clone()).or_insert(since);
                        *first = since.min(*first);
                    }
                }
            }
            Ok(met)
        })
    }

    /// The times at which this journal first recognized these peers, as far as they are among the first turns kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn first_meetings(
        self,
        peers: &BTreeSet<ProcessId>,
    ) -> Result<BTreeMap<ProcessId, Hlc>, StoreError> {
        self.retry_if_trimmed(|horizon| {
            let before = self.states_until(Lsn(horizon.first.0 - 1)).next();
            let known = before.transpose()?.map(|state| state.registers.peers);
            let known = known.unwrap_or_default().into_keys();
            let known = known.filter(|peer| peers.contains(peer));
            let mut met: BTreeMap<_, _> = known.map(|peer| (peer, horizon.since)).collect();
            for entry in self
                .store
                .journal
                .scan(horizon.first, None)
                .take(MEETINGS_WITHIN)
            {
                if met.len() == peers.len() {
                    break;
                }
                let turn = entry?.turn;
                for (peer, _, since) in turn.recognitions() {
                    if peers.contains(peer) {
                        met.entry(peer.clone()).or_insert(since);
                    }
                }
            }
            Ok(met)
        })
    }

    // Repeats a read during which the horizon moved, because it may have missed deleted data.
    fn retry_if_trimmed<T>(
        self,
        read: impl Fn(Horizon) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        loop {
            let horizon = self.store.journal.horizon();
            let found = read(horizon);
            if self.store.journal.horizon() == horizon {
                return found;
            }
        }
    }

    fn search(self, first: Lsn, time: Hlc) -> Result<Lsn, StoreError> {
        let before = Lsn(first.0 - 1);
        let position =
            self.store
                .journal
                .last_until(before, self.store.journal.position(), time)?;
        self.check_place(position, first, time)?;
        Ok(position)
    }

    // The search has compared only clocks, so the turns on both sides of the result are decoded and checked.
    fn check_place(self, position: Lsn, first: Lsn, time: Hlc) -> Result<(), StoreError> {
        let contradiction = |at: Lsn| {
            let problem = Damage::Contradiction("its clock is not in order".to_owned());
            Err(StoreError::damaged(
                name(Kind::Turn, &position_key(at)),
                problem,
            ))
        };
        if position >= first && self.store.journal.time(position)? > time {
            return contradiction(position);
        }
        let next = position.next();
        if next <= self.store.journal.position() && self.store.journal.time(next)? <= time {
            return contradiction(next);
        }
        Ok(())
    }

    /// The totals of this process after the turn at a position.
    ///
    /// # Errors
    /// [`StoreError::BeforeHorizon`], [`StoreError::Beyond`]; [`StoreError::Damaged`] if the journal is.
    pub fn totals_at(self, position: Lsn) -> Result<ProcessTotals, StoreError> {
        self.retry_if_trimmed(|_| self.totals(position))
    }

    fn totals(self, position: Lsn) -> Result<ProcessTotals, StoreError> {
        self.check_range(position)?;
        let newest = self.store.states.cuts_until(position).next().transpose()?;
        let (recent, now) = (&self.store.recent_totals, Instant::now());
        // At a position with a state there is nothing to read behind it.
        let found = recent.newest_in(newest.map_or(Lsn(1), Lsn::next)..=position, now);
        let Recent {
            totals: mut share,
            read_at,
        } = match found {
            Some(found) => found,
            None => Recent {
                totals: self.totals_until(position)?,
                read_at: now,
            },
        };
        share.rebuilt = self.store.rebooked()?;
        for entry in self.entries_behind(share.position, share.journal, position) {
            let entry = entry?;
            share.pass(&entry.turn, entry.hash);
        }
        let totals = share.clone();
        recent.keep(Recent { totals, read_at }, now);
        Ok(share)
    }

    /// The totals at the newest turn, added up from every turn of the journal. They must be those from the newest recorded state.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the journal is, or if the state and the turns differ.
    pub fn recomputed_totals(self) -> Result<ProcessTotals, StoreError> {
        let (begin, newest) = (self.store.journal.first(), self.store.journal.position());
        let mut totals = self.totals_until(Lsn(begin.0 - 1))?;
        totals.rebuilt = self.store.rebooked()?;
        for entry in self.entries_behind(totals.position, totals.journal, newest) {
            let entry = entry?;
            totals.pass(&entry.turn, entry.hash);
        }
        match self.totals_at(newest)? == totals {
            true => Ok(totals),
            false => Err(StoreError::damaged(
                "the newest recorded state",
                Damage::Contradiction("the turns of the journal add up to other totals".to_owned()),
            )),
        }
    }

    // Those in the newest recorded state.
    fn totals_until(self, position: Lsn) -> Result<ProcessTotals, StoreError> {
        let state = self.states_until(position).next().transpose()?;
        let share = match &state {
            Some(state) => state.totals(),
            None => self.nothing()?,
        };
        Ok(ProcessTotals {
            store: Some(self.store.identity.store),
            ..share
        })
    }

    /// The totals of this process in a state recorded for a snapshot. If the journal begins later, they come from the own part
    /// of the snapshot.
    ///
    /// # Errors
    /// As [`Self::totals_at`].
    pub fn recorded_totals(
        self,
        snapshot: &SnapshotId,
        position: Lsn,
    ) -> Result<ProcessTotals, StoreError> {
        self.retry_if_trimmed(|horizon| match self.totals(position) {
            Err(error @ StoreError::BeforeHorizon { .. }) => {
                let own = self.store.parts().get(snapshot)?.map(|part| part.state);
                let Some(own) = own.filter(|own| own.position == position) else {
                    return Err(error);
                };
                let at_horizon = self.totals(Lsn(horizon.first.0 - 1))?;
                Ok(ProcessTotals {
                    store: at_horizon.store,
                    rebuilt: at_horizon.rebuilt,
                    given_up: at_horizon.given_up,
                    ..ProcessTotals::from(&own)
                })
            }
            found => found,
        })
    }

    /// The balance of an account after the turn at a position, minor units; `None` if the account was never credited.
    ///
    /// # Errors
    /// As [`Self::totals_at`].
    pub fn balance_at(
        self,
        me: &ProcessId,
        account: &AccountId,
        position: Lsn,
    ) -> Result<Option<i64>, StoreError> {
        self.retry_if_trimmed(|_| self.balance(me, account, position))
    }

    fn balance(
        self,
        me: &ProcessId,
        account: &AccountId,
        position: Lsn,
    ) -> Result<Option<i64>, StoreError> {
        self.check_range(position)?;
        let (cut, recorded) = self.recorded_balance(account, position)?;
        let wanted = MatchQuery {
            key: key_of_account(account),
            range: (cut.next(), position),
            newest_first: false,
        };
        let mut balance = recorded.map(i128::from);
        for candidate in self.store.account_index.candidates(wanted) {
            let turn = self.store.journal.entry(candidate)?.turn;
            for entry in entries(me, &turn, account) {
                balance = Some(balance.unwrap_or(0) + entry.change());
            }
        }
        let fits = |balance| {
            i64::try_from(balance).map_err(|_| {
                let what = format!("account {account:?} at journal entry {position}");
                let problem = format!("it differs from the journal, which gives {balance}");
                StoreError::damaged(what, Damage::Contradiction(problem))
            })
        };
        balance.map(fits).transpose()
    }

    // The balance in the newest readable state; without one, the journal is read from its beginning.
    fn recorded_balance(
        self,
        account: &AccountId,
        position: Lsn,
    ) -> Result<(Lsn, Option<i64>), StoreError> {
        for state in self.states_until(position) {
            let recorded = state?.recorded;
            match self.balance_in(&recorded, account) {
                Ok(balance) => return Ok((recorded.position, balance)),
                Err(StoreError::Damaged { what, damage }) => {
                    tracing::warn!(cut = recorded.position.0, what, %damage, "reading an older state instead");
                }
                Err(error) => return Err(error),
            }
        }
        Ok((self.nothing()?.position, None))
    }

    // The balance of an account in a recorded state; `None` if it did not exist.
    fn balance_in(
        self,
        state: &RecordedState,
        account: &AccountId,
    ) -> Result<Option<i64>, StoreError> {
        let mut cells = Cells::new(
            &self.store.chunks,
            &state.runs,
            Some(CellKey::of_account(account.as_str())),
        )?;
        Ok(match cells.next().transpose()? {
            Some(Cell::Account {
                account: found,
                balance,
            }) if found == *account => Some(balance),
            _ => None,
        })
    }

    fn check_range(self, position: Lsn) -> Result<(), StoreError> {
        let newest = self.store.journal.position();
        if position > newest {
            return Err(StoreError::Beyond { position, newest });
        }
        let horizon = self.store.journal.horizon();
        if position.next() < horizon.first {
            return Err(horizon.refusal());
        }
        Ok(())
    }

    // The empty totals before the first turn, if the journal still has that turn.
    fn nothing(self) -> Result<ProcessTotals, StoreError> {
        let horizon = self.store.journal.horizon();
        match horizon.first {
            Lsn(1) => Ok(ProcessTotals {
                given_up: Some(BTreeMap::new()),
                ..ProcessTotals::default()
            }),
            _ => Err(horizon.refusal()),
        }
    }

    // The states of this journal, newest first. An unreadable one is skipped: older states and the journal give the same
    // result.
    fn states_until(
        self,
        position: Lsn,
    ) -> impl Iterator<Item = Result<StoredState, StoreError>> + 'a {
        let state = |cut: Lsn| {
            let Some(state) = self.store.states.get(cut)? else {
                return Ok(None);
            };
            let is_ours = self.store.journal.hash_up_to(cut)? == state.recorded.journal;
            Ok(is_ours.then_some(state))
        };
        let cuts = self.store.states.cuts_until(position);
        cuts.filter_map(move |cut| match cut.and_then(state) {
            Err(StoreError::Damaged { what, damage }) => {
                tracing::warn!(what, %damage, "skipped a recorded state");
                None
            }
            found => found.transpose(),
        })
    }

    fn entries_behind(
        self,
        position: Lsn,
        journal: Hash,
        until: Lsn,
    ) -> impl Iterator<Item = Result<Entry, StoreError>> + 'a {
        let count = usize::try_from(until.0 - position.0).unwrap_or(usize::MAX);
        let entries = self.store.journal.scan(position.next(), Some(journal));
        entries.take(count)
    }
}
