//! The stores of the processes of an archive, replayed from their journals in a scratch directory.

use std::path::Path;

use tokio::runtime::Handle as Runtime;

use crate::archive::walk::Segments;
use crate::archive::{ArchiveError, Objects, epochs, journal};
use crate::cli::archived::{ArchivedJournal, NotArchived, journals};
use crate::process::ids::{Lsn, ProcessId};
use crate::process::topology::{Topology, TopologyError};
use crate::shipping::chain::Chain;
use crate::store::{ReplayedStore, Store, StoreError};

/// Why a journal of the archive cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotReplayed {
    #[error(transparent)]
    NotArchived(#[from] NotArchived),
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Topology(#[from] TopologyError),
    #[error(
        "the archive has deleted the first turns of {0} (archive.keep), and a journal is replayed from its beginning; restore the \
         stores of the processes from the archive and export those"
    )]
    Shortened(ProcessId),
    #[error("a scratch directory cannot be made: {0}; name another one with --scratch")]
    Scratch(std::io::Error),
    #[error("the archive has turns of {0} and no start that wrote them")]
    NoWriter(ProcessId),
}

/// The journals of a cluster in its archive.
pub(super) struct ArchivedCluster {
    cluster: String,
    journals: Vec<ArchivedJournal>,
}

impl ArchivedCluster {
    /// Finds the processes.
    pub(super) fn find(
        archive: &Objects,
        cluster: &str,
        runtime: &Runtime,
    ) -> Result<Self, NotReplayed> {
        Ok(Self {
            cluster: cluster.to_owned(),
            journals: runtime.block_on(journals(archive, cluster))?,
        })
    }

    /// The name of the cluster.
    pub(super) fn cluster(&self) -> &str {
        &self.cluster
    }

    /// The processes, in order.
    pub(super) fn processes(&self) -> Vec<ProcessId> {
        let journals = self.journals.iter();
        journals.map(|journal| journal.process.clone()).collect()
    }

    /// The store of a process, in a new directory. The archive is only read.
    pub(super) fn replay(
        &self,
        process: &ProcessId,
        dir: &Path,
        runtime: &Runtime,
    ) -> Result<Store, NotReplayed> {
        let no_writer = || NotReplayed::NoWriter(process.clone());
        let found = self.journals.iter().find(|one| one.process == *process);
        let objects = &found.ok_or_else(no_writer)?.objects;
        let writer = runtime.block_on(epochs::newest(objects))?;
        let identity = writer.ok_or_else(no_writer)?.identity;
        let topology = Topology::full(&self.processes())?;
        let mut replayed = ReplayedStore::create(dir, &self.cluster, process, identity, topology)?;
        let begin = runtime.block_on(journal::boundary(objects))?;
        if begin.journal.position > Lsn(0) {
            return Err(NotReplayed::Shortened(process.clone()));
        }
        let mut segments = Segments::along(objects, Chain::behind(begin));
        while let Some(segment) = runtime.block_on(segments.next())? {
            for framed in segment.entries() {
                let framed = framed.map_err(|error| objects.damaged("journal", error))?;
                replayed.push(framed)?;
            }
        }
        Ok(replayed.finish()?)
    }
}
