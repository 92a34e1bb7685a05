//! The store: sled, used in such a way that its known weaknesses cannot lose money.
//!
//! The journal is the source of truth: one turn is one entry, atomic within one tree, and durable before any of its
//! effects is released. Every other tree can be rebuilt from the newest whole recorded state and the journal after it.
//! The store knows only the types of `process` and `history`.
//!
//! [`Store`] opens, recovers, commits, backs up and checks. Everything else belongs to a facet, one per subject:
//!
//! 1. [`Journal`]: the durable turns.
//! 2. [`States`]: the states recorded between two turns.
//! 3. [`Chunks`]: the content of states and channels, stored by hash.
//! 4. [`Parts`]: what a process has recorded for a snapshot.
//! 5. [`History`]: the published revisions of global states.
//! 6. [`Past`]: balances, totals and statements at any position of the journal; [`AccountIndex`] makes them fast.
//! 7. [`Gaps`]: what the journal cannot know because the store is an older copy of itself.
//! 8. [`Retention`]: what is pinned, due and deleted.
//! 9. [`Archived`]: what goes to an archive beside the journal, and comes back.

mod account_index;
mod archived;
mod backup;
mod beginning;
mod check;
mod chunks;
mod copied;
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
mod replayed;
mod restore;
mod retention;
mod states;
mod stored;

pub use crate::history::pin::Pin;
pub use account_index::AccountIndex;
pub use archived::{
    Archived, Arrived, ChunkGroup, GroupReader, Incoming, Outgoing, OwnClaim, OwnParts, Salts,
    ShippedLink, StateNeeds, StoredPin, groups_of_stored_part, groups_of_stored_state,
    needs_of_stored_state, pin_of_stored, totals_of_stored_state,
};
pub use backup::BackedUp;
pub use beginning::{LostBeginning, LostMessages, first_messages};
pub use check::verify_revision::{GlobalStateAudit, Wrong};
pub use check::{Bytes, CheckProgress, DecisionLine, Examination, Report, Stats};
pub use chunks::Chunks;
pub use chunks::leases::{READING_MAX, ReadLease, WriteLease};
pub use chunks::messages::Messages;
pub use copied::CopiedStore;
pub use engine::usage::Usage;
pub use engine::{Disk, Medium};
pub use error::StoreError;
pub use export::{Export, ExportError};
pub use gaps::{Gaps, KnownGaps, Unknown};
pub use history::parts::Parts;
pub use history::proof::{
    AbsentCell, Branch, CellPlace, Disclosure, FoundCell, Neighbour, NeighbourName, Proof, Proven,
    RunProof, Unproven, WholeChunks,
};
pub use history::{Due, History, Limits, Published, SnapshotSummary, Stretch, Unreadable};
pub use journal::{Journal, StoredTurn};
pub use opening::Migrated;
pub use opening::addresses::{Addresses, MetProcess};
pub use opening::migrate::newest_format;
pub use opening::operator::{Forgotten, NotForgotten};
pub use past::{Marked, Past, StatementPage, StatementQuery};
pub use replayed::ReplayedStore;
pub use restore::rebuild::{PassedSince, Untold};
pub use restore::unbooked::unbooked_sentence;
pub use restore::{Rebuilt, Restored};
pub use retention::Retention;
pub use retention::known_limits::HistoryLimits;
pub use retention::sweep::Swept;
pub use retention::tabled::Tabled;
pub use retention::trim::Trimmed;
pub use states::States;
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
use history::trees::HistoryTrees;
use past::recent::RecentTotals;
use retention::RetentionTree;
use states::StateTree;
use states::composition::Composition;
use stored::frame::Kind;
use stored::state::StoredState;

use crate::process::Process;
use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::process::record::Turn;
use crate::process::recording::Recording;
use crate::process::registers::Registers;
use crate::process::topology::Topology;

/// The most bytes that are stored under one key.
pub const STORED_BYTES_MAX: usize = stored::frame::HEADER_BYTES + stored::frame::VALUE_BYTES_MAX;

/// An open store of one process.
pub struct Store {
    journal: Journal,
    states: StateTree,
    /// Numbers such as the format and the boot.
    meta: sled::Tree,
    gaps: GapRanges,
    caught_up: CaughtUp,
    starts: Starts,
    chunks: Chunks,
    history: HistoryTrees,
    account_index: AccountIndex,
    retention: RetentionTree,
    identity: Identity,
    underway: Underway,
    composition: Composition,
    recent_totals: RecentTotals,
    standstill: Standstill,
    /// Last, because it holds the lock: fields are dropped in order, and the trees keep files open.
    engine: Engine,
}

