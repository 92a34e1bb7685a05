//! A store that is being filled from the archive.

use crate::archive::rebuilt::RebuiltFigures;
use crate::history::pin::Pin;
use crate::offsite::memory;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, SnapshotId};
use crate::process::record::Turn;
use crate::shipping::chain::Link;
use crate::shipping::gaps::NotedGaps;
use crate::shipping::segment::WriterId;
use crate::store::{Arrived, ChunkGroup, Incoming, LostBeginning, Published, Store, StoreError};

/// A store that is being filled. Everything is compared with its hash or decoded before it is stored; what is refused leaves
/// nothing.
#[expect(
    clippy::missing_errors_doc,
    reason = "each error is one of the store: it cannot be read or written, or what it is given is damaged"
)]
pub trait NewStore: Sync {
    /// The first turn of the journal.
    fn first(&self) -> Lsn;

    /// The last turn of the journal, and its hash.
    fn end(&self) -> (Lsn, Hash);

    /// The instant of the last turn.
    fn ends_at(&self) -> Result<Hlc, StoreError>;

    /// Lets the empty journal begin behind a stored state.
    fn begin_at(&self, cut: Lsn) -> Result<(), StoreError>;

    /// Appends turns of the archive, without those from the first that is not wanted on. Returns whether all were wanted.
    fn append_while(
        &self,
        turns: Vec<&[u8]>,
        is_wanted: &dyn Fn(&Turn) -> bool,
    ) -> Result<bool, StoreError>;

    /// Stores chunks, each under its own hash.
    fn put_chunks(&self, stored: Vec<Vec<u8>>) -> Result<(), StoreError>;

    /// Those of these groups of chunks that are not stored completely.
    fn lacking(&self, groups: Vec<ChunkGroup>) -> Result<Vec<ChunkGroup>, StoreError>;

    /// Stores the state at a cut, whose chunks are here.
    fn put_state(&self, cut: Lsn, stored: &[u8]) -> Result<Arrived, StoreError>;

    /// Stores the own part of a snapshot, whose chunks are here. `until`: only if it was finished by then.
    fn put_part(&self, stored: &[u8], until: Option<Lsn>) -> Result<Arrived, StoreError>;

    /// Reads a revision, whatever it names.
    fn published(&self, stored: &[u8]) -> Result<Published, StoreError>;

    /// Marks snapshots that began at these instants as deleted.
    fn note_deleted(&self, snapshots: Vec<(SnapshotId, Hlc)>) -> Result<(), StoreError>;

    /// Reads a revision.
    fn incoming(&self, stored: &[u8]) -> Result<Incoming, StoreError>;

    /// Stores a published revision, whose chunks are here.
    fn put_revision(&self, stored: &[u8]) -> Result<Arrived, StoreError>;

    /// Notes updates of pins. Returns the number of pinned snapshots.
    fn note_pins(&self, pins: Vec<(SnapshotId, Pin)>) -> Result<u64, StoreError>;

    /// Notes that states before this one may be lost, so that none is missed.
    fn note_states_begin(&self, cut: Lsn) -> Result<(), StoreError>;

    /// Notes that parts that were stored up to the newest turn may be missing: the archive may lack them.
    fn note_parts_may_be_missing(&self) -> Result<(), StoreError>;

    /// Notes the gaps of the journal.
    fn note_gaps(&self, gaps: &NotedGaps) -> Result<(), StoreError>;

    /// Notes what was booked when the lost store was made again from its peers.
    fn note_rebuilt(&self, figures: RebuiltFigures) -> Result<(), StoreError>;

    /// Makes the journal durable.
    fn sync(&self) -> Result<(), StoreError>;

    /// Goes on with the newest whole state, so that questions about the past are answered.
    fn continue_from_newest(&self) -> Result<(), StoreError>;

    /// What is needed of the turns before the first one.
    fn lost_beginning(&self) -> Result<LostBeginning, StoreError>;

    /// Remembers, durably, the newest archived segment, and the claim with which the process was taken over.
    fn remember(&self, last: Link, claim: WriterId) -> Result<(), StoreError>;
}

impl NewStore for Store {
    fn first(&self) -> Lsn {
        self.journal().begins_at()
    }

    fn end(&self) -> (Lsn, Hash) {
        self.journal().end()
    }

    fn ends_at(&self) -> Result<Hlc, StoreError> {
        self.archived().ends_at()
    }

    fn begin_at(&self, cut: Lsn) -> Result<(), StoreError> {
        self.archived().begin_at(cut)
    }

    fn append_while(
        &self,
        turns: Vec<&[u8]>,
        is_wanted: &dyn Fn(&Turn) -> bool,
    ) -> Result<bool, StoreError> {
        let all = self.append_archived_while(turns, is_wanted)?;
        self.account_index().write_full()?;
        Ok(all)
    }

    fn put_chunks(&self, stored: Vec<Vec<u8>>) -> Result<(), StoreError> {
        self.archived().put_chunks(stored)
    }

    fn lacking(&self, groups: Vec<ChunkGroup>) -> Result<Vec<ChunkGroup>, StoreError> {
        self.archived().lacking(groups)
    }

    fn put_state(&self, cut: Lsn, stored: &[u8]) -> Result<Arrived, StoreError> {
        self.archived().put_state(cut, stored)
    }

    fn put_part(&self, stored: &[u8], until: Option<Lsn>) -> Result<Arrived, StoreError> {
        self.archived().put_part(stored, until)
    }

    fn published(&self, stored: &[u8]) -> Result<Published, StoreError> {
        self.archived().published(stored)
    }

    fn note_deleted(&self, snapshots: Vec<(SnapshotId, Hlc)>) -> Result<(), StoreError> {
        self.archived().note_deleted(snapshots)
    }

    fn incoming(&self, stored: &[u8]) -> Result<Incoming, StoreError> {
        self.archived().incoming(stored)
    }

    fn put_revision(&self, stored: &[u8]) -> Result<Arrived, StoreError> {
        self.archived().put_revision(stored)
    }

    fn note_pins(&self, pins: Vec<(SnapshotId, Pin)>) -> Result<u64, StoreError> {
        let retention = self.retention();
        retention.note_pins(pins)?;
        let pins = retention.pins();
        Ok(pins.iter().filter(|(_, pin)| pin.pinned).count() as u64)
    }

    fn note_states_begin(&self, cut: Lsn) -> Result<(), StoreError> {
        self.archived().note_states_begin(cut)
    }

    fn note_parts_may_be_missing(&self) -> Result<(), StoreError> {
        self.archived().note_parts_may_be_missing()
    }

    fn note_gaps(&self, gaps: &NotedGaps) -> Result<(), StoreError> {
        memory::take_gaps(self, gaps)
    }

    fn note_rebuilt(&self, figures: RebuiltFigures) -> Result<(), StoreError> {
        memory::take_rebuilt_figures(self, figures)
    }

    fn sync(&self) -> Result<(), StoreError> {
        self.sync_journal()
    }

    fn continue_from_newest(&self) -> Result<(), StoreError> {
        Store::continue_from_newest(self)
    }

    fn lost_beginning(&self) -> Result<LostBeginning, StoreError> {
        Store::lost_beginning(self)
    }

    fn remember(&self, last: Link, claim: WriterId) -> Result<(), StoreError> {
        memory::remember(self, last)?;
        memory::remember_claim(self, claim)?;
        self.sync_journal()
    }
}
