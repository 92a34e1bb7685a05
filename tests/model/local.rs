//! One process as its node has it: the real `Process` in memory with its turn open, and the journal that is durable.
//!
//! A turn takes as many inputs as come before its commit, so every batch is tried. What a crash leaves is what the
//! journal gives back; a process that recovers otherwise than it was is marked, and a property looks for the mark.

use std::collections::BTreeMap;
use std::slice;
use std::sync::Arc;

use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::event::{Input, Reply, Turn};
use snapledger::process::ids::Seq;
use snapledger::process::recording::Recording;

use crate::bounds::{Bounds, fund, place, process};
use crate::face::Face;
use crate::names::{Named, Names};

/// Snapshots that a process may have open: more than any bounds have.
const OPEN_SNAPSHOTS_MAX: usize = 8;

/// Something that happens to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Deed {
    /// A client asks for a transfer, for the first time or again.
    Operate(usize),
    /// A client asks for a snapshot, for the first time or again.
    Initiate(usize),
    /// A message comes in under a number.
    Arrive(usize, u64, Named),
    /// The open turn becomes durable.
    Commit,
    /// The open turn is lost, and the process comes back from its journal.
    Crash,
}

/// A process at one point of its life.
#[derive(Debug)]
pub(crate) struct Local {
    /// Its place in the table of all such points.
    pub(crate) id: usize,
    pub(crate) life: Life,
    /// As it is in memory, and as the journal alone gives it.
    pub(crate) live: Face,
    pub(crate) durable: Arc<Face>,
}

/// What a [`Local`] is made of.
#[derive(Debug, Clone)]
pub(crate) struct Life {
    process: Process,
    journal: Vec<Turn>,
    /// The turn that is open.
    open: Turn,
    /// A message was refused: a channel has stopped.
    pub(crate) is_refused: bool,
    /// The journal, or a recorded state and the journal behind it, gives back another process than it was.
    pub(crate) is_forgetful: bool,
}

impl Life {
    /// A process with its funds, durable.
    pub(crate) fn new(bounds: &Bounds, place: usize) -> Self {
        let process = Process::new(process(place), bounds.topology(), OPEN_SNAPSHOTS_MAX);
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

    pub(crate) fn place(&self) -> usize {
        place(self.process.id())
    }

    /// Everything that ever happened to it, in order and with every label.
    pub(crate) fn history(&self) -> String {
        format!("{:?} {:?}", self.journal, self.open)
    }

    /// Whether nothing would be lost by a crash.
    pub(crate) fn is_durable(&self) -> bool {
        self.open.records.is_empty()
    }

    /// The life after a deed; `None` where it changes nothing, or has to wait for the commit of the open turn.
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

    /// The process as it is in memory.
    pub(crate) fn live(&self, bounds: &Bounds, names: &mut Names) -> Face {
        let turns = [self.journal.as_slice(), slice::from_ref(&self.open)].concat();
        Face::of(bounds, &self.process, &turns, names)
    }

    /// The process as the journal alone gives it.
    pub(crate) fn durable(&self, bounds: &Bounds, names: &mut Names) -> Face {
        Face::of(bounds, &self.replayed(), &self.journal, names)
    }

    // Time stands still: clocks only count, so that lives which differ in labels alone are one.
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

    // The whole journal again.
    fn replayed(&self) -> Process {
        let process = &self.process;
        let topology = process.topology().clone();
        let process = Process::new(process.id().clone(), topology, OPEN_SNAPSHOTS_MAX);
        replay(process, &self.journal)
    }

    // The newest recorded state and the journal behind it.
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
        let named = cells.map(|cell| ((cell.key().0, cell.key().1.to_owned()), cell));
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
