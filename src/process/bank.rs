//! The bank: accounts, their balances, and which of them changed since the last recording.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use hashbrown::DefaultHashBuilder;
use indexmap::IndexMap;

use super::cell::Cell;
use super::ids::{AccountId, Amount};

/// The accounts of one process.
///
/// Between recordings, changed accounts collect in the active delta. Sealing hands the delta over and starts
/// a new one: constant time, whatever the number of accounts.
#[derive(Debug, Clone, Default)]
pub struct Bank {
    /// Dense, behind an index of numbers: a table of the accounts themselves would be half empty at times. Its order, that
    /// in which they were opened, means nothing.
    accounts: IndexMap<AccountId, Account, DefaultHashBuilder>,
    /// The active delta: each account that changed in this epoch, with its newest balance.
    delta: Vec<Cell>,
    /// Counts the seals; an account whose epoch is older is not in the active delta.
    epoch: u32,
    balance_total: i128,
    /// Where the account stands that was found last: what was decided about an account is applied to it next.
    last: Hint,
}

/// A place that is worth a look before all others. Whoever has a copy of the bank finds its own.
#[derive(Debug, Default)]
struct Hint(AtomicUsize);

impl Clone for Hint {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[derive(Debug, Clone, Copy)]
struct Account {
    balance: i64,
    epoch: u32,
    /// Where in the delta it stands, if the epoch is the active one.
    place: u32,
}

impl Bank {
    /// The balance; `None` if nothing was ever credited.
    #[must_use]
    pub fn balance(&self, account: &AccountId) -> Option<i64> {
        self.find(account).map(|index| self.accounts[index].balance)
    }

    /// Where an account stands, for [`Bank::look_first_at`].
    #[must_use]
    pub fn place_of(&self, account: &AccountId) -> Option<usize> {
        self.accounts.get_index_of(account)
    }

    /// Where the account stands that is asked for next, if that is known.
    pub fn look_first_at(&mut self, place: Option<usize>) {
        if let Some(place) = place {
            *self.last.0.get_mut() = place;
        }
    }

    fn find(&self, account: &AccountId) -> Option<usize> {
        let hint = self.last.0.load(Relaxed);
        let hinted = self.accounts.get_index(hint);
        if hinted.is_some_and(|(id, _)| id == account) {
            return Some(hint);
        }
        let found = self.accounts.get_index_of(account)?;
        self.last.0.store(found, Relaxed);
        Some(found)
    }

    /// The balance after a credit; `None` where it would overflow.
    #[must_use]
    pub fn after_credit(&self, account: &AccountId, amount: Amount) -> Option<i64> {
        self.balance(account)
            .unwrap_or(0)
            .checked_add(amount.units())
    }

    /// How many accounts there are.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.accounts.len() as u64
    }

    /// Whether there is no account.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.accounts.is_empty()
    }

    /// The sum of all balances, minor units.
    #[must_use]
    pub fn balance_total(&self) -> i128 {
        self.balance_total
    }

    /// Adds money that `decide` has found to fit.
    pub fn credit(&mut self, account: &AccountId, amount: Amount) {
        self.change(account, amount.units());
    }

    /// Takes money that `decide` has found to be there.
    pub fn debit(&mut self, account: &AccountId, amount: Amount) {
        self.change(account, -amount.units());
    }

    /// Sets a balance found in a recorded state; it does not count as a change.
    pub fn restore(&mut self, account: AccountId, balance: i64) {
        self.balance_total += i128::from(balance);
        let epoch = self.epoch.wrapping_sub(1);
        let before = self.accounts.insert(
            account,
            Account {
                balance,
                epoch,
                place: 0,
            },
        );
        debug_assert!(before.is_none(), "a recorded state has each account once");
    }

    /// Hands over what changed since the last call and starts anew. Takes constant time.
    pub fn seal(&mut self) -> Vec<Cell> {
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
                let place = found.place as usize;
                if let Cell::Account { balance, .. } = &mut self.delta[place] {
                    *balance = found.balance;
                }
            } else {
                found.epoch = self.epoch;
                found.place = place(&self.delta);
                self.delta.push(cell(account, found.balance));
            }
            return;
        }
        let opened = Account {
            balance: units,
            epoch: self.epoch,
            place: place(&self.delta),
        };
        assert!(units > 0, "an account opens with a credit");
        self.delta.push(cell(account, units));
        self.accounts.insert(account.clone(), opened);
    }
}

fn cell(account: &AccountId, balance: i64) -> Cell {
    Cell::Account {
        account: account.clone(),
        balance,
    }
}

fn place(delta: &[Cell]) -> u32 {
    u32::try_from(delta.len()).expect("fewer than four billion accounts fit into memory")
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
        assert_eq!(
            bank.seal(),
            [cell(&account("a"), 3), cell(&account("b"), 7)]
        );
        assert_eq!(bank.seal(), []);
        bank.credit(&account("b"), amount(1));
        assert_eq!(bank.seal(), [cell(&account("b"), 8)]);
        assert_eq!(bank.balance_total(), 11);
    }
}
