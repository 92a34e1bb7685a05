//! The balances of many accounts at one position, for readers of whole stretches of the journal.

use std::collections::{BTreeMap, BTreeSet};

use super::Past;
use crate::history::statement::recorded_for;
use crate::process::ids::{AccountId, Hash, Lsn, SnapshotId};
use crate::store::account_index::{MatchQuery, key_of_snapshots};
use crate::store::error::StoreError;
use crate::store::states::compare::{Forward, newest};
use crate::store::stored::frame::Damage;

impl Past<'_> {
    /// The balances of these accounts after the turn at a position, minor units; accounts that were never credited are left out.
    /// Reads each chunk of the nearest recorded state at most once, and the turns behind it.
    ///
    /// # Errors
    /// As [`Self::totals_at`].
    pub fn balances_of(
        self,
        accounts: &BTreeSet<AccountId>,
        position: Lsn,
    ) -> Result<BTreeMap<AccountId, i64>, StoreError> {
        self.retry_if_trimmed(|_| self.balances(accounts, position))
    }

    fn balances(
        self,
        accounts: &BTreeSet<AccountId>,
        position: Lsn,
    ) -> Result<BTreeMap<AccountId, i64>, StoreError> {
        self.check_range(position)?;
        let state = self.states_until(position).next().transpose()?;
        let (start, journal, runs) = match state {
            Some(state) => {
                let recorded = state.recorded;
                (recorded.position, recorded.journal, recorded.runs)
            }
            None => (self.nothing()?.position, Hash::default(), Vec::new()),
        };
        let chunks = &self.store.chunks;
        let mut runs: Vec<_> = runs.iter().map(|run| Forward::whole(chunks, run)).collect();
        let mut balances: BTreeMap<AccountId, i128> = BTreeMap::new();
        for account in accounts {
            if let Some(balance) = newest(&mut runs, account)? {
                balances.insert(account.clone(), balance.into());
            }
        }
        for entry in self.entries_behind(start, journal, position) {
            for (account, units) in entry?.turn.changes() {
                match balances.get_mut(account) {
                    Some(balance) => *balance += units,
                    None if accounts.contains(account) => {
                        balances.insert(account.clone(), units);
                    }
                    None => {}
                }
            }
        }
        let fits = |(account, balance): (AccountId, i128)| match i64::try_from(balance) {
            Ok(balance) => Ok((account, balance)),
            Err(_) => {
                let what = format!("account {account:?} at journal entry {position}");
                let problem = format!("it differs from the journal, which gives {balance}");
                Err(StoreError::damaged(what, Damage::Contradiction(problem)))
            }
        };
        balances.into_iter().map(fits).collect()
    }

    /// The cuts at which this process recorded its state for snapshots, from the turns of a range, oldest first.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn recordings(
        self,
        first: Lsn,
        last: Lsn,
    ) -> impl Iterator<Item = Result<(Lsn, SnapshotId), StoreError>> {
        let wanted = MatchQuery {
            key: key_of_snapshots(),
            range: (first, last),
            newest_first: false,
        };
        let candidates = self.store.account_index.candidates(wanted);
        candidates.filter_map(move |candidate| {
            let entry = self.store.journal.entry(candidate);
            let found = entry.map(|entry| {
                let snapshot = recorded_for(&entry.turn)?;
                Some((Lsn(candidate.0 - 1), snapshot.clone()))
            });
            found.transpose()
        })
    }
}
