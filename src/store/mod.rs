//! The store: sled, used so that its known weaknesses cannot lose money.
//!
//! The journal is the truth: one turn is one entry, atomic within one tree, durable before anything of it leaves.
//! Every other tree can be rebuilt from the newest whole recorded state and the journal behind it.
//! Knows the types of `process` and `history` only.

mod account_index;
mod addresses;
mod archive;
mod audit;
mod backup;
mod birth;
mod caught_up;
mod check;
mod chunk_batch;
mod chunk_source;
mod chunks;
pub mod codec;
mod compare;
mod composition;
mod compression;
mod durable_watermark;
mod error;
mod export;
mod files;
#[cfg(test)]
mod fixture;
mod frame;
mod gaps;
mod history;
mod journal;
mod leases;
mod log_scan;
mod merge;
mod messages;
mod migrate;
mod open;
mod operator;
mod parts;
mod past;
mod proof;
mod published;
mod rebuild;
mod reported_part;
mod restore;
mod retention;
mod run_cache;
mod schema;
mod sled_cache;
mod sled_conf;
mod starts;
mod states;
mod stream;
mod sweep;
mod trim;
mod underway;
mod usage;
mod v1;
mod v2;
mod v3;
mod v5;
mod v6;

pub use addresses::{Addresses, MetProcess};
pub use archive::Archive;
pub use audit::{GlobalStateAudit, Wrong};
pub use backup::BackedUp;
pub use check::{Bytes, CheckProgress, Examination, Report, Stats};
pub use error::StoreError;
pub use export::{Export, ExportError};
pub use files::{Disk, Medium};
pub use frame::Damage;
pub use history::{Due, Limits, Published, RevisionArrival, SnapshotSummary, Unreadable};
pub use leases::{READING_MAX, ReadLease, WriteLease};
pub use merge::Cells;
pub use messages::Messages;
pub use migrate::newest_format;
pub use open::Migrated;
pub use operator::{Forgotten, NotForgotten};
pub use past::{Marked, StatementPage, StatementQuery};
pub use proof::{Proof, Proven, RunProof, Unproven};
pub use rebuild::{PassedSince, Rebuilt, Untold, unbooked_sentence};
pub use restore::Restored;
pub use retention::Pin;
pub use sweep::Swept;
pub use trim::Trimmed;
pub use usage::Usage;

use account_index::AccountIndex;
use backup::Standstill;
use caught_up::CaughtUp;
use chunks::Chunks;
use composition::Composition;
use files::Engine;
use frame::Kind;
use gaps::Gaps;
use history::History;
use journal::Journal;
use retention::Retention;
use starts::Starts;
use states::{States, StoredState};
use underway::Underway;

use crate::history::global::Counted;
use crate::history::part::{Part, RecordedChannel, RecordedState, Run};
use crate::process::Process;
use crate::process::event::{Identity, Turn};
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};
use crate::process::registers::{Registers, Sealed};
use crate::process::topology::Topology;

/// An open store of one process.
pub struct Store {
    journal: Journal,
    states: States,
    /// The numbers of the store.
    meta: sled::Tree,
    gaps: Gaps,
    caught_up: CaughtUp,
    starts: Starts,
    chunks: Chunks,
    history: History,
    stretches: AccountIndex,
    retention: Retention,
    identity: Identity,
    underway: Underway,
    composition: Composition,
    standstill: Standstill,
    /// Last, because it holds the lock: fields are dropped in order, and the trees hold the files open.
    engine: Engine,
}

/// The proof that a turn is durable. Only a commit makes one, and nothing of a turn is released without it.
#[derive(Debug)]
pub struct Committed {
    position: Lsn,
}

impl Committed {
    /// Everything up to this position is durable.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.position
    }
}

