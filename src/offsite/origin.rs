//! The store from which is shipped, and the way to it while it is in use.

use crate::archive::ArchiveError;
use crate::history::known::RevisionArrival;
use crate::process::ids::{Lsn, SnapshotId};
use crate::store::{GroupReader, Outgoing, OwnParts, Store, StoreError, StoredPin};

/// Why something is not shipped.
#[derive(Debug, thiserror::Error)]
pub enum NotShipped {
    /// The archive cannot be used.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What should be shipped is damaged, or was deleted meanwhile.
    #[error(transparent)]
    Damaged(StoreError),
    /// The store does not answer any more.
    #[error("the store does not answer")]
    Stopping,
}

/// A store from which is shipped: each answer is about what is there now, and may be gone at the next question.
pub trait Origin: 'static {
    /// The cut of the first written state behind a cut.
    ///
    /// # Errors
    /// [`StoreError`].
    fn state_after(&self, cut: Option<Lsn>) -> Result<Option<Lsn>, StoreError>;

    /// The cut of the newest written state.
    fn newest_state(&self) -> Option<Lsn>;

    /// The state at a cut, if it is still there.
    ///
    /// # Errors
    /// [`StoreError`]: it is damaged.
    fn state(&self, cut: Lsn) -> Result<Option<Outgoing>, StoreError>;

    /// The snapshots with a stored part of this process: by itself, or in a packed revision behind the first `packed` arrivals.
    ///
    /// # Errors
    /// [`StoreError`].
    fn own_parts(&self, packed: u64) -> Result<OwnParts, StoreError>;

    /// The part of this process in a snapshot, if it is finished and still there.
    ///
    /// # Errors
    /// [`StoreError`]: it is damaged.
    fn part(&self, snapshot: &SnapshotId) -> Result<Option<Outgoing>, StoreError>;

    /// The snapshots of the history.
    fn snapshots(&self) -> Vec<SnapshotId>;

    /// The revisions that have arrived in the history, in order: at most `limit`, without the first `count`.
    fn revisions_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival>;

    /// The numbers of the revisions of a snapshot.
    fn revisions_of(&self, snapshot: &SnapshotId) -> Vec<u32>;

    /// A published revision, if it is still there.
    ///
    /// # Errors
    /// [`StoreError`]: it is damaged.
    fn revision(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Outgoing>, StoreError>;

    /// The next chunks of a group as they are stored, up to some bytes.
    ///
    /// # Errors
    /// [`StoreError`]: one is missing or damaged.
    fn read(&self, reader: &mut GroupReader, bytes_max: usize) -> Result<Vec<Vec<u8>>, StoreError>;

    /// The number of updates of pins that have arrived.
    fn pins_arrived(&self) -> u64;

    /// The newest update of each pin.
    fn pins(&self) -> Vec<StoredPin>;
}

impl Origin for Store {
    fn state_after(&self, cut: Option<Lsn>) -> Result<Option<Lsn>, StoreError> {
        self.archived().state_after(cut)
    }

    fn newest_state(&self) -> Option<Lsn> {
        self.archived().newest_state()
    }

    fn state(&self, cut: Lsn) -> Result<Option<Outgoing>, StoreError> {
        self.archived().state(cut)
    }

    fn own_parts(&self, packed: u64) -> Result<OwnParts, StoreError> {
        self.archived().own_parts(packed)
    }

    fn part(&self, snapshot: &SnapshotId) -> Result<Option<Outgoing>, StoreError> {
        self.archived().part(snapshot)
    }

    fn snapshots(&self) -> Vec<SnapshotId> {
        self.archived().snapshots()
    }

    fn revisions_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        self.history().revisions_after(count, limit)
    }

    fn revisions_of(&self, snapshot: &SnapshotId) -> Vec<u32> {
        self.history().revisions_of(snapshot)
    }

    fn revision(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Outgoing>, StoreError> {
        self.archived().revision(snapshot, revision)
    }

    fn read(&self, reader: &mut GroupReader, bytes_max: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        self.archived().read(reader, bytes_max)
    }

    fn pins_arrived(&self) -> u64 {
        self.retention().pins_arrived()
    }

    fn pins(&self) -> Vec<StoredPin> {
        self.archived().pins()
    }
}

/// The way to a store that may be in use.
pub trait StoreReader: Sync {
    /// The store.
    type Origin: Origin;

    /// Executes work on the store where it may block.
    fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self::Origin) -> Result<T, StoreError> + Send + 'static,
    ) -> impl Future<Output = Result<T, NotShipped>> + Send;
}
