//! The pass over the journal. Every entry is read, decoded and chained to its predecessor; every turn is tried, then
//! applied; everything recorded on the way is compared. After the first damaged entry turns cannot be applied, and the
//! rest of the journal is only read and chained.
//!
//! If older turns were deleted, the pass starts from the recorded state before the first turn kept. That state is added
//! up, and the first entry must be chained to it.

use std::collections::{BTreeMap, BTreeSet};

use super::CheckProgress;
use super::Examiner;
use super::account_index::Indexed;
use super::decisions;
use super::ledger::{self, Ledger};
use super::opened_copy::{Stored, TreeWalk};
use super::plausible::implausible;
use super::recordings::Recordings;
use super::turns::Turns;
use crate::history::part::RecordedState;
use crate::process::Process;
use crate::process::cell::{Cell, SeenSnapshot};
use crate::process::ids::{Hash, Lsn, SnapshotId};
use crate::process::record::{Record, Turn};
use crate::process::registers::{Registers, Sealed};
use crate::process::topology::Topology;
use crate::store::engine::schema;
use crate::store::engine::schema::{
    PARTS_FROM, STATES_FROM, position_key, position_of, snapshot_key,
};
use crate::store::error::StoreError;
use crate::store::journal::Horizon;
use crate::store::states::merge::Cells;
use crate::store::states::{self, is_one_stretch};
use crate::store::stored::codec::Entry;
use crate::store::stored::codec::decode_state;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::state::StoredState;

/// The result of the pass.
pub(super) struct Replayed {
    /// Every snapshot whose state was recorded, up to the newest turn or the first damaged one.
    pub(super) recorded: BTreeMap<SnapshotId, SeenSnapshot>,
    /// Before this turn parts of this process may be missing.
    pub(super) parts_from: Lsn,
}

struct Replay {
    process: Process,
    is_whole: bool,
    /// The newest entry read, and its hash if known.
    position: Lsn,
    hash: Option<Hash>,
    /// The cuts of stored states that are still ahead.
    cuts: BTreeSet<Lsn>,
    /// States before this cut were deleted.
    states_from: Lsn,
    /// The cut of the last state present.
    kept: Option<Lsn>,
    /// Every snapshot whose state was recorded.
    recorded: BTreeMap<SnapshotId, SeenSnapshot>,
    /// The first turn kept.
    first: Lsn,
    /// The number of older entries that still exist.
    leftovers: u64,
    ledger: Ledger,
    recordings: Recordings,
    indexed: Indexed,
}

/// Reads the journal from its first entry.
///
/// # Errors
/// [`StoreError`] if the engine fails.
pub(super) fn replay(examiner: &mut Examiner) -> Result<Replayed, StoreError> {
    let me = examiner.owner.process.clone();
    // The configuration is not available, and a replay needs no channels.
    let topology = Topology::full(std::slice::from_ref(&me)).expect("one process is a topology");
    let horizon = Horizon::read(&examiner.opened.trees.meta);
    let first = examiner.findings.take(horizon);
    let first = first.map_or(Lsn(1), |horizon| horizon.first);
    examiner.report.journal_from = first.0;
    let mut replay = Replay {
        process: Process::restore(me, topology, usize::MAX, Registers::default()),
        is_whole: true,
        position: Lsn(first.0.saturating_sub(1)),
        hash: Some(Hash::default()),
        cuts: cuts(examiner)?,
        states_from: noted(examiner, STATES_FROM),
        kept: None,
        recorded: BTreeMap::new(),
        first,
        leftovers: 0,
        ledger: Ledger::default(),
        recordings: Recordings::since(first, noted(examiner, PARTS_FROM)),
        indexed: Indexed::read(examiner, first)?,
    };
    if first > Lsn(1) {
        replay.begin_at_state(examiner)?;
    }
    let last = examiner.opened.trees.journal.last()?;
    let of = last.and_then(|(key, _)| position_of(frame::split_key(&key)?.0));
    let mut walk = Turns::new(first, &examiner.opened);
    while let Some(stored) = walk.next(examiner)? {
        replay.take(examiner, stored);
        (examiner.step)(CheckProgress {
            what: "journal",
            done: replay.position.0,
            of: of.unwrap_or_default().0,
        });
    }
    replay.end(examiner)
}