impl Store {
    /// Who this store is: drawn when it was made, and at this opening.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The newest durable position of the journal.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.journal.head().position
    }

    /// Makes a turn durable. A failure is final: the caller stops.
    ///
    /// # Errors
    /// [`StoreError`]: whether the turn is durable is not known.
    pub fn commit(&self, turn: &Turn) -> Result<Committed, StoreError> {
        let _underway = self.underway.begin();
        self.journal.append(turn, || self.engine.make_durable())?;
        let head = self.journal.head();
        self.engine.note(head)?;
        self.stretches.note(turn, head.hash);
        Ok(Committed {
            position: turn.position,
        })
    }

    /// Makes everything else that was written durable.
    ///
    /// # Errors
    /// [`StoreError`]: what was written before may be lost.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _underway = self.underway.begin();
        self.engine.make_durable()
    }

    /// The process as it was after the newest durable turn: the newest whole recorded state, and the journal
    /// applied from there. States that were recorded since, and recordings without a stored part, are waiting in
    /// the process to be taken.
    ///
    /// # Errors
    /// [`StoreError`] where the journal is damaged or has a gap.
    pub fn recover(
        &self,
        me: &ProcessId,
        topology: &Topology,
        open_snapshots_max: usize,
    ) -> Result<(Process, Committed), StoreError> {
        let new = |registers| {
            Process::restore(me.clone(), topology.clone(), open_snapshots_max, registers)
        };
        let (mut process, state) = self.newest_whole_state(&new)?;
        self.states.continue_from(state.as_ref());
        let recorded = state.map(|state| state.recorded.journal);
        let next = process.registers().position.next();
        for entry in self.journal.scan(next, recorded) {
            process.replay(&entry?.turn);
        }
        // Opening has made durable whatever was found.
        let position = process.registers().position;
        Ok((process, Committed { position }))
    }

    // A state whose chunks did not all reach the disk before a crash is passed over: the journal gives it again.
    fn newest_whole_state(
        &self,
        new: &impl Fn(Registers) -> Process,
    ) -> Result<(Process, Option<StoredState>), StoreError> {
        let first = self.journal.first();
        let mut passed_over = None;
        for cut in self.states.cuts() {
            let cut = cut?;
            // What is left of older ones is going.
            if cut.next() < first {
                break;
            }
            match self.restore_state(cut, new) {
                Ok(Some((process, state))) => return Ok((process, Some(state))),
                Ok(None) => {}
                Err(error @ StoreError::Damaged { .. }) => {
                    tracing::warn!(cut = cut.0, %error, "passed over a recorded state that is not whole");
                    passed_over = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if first > Lsn(1) {
            // Without the turns before, a state is all there is to begin with.
            let problem = "no recorded state is whole, and older entries were deleted; put a copy of the store back";
            let what = format!("journal before entry {first}");
            let none = StoreError::damaged(what, Damage::Contradiction(problem.to_owned()));
            return Err(passed_over.unwrap_or(none));
        }
        Ok((new(Registers::default()), None))
    }

    fn restore_state(
        &self,
        cut: Lsn,
        new: &impl Fn(Registers) -> Process,
    ) -> Result<Option<(Process, StoredState)>, StoreError> {
        let Some(state) = self.states.get(cut)? else {
            return Ok(None);
        };
        let contradiction = |problem: &str| {
            let what = schema::name(Kind::State, &schema::position_key(cut));
            StoreError::damaged(what, Damage::Contradiction(problem.to_owned()))
        };
        if cut > self.position() {
            return Err(contradiction("the journal ends before it"));
        }
        if state.recorded.journal != self.journal.hash_up_to(cut)? {
            return Err(contradiction("the journal has another hash there"));
        }
        let mut process = new(state.registers.clone());
        for cell in Cells::new(&self.chunks, &state.recorded.runs, None)? {
            process.restore_cell(cell?);
        }
        let found = (process.bank().len(), process.bank().balance_total());
        if found != (state.recorded.accounts, state.recorded.balance_total) {
            return Err(contradiction("its accounts do not add up to its figures"));
        }
        Ok(Some((process, state)))
    }

    /// The durable turns from `from` on, in order.
    pub fn turns(&self, from: Lsn) -> impl Iterator<Item = Result<Turn, StoreError>> + '_ {
        self.journal.scan(from, None).map(|entry| Ok(entry?.turn))
    }

    /// Writes a sealed state behind the one before, once the turn that sealed it is committed. Not durable before
    /// [`Store::sync`]; a crash before that loses nothing, the journal gives it again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write_state(&self, sealed: Sealed) -> Result<RecordedState, StoreError> {
        let _writing = self.writing();
        let journal = self.journal.hash_up_to(sealed.registers.position)?;
        let recorded = self.states.write(&self.chunks, sealed, journal)?;
        // A backup that is being read needs them all; the next state is written soon.
        if let Some(_deleting) = self.standstill.deleting() {
            self.states.thin(self.journal.first())?;
        }
        Ok(recorded)
    }

    /// The state recorded at a cut, if it is written. One that [`Store::recover`] passed over is not, until it is
    /// written again.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Damaged`] also where a later one is written and this one is gone.
    pub fn state(&self, cut: Lsn) -> Result<Option<RecordedState>, StoreError> {
        let state = self.states.written(cut)?;
        if state.is_none() && self.states.is_behind(cut) {
            let what = schema::name(Kind::State, &schema::position_key(cut));
            let problem = Damage::Contradiction("it is missing".to_owned());
            return Err(StoreError::damaged(what, problem));
        }
        Ok(state.map(|state| state.recorded))
    }

    /// Stores this process's part of a snapshot, durably. One that is stored stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_part(&self, part: &Part) -> Result<(), StoreError> {
        self.put_parts(std::slice::from_ref(part))
    }

    /// Stores this process's parts of snapshots, durably. One that is stored stays as it is.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_parts(&self, parts: &[Part]) -> Result<(), StoreError> {
        for part in parts {
            self.history.put_part(part)?;
        }
        self.sync()
    }

    /// This process's stored part of a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        self.history.part(snapshot)
    }

    /// This process's parts of the snapshots whose complete revision does not hold it, or is among the newest.
    pub fn lone_parts(&self) -> impl Iterator<Item = Result<Part, StoreError>> + '_ {
        self.history.parts()
    }

    /// Every chunk of a part that is not here and can be named; ask again when those are here. One that holds messages
    /// or an index and is damaged is missing: adopting it mends it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn missing_chunks(&self, part: &Part) -> Result<Vec<Hash>, StoreError> {
        let mut missing = Vec::new();
        for run in &part.state.runs {
            missing.append(&mut self.chunks.missing(run)?);
        }
        for hash in part.channels.iter().flat_map(|channel| &channel.chunks) {
            if !self.chunks.holds(hash)? {
                missing.push(*hash);
            }
        }
        Ok(missing)
    }

    /// A chunk in its frame, not packed, for another store to adopt.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] also where it is missing.
    pub fn framed_chunk(&self, hash: &Hash) -> Result<Vec<u8>, StoreError> {
        self.chunks.framed(hash)
    }

    /// Takes over chunks from another store, in their frames.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where one is not what its hash says; those before it are stored then, and no others.
    pub fn adopt_chunks(
        &self,
        chunks: impl IntoIterator<Item = (Hash, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.chunks.adopt(chunks)
    }

    /// What the contents of a part come to, as they are stored here; `me` owns this journal.
    ///
    /// # Errors
    /// [`StoreError`]: what is held is damaged.
    pub fn count(&self, me: &ProcessId, part: &Part) -> Result<Counted, StoreError> {
        let mut counted = Counted::default();
        for run in &part.state.runs {
            let (named, held) = self.chunks.count(run)?;
            counted.chunks_named += named;
            counted.chunks_held += held;
        }
        for channel in &part.channels {
            counted.chunks_named += channel.chunks.len() as u64;
            for recorded in self.messages(channel) {
                counted.messages += 1;
                if let Some(transfer) = recorded?.message.body.transfer() {
                    counted.transfers += 1;
                    counted.amount += i128::from(transfer.amount.units());
                }
            }
            counted.chunks_held += channel.chunks.len() as u64;
        }
        if part.process == *me {
            counted.is_chained = match self.journal.hash_up_to(part.state.position) {
                Ok(hash) => Some(hash == part.state.journal),
                // It was read from the journal, which does not reach back so far any more.
                Err(StoreError::BeforeHorizon { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(counted)
    }

    /// The cells of a recorded state in ascending order, newest run first, from a key on. Reads the disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cells(&self, runs: &[Run], from: Option<(u8, &str)>) -> Result<Cells<'_>, StoreError> {
        Cells::new(&self.chunks, runs, from)
    }

    /// The recorded messages of a channel, in order. Reads the disk, a chunk at a time.
    #[must_use]
    pub fn messages<'a>(&'a self, channel: &'a RecordedChannel) -> Messages<'a> {
        Messages::new(&self.chunks, channel)
    }
}
