//! What was said of the past stays said: no answer about an instant ever differs from another one that says complete.

use std::collections::BTreeMap;

use snapledger::history::audit::Audit;
use snapledger::history::share::Share;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::ProcessId;

use crate::world::Checked;

/// The first complete answer about each instant.
#[derive(Default)]
pub(super) struct Past(BTreeMap<Hlc, BTreeMap<ProcessId, Share>>);

impl Past {
    pub(super) fn instants(&self) -> Vec<Hlc> {
        self.0.keys().copied().collect()
    }

    /// Compares an answer with the first one; says whether there was one.
    pub(super) fn audited(&mut self, audit: &Audit) -> Checked<bool> {
        let Some(at) = audit.at.filter(|_| audit.is_complete()) else {
            return Ok(false);
        };
        let verification = audit.verify();
        if verification.conserved != Some(true) {
            return Err(format!("{at} is complete and does not add up: {audit:?}"));
        }
        let Some(first) = self.0.get(&at) else {
            self.0.insert(at, audit.shares.clone());
            return Ok(false);
        };
        match *first == audit.shares {
            true => Ok(true),
            false => Err(format!("{at} was {first:?}, and is {:?} now", audit.shares)),
        }
    }
}
