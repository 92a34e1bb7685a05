//! The accounts for money that the named account cannot take: `suspense`, `suspense-2`, `suspense-3`, …
//!
//! Only `decide` chooses the account, and the record names it, so a replay does not depend on the choice.

use super::Process;
use super::ids::{AccountId, Amount};

impl Process {
    /// The account for a credit that the named account cannot take: the newest one, or the next one if the credit would overflow
    /// it. It opens over the limit of accounts, too.
    pub(super) fn suspense(&self, account: &AccountId, amount: Amount) -> Option<AccountId> {
        if self.after_credit(account, amount).is_ok() {
            return None;
        }
        let newest = match self.newest_suspense {
            0 => self.last_suspense(),
            newest => newest,
        };
        // Someone may have opened and filled accounts of these names. Each is passed over once, since the newest is kept.
        (newest..)
            .map(suspense_account)
            .find(|account| self.bank.after_credit(account, amount).is_some())
    }

    /// Keeps the number of the account that a record names.
    pub(super) fn note_suspense(&mut self, account: &AccountId) {
        let number = account.as_str().strip_prefix("suspense-");
        self.newest_suspense = number.and_then(|text| text.parse().ok()).unwrap_or(1);
    }

    // The number of an existing account whose next does not exist, or 1: the last one, if none is missing between. There are at
    // most as many as accounts.
    fn last_suspense(&self) -> u64 {
        let exists = |number| self.bank.balance(&suspense_account(number)).is_some();
        let (mut last, mut absent) = (1, 2);
        while absent <= self.bank.len() && exists(absent) {
            (last, absent) = (absent, absent * 2);
        }
        while absent - last > 1 {
            let middle = last.midpoint(absent);
            match exists(middle) {
                true => last = middle,
                false => absent = middle,
            }
        }
        last
    }
}

fn suspense_account(number: u64) -> AccountId {
    let name = match number {
        1 => "suspense".to_owned(),
        _ => format!("suspense-{number}"),
    };
    AccountId::parse(&name).expect("a valid id")
}
