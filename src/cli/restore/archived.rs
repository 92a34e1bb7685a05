//! `restore --archive`: makes the store of a process again from its archived journal, and fences the lost one off.

use std::path::Path;

use super::super::destination::Destination;
use super::super::output::Report;
use super::super::{CliError, runtime};
use super::Args;
use crate::archive::{ArchiveError, NotFenced, Objects, epochs, fence, journal, probe};
use crate::config::CLUSTER_DEFAULT;
use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId};
use crate::shipping::chain::{Chain, Link};
use crate::shipping::segment::{Owner, WriterId};
use crate::store::{Store, StoreError};

/// Why a store is not restored.
#[derive(Debug, thiserror::Error)]
enum NotRestored {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    NotFenced(#[from] NotFenced),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the archive {url} has no journal of process {process} of cluster {cluster}; check --archive, --cluster and --process"
    )]
    NoJournal {
        url: String,
        process: ProcessId,
        cluster: String,
    },
}

impl From<NotRestored> for CliError {
    fn from(error: NotRestored) -> Self {
        Self::Refused(format!("not restored: {error}"))
    }
}

/// Restores, and prints what was made and how to go on.
pub(super) fn run(args: &Args, url: &str, process: &ProcessId) -> Result<(), CliError> {
    let destination = Destination::check(&args.into)?;
    let cluster = args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
    let objects = Objects::open(url).map_err(NotRestored::from)?;
    let lost = Lost {
        objects: objects.below(cluster).below(process.as_str()),
        owner: Owner {
            cluster: cluster.to_owned(),
            process: process.to_string(),
        },
    };
    let staged = destination.stage()?;
    let (identity, end) = runtime()?.block_on(lost.restore(process, staged.dir()))?;
    staged.move_into_place()?;
    let into = args.into.display();
    let mut report = Report::default();
    report.line(&format!(
        "process {process} is restored into {into} up to turn {end}; its next start is start {}",
        identity.boot + 1
    ));
    report.line(
        "a process that still runs on the lost store stops as soon as it reaches the archive",
    );
    report.line(&format!(
        "start the process with the same archive and this directory: --dir {into} --archive-url {url}"
    ));
    report.print()
}

/// The archive of a process whose store is lost.
struct Lost {
    objects: Objects,
    owner: Owner,
}

impl Lost {
    // Sets a fence first, so that nothing is acknowledged behind what the new store has.
    async fn restore(
        &self,
        process: &ProcessId,
        dir: &Path,
    ) -> Result<(Identity, Lsn), NotRestored> {
        let newest = epochs::newest(&self.objects).await?;
        let newest = newest.ok_or_else(|| NotRestored::NoJournal {
            url: self.objects.url().to_owned(),
            process: process.clone(),
            cluster: self.owner.cluster.clone(),
        })?;
        let store = Store::create_archived(dir, &self.owner.cluster, process, newest.identity)?;
        let identity = store.identity();
        probe::probe(&self.objects, identity.run).await?;
        let epoch = epochs::claim(&self.objects, identity).await?;
        let id = WriterId { epoch, identity };
        let begin = journal::boundary(&self.objects).await?;
        fence(&self.objects, self.owner.clone(), id, 1, begin).await?;
        let end = self.fill(&store, begin).await?;
        store.note_gap_at_end()?;
        Ok((identity, end))
    }

    async fn fill(&self, store: &Store, begin: Link) -> Result<Lsn, NotRestored> {
        let mut chain = Chain::behind(begin);
        while let Some(head) = journal::next_head(&self.objects, &mut chain).await? {
            if head.is_fence() {
                continue;
            }
            let segment = journal::counted(&self.objects, &head).await?;
            for framed in segment.entries() {
                let framed = framed.map_err(|error| self.objects.damaged("journal", error))?;
                store.append_archived(framed)?;
            }
        }
        store.sync_journal()?;
        Ok(chain.last().journal.position)
    }
}
