//! Checks that an answered update of a pin stands: every update that is begun later and answered has a greater rank. Only
//! updates that a majority of all processes knew are compared; other answers promise less.

use std::collections::BTreeMap;

use snapledger::history::pin::Pin;
use snapledger::process::ids::SnapshotId;

use crate::world::Checked;

/// An answered update.
#[derive(Debug)]
pub(crate) struct Answered {
    pub(crate) snapshot: SnapshotId,
    pub(crate) pin: Pin,
    /// When the client asked, and when it was answered.
    pub(crate) began: u64,
    pub(crate) at: u64,
}

/// The answered updates.
#[derive(Default)]
pub(super) struct Pins(Vec<Answered>);

impl Pins {
    pub(super) fn answered(&mut self, answered: Answered) -> Checked {
        let earlier = self
            .0
            .iter()
            .filter(|one| one.snapshot == answered.snapshot);
        let mut earlier = earlier.filter(|one| one.at < answered.began);
        if let Some(one) = earlier.find(|one| one.pin.rank() >= answered.pin.rank()) {
            return Err(format!("{answered:?} does not outrank {one:?}"));
        }
        self.0.push(answered);
        Ok(())
    }

    /// Checks that every process knows the answered updates or newer ones.
    pub(super) fn kept(&self, pins: &BTreeMap<SnapshotId, Pin>) -> Checked {
        let is_kept = |one: &&Answered| {
            let known = pins.get(&one.snapshot);
            known.is_some_and(|known| known.rank() >= one.pin.rank())
        };
        match self.0.iter().find(|one| !is_kept(one)) {
            Some(one) => Err(format!("{one:?} is forgotten: {pins:?}")),
            None => Ok(()),
        }
    }
}
