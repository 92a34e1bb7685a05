//! Pages of the statement of an account, from the turns that change it.

use super::Past;
use crate::history::statement::{Entry, EntryPlace, entries, recorded_for};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, ProcessId, SnapshotId};
use crate::store::account_index::{MatchQuery, key_of_account, key_of_snapshots};
use crate::store::error::StoreError;

/// The maximum number of snapshots on a page; the page reports if more are left out.
pub(super) const SNAPSHOTS_MAX: usize = 1000;

/// A query for a page of a statement.
#[derive(Debug, Clone)]
pub struct StatementQuery {
    /// The account.
    pub account: AccountId,
    /// Only turns at this clock value or later.
    pub from: Option<Hlc>,
    /// Only turns before this clock value.
    pub to: Option<Hlc>,
    /// Only entries after this one, the last of the page before.
    pub after: Option<EntryPlace>,
    /// Whether the oldest entries come first, instead of the newest.
    pub oldest_first: bool,
    /// The maximum number of entries.
    pub limit: usize,
}

/// A page of a statement.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StatementPage {
    /// The entries in the requested order, each with the balance after it, minor units.
    pub entries: Vec<(Entry, i64)>,
    /// The snapshots between and around these entries, in the same order; each is on one page only.
    pub snapshots: Vec<Marked>,
    /// Whether snapshots are left out.
    pub snapshots_left_out: bool,
    /// Whether there is another page.
    pub has_more: bool,
    /// If the page could reach back further than the journal: the instant since which the journal knows what happened. Older
    /// entries were deleted or are in another store.
    pub kept_since: Option<Hlc>,
}

/// A kept snapshot, with the balance of the account when its state was recorded here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marked {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// Its cut: the newest turn in the recorded state.
    pub position: Lsn,
    /// The clock of the turn that recorded it.
    pub time: Hlc,
    /// The recorded balance, minor units; `None` if the account did not exist.
    pub balance: Option<i64>,
}

impl StatementQuery {
    pub(super) fn covers(&self, time: Hlc) -> bool {
        self.from.is_none_or(|from| time >= from) && self.to.is_none_or(|to| time < to)
    }

    fn is_wanted(&self, place: EntryPlace) -> bool {
        self.after.is_none_or(|after| match self.oldest_first {
            true => place > after,
            false => place < after,
        })
    }
}

/// The turns that a page covers, and the balance before the first of its entries.
#[derive(Clone, Copy)]
struct LookedAt {
    first: Lsn,
    last: Lsn,
    before: Option<i64>,
}

