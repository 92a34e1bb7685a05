//! Every recording of every process for a snapshot, those of lost stores included. Two parts of one process may only differ if
//! both were recorded, by two stores.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::part::Part;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{Lsn, ProcessId, SnapshotId};
use snapledger::process::record::{Record, Turn};

/// The cuts and instants of the recordings.
#[derive(Default)]
pub(super) struct Recordings(BTreeMap<(ProcessId, SnapshotId), BTreeSet<(Lsn, Hlc)>>);

impl Recordings {
    /// Takes a turn of a process.
    pub(super) fn happened(&mut self, process: &ProcessId, turn: &Turn) {
        for record in &turn.records {
            if let Record::StateRecorded { snapshot, .. } = record {
                let recorded = self.0.entry((process.clone(), snapshot.clone()));
                let cut = Lsn(turn.position.0 - 1);
                recorded.or_default().insert((cut, turn.time));
            }
        }
    }

    /// Whether two parts of a process are recordings of different stores: it has lost one of them.
    pub(super) fn are_of_two_stores(&self, one: &Part, other: &Part) -> bool {
        let key = (one.process.clone(), one.snapshot.clone());
        let cut = |part: &Part| (part.state.position, part.state.time);
        let recorded = self.0.get(&key);
        let is_recorded = |part: &Part| recorded.is_some_and(|it| it.contains(&cut(part)));
        cut(one) != cut(other) && is_recorded(one) && is_recorded(other)
    }
}
