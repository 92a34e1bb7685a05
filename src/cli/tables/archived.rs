//! The stores of the processes of an archive, replayed from their journals in a scratch directory.

use std::path::Path;

use tokio::runtime::Handle as Runtime;

use crate::archive::walk::Segments;
use crate::archive::{ArchiveError, Objects, epochs, gaps, journal};
use crate::offsite::memory;
use crate::offsite::past::{ArchivedJournal, NotArchived, journals};
use crate::offsite::refill;
use crate::offsite::refill::{NotFilled, Successor, Wanted};
use crate::process::ids::ProcessId;
use crate::process::topology::{Topology, TopologyError};
use crate::shipping::JournalPoint;
use crate::shipping::chain::{Chain, Link};
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
    #[error(transparent)]
    NotFilled(#[from] NotFilled),
    #[error("what is left of the archive would be incomplete: {0}")]
    Incomplete(String),
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
        let source = &found.ok_or_else(no_writer)?.source;
        let objects = source.process();
        if runtime.block_on(journal::begins_behind(objects))? != JournalPoint::default() {
            // What was before the first turn is in the states and parts.
            let successor = runtime.block_on(Successor::of(source))?;
            let wanted = Wanted {
                revisions: false,
                ..Wanted::ALL
            };
            let made = refill::make(dir, source, &successor, wanted, &|_| {});
            let (store, mut filled) = runtime.block_on(made)?;
            return match filled.left_out.pop() {
                None => Ok(store),
                Some(why) => Err(NotReplayed::Incomplete(why)),
            };
        }
        let writer = runtime.block_on(epochs::newest(objects))?;
        let identity = writer.ok_or_else(no_writer)?.identity;
        let topology = Topology::full(&self.processes())?;
        let mut replayed = ReplayedStore::create(dir, &self.cluster, process, identity, topology)?;
        let mut segments = Segments::along(objects, Chain::behind(Link::default()));
        while let Some(segment) = runtime.block_on(segments.next())? {
            for framed in segment.entries() {
                let framed = framed.map_err(|error| objects.damaged("journal", error))?;
                replayed.push(framed)?;
            }
        }
        let store = replayed.finish()?;
        // Behind the turns: a gap is noted before the turn that ends it.
        let gaps = runtime.block_on(gaps::read(objects))?;
        memory::take_gaps(&store, &gaps.until(store.journal().position()))?;
        Ok(store)
    }
}
