//! Process `p` on a store, driven as a node drives it: turns are committed, sealed states are written in order, and parts of
//! finished recordings are stored.

use std::collections::VecDeque;

use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, ProcessId, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::process::record::Turn;
use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;
use snapledger::process::topology::Topology;

use super::peers::Peer;
use super::{Crash, StoreContract};

pub(super) const OPEN_SNAPSHOTS_MAX: usize = 4;

pub(super) fn me() -> ProcessId {
    process_id("p")
}

pub(super) fn process_id(name: &str) -> ProcessId {
    ProcessId::parse(name).expect("a valid id")
}

pub(super) fn account(name: &str) -> AccountId {
    AccountId::parse(name).expect("a valid id")
}

pub(super) fn snapshot(name: &str) -> SnapshotId {
    SnapshotId::parse(name).expect("a valid id")
}

pub(super) fn topology() -> Topology {
    Topology::full(&["p", "q", "r"].map(process_id)).expect("three different processes")
}

/// A process on a store.
pub(super) struct Host<S> {
    pub(super) store: S,
    pub(super) process: Process,
    /// Sealed states that are not written, oldest first.
    pub(super) unwritten: VecDeque<Sealed>,
    /// Recordings that have ended and whose part is not stored.
    pub(super) finished: Vec<Recording>,
    pub(super) peers: [Peer; 2],
    wall_us: u64,
}

impl<S: StoreContract> Host<S> {
    pub(super) fn new(seed: u64) -> Self {
        let mut store = S::new(seed);
        let process = store.recover();
        Self {
            store,
            process,
            unwritten: VecDeque::new(),
            finished: Vec::new(),
            peers: ["q", "r"].map(Peer::new),
            wall_us: 1_000_000,
        }
    }

    /// Commits a turn of its own for this input.
    pub(super) fn turn(&mut self, input: Input) -> Turn {
        self.wall_us += 1_000;
        self.process.begin_turn(self.wall_us, Hlc::default());
        self.process.step(input);
        let turn = self.process.end_turn();
        if !turn.records.is_empty() {
            self.store.commit(&turn);
        }
        self.take_found();
        turn
    }

    fn take_found(&mut self) {
        self.unwritten.extend(self.process.take_sealed());
        self.finished.extend(self.process.take_finished());
    }

    pub(super) fn deposit(&mut self, name: &str, amount: i64) -> Turn {
        let operation = Operation::Deposit {
            account: account(name),
            amount,
        };
        self.turn(Input::Operation {
            request: None,
            operation,
        })
    }

    /// Starts a snapshot, which records the state.
    pub(super) fn initiate(&mut self, name: &str) {
        let snapshot = snapshot(name);
        self.turn(Input::Initiate {
            snapshot,
            start: None,
        });
    }

    /// Delivers a transfer of the first or second peer.
    pub(super) fn transfer(&mut self, peer: usize, to: &str, units: i64) {
        let input = self.peers[peer].transfer(to, units);
        self.turn(input);
    }

    /// Delivers the marker of the first or second peer for a snapshot that was started here.
    pub(super) fn marker(&mut self, peer: usize, name: &str) {
        let input = self.peers[peer].marker(&snapshot(name), &me());
        self.turn(input);
    }

    /// Writes the oldest sealed state after the previous one is durable.
    pub(super) fn write_state(&mut self) {
        self.store.sync();
        if let Some(sealed) = self.unwritten.pop_front() {
            self.store.write_state(sealed);
        }
    }

    /// Writes all sealed states.
    pub(super) fn write_states(&mut self) {
        while !self.unwritten.is_empty() {
            self.write_state();
        }
    }

    /// Stores the parts of finished recordings whose state is written.
    pub(super) fn store_parts(&mut self) {
        let store = &mut self.store;
        self.finished.retain(|recording| {
            let part = store.build_part(recording);
            part.iter().for_each(|part| store.put_part(part));
            part.is_none()
        });
    }

    /// Does all pending work.
    pub(super) fn settle(&mut self) {
        self.write_states();
        self.store.sync();
        self.store_parts();
        assert!(self.finished.is_empty(), "every state is written");
    }

    /// Crashes and recovers.
    pub(super) fn crash(&mut self, crash: Crash) {
        self.store.crash(crash);
        self.process = self.store.recover();
        self.unwritten.clear();
        self.finished.clear();
        self.take_found();
    }
}
