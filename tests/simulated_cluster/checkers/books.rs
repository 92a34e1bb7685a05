//! The books of a process: its balances, and the sums that must agree with them.

use std::collections::BTreeMap;

use snapledger::process::ids::AccountId;

use crate::world::{Checked, Place};

/// The books of a process at one position.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) accounts: BTreeMap<AccountId, i128>,
    pub(super) deposits: i128,
    pub(super) withdrawals: i128,
    /// The number of messages sent, by destination, and delivered, by origin.
    pub(super) sent: BTreeMap<Place, u64>,
    pub(super) delivered: BTreeMap<Place, u64>,
}

impl Books {
    pub(super) fn change(&mut self, account: &AccountId, units: i128) -> Checked {
        let balance = self.accounts.entry(account.clone()).or_default();
        *balance += units;
        if !(0..=i128::from(i64::MAX)).contains(balance) {
            return Err(format!("account {account} came to {balance}"));
        }
        Ok(())
    }

    pub(super) fn balance_total(&self) -> i128 {
        self.accounts.values().sum()
    }
}
