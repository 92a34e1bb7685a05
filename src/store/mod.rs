//! The store: sled, used in such a way that its known weaknesses cannot lose money.
//!
//! The journal is the source of truth: one turn is one entry, atomic within one tree, and durable before any of its
//! effects is released. Every other tree can be rebuilt from the newest whole recorded state and the journal after it.
//! The store knows only the types of `process` and `history`.

mod account_index;
mod archive;
mod backup;
mod check;
mod chunks;
mod engine;
mod error;
mod export;
#[cfg(test)]
mod fixture;
mod gaps;
mod history;
mod journal;
mod opening;
mod past;
mod restore;
mod retention;
mod states;
mod stored;

pub use account_index::AccountIndex;
pub use archive::Archive;
pub use backup::BackedUp;
pub use check::verify_revision::{GlobalStateAudit, Wrong};
pub use check::{Bytes, CheckProgress, Examination, Report, Stats};
pub use chunks::Chunks;
pub use chunks::leases::{READING_MAX, ReadLease, WriteLease};
pub use chunks::messages::Messages;
pub use engine::usage::Usage;
pub use engine::{Disk, Medium};
pub use error::StoreError;
pub use export::{Export, ExportError};
pub use gaps::Gaps;
pub use history::proof::{Proof, Proven, RunProof, Unproven};
pub use history::{Due, Limits, Published, RevisionArrival, SnapshotSummary, Unreadable};
pub use journal::Journal;
pub use opening::Migrated;
pub use opening::addresses::{Addresses, MetProcess};
pub use opening::migrate::newest_format;
pub use opening::operator::{Forgotten, NotForgotten};
pub use past::{Marked, Past, StatementPage, StatementQuery};
pub use restore::rebuild::{PassedSince, Untold};
pub use restore::unbooked::unbooked_sentence;
pub use restore::{Rebuilt, Restored};
pub use retention::Retention;
pub use retention::pin::Pin;
pub use retention::sweep::Swept;
pub use retention::trim::Trimmed;
pub use states::merge::Cells;
pub use stored::codec;
pub use stored::frame::Damage;
pub use stored::untrusted::read_values;

use backup::Standstill;
use engine::Engine;
use engine::underway::Underway;
use gaps::caught_up::CaughtUp;
use gaps::ranges::GapRanges;
use gaps::starts::Starts;
use history::History;
use retention::RetentionTree;
use states::States;
use states::composition::Composition;
use stored::frame::Kind;
use stored::state::StoredState;

use crate::history::global::Counted;
use crate::history::part::{Part, RecordedChannel, RecordedState, Run};
use crate::process::Process;
use crate::process::cell::CellKey;
use crate::process::identity::Identity;
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};
use crate::process::record::Turn;
use crate::process::registers::{Registers, Sealed};
use crate::process::topology::Topology;

/// An open store of one process.
pub struct Store {
    journal: Journal,
    states: States,
    /// Numbers such as the format and the boot.
    meta: sled::Tree,
    gaps: GapRanges,
    caught_up: CaughtUp,
    starts: Starts,
    chunks: Chunks,
    history: History,
    account_index: AccountIndex,
    retention: RetentionTree,
    identity: Identity,
    underway: Underway,
    composition: Composition,
    standstill: Standstill,
    /// Last, because it holds the lock: fields are dropped in order, and the trees keep files open.
    engine: Engine,
}