/// Proof that a turn is durable. Only a commit or a recovery creates one, and no effect of a turn is released without it.
#[derive(Debug, Clone, Copy)]
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

    /// The recorded states of this process.
    #[must_use]
    pub fn states(&self) -> States<'_> {
        States { store: self }
    }

    /// The content-addressed chunks of states and channels.
    #[must_use]
    pub fn chunks(&self) -> &Chunks {
        &self.chunks
    }

    /// What a process has recorded for a snapshot.
    #[must_use]
    pub fn parts(&self) -> Parts<'_> {
        Parts { store: self }
    }

    /// The published revisions of global states.
    #[must_use]
    pub fn history(&self) -> History<'_> {
        History { store: self }
    }

    /// Balances, totals and statements at any position of the journal.
    #[must_use]
    pub fn past(&self) -> Past<'_> {
        Past { store: self }
    }

    /// The index of the turns that touch an account.
    #[must_use]
    pub fn account_index(&self) -> &AccountIndex {
        &self.account_index
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

    /// The identity of this store: an id drawn when it was created, and the boot and run of this opening.
    #[must_use]
    pub fn identity(&self) -> Identity {
        self.identity
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

    /// All other processes can read salted chunks: the next recorded state is salted, and all after it.
    pub fn allow_salted_chunks(&self) {
        if let Some(salting) = &self.chunks.salting {
            salting.allow();
        }
    }

    /// Its directory.
    #[must_use]
    pub fn dir(&self) -> &std::path::Path {
        &self.engine.dir
    }

    /// Makes everything else written so far durable.
    ///
    /// # Errors
    /// [`StoreError`]; data written before may be lost.
    pub fn sync(&self) -> Result<(), StoreError> {
        let _underway = self.underway.begin();
        self.engine.make_durable()
    }

    /// Packs some old revisions and turns if many are stored individually. Call it after each revision: it packs more
    /// than one snapshot of a quiet cluster adds. In a busy cluster the remaining turns stay individual.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn pack(&self) -> Result<(), StoreError> {
        self.history().pack()?;
        if let (Some(_deleting), Some(state)) =
            (self.standstill.deleting(), self.states.newest_cut())
        {
            self.journal.pack(state, || self.sync())?;
        }
        Ok(())
    }

    /// The process as of the newest durable turn: the newest whole recorded state, with the journal applied from there.
    /// States sealed since, and finished recordings without a stored part, wait in the process to be taken. Parts that the
    /// journal says are stored, and that are not, are stored again here: the archive from which a store was made may have lacked
    /// them.
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
        let from = process.registers().position;
        let mut lacking = Vec::new();
        for entry in self.journal.scan(from.next(), recorded) {
            let turn = entry?.turn;
            for recording in process.stored_by(&turn) {
                // A state that is not written again may be stored.
                let has_state = recording.cut >= from
                    || self
                        .states
                        .get(recording.cut)
                        .is_ok_and(|state| state.is_some());
                if has_state && !self.has_part(&recording.snapshot)? {
                    lacking.push(recording.clone());
                }
            }
            process.replay(&turn);
        }
        self.store_again(&mut process, lacking)?;
        // Opening has made durable whatever was found.
        let position = process.registers().position;
        Ok((process, Committed { position }))
    }

    // Stores the parts of these recordings again, each before any later state: a recovery from that would not know the recording.
    fn store_again(
        &self,
        process: &mut Process,
        mut lacking: Vec<Recording>,
    ) -> Result<(), StoreError> {
        lacking.sort_by_key(|recording| recording.cut);
        for together in lacking.chunk_by(|one, next| one.cut == next.cut) {
            for sealed in process.take_sealed_until(together[0].cut) {
                self.states().write(sealed)?;
                self.sync()?;
            }
            for recording in together {
                match self.parts().build(process.id(), recording) {
                    Ok(part) => self.parts().put_all(part.as_slice())?,
                    Err(error) if error.is_fatal() => return Err(error),
                    Err(error) => {
                        let snapshot = &recording.snapshot;
                        tracing::warn!(%snapshot, %error, "cannot store the part again");
                    }
                }
            }
        }
        Ok(())
    }

    // Whether the own part of a snapshot is stored, or deleted. Damage is for `store check`.
    fn has_part(&self, snapshot: &SnapshotId) -> Result<bool, StoreError> {
        if self.retention().is_deleted(snapshot) {
            return Ok(true);
        }
        match self.history.part(snapshot) {
            Ok(part) => Ok(part.is_some()),
            Err(StoreError::Damaged { .. }) => Ok(true),
            Err(error) => Err(error),
        }
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
                    tracing::warn!(cut = cut.0, %error, "skipped an incomplete recorded state");
                    passed_over = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        if first > Lsn(1) {
            // Without the earlier turns there must be a state to start from.
            let problem = "no recorded state is complete, and older entries were deleted; restore the store from a backup";
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
        if cut > self.journal.position() {
            return Err(contradiction("the journal ends before its position"));
        }
        if state.recorded.journal != self.journal.hash_up_to(cut)? {
            return Err(contradiction(
                "the journal has another hash at its position",
            ));
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
}
