//! The process: pure and deterministic, without clock, randomness, socket or file.
//!
//! A process runs in turns: [`Process::begin_turn`], [`Process::step`] for each input, [`Process::end_turn`]. A step decides
//! the effects of an input and applies them at once. The finished turn holds the records, which the caller must make durable
//! before it releases a reply or a message. [`Process::replay`] applies a turn that is already durable: `decide` is not called
//! again, so a change of the business rules cannot change the past.

pub mod answer;
mod apply;
pub mod bank;
pub mod cell;
pub mod channel;
pub mod clock;
pub mod command;
mod cost;
mod decide;
pub mod decision;
mod delivery;
pub mod effects;
pub mod handshake;
pub mod hidden;
pub mod identity;
pub mod ids;
pub mod input;
pub mod kv;
pub mod limits;
pub mod message;
pub mod postings;
pub mod query;
pub mod record;
pub mod recording;
pub mod refusal;
pub mod registers;
pub mod reply;
pub mod requests;
pub mod snapshot;
pub mod start;
pub mod status;
pub mod step;
mod suspense;
pub mod topology;
pub mod wall;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bank::Bank;
use cell::Cell;
use clock::Hlc;
use identity::Identity;
use ids::{Lsn, ProcessId, Seq, SnapshotId};
use input::Input;
use kv::KeyValues;
use limits::Limits;
use record::{Record, Turn};
use recording::{Recording, Snapshots};
use registers::{Registers, Sealed};
use reply::Reply;
use requests::Requests;
use topology::Topology;

/// The deterministic participant: accounts, key-values, channels, recordings.
#[derive(Debug, Clone)]
pub struct Process {
    me: ProcessId,
    topology: Topology,
    /// The run of the store on which the process runs; 0 without a store.
    run: u64,
    /// Whether the store was put back from an older copy and has made no turn since.
    is_put_back: bool,
    /// Recorded peers that must be recognized again in this run: the store may be an older copy, whose clock is behind theirs.
    to_meet: BTreeSet<ProcessId>,
    /// The maximum number of unfinished snapshots started by this process.
    open_snapshots_max: usize,
    limits: Limits,
    /// The number of the account `suspense-N` that was credited last; 0 if none was since the process was restored.
    newest_suspense: u64,
    registers: Registers,
    bank: Bank,
    keys: KeyValues,
    requests: Requests,
    /// The number of open channels per recording, so that a marker does not visit all channels.
    open_channels: BTreeMap<SnapshotId, usize>,
    /// The turn in progress.
    turn: Turn,
    sealed: Vec<Sealed>,
    turn_weight: usize,
    /// The cost of the records since the newest seal.
    unsealed: usize,
    finished: Vec<Recording>,
}

impl Process {
    /// An empty process.
    #[must_use]
    pub fn new(me: ProcessId, topology: Topology, open_snapshots_max: usize) -> Self {
        Self::restore(me, topology, open_snapshots_max, Registers::default())
    }

    /// A process from recorded registers. [`Process::restore_cell`] adds its cells, [`Process::replay`] the later turns.
    #[must_use]
    pub fn restore(
        me: ProcessId,
        topology: Topology,
        open_snapshots_max: usize,
        mut registers: Registers,
    ) -> Self {
        for to in topology.outgoing(&me) {
            registers.outgoing.entry(to.clone()).or_default();
        }
        for from in topology.incoming(&me) {
            registers.incoming.entry(from.clone()).or_default();
        }
        let finished = registers
            .recordings
            .values()
            .filter(|recording| registers.has_ended(recording))
            .cloned()
            .collect();
        let recordings = registers.recordings.iter();
        let open_channels = recordings
            .map(|(snapshot, recording)| (snapshot.clone(), recording.open().count()))
            .collect();
        Self {
            me,
            topology,
            run: 0,
            is_put_back: false,
            to_meet: BTreeSet::new(),
            open_snapshots_max,
            limits: Limits::default(),
            newest_suspense: 0,
            registers,
            bank: Bank::default(),
            keys: KeyValues::default(),
            requests: Requests::default(),
            open_channels,
            turn: Turn::default(),
            sealed: Vec::new(),
            turn_weight: 0,
            unsealed: 0,
            finished,
        }
    }