impl Past<'_> {
    /// A page of the statement of an account of the process `me`. Later additions to the journal do not move entries between
    /// the following pages.
    ///
    /// # Errors
    /// [`StoreError::BeforeHorizon`] if the balance before the page is no longer known.
    pub fn statement(
        self,
        me: &ProcessId,
        query: &StatementQuery,
    ) -> Result<StatementPage, StoreError> {
        self.retry_if_trimmed(|_| self.page(me, query))
    }

    fn page(self, me: &ProcessId, query: &StatementQuery) -> Result<StatementPage, StoreError> {
        let (from, last) = self.range(query)?;
        let (found, has_more) = self.wanted_entries(me, query, from, last)?;
        let mut page = StatementPage {
            has_more,
            kept_since: self.kept_since_in(query)?,
            ..StatementPage::default()
        };
        let mut ascending = found;
        if !query.oldest_first {
            ascending.reverse();
        }
        let before = match ascending.first() {
            Some(first) => self.balance_before(me, &query.account, first.place.position)?,
            None => None,
        };
        page.entries = self.add_up(me, query, ascending, before)?;
        let looked_at = LookedAt {
            first: from,
            last,
            before,
        };
        self.mark_snapshots(me, query, looked_at, &mut page)?;
        if !query.oldest_first {
            page.entries.reverse();
        }
        Ok(page)
    }

    fn kept_since_in(self, query: &StatementQuery) -> Result<Option<Hlc>, StoreError> {
        let is_trimmed = self.horizon().is_some();
        let since = self.known_since()?;
        Ok(since.filter(|since| is_trimmed || query.from.is_none_or(|from| from < *since)))
    }

    // The turns between the two instants.
    fn range(self, query: &StatementQuery) -> Result<(Lsn, Lsn), StoreError> {
        let before = |time: Hlc| match time.0.checked_sub(1) {
            None => Ok(Lsn(0)),
            Some(value) => match self.position_at(Hlc(value)) {
                // Deleted turns are not listed.
                Err(StoreError::BeforeHorizon { first, .. }) => Ok(Lsn(first.0 - 1)),
                found => found,
            },
        };
        let first = query.from.map(before).transpose()?;
        let first = first.map_or_else(|| self.store.journal.first(), Lsn::next);
        let last = query.to.map(before).transpose()?;
        Ok((first, last.unwrap_or_else(|| self.store.journal.position())))
    }

    // The entries in the requested order, and whether there are more.
    fn wanted_entries(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        first: Lsn,
        last: Lsn,
    ) -> Result<(Vec<Entry>, bool), StoreError> {
        let range = match (query.after, query.oldest_first) {
            (Some(after), true) => (first.max(after.position), last),
            (Some(after), false) => (first, last.min(after.position)),
            (None, _) => (first, last),
        };
        let wanted = MatchQuery {
            key: key_of_account(&query.account),
            range,
            newest_first: !query.oldest_first,
        };
        let mut found = Vec::new();
        for candidate in self.store.account_index.candidates(wanted) {
            let turn = self.store.journal.entry(candidate)?.turn;
            let mut entries = entries(me, &turn, &query.account);
            entries.retain(|entry| query.is_wanted(entry.place));
            if !query.oldest_first {
                entries.reverse();
            }
            found.append(&mut entries);
            if found.len() > query.limit {
                found.truncate(query.limit);
                return Ok((found, true));
            }
        }
        Ok((found, false))
    }

    fn balance_before(
        self,
        me: &ProcessId,
        account: &AccountId,
        position: Lsn,
    ) -> Result<Option<i64>, StoreError> {
        self.balance_at(me, account, Lsn(position.0.saturating_sub(1)))
    }

    // `before` is the balance before the turn of the first entry; an earlier page may have shown some entries of that turn.
    fn add_up(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        ascending: Vec<Entry>,
        before: Option<i64>,
    ) -> Result<Vec<(Entry, i64)>, StoreError> {
        let Some(first) = ascending.first().map(|entry| entry.place) else {
            return Ok(Vec::new());
        };
        let turn = self.store.journal.entry(first.position)?.turn;
        let shown = entries(me, &turn, &query.account);
        let shown = shown.iter().filter(|entry| entry.place < first);
        let mut balance = i128::from(before.unwrap_or(0));
        balance += shown.map(Entry::change).sum::<i128>();
        let after = |entry: Entry| {
            balance += entry.change();
            let units = i64::try_from(balance).map_err(|_| {
                let what = format!("account {:?}", query.account);
                let problem = format!("it differs from the journal, which gives {balance}");
                StoreError::damaged(what, crate::store::Damage::Contradiction(problem))
            })?;
            Ok((entry, units))
        };
        ascending.into_iter().map(after).collect()
    }

    // A turn that records a state comes after the entries before it and before its own entries.
    fn mark_snapshots(
        self,
        me: &ProcessId,
        query: &StatementQuery,
        looked_at: LookedAt,
        page: &mut StatementPage,
    ) -> Result<(), StoreError> {
        let LookedAt {
            first,
            last,
            before,
        } = looked_at;
        let ends = (page.entries.first(), page.entries.last());
        let end = if query.oldest_first { ends.1 } else { ends.0 };
        let end = end.filter(|_| page.has_more);
        let end = end.map(|(entry, _)| entry.place.position);
        let after = query.after.map(|after| after.position);
        let (newer_than, up_to) = match query.oldest_first {
            true => (after, end),
            false => (end, after),
        };
        let first = newer_than.map_or(first, |newer| first.max(newer.next()));
        let last = up_to.map_or(last, |up_to| last.min(up_to));
        let wanted = MatchQuery {
            key: key_of_snapshots(),
            range: (first, last),
            newest_first: !query.oldest_first,
        };
        for candidate in self.store.account_index.candidates(wanted) {
            let turn = self.store.journal.entry(candidate)?.turn;
            // The journal keeps the record, while the snapshot may have been deleted.
            let Some(snapshot) =
                recorded_for(&turn).filter(|id| !self.store.retention().is_away(id))
            else {
                continue;
            };
            if page.snapshots.len() == SNAPSHOTS_MAX {
                page.snapshots_left_out = true;
                break;
            }
            let older = page
                .entries
                .partition_point(|(entry, _)| entry.place.position < candidate);
            let balance = match (older.checked_sub(1), page.entries.is_empty()) {
                (Some(newest), _) => Some(page.entries[newest].1),
                (None, false) => before,
                (None, true) => self.balance_before(me, &query.account, candidate)?,
            };
            page.snapshots.push(Marked {
                snapshot: snapshot.clone(),
                position: Lsn(candidate.0 - 1),
                time: turn.time,
                balance,
            });
        }
        if newer_than.is_none() {
            self.mark_older(me, query, page)?;
        }
        self.mark_elsewhere(me, query, first, last, page)
    }
}

// A damaged snapshot does not prevent the rest of a statement.
pub(super) fn leave_out(page: &mut StatementPage, error: StoreError) -> Result<(), StoreError> {
    let StoreError::Damaged { what, damage } = error else {
        return Err(error);
    };
    tracing::warn!(what, %damage, "left a snapshot out of a statement");
    page.snapshots_left_out = true;
    Ok(())
}
