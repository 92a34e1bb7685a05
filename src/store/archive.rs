//! Read access to the history of a stopped node's store, through a copy; the store itself is not written to.

use std::path::Path;

use tempfile::TempDir;

use super::CheckProgress;
use super::check::verify_revision::GlobalStateAudit;
use super::check::{LockedDirectory, OpenedCopy};
use super::chunks::source::ChunkSource;
use super::engine::durable_watermark::StoreFiles;
use super::engine::files;
use super::engine::schema;
use super::engine::schema::{OWNER, Trees};
use super::error::StoreError;
use super::history::trees::HistoryTrees;
use super::history::{Published, RevisionBlocks};
use super::journal::Journal;
use super::retention::was_deleted;
use super::stored::frame::Kind;
use super::stored::v1::state::OwnerV1;
use crate::history::part::Chunk;
use crate::process::ids::{Hash, ProcessId, SnapshotId};

/// A copy of a store, opened for its history.
pub struct Archive {
    cluster: String,
    process: ProcessId,
    history: HistoryTrees,
    opened: OpenedCopy,
    /// Dropped after `opened`, which has files open in it.
    _copy: TempDir,
}

impl Archive {
    /// Copies the store of a stopped node to a directory under `scratch` and opens the copy.
    ///
    /// # Errors
    /// [`StoreError`]: there is no store, a node runs on it, there is no space for a copy, or it has damage that would
    /// stop a node.
    pub fn open(
        dir: &Path,
        scratch: &Path,
        step: &dyn Fn(CheckProgress),
    ) -> Result<Self, StoreError> {
        let copy = LockedDirectory::take(dir)?.copy(scratch, step)?;
        let files = copy.path();
        let store_files = StoreFiles { files, named: dir };
        store_files.check_log()?;
        let (opened, _) = OpenedCopy::open(files)?;
        let trees = &opened.trees;
        let journal = Journal::open(trees)?;
        store_files.check(&journal)?;
        let owner = schema::get::<OwnerV1>(&trees.meta, OWNER, Kind::Owner)?;
        let owner = owner.ok_or_else(|| files::absent(dir))?;
        Ok(Self {
            cluster: owner.cluster,
            history: HistoryTrees::open(
                owner.process.clone(),
                trees.history.clone(),
                trees.parts.clone(),
                RevisionBlocks::new(trees.heads.clone(), trees.bodies.clone()),
                &journal,
            )?,
            opened,
            process: owner.process,
            _copy: copy,
        })
    }

    /// The name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The process that owned the store.
    #[must_use]
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    pub(super) fn trees(&self) -> &Trees {
        &self.opened.trees
    }

    /// The newest complete snapshot of this history.
    #[must_use]
    pub fn newest_complete(&self) -> Option<SnapshotId> {
        self.history.newest_complete()
    }

    /// The newest revision of a snapshot in this history.
    ///
    /// # Errors
    /// [`StoreError`]: the revision is damaged.
    pub fn published(&self, snapshot: &SnapshotId) -> Result<Option<Published>, StoreError> {
        self.history.newest(snapshot)
    }

    /// Whether a snapshot was deleted from this history; `false` if the mark is unreadable.
    #[must_use]
    pub fn is_deleted(&self, snapshot: &SnapshotId) -> bool {
        was_deleted(&self.opened.trees.retention, snapshot).unwrap_or(false)
    }

    /// Recomputes every figure of a revision from the contents.
    ///
    /// # Errors
    /// [`StoreError`]: a chunk is missing or damaged.
    pub fn audit(&self, published: &Published) -> Result<GlobalStateAudit, StoreError> {
        GlobalStateAudit::of(self, &published.state)
    }
}

impl ChunkSource for Archive {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        self.opened.chunks.chunk(hash)
    }
}
