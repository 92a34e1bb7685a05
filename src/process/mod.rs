//! The process: pure, deterministic, without clock, randomness, socket or file.
//!
//! A process is stepped in turns: [`Process::begin_turn`], [`Process::step`] for each input, [`Process::end_turn`].
//! A step decides what an input leads to and applies it at once; the turn that ends holds the records, which the
//! caller makes durable before it lets a reply or a message out. [`Process::replay`] applies a turn that was made
//! durable before: `decide` is never asked again, so a change to the business rules cannot change the past.

pub mod answer;
mod apply;
pub mod bank;
pub mod cell;
pub mod channel;
pub mod clock;
mod cost;
mod decide;
mod delivery;
pub mod effects;
pub mod event;
pub mod handshake;
pub mod identity;
pub mod ids;
pub mod input;
pub mod kv;
pub mod message;
pub mod postings;
pub mod record;
pub mod recording;
pub mod refusal;
pub mod registers;
pub mod reply;
pub mod requests;
pub mod snapshot;
pub mod status;
pub mod step;
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
use record::Turn;
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
    /// Of the store it is on; 0 where it is on none.
    run: u64,
    /// Whether its store is an older copy of itself, and has made no turn since.
    is_put_back: bool,
    /// Peers that are met in this run as if for the first time: its store may be an older copy, with a clock that is behind
    /// theirs.
    to_meet: BTreeSet<ProcessId>,
    /// How many snapshots this process may have started and not finished.
    open_snapshots_max: usize,
    registers: Registers,
    bank: Bank,
    keys: KeyValues,
    requests: Requests,
    /// How many channels each recording has open: a marker must not have to look at all of them.
    open_channels: BTreeMap<SnapshotId, usize>,
    /// The turn that is being stepped.
    turn: Turn,
    sealed: Vec<Sealed>,
    turn_weight: usize,
    /// The weight of the records since the newest seal.
    unsealed: usize,
    finished: Vec<Recording>,
}

impl Process {
    /// A process that holds nothing.
    #[must_use]
    pub fn new(me: ProcessId, topology: Topology, open_snapshots_max: usize) -> Self {
        Self::restore(me, topology, open_snapshots_max, Registers::default())
    }

    /// A process as it was recorded; its cells come by [`Process::restore_cell`], the turns since by
    /// [`Process::replay`].
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

    /// Says in which run of its store the process is from now on. It goes into the names of transfers: what a store
    /// that was put back sends under a number of before never looks like what it had sent then.
    ///
    /// Each peer is met in it as if for the first time: the store may turn out to be an older copy.
    pub fn runs_as(&mut self, identity: Identity) {
        self.run = identity.run;
        self.to_meet = self.registers.peers.keys().cloned().collect();
    }

    /// Says that the store of the process is an older copy that was put back: what followed its newest turn is not known, and
    /// each peer is met as if for the first time.
    pub fn put_back(&mut self) {
        self.is_put_back = true;
        self.to_meet = self.registers.peers.keys().cloned().collect();
    }

    /// Whether the journal answers for no instant before the next turn, whatever it holds.
    #[must_use]
    pub fn is_put_back(&self) -> bool {
        self.is_put_back
    }

    /// Sets one cell of a recorded state; each cell comes once, in any order.
    pub fn restore_cell(&mut self, cell: Cell) {
        match cell {
            Cell::Account { account, balance } => self.bank.restore(account, balance),
            Cell::Key(write) => self.keys.restore(write),
            Cell::Request {
                request,
                answered: Some(answered),
            } => self.requests.restore(request, answered),
            Cell::Request { answered: None, .. } => {}
            // Of a state of before they were registers.
            Cell::Snapshot(seen) => self.registers.see(Arc::unwrap_or_clone(seen)),
        }
    }

    /// Drops the channels with processes that are no more in the cluster: each was given up here, and nothing has passed
    /// since. What that cost is in the journal, so nothing is left out of a sum.
    ///
    /// # Errors
    /// A process that is not in the cluster, and was not given up.
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

    /// The turn in which the store of a peer was given up, where nothing has happened between the two since.
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

    /// Opens a turn. `wall_us` is what the wall clock shows (it only labels); `newest` the greatest clock among the
    /// messages that may be stepped in this turn, which the turn's clock will pass.
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

    /// Decides what an input leads to, applies it, and says what to answer once the turn is durable.
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
        // Not before the records: a state that they seal is the one before this turn, as it will be in a replay.
        self.turn.clock = effects.clock;
        self.registers.clock = effects.clock;
        if let (Some(refused), Reply::Operation(answer)) = (effects.refused, &effects.reply) {
            let answer = answer.clone();
            self.requests
                .refuse(refused.request, refused.fingerprint, answer);
        }
        effects.reply
    }

    /// The weight of the records in the turn so far.
    #[must_use]
    pub fn turn_weight(&self) -> usize {
        self.turn_weight
    }

    /// The weight of the records that a restart would have to apply.
    #[must_use]
    pub fn unsealed(&self) -> usize {
        self.unsealed
    }

    /// Closes the turn. One without records changed nothing and needs no commit.
    pub fn end_turn(&mut self) -> Turn {
        if !self.turn.records.is_empty() {
            self.registers.position = self.turn.position;
            self.registers.time = self.turn.time;
        }
        std::mem::take(&mut self.turn)
    }

    /// Applies a turn that was made durable before.
    ///
    /// # Panics
    /// If the turn is not the next one: the journal has a gap, and its reader has not noticed.
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

    /// States that were recorded since the last call, oldest first; they are to be written in this order.
    pub fn take_sealed(&mut self) -> Vec<Sealed> {
        std::mem::take(&mut self.sealed)
    }

    /// Recordings that have ended since the last call: finished, or without the markers that were lost. Each is answered by
    /// [`Input::PartStored`].
    pub fn take_finished(&mut self) -> Vec<Recording> {
        std::mem::take(&mut self.finished)
    }

    /// Whose process this is.
    #[must_use]
    pub fn id(&self) -> &ProcessId {
        &self.me
    }

    /// The processes and channels around it.
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

    /// Every snapshot whose state this process has recorded.
    #[must_use]
    pub fn snapshots(&self) -> &Snapshots {
        &self.registers.snapshots
    }

    pub(super) fn next_seq(&self, to: &ProcessId) -> Seq {
        let sent = self.registers.outgoing.get(to).map(|channel| channel.sent);
        sent.unwrap_or_default().sequence.next()
    }
}
