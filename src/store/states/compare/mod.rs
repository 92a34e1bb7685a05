//! The differences between two recorded states, at a cost proportional to the differences.
//!
//! The common prefix of runs in both manifests is equal on both sides. In the first run that differs, chunks with the
//! same hash are equal as well. An account that occurs only in these shared parts has the same balance on both sides,
//! so only the other chunks are read in full. Shared chunks are read where they contain the older balance of a changed
//! account. At most one chunk per run is in memory.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use super::States;
use crate::history::diff::AccountChange;
use crate::history::part::{IndexEntry, Run};
use crate::process::cell::Cell;
use crate::process::ids::{AccountId, Hash};
use crate::store::chunks::source;
use crate::store::chunks::source::ChunkSource;
use crate::store::error::StoreError;

/// The kind of account cells, as in [`Cell::key`].
const ACCOUNTS: u8 = 0;

impl<'a> States<'a> {
    /// The accounts whose balance differs between two recorded states, sorted by account, starting after `behind`.
    /// Reads from disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn changes(
        self,
        before: &[Run],
        after: &[Run],
        behind: Option<&AccountId>,
    ) -> Result<impl Iterator<Item = Result<AccountChange, StoreError>> + use<'a>, StoreError> {
        AccountChanges::new(&self.store.chunks, before, after, behind)
    }
}

/// Iterates over the differing accounts of two recorded states, sorted by account.
pub(in crate::store) struct AccountChanges<'a, S> {
    /// The unshared runs of the first state, oldest first.
    before: Vec<Forward<'a, S>>,
    /// The unshared runs of the second state.
    after: Vec<Forward<'a, S>>,
    /// The shared runs below both, oldest first.
    shared: Vec<Forward<'a, S>>,
}

impl<'a, S: ChunkSource> AccountChanges<'a, S> {
    pub(in crate::store) fn new(
        shelf: &'a S,
        before: &[Run],
        after: &[Run],
        behind: Option<&AccountId>,
    ) -> Result<Self, StoreError> {
        let pairs = before.iter().zip(after);
        let same = pairs.take_while(|(one, other)| one == other).count();
        let (under, before) = before.split_at(same);
        let after = &after[same..];
        let in_both = match (before.first(), after.first()) {
            (Some(one), Some(other)) => Arc::new(in_both(shelf, one, other)?),
            _ => Arc::default(),
        };
        let whole = |run: &Run| Forward::whole(shelf, run);
        let own = |runs: &[Run]| {
            let parting = runs.iter().take(1);
            let parting = parting
                .map(|run| Forward::new(shelf, run, ChunkSelection::Except(Arc::clone(&in_both))));
            let mut own: Vec<_> = parting.chain(runs.iter().skip(1).map(whole)).collect();
            if let Some(behind) = behind {
                for run in &mut own {
                    run.pass(behind)?;
                }
            }
            Ok::<_, StoreError>(own)
        };
        let parting = before.first().filter(|_| !in_both.is_empty());
        let parting =
            parting.map(|run| Forward::new(shelf, run, ChunkSelection::Only(in_both.clone())));
        Ok(Self {
            before: own(before)?,
            after: own(after)?,
            shared: under.iter().map(whole).chain(parting).collect(),
        })
    }

    fn next_change(&mut self) -> Result<Option<AccountChange>, StoreError> {
        while let Some(account) = self.next_account()? {
            let mut before = take(&mut self.before, &account);
            let mut after = take(&mut self.after, &account);
            if before.is_none() {
                before = newest(&mut self.shared, &account)?;
            } else if after.is_none() {
                after = newest(&mut self.shared, &account)?;
            }
            if before != after {
                return Ok(Some(AccountChange {
                    account,
                    before,
                    after,
                }));
            }
        }
        Ok(None)
    }

    // The first account that occurs in an unshared run.
    fn next_account(&mut self) -> Result<Option<AccountId>, StoreError> {
        let mut first: Option<&AccountId> = None;
        for run in self.before.iter_mut().chain(&mut self.after) {
            if let Some(head) = run.head()?
                && first.is_none_or(|first| head < first)
            {
                first = Some(head);
            }
        }
        Ok(first.cloned())
    }
}

/// The balance of an account in the newest of these runs that contains it; runs are ordered oldest first. Accounts must
/// be requested in ascending order.
pub(in crate::store) fn newest<S: ChunkSource>(
    runs: &mut [Forward<'_, S>],
    account: &AccountId,
) -> Result<Option<i64>, StoreError> {
    for run in runs.iter_mut().rev() {
        if let Some(balance) = run.find(account)? {
            return Ok(Some(balance));
        }
    }
    Ok(None)
}

// Removes an account from the heads of the runs of one side; the newest balance wins.
fn take<S: ChunkSource>(runs: &mut [Forward<'_, S>], account: &AccountId) -> Option<i64> {
    let balances = runs.iter_mut().filter_map(|run| run.take(account));
    balances.last()
}

impl<S: ChunkSource> Iterator for AccountChanges<'_, S> {
    type Item = Result<AccountChange, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.next_change();
        if next.is_err() {
            self.before.clear();
            self.after.clear();
        }
        next.transpose()
    }
}