    /// Sets the run of the store. The run is part of transfer ids, so that transfers sent after a store was put back never have
    /// the id of a lost one with the same sequence number.
    ///
    /// All peers must be recognized again, because the store may turn out to be an older copy.
    pub fn runs_as(&mut self, identity: Identity) {
        self.run = identity.run;
        self.to_meet = self.registers.peers.keys().cloned().collect();
    }

    /// Sets the most that the process stores for clients; without this call there is no limit. What it stores already stays.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Marks the store as an older copy that was put back: turns after its newest one may be lost, and all peers must be
    /// recognized again.
    pub fn put_back(&mut self) {
        self.is_put_back = true;
        self.to_meet = self.registers.peers.keys().cloned().collect();
    }

    /// Whether the store was put back and has made no turn since. Its journal then answers for no instant before the next turn.
    #[must_use]
    pub fn is_put_back(&self) -> bool {
        self.is_put_back
    }

    /// Sets one cell of a recorded state. Each cell is set once, in any order.
    pub fn restore_cell(&mut self, cell: Cell) {
        match cell {
            Cell::Account { account, balance } => self.bank.restore(account, balance),
            Cell::Key(write) => self.keys.restore(write),
            Cell::Request {
                request,
                answered: Some(answered),
            } => self.requests.restore(request, answered),
            Cell::Request { answered: None, .. } => {}
            // From states of formats before 6; since then snapshots are in the registers.
            Cell::Snapshot(seen) => self.registers.see(Arc::unwrap_or_clone(seen)),
        }
    }

    /// Drops the channels with processes that have left the cluster. Each must have been given up here, with no message since;
    /// the journal holds the settlement, so the sums stay complete.
    ///
    /// # Errors
    /// A process that is not in the cluster and was not given up.
    pub fn drop_removed(&mut self) -> Result<(), ProcessId> {
        let registers = &self.registers;
        let known = registers.outgoing.keys().chain(registers.incoming.keys());
        let removed = known.filter(|process| !self.topology.contains(process));
        let removed: BTreeSet<ProcessId> = removed.cloned().collect();
        if let Some(kept) = removed
            .iter()
            .find(|process| !registers.is_given_up(process))
        {
            return Err(kept.clone());
        }
        for process in &removed {
            self.registers.outgoing.remove(process);
            self.registers.incoming.remove(process);
        }
        Ok(())
    }

    /// The turn that gave up the store of a peer, if no message has passed between the two since.
    #[must_use]
    pub fn has_forgotten(&self, peer: &ProcessId) -> Option<Lsn> {
        let registers = &self.registers;
        let is_met_again = || {
            let known = registers.peers.get(peer);
            known.is_some_and(|known| !known.is_given_up())
        };
        let forgotten = registers.forgotten.get(peer).copied();
        forgotten.filter(|_| registers.is_given_up(peer) && !is_met_again())
    }

    /// Opens a turn. `wall_us` is the wall clock in microseconds, used only as a label. `newest` is the greatest clock of the
    /// messages that may be stepped in this turn; the turn's clock passes it.
    pub fn begin_turn(&mut self, wall_us: u64, newest: Hlc) {
        self.turn_weight = 0;
        self.turn = Turn {
            position: self.registers.position.next(),
            time: self.registers.time.receive(newest).tick(wall_us),
            clock: self.registers.clock,
            records: Vec::new(),
        };
    }

    /// Whether this input must be the first of its turn: a state is recorded between two turns.
    #[must_use]
    pub fn wants_own_turn(&self, input: &Input) -> bool {
        !self.turn.records.is_empty() && self.would_seal(input)
    }