// A position among the numbers of the store; 0 if it has none.
fn noted(examiner: &mut Examiner, key: &[u8]) -> Lsn {
    let meta = &examiner.opened.trees.meta;
    let from = schema::get::<u64>(meta, key, Kind::Number);
    Lsn(examiner.findings.take(from).flatten().unwrap_or(0))
}

// Decodes every stored state; those within the journal are read again at their position.
fn cuts(examiner: &mut Examiner) -> Result<BTreeSet<Lsn>, StoreError> {
    let mut cuts = BTreeSet::new();
    let mut walk = TreeWalk::new(&examiner.opened.trees.states);
    while let Some(stored) = walk.next()? {
        let what = schema::name(Kind::State, &stored.key);
        let state = stored.framed.and_then(decode_state);
        let state = state.map_err(|damage| StoreError::damaged(what.clone(), damage));
        match (position_of(&stored.key), examiner.findings.take(state)) {
            (Some(cut), Some(_)) => _ = cuts.insert(cut),
            (None, Some(_)) => examiner.findings.add(what, "its key is not a position"),
            (_, None) => {}
        }
    }
    Ok(cuts)
}

impl Replay {
    // Starts from the state before the first turn. If it is not whole, no turn can be applied.
    fn begin_at_state(&mut self, examiner: &mut Examiner) -> Result<(), StoreError> {
        let cut = self.position;
        // Older states are about to be deleted.
        self.cuts = self.cuts.split_off(&cut);
        self.kept = Some(cut);
        (self.is_whole, self.hash) = (false, None);
        let summed = sum_up(examiner, cut);
        if examiner.findings.take(summed).is_none() {
            return Ok(());
        }
        let opened = &examiner.opened;
        let Some(state) = states::read(&opened.trees.states, cut)? else {
            let what = schema::name(Kind::State, &position_key(cut));
            let problem = "it is missing, and the journal begins after it";
            examiner.findings.add(what, problem);
            return Ok(());
        };
        let StoredState {
            registers,
            recorded,
        } = state;
        let (me, topology) = (self.process.id().clone(), self.process.topology().clone());
        let mut process = Process::restore(me, topology, usize::MAX, registers);
        for cell in Cells::new(&opened.chunks, &recorded.runs, None)? {
            process.restore_cell(cell?);
        }
        let seen = process.snapshots().iter();
        let seen = seen.map(|(snapshot, initiator, cut)| {
            let seen = SeenSnapshot {
                snapshot: snapshot.clone(),
                initiator: initiator.clone(),
                cut,
            };
            (snapshot.clone(), seen)
        });
        self.recorded = seen.collect();
        self.process = process;
        (self.is_whole, self.hash) = (true, Some(recorded.journal));
        self.ledger = Ledger::at(recorded.runs);
        Ok(())
    }

    fn take(&mut self, examiner: &mut Examiner, stored: Stored) {
        let what = schema::name(Kind::Turn, &stored.key);
        let Some(position) = position_of(&stored.key).filter(|position| position.0 > 0) else {
            examiner.findings.add(what, "its key is not a position");
            return;
        };
        if position < self.first {
            self.leftovers += 1;
            return;
        }
        let expected = self.position.next();
        if position > expected {
            let what = schema::name(Kind::Turn, &position_key(expected));
            let problem = match position.0 - 1 {
                last if last == expected.0 => "it is missing".to_owned(),
                last => format!("it is missing, and all up to entry {last}"),
            };
            examiner.findings.add(what, problem);
            self.is_whole = false;
            self.hash = None;
        }
        self.position = position;
        examiner.report.turns += 1;
        let framed = stored
            .framed
            .map_err(|damage| StoreError::damaged(what, damage));
        let entry = framed.and_then(|framed| Entry::decode(position, &framed));
        let hash = entry.as_ref().ok().map(|entry| entry.hash);
        if let Ok(entry) = &entry {
            self.indexed.take(examiner, entry);
        }
        let entry = entry.and_then(|entry| entry.chained(position, self.hash));
        match examiner.findings.take(entry) {
            Some(entry) if self.is_whole => self.apply(examiner, &entry),
            Some(_) => {}
            None => self.is_whole = false,
        }
        self.hash = hash;
    }

