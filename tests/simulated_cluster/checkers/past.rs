//! Checks that answers about the past are final: complete answers about an instant never differ, for the cluster and for an
//! account.

use std::collections::BTreeMap;

use snapledger::history::audit::Audit;
use snapledger::history::process_totals::ProcessTotals;
use snapledger::history::statement::Entry;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, ProcessId};

use crate::world::Checked;

/// The answer of a process about an account at an instant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Told {
    /// From the recorded state before the instant and the turns after that state.
    pub(crate) balance: Option<i128>,
    /// From all turns.
    pub(crate) statement: Vec<Entry>,
}

impl Told {
    /// Compares the answer with the truth.
    pub(super) fn check(&self, true_balance: Option<i128>) -> Checked {
        let entered: i128 = self.statement.iter().map(Entry::change).sum();
        if self.balance != true_balance || entered != true_balance.unwrap_or(0) {
            return Err(format!("{true_balance:?} is told as {self:?}"));
        }
        Ok(())
    }
}

/// The instant, the process and the account.
pub(crate) type Asked = (Hlc, ProcessId, AccountId);

/// The first complete answers about each instant.
#[derive(Default)]
pub(super) struct Past {
    audits: BTreeMap<Hlc, BTreeMap<ProcessId, ProcessTotals>>,
    accounts: BTreeMap<Asked, Told>,
}

impl Past {
    pub(super) fn instants(&self) -> Vec<Hlc> {
        self.audits.keys().copied().collect()
    }

    /// Compares a complete answer about an account with the first one.
    pub(super) fn told(&mut self, asked: Asked, told: &Told) -> Checked {
        match self.accounts.get(&asked) {
            None => {
                self.accounts.insert(asked, told.clone());
                Ok(())
            }
            Some(first) if first == told => Ok(()),
            Some(first) => Err(format!("{asked:?} was {first:?}, and is {told:?} now")),
        }
    }

    /// Compares an answer with the first one. Returns whether there was one.
    pub(super) fn audited(&mut self, audit: &Audit) -> Checked<bool> {
        let Some(at) = audit.at.filter(|_| audit.is_complete()) else {
            return Ok(false);
        };
        let verification = audit.verify();
        if verification.conserved != Some(true) {
            return Err(format!("{at} is complete and does not add up: {audit:?}"));
        }
        let Some(first) = self.audits.get(&at) else {
            self.audits.insert(at, audit.shares.clone());
            return Ok(false);
        };
        match *first == audit.shares {
            true => Ok(true),
            false => Err(format!("{at} was {first:?}, and is {:?} now", audit.shares)),
        }
    }
}
