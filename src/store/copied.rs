//! A whole store in a copy, for readers of everything: the store of a stopped node itself is not written to.

use std::path::Path;

use tempfile::TempDir;

use super::Store;
use super::check::verify_revision::GlobalStateAudit;
use super::check::{CheckProgress, LockedDirectory, OpenedCopy};
use super::engine::durable_watermark::StoreFiles;
use super::error::StoreError;
use super::history::Published;
use super::journal::Journal;
use super::opening;
use super::opening::Stopped;
use super::stored::v1::state::OwnerV1;
use crate::process::ids::{ProcessId, SnapshotId};

/// A copy of a store, open.
pub struct CopiedStore {
    cluster: String,
    process: ProcessId,
    store: Store,
    /// Dropped after `store`, which has files open in it.
    _copy: TempDir,
}

impl CopiedStore {
    /// Copies the store of a stopped node to a directory under `scratch` and opens the copy.
    ///
    /// # Errors
    /// [`StoreError`]: there is no store, a node runs on it, there is no space for a copy, or it has damage that would stop a
    /// node.
    pub fn open(
        dir: &Path,
        scratch: &Path,
        step: &dyn Fn(CheckProgress),
    ) -> Result<Self, StoreError> {
        let copy = LockedDirectory::take(dir)?.copy(scratch, step)?;
        let files = copy.path();
        let store_files = StoreFiles { files, named: dir };
        store_files.check_log()?;
        // Migrates the copy.
        drop(OpenedCopy::open(files)?);
        let Stopped {
            engine,
            trees,
            owner,
        } = opening::stopped_of_newest_format(files)?;
        let journal = Journal::open(&trees)?;
        store_files.check(&journal)?;
        let identity = opening::identity(&trees, owner.store)?;
        let OwnerV1 {
            cluster, process, ..
        } = owner;
        let store = Store::assemble(engine, trees, process.clone(), journal, identity)?;
        store.continue_from_newest()?;
        Ok(Self {
            cluster,
            process,
            store,
            _copy: copy,
        })
    }

    /// The name of the cluster.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The process that owns the store.
    #[must_use]
    pub fn process(&self) -> &ProcessId {
        &self.process
    }

    /// The newest complete snapshot of its history.
    #[must_use]
    pub fn newest_complete(&self) -> Option<SnapshotId> {
        self.store.history().newest_complete()
    }

    /// The newest revision of a snapshot in its history.
    ///
    /// # Errors
    /// [`StoreError`]: the revision is damaged.
    pub fn published(&self, snapshot: &SnapshotId) -> Result<Option<Published>, StoreError> {
        self.store.history().published(snapshot)
    }

    /// Whether a snapshot was deleted from its history.
    #[must_use]
    pub fn is_deleted(&self, snapshot: &SnapshotId) -> bool {
        self.store.retention().is_deleted(snapshot)
    }

    /// Recomputes every figure of a revision from the contents.
    ///
    /// # Errors
    /// [`StoreError`]: a chunk is missing or damaged.
    pub fn audit(&self, published: &Published) -> Result<GlobalStateAudit, StoreError> {
        GlobalStateAudit::of(&self.store.chunks, &published.state)
    }

    /// The copy.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }
}

impl Store {
    /// Takes the newest recorded state whose chunks are all here for the newest written one, as a recovery does, without restoring
    /// the process from it. Questions about the past are answered then.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn continue_from_newest(&self) -> Result<(), StoreError> {
        for cut in self.states.cuts() {
            let cut = cut?;
            if cut > self.journal.position() || cut.next() < self.journal.first() {
                continue;
            }
            let Some(state) = self.states.get(cut)? else {
                continue;
            };
            if state.recorded.journal != self.journal.hash_up_to(cut)? {
                continue;
            }
            let mut is_whole = true;
            for run in &state.recorded.runs {
                is_whole &= self.chunks.missing(run)?.is_empty();
            }
            if is_whole {
                self.states.continue_from(Some(&state));
                break;
            }
        }
        Ok(())
    }
}