    fn apply(&mut self, examiner: &mut Examiner, entry: &Entry) {
        let turn = &entry.turn;
        if let Some(problem) = implausible(&self.process, turn) {
            let what = schema::name(Kind::Turn, &position_key(turn.position));
            examiner.findings.add(what, problem);
            self.is_whole = false;
            return;
        }
        examiner.report.records += turn.records.len() as u64;
        decisions::note(&mut examiner.report.decisions, turn);
        self.remember(turn);
        let (opened, findings) = (&examiner.opened, &mut examiner.findings);
        self.recordings.turn(opened, findings, &self.process, turn);
        self.process.replay(turn);
        self.process.take_finished();
        for sealed in self.process.take_sealed() {
            self.compare(examiner, &sealed);
        }
    }

    // Kept here because the process forgets finished snapshots.
    fn remember(&mut self, turn: &Turn) {
        let cut = Lsn(turn.position.0 - 1);
        for record in &turn.records {
            if let Record::StateRecorded {
                snapshot,
                initiator,
                ..
            } = record
            {
                let seen = SeenSnapshot {
                    snapshot: snapshot.clone(),
                    initiator: initiator.clone(),
                    cut,
                };
                self.recorded.insert(snapshot.clone(), seen);
            }
        }
    }

    // Compares the state and the part recorded at this cut with what the journal sealed.
    fn compare(&mut self, examiner: &mut Examiner, sealed: &Sealed) {
        self.ledger.change(sealed.cells.clone());
        let cut = sealed.registers.position;
        let what = schema::name(Kind::State, &position_key(cut));
        let trees = &examiner.opened.trees;
        let state = states::read(&trees.states, cut);
        let part = sealed.snapshot.as_ref().map(|snapshot| {
            let name = schema::name(Kind::Part, &snapshot_key(snapshot));
            (name, examiner.opened.own_part(snapshot))
        });
        // An undecodable state was reported when all were listed.
        let was_listed = self.cuts.remove(&cut);
        if was_listed {
            self.kept = Some(cut);
        }
        match state {
            Ok(Some(state)) => self.compare_state(examiner, &state, sealed),
            // Redundant states next to another one are not kept.
            Ok(None) if self.kept.is_some_and(|kept| is_one_stretch(kept, cut)) => {}
            // States are written in order and deleted from the first.
            Ok(None) if !self.cuts.is_empty() && cut >= self.states_from => {
                examiner.findings.add(what, "it is missing")
            }
            Err(error) if was_listed => examiner.findings.push(error),
            Ok(None) | Err(_) => {}
        }
        if let Some((what, Ok(Some(part)))) = part {
            self.compare_recorded(examiner, what, &part.state, sealed);
        }
    }

