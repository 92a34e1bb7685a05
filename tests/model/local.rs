//! One process as its node holds it: the real `Process` in memory with its open turn, and the durable journal.
//!
//! A turn takes whatever inputs come before its commit, so every batching is tried. A crash leaves what the journal
//! gives back. A process that recovers to another state than it had is marked, and a property checks for the mark.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::Seq;
use snapledger::process::input::Input;
use snapledger::process::record::Turn;
use snapledger::process::recording::Recording;
use snapledger::process::reply::Reply;

use crate::bounds::{Bounds, fund, index, process};
use crate::face::Face;
use crate::names::{Named, Names};

/// The open snapshots a process may have: more than any bounds use.
const OPEN_SNAPSHOTS_MAX: usize = 8;

/// An event of one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    /// A client requests a transfer, for the first time or again.
    Operate(usize),
    /// A client requests a snapshot, for the first time or again.
    Initiate(usize),
    /// A message arrives under a sequence number.
    Arrive(usize, u64, Named),
    /// The open turn becomes durable.
    Commit,
    /// The open turn is lost, and the process recovers from its journal.
    Crash,
}

/// A process at one point of its history.
#[derive(Debug)]
pub(crate) struct Local {
    /// Its index in the table of all such states.
    pub(crate) id: usize,
    pub(crate) life: Life,
    /// The face in memory, and the face that the journal alone gives.
    pub(crate) live: Face,
    pub(crate) durable: Arc<Face>,
}

/// The contents of a [`Local`].
#[derive(Debug, Clone)]
pub(crate) struct Life {
    process: Process,
    journal: Vec<Turn>,
    /// The open turn.
    open: Turn,
    /// A message was refused, so a channel has stopped.
    pub(crate) is_refused: bool,
    /// The journal, or a recorded state and the journal after it, gives back another process than it was.
    pub(crate) is_forgetful: bool,
}

impl Life {
    /// Returns a funded, durable process.
    pub(crate) fn new(bounds: &Bounds, index: usize) -> Self {
        let process = Process::new(process(index), bounds.topology(), OPEN_SNAPSHOTS_MAX);
        let mut life = Self {
            process,
            journal: Vec::new(),
            open: Turn::default(),
            is_refused: false,
            is_forgetful: false,
        };
        life.begin();
        life.step(fund());
        life.commit();
        life
    }

    pub(crate) fn index(&self) -> usize {
        index(self.process.id())
    }

    /// Returns everything that ever happened to it, in order and with every label.
    pub(crate) fn history(&self) -> String {
        format!("{:?} {:?}", self.journal, self.open)
    }

    /// Returns whether a crash would lose nothing.
    pub(crate) fn is_durable(&self) -> bool {
        self.open.records.is_empty()
    }

    /// Returns the life after a deed; `None` if it changes nothing, or has to wait for the commit of the open turn.
    pub(crate) fn after(&self, deed: Deed, (bounds, names): (&Bounds, &Names)) -> Option<Self> {
        let mut life = self.clone();
        let changed = match deed {
            Deed::Operate(transfer) => life.step(bounds.operate(transfer)),
            Deed::Initiate(snapshot) => life.step(Bounds::initiate(snapshot)),
            Deed::Arrive(from, seq, message) => life.step(Input::Arrived {
                from: process(from),
                seq: Seq(seq),
                time: Hlc::default(),
                message: names.message(message),
            }),
            Deed::Commit => life.commit(),
            Deed::Crash => life.crash(),
        };
        changed.then_some(life)
    }

    /// Returns the face of the process in memory.
    pub(crate) fn live(&self, bounds: &Bounds, names: &mut Names) -> Face {
        let turns = [self.journal.as_slice(), slice::from_ref(&self.open)].concat();
        Face::of(bounds, &self.process, &turns, names)
    }

    /// Returns the face of the process that the journal alone gives.
    pub(crate) fn durable(&self, bounds: &Bounds, names: &mut Names) -> Face {
        Face::of(bounds, &self.replayed(), &self.journal, names)
    }

    // Wall time stands still and clocks only count, so that histories which differ in labels alone are the same.
    fn begin(&mut self) {
        self.process.begin_turn(0, Hlc::default());
        self.look();
    }

    fn look(&mut self) {
        self.open = self.process.clone().end_turn();
    }

    fn step(&mut self, input: Input) -> bool {
        if self.process.wants_own_turn(&input) {
            return false;
        }
        let before = self.open.records.len();
        let reply = self.process.step(input);
        self.look();
        let refused = matches!(reply, Reply::Arrived(Err(_)) | Reply::Initiated(Err(_)))
            || matches!(&reply, Reply::Operation(answer) if answer.outcome.is_err());
        let refused_first = refused && !self.is_refused;
        self.is_refused |= refused;
        refused_first || self.open.records.len() > before
    }

    fn commit(&mut self) -> bool {
        if self.is_durable() {
            return false;
        }
        self.journal.push(self.process.end_turn());
        let again = [Some(self.replayed()), self.restored()];
        self.is_forgetful |= !again
            .into_iter()
            .flatten()
            .all(|process| self.is_like(process));
        self.begin();
        true
    }

    fn crash(&mut self) -> bool {
        if self.is_durable() {
            return false;
        }
        self.process = self.replayed();
        self.begin();
        true
    }

    // Replays the whole journal.
    fn replayed(&self) -> Process {
        let process = &self.process;
        let topology = process.topology().clone();
        let process = Process::new(process.id().clone(), topology, OPEN_SNAPSHOTS_MAX);
        replay(process, &self.journal)
    }

    // Restores the newest recorded state and replays the journal after it.
    fn restored(&self) -> Option<Process> {
        let seals = self.process.clone().take_sealed();
        let registers = seals.last()?.registers.clone();
        let process = &self.process;
        let topology = process.topology().clone();
        let mut process = Process::restore(
            process.id().clone(),
            topology,
            OPEN_SNAPSHOTS_MAX,
            registers,
        );
        let cells = seals
            .iter()
            .flat_map(|sealed| sealed.cells.clone().sorted());
        let named = cells.map(|cell| ((cell.key().kind, cell.key().name.to_owned()), cell));
        let newest: BTreeMap<_, _> = named.collect();
        for cell in newest.into_values() {
            process.restore_cell(cell);
        }
        Some(replay(process, &self.journal))
    }

    fn is_like(&self, mut other: Process) -> bool {
        let mut this = self.process.clone();
        this.registers() == other.registers()
            && this.bank().balance_total() == other.bank().balance_total()
            && finished(&mut this) == finished(&mut other)
    }
}

fn replay(mut process: Process, journal: &[Turn]) -> Process {
    let cut = process.registers().position;
    for turn in journal.iter().filter(|turn| turn.position > cut) {
        process.replay(turn);
    }
    process
}

fn finished(process: &mut Process) -> Vec<Recording> {
    let mut finished = process.take_finished();
    finished.sort_by(|one, other| one.snapshot.cmp(&other.snapshot));
    finished
}