/// Proof that a turn is durable. Only a commit creates one, and no effect of a turn is released without it.
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
    /// The durable turns.
    #[must_use]
    pub fn journal(&self) -> &Journal {
        &self.journal
    }

    /// Balances, totals and statements at any position of the journal.
    #[must_use]
    pub fn past(&self) -> Past<'_> {
        Past { store: self }
    }

    /// What this store cannot know because it is an older copy of itself.
    #[must_use]
    pub fn gaps(&self) -> Gaps<'_> {
        Gaps { store: self }
    }

    /// Pins, deletions, and the sweep of chunks.
    #[must_use]
    pub fn retention(&self) -> Retention<'_> {
        Retention { store: self }
    }

    /// The index of the turns that touch an account.
    #[must_use]
    pub fn account_index(&self) -> &AccountIndex {
        &self.account_index
    }

    /// The content-addressed chunks of states and channels.
    #[must_use]
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// The identity of this store: an id drawn when it was created, and the boot and run of this opening.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
    }

    /// The newest durable position of the journal.
    #[must_use]
    pub fn position(&self) -> Lsn {
        self.journal.head().position
    }

    /// Makes a turn durable. An error is final: the caller must stop.
    ///
    /// # Errors
    /// [`StoreError`]; it is then unknown whether the turn is durable.
    pub fn commit(&self, turn: &Turn) -> Result<Committed, StoreError> {
        let _underway = self.underway.begin();
        self.journal.append(turn, || self.engine.make_durable())?;
        let head = self.journal.head();
        self.engine.note(head)?;
        self.account_index.note(turn, head.hash);
        Ok(Committed {
            position: turn.position,
        })
    }

    /// Makes everything else written so far durable.
    ///
    /// # Errors
    /// [`StoreError`]; data written before may be lost.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _underway = self.underway.begin();
        self.engine.make_durable()
    }

    /// The process as of the newest durable turn: the newest whole recorded state, with the journal applied from there.
    /// States sealed since, and finished recordings without a stored part, wait in the process to be taken.
    ///
    /// # Errors
    /// [`StoreError`] if the journal is damaged or has a gap.
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

    // A state whose chunks did not all reach the disk before a crash is skipped; replaying the journal produces it
    // again.
    fn newest_whole_state(
        &self,
        new: &impl Fn(Registers) -> Process,
    ) -> Result<(Process, Option<StoredState>), StoreError> {
        let first = self.journal.first();
        let mut passed_over = None;
        for cut in self.states.cuts() {
            let cut = cut?;
            // Older states are about to be deleted.
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
            // Without the earlier turns there must be a state to start from.
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
            let what = engine::schema::name(Kind::State, &engine::schema::position_key(cut));
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

    /// The durable turns from `from`, in order.
    pub fn turns(&self, from: Lsn) -> impl Iterator<Item = Result<Turn, StoreError>> + '_ {
        self.journal.scan(from, None).map(|entry| Ok(entry?.turn))
    }

    /// Writes a sealed state after its predecessor, when the turn that sealed it is committed. It is durable after the
    /// next [`Store::sync`]; a crash before that loses nothing, since the journal produces it again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write_state(&self, sealed: Sealed) -> Result<RecordedState, StoreError> {
        let _writing = self.chunks.writing();
        let journal = self.journal.hash_up_to(sealed.registers.position)?;
        let recorded = self.states.write(&self.chunks, sealed, journal)?;
        // A backup in progress needs all states. They are thinned with the next state.
        if let Some(_deleting) = self.standstill.deleting() {
            self.states.thin(self.journal.first())?;
        }
        Ok(recorded)
    }

    /// The state recorded at a cut, if it is written. A state that [`Store::recover`] skipped does not count until it
    /// is written again.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Damaged`] also if a later state is written and this one is missing.
    pub fn state(&self, cut: Lsn) -> Result<Option<RecordedState>, StoreError> {
        let state = self.states.written(cut)?;
        if state.is_none() && self.states.is_behind(cut) {
            let what = engine::schema::name(Kind::State, &engine::schema::position_key(cut));
            let problem = Damage::Contradiction("it is missing".to_owned());
            return Err(StoreError::damaged(what, problem));
        }
        Ok(state.map(|state| state.recorded))
    }

    /// Stores the part of this process for a snapshot durably. An existing part is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_part(&self, part: &Part) -> Result<(), StoreError> {
        self.put_parts(std::slice::from_ref(part))
    }

    /// Stores parts of this process durably. Existing parts are kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_parts(&self, parts: &[Part]) -> Result<(), StoreError> {
        for part in parts {
            self.history.put_part(part)?;
        }
        self.sync()
    }

    /// The stored part of this process for a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn part(&self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        self.history.part(snapshot)
    }

    /// The individually stored parts of this process: those that no packed complete revision contains.
    pub fn lone_parts(&self) -> impl Iterator<Item = Result<Part, StoreError>> + '_ {
        self.history.parts()
    }

    /// The chunks of a part that are missing and whose hashes are known; call it again when these are stored. Damaged
    /// chunks of messages or indexes count as missing; adopting them repairs them.
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

    /// A framed, uncompressed chunk for another store to adopt.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], also if it is missing.
    pub fn framed_chunk(&self, hash: &Hash) -> Result<Vec<u8>, StoreError> {
        self.chunks.framed(hash)
    }

    /// Stores framed chunks of another store.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a chunk does not match its hash; the chunks before it are stored then, the later ones
    /// are not.
    pub fn adopt_chunks(
        &self,
        chunks: impl IntoIterator<Item = (Hash, Vec<u8>)>,
    ) -> Result<(), StoreError> {
        self.chunks.adopt(chunks)
    }

    /// Counts the stored contents of a part; `me` is the owner of this journal.
    ///
    /// # Errors
    /// [`StoreError`]: stored contents are damaged.
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
                // It was read from the journal, which no longer reaches back that far.
                Err(StoreError::BeforeHorizon { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(counted)
    }

    /// The cells of a recorded state in ascending order from a key on; newer runs win. Reads from disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cells(&self, runs: &[Run], from: Option<CellKey<'_>>) -> Result<Cells<'_>, StoreError> {
        Cells::new(&self.chunks, runs, from)
    }

    /// The recorded messages of a channel in order. Reads from disk, one chunk at a time.
    #[must_use]
    pub fn messages<'a>(&'a self, channel: &'a RecordedChannel) -> Messages<'a> {
        Messages::new(&self.chunks, channel)
    }
}