    fn compare_state(&mut self, examiner: &mut Examiner, state: &StoredState, sealed: &Sealed) {
        let what = schema::name(Kind::State, &position_key(sealed.registers.position));
        let mut remembered = state.registers.snapshots.iter();
        let unknown = remembered.find(|(snapshot, initiator, cut)| {
            let known = self.recorded.get(*snapshot);
            let differs =
                |known: &SeenSnapshot| (&known.initiator, known.cut) != (*initiator, *cut);
            known.map_or(self.first == Lsn(1), differs)
        });
        if let Some((snapshot, ..)) = unknown {
            let problem = format!("the journal did not record {snapshot:?} at its position");
            examiner.findings.add(what.clone(), problem);
        }
        if ledger::of_journal(&state.registers) != ledger::of_journal(&sealed.registers) {
            let problem = "its channels, clocks or recordings differ from the journal";
            examiner.findings.add(what.clone(), problem);
        }
        self.compare_recorded(examiner, what, &state.recorded, sealed);
        examiner.report.states += 1;
    }

    fn compare_recorded(
        &mut self,
        examiner: &mut Examiner,
        what: String,
        recorded: &RecordedState,
        sealed: &Sealed,
    ) {
        // The entry at the cut precedes the turn that sealed.
        let journal = self.hash.unwrap_or_default();
        for problem in ledger::differences(recorded, sealed, journal) {
            examiner.findings.add(what.clone(), problem);
        }
        let compared = self.ledger.verify(&examiner.opened.chunks, &recorded.runs);
        match examiner.findings.take(compared) {
            None => examiner.findings.add(what, "it cannot be read in full"),
            Some(compared) => {
                examiner.report.cells += compared.cells;
                if let Some(problem) = compared.problem {
                    examiner.findings.add(what, problem);
                }
            }
        }
    }

    fn end(self, examiner: &mut Examiner) -> Result<Replayed, StoreError> {
        if self.leftovers > 0 {
            let (leftovers, first) = (self.leftovers, self.first);
            let note = format!(
                "{leftovers} entries before {first} are left over from an interrupted retention run; the next one deletes them"
            );
            examiner.findings.note(note);
        }
        let newest = self.cuts.last().copied();
        for cut in &self.cuts {
            let what = schema::name(Kind::State, &position_key(*cut));
            if self.is_whole && *cut >= self.position {
                let problem = format!("the journal ends at {}", self.position);
                examiner.findings.add(what, problem);
            } else if self.is_whole {
                examiner
                    .findings
                    .add(what, "the journal recorded no state at its position");
            } else if Some(*cut) == newest {
                let summed = sum_up(examiner, *cut);
                examiner.findings.take(summed);
            }
        }
        if !self.is_whole && !self.cuts.is_empty() {
            let behind = self.cuts.len();
            let note = format!(
                "{behind} recorded states after the damage in the journal could not be compared with it"
            );
            examiner.findings.note(note);
        }
        if self.is_whole {
            self.indexed.end(examiner, self.position);
        }
        let places = (&examiner.opened, &mut examiner.findings);
        let parts = self
            .recordings
            .check_rest(places.0, places.1, self.is_whole)?;
        examiner.report.parts = parts;
        examiner.report.messages = self.recordings.messages;
        examiner.report.accounts = self.process.bank().len();
        examiner.report.balance_total = self.process.bank().balance_total();
        Ok(Replayed {
            recorded: self.recorded,
            parts_from: self.recordings.parts_from,
        })
    }
}

// Checks that a state without a counterpart in the journal is whole, since a restart would begin with it.
fn sum_up(examiner: &Examiner, cut: Lsn) -> Result<(), StoreError> {
    let opened = &examiner.opened;
    let key = position_key(cut);
    let Some(state) = states::read(&opened.trees.states, cut)? else {
        return Ok(());
    };
    let recorded = state.recorded;
    let (mut accounts, mut total) = (0, 0);
    for cell in Cells::new(&opened.chunks, &recorded.runs, None)? {
        if let Cell::Account { balance, .. } = cell? {
            accounts += 1;
            total += i128::from(balance);
        }
    }
    if (accounts, total) == (recorded.accounts, recorded.balance_total) {
        return Ok(());
    }
    let problem = "its accounts do not add up to its figures".to_owned();
    let what = schema::name(Kind::State, &key);
    Err(StoreError::damaged(what, Damage::Contradiction(problem)))
}
