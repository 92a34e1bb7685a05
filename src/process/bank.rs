//! The bank: accounts, their balances, and the accounts changed since the last recording.

use std::hash::BuildHasher as _;

use hashbrown::{DefaultHashBuilder, HashTable};

use super::ids::{AccountId, Amount};

/// The accounts of one process.
///
/// Between recordings, changed accounts collect in the active delta. Sealing hands the delta over and starts an empty one, in
/// constant time whatever the number of accounts.
#[derive(Debug, Clone, Default)]
pub struct Bank {
    /// In the order of opening, which has no meaning.
    accounts: Vec<Account>,
    /// The index in `accounts` by account id. It stores `u32` indices because a hash table is up to half empty, and no hashes:
    /// when it grows, each id is hashed again.
    indices: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// The active delta: each account that changed in this epoch, with its newest balance.
    delta: Vec<(AccountId, i64)>,
    /// The number of seals. An account with an older epoch is not in the active delta.
    epoch: u32,
    balance_total: i128,
    /// The index in `accounts` that `find` tries first.
    hint: usize,
}

#[derive(Debug, Clone)]
struct Account {
    id: AccountId,
    balance: i64,
    epoch: u32,
    /// The index in the delta, valid if `epoch` is the active one.
    changed: u32,
}

impl Bank {
    /// The balance in minor units; `None` if the account was never credited.
    #[must_use]
    pub fn balance(&self, account: &AccountId) -> Option<i64> {
        let index = self.find(account)?;
        Some(self.accounts[index].balance)
    }

    /// The index of an account, for [`Bank::look_first_at`].
    #[must_use]
    pub(super) fn index_of(&self, account: &AccountId) -> Option<usize> {
        let is_it = |index: &u32| self.accounts[*index as usize].id == *account;
        let found = self.indices.find(self.hasher.hash_one(account), is_it);
        found.map(|index| *index as usize)
    }

    /// Sets the index of the account that the next operation uses, if known. Accounts never move and the id at the index is
    /// compared, so a wrong index only costs time.
    pub(super) fn look_first_at(&mut self, index: Option<usize>) {
        self.hint = index.unwrap_or(usize::MAX);
    }

    fn find(&self, account: &AccountId) -> Option<usize> {
        match self.accounts.get(self.hint) {
            Some(hinted) if hinted.id == *account => Some(self.hint),
            _ => self.index_of(account),
        }
    }

    /// The balance after a credit, minor units; `None` if it would overflow.
    #[must_use]
    pub fn after_credit(&self, account: &AccountId, amount: Amount) -> Option<i64> {
        self.balance(account)
            .unwrap_or(0)
            .checked_add(amount.units())
    }

    /// The number of accounts.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.accounts.len() as u64
    }

    /// Whether there are no accounts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The sum of all balances, minor units.
    #[must_use]
    pub fn balance_total(&self) -> i128 {
        self.balance_total
    }

    /// Credits an account. `decide` has checked that the balance does not overflow.
    pub fn credit(&mut self, account: &AccountId, amount: Amount) {
        self.change(account, amount.units());
    }

    /// Debits an account. `decide` has checked that the balance suffices.
    pub fn debit(&mut self, account: &AccountId, amount: Amount) {
        self.change(account, -amount.units());
    }

    /// Sets a balance from a recorded state; this does not count as a change.
    pub fn restore(&mut self, account: AccountId, balance: i64) {
        debug_assert!(
            self.index_of(&account).is_none(),
            "a recorded state has each account once"
        );
        self.balance_total += i128::from(balance);
        self.open(Account {
            id: account,
            balance,
            epoch: self.epoch.wrapping_sub(1),
            changed: 0,
        });
    }

    /// Hands over the active delta and starts an empty one, in constant time.
    pub fn seal(&mut self) -> Vec<(AccountId, i64)> {
        self.epoch = self.epoch.wrapping_add(1);
        std::mem::take(&mut self.delta)
    }

    fn change(&mut self, account: &AccountId, units: i64) {
        self.balance_total += i128::from(units);
        if let Some(index) = self.find(account) {
            let found = &mut self.accounts[index];
            found.balance += units;
            assert!(found.balance >= 0, "decide lets no account go below zero");
            if found.epoch == self.epoch {
                self.delta[found.changed as usize].1 = found.balance;
            } else {
                found.epoch = self.epoch;
                found.changed = number(self.delta.len());
                self.delta.push((account.clone(), found.balance));
            }
            return;
        }
        assert!(units > 0, "an account opens with a credit");
        self.open(Account {
            id: account.clone(),
            balance: units,
            epoch: self.epoch,
            changed: number(self.delta.len()),
        });
        self.delta.push((account.clone(), units));
    }

    fn open(&mut self, account: Account) {
        let hash = self.hasher.hash_one(&account.id);
        let index = number(self.accounts.len());
        self.accounts.push(account);
        let hash_again = |index: &u32| self.hasher.hash_one(&self.accounts[*index as usize].id);
        self.indices.insert_unique(hash, index, hash_again);
    }
}

fn number(count: usize) -> u32 {
    u32::try_from(count).expect("fewer than four billion accounts fit into memory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_holds_each_changed_account_once_with_its_newest_balance() {
        let account = |name: &str| AccountId::parse(name).expect("a valid id");
        let amount = |units| Amount::new(units).expect("positive");
        let mut bank = Bank::default();
        bank.credit(&account("a"), amount(5));
        bank.credit(&account("b"), amount(7));
        bank.debit(&account("a"), amount(2));
        assert_eq!(bank.seal(), [(account("a"), 3), (account("b"), 7)]);
        assert_eq!(bank.seal(), []);
        bank.credit(&account("b"), amount(1));
        assert_eq!(bank.seal(), [(account("b"), 8)]);
        assert_eq!(bank.balance_total(), 11);
    }
}