// The cell chunks common to two runs. The chunk hashes of one run are in memory meanwhile.
fn in_both<S: ChunkSource>(shelf: &S, one: &Run, other: &Run) -> Result<HashSet<Hash>, StoreError> {
    let mut of_one = HashSet::new();
    for hash in &one.index {
        of_one.extend(
            source::index(shelf, hash)?
                .into_iter()
                .map(|entry| entry.chunk),
        );
    }
    let mut both = HashSet::new();
    for hash in &other.index {
        let chunks = source::index(shelf, hash)?
            .into_iter()
            .map(|entry| entry.chunk);
        both.extend(chunks.filter(|chunk| of_one.contains(chunk)));
    }
    Ok(both)
}

/// The chunks of a run to be read.
enum ChunkSelection {
    All,
    Except(Arc<HashSet<Hash>>),
    Only(Arc<HashSet<Hash>>),
}

impl ChunkSelection {
    fn has(&self, chunk: &Hash) -> bool {
        match self {
            Self::All => true,
            Self::Except(chunks) => !chunks.contains(chunk),
            Self::Only(chunks) => chunks.contains(chunk),
        }
    }
}

/// The accounts of one run, read forward only.
pub(in crate::store) struct Forward<'a, S> {
    shelf: &'a S,
    wanted: ChunkSelection,
    index: VecDeque<Hash>,
    entries: VecDeque<IndexEntry>,
    accounts: VecDeque<(AccountId, i64)>,
}

impl<'a, S: ChunkSource> Forward<'a, S> {
    /// All accounts of the run.
    pub(in crate::store) fn whole(shelf: &'a S, run: &Run) -> Self {
        Self::new(shelf, run, ChunkSelection::All)
    }

    fn new(shelf: &'a S, run: &Run, wanted: ChunkSelection) -> Self {
        Self {
            shelf,
            wanted,
            index: run.index.iter().copied().collect(),
            entries: VecDeque::new(),
            accounts: VecDeque::new(),
        }
    }

    /// The next account.
    fn head(&mut self) -> Result<Option<&AccountId>, StoreError> {
        while self.accounts.is_empty() {
            self.look_ahead(1)?;
            let Some(entry) = self.entries.pop_front() else {
                break;
            };
            if entry.kind == ACCOUNTS {
                self.load(&entry.chunk)?;
            } else {
                self.entries.clear();
                self.index.clear();
            }
        }
        Ok(self.accounts.front().map(|(account, _)| account))
    }

    /// Takes the next account if it is the wanted one.
    fn take(&mut self, wanted: &AccountId) -> Option<i64> {
        let (account, balance) = self.accounts.front()?;
        let balance = (account == wanted).then_some(*balance)?;
        self.accounts.pop_front();
        Some(balance)
    }

    /// The balance of an account. Accounts must be requested in ascending order.
    fn find(&mut self, wanted: &AccountId) -> Result<Option<i64>, StoreError> {
        let place = (ACCOUNTS, wanted.as_str());
        self.drop_before(wanted);
        if self.accounts.is_empty() {
            loop {
                self.look_ahead(2)?;
                // A chunk ends before the first cell of the next one.
                let next = self.entries.get(1).map(place_of);
                if next.is_none_or(|next| next > place) {
                    break;
                }
                self.entries.pop_front();
            }
            let first = self.entries.front();
            if first.is_none_or(|first| place_of(first) > place) {
                return Ok(None);
            }
            if let Some(entry) = self.entries.pop_front() {
                self.load(&entry.chunk)?;
            }
            self.drop_before(wanted);
        }
        let head = self.accounts.front();
        Ok(head.and_then(|(account, balance)| (account == wanted).then_some(*balance)))
    }

    /// Skips all accounts up to and including `account`.
    fn pass(&mut self, account: &AccountId) -> Result<(), StoreError> {
        self.find(account)?;
        self.take(account);
        Ok(())
    }

    fn drop_before(&mut self, wanted: &AccountId) {
        while self
            .accounts
            .front()
            .is_some_and(|(account, _)| account < wanted)
        {
            self.accounts.pop_front();
        }
    }

    fn look_ahead(&mut self, entries: usize) -> Result<(), StoreError> {
        while self.entries.len() < entries
            && let Some(hash) = self.index.pop_front()
        {
            self.entries.extend(source::index(self.shelf, &hash)?);
        }
        Ok(())
    }

    fn load(&mut self, chunk: &Hash) -> Result<(), StoreError> {
        if self.wanted.has(chunk) {
            let cells = source::cells(self.shelf, chunk)?.into_iter();
            let accounts = cells.map_while(|cell| match cell {
                Cell::Account { account, balance } => Some((account, balance)),
                _ => None,
            });
            self.accounts = accounts.collect();
        }
        Ok(())
    }
}

fn place_of(entry: &IndexEntry) -> (u8, &str) {
    (entry.kind, &entry.name)
}

#[cfg(test)]
mod tests;