    /// Decides and applies an input. Returns the reply to send once the turn is durable.
    pub fn step(&mut self, input: Input) -> Reply {
        debug_assert!(
            !self.wants_own_turn(&input),
            "a state is recorded between turns"
        );
        let effects = self.decide(input);
        for record in effects.records {
            self.apply(&record);
            self.turn_weight += record.cost();
            self.turn.records.push(record);
        }
        // Set after the records, so that a state that they seal has the clock of the turn before, as in a replay.
        self.turn.clock = effects.clock;
        self.registers.clock = effects.clock;
        if let (Some(refused), Reply::Operation(answer)) = (effects.refused, &effects.reply) {
            let answer = answer.clone();
            self.requests
                .refuse(refused.request, refused.fingerprint, answer);
        }
        effects.reply
    }

    /// The cost of the records in the turn so far.
    #[must_use]
    pub fn turn_weight(&self) -> usize {
        self.turn_weight
    }

    /// The cost of the records that a restart would replay.
    #[must_use]
    pub fn unsealed(&self) -> usize {
        self.unsealed
    }

    /// Closes the turn. A turn without records changed nothing and needs no commit.
    pub fn end_turn(&mut self) -> Turn {
        if !self.turn.records.is_empty() {
            self.registers.position = self.turn.position;
            self.registers.time = self.turn.time;
        }
        std::mem::take(&mut self.turn)
    }

    /// Applies a durable turn.
    ///
    /// # Panics
    /// If the turn is not the next one: the journal has a gap that its reader has not detected.
    pub fn replay(&mut self, turn: &Turn) {
        assert_eq!(
            turn.position,
            self.registers.position.next(),
            "the journal is read without gaps"
        );
        self.turn = Turn {
            records: Vec::new(),
            ..*turn
        };
        for record in &turn.records {
            self.apply(record);
        }
        self.registers.position = turn.position;
        self.registers.time = turn.time;
        self.registers.clock = turn.clock;
    }

    /// The states recorded since the last call, oldest first. They must be written in this order.
    pub fn take_sealed(&mut self) -> Vec<Sealed> {
        std::mem::take(&mut self.sealed)
    }

    /// As [`Self::take_sealed`], up to a cut; the later ones are left.
    pub fn take_sealed_until(&mut self, cut: Lsn) -> Vec<Sealed> {
        let is_until = |sealed: &Sealed| sealed.registers.position <= cut;
        let later = self.sealed.partition_point(is_until);
        self.sealed.drain(..later).collect()
    }

    /// The recordings that ended since the last call: finished, or waiting only for lost markers. Each is answered by
    /// [`Input::PartStored`].
    pub fn take_finished(&mut self) -> Vec<Recording> {
        std::mem::take(&mut self.finished)
    }

    /// The recordings that a turn of the journal reports as stored; asked before the turn is replayed.
    pub fn stored_by<'a>(&'a self, turn: &'a Turn) -> impl Iterator<Item = &'a Recording> {
        turn.records.iter().filter_map(|record| {
            let Record::PartStored { snapshot } = record else {
                return None;
            };
            self.registers.recordings.get(snapshot)
        })
    }

    /// The id of the process.
    #[must_use]
    pub fn id(&self) -> &ProcessId {
        &self.me
    }

    /// The processes and channels of the cluster.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }

    /// Clocks, positions, channels, recordings.
    #[must_use]
    pub fn registers(&self) -> &Registers {
        &self.registers
    }

    /// The accounts.
    #[must_use]
    pub fn bank(&self) -> &Bank {
        &self.bank
    }

    /// The snapshots whose state this process has recorded and still remembers.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.registers.snapshots
    }

    pub(super) fn next_seq(&self, to: &ProcessId) -> Seq {
        let sent = self.registers.outgoing.get(to).map(|channel| channel.sent);
        sent.unwrap_or_default().sequence.next()
    }
}
