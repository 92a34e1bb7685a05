//! `snapshot verify --archive`: a snapshot as the archive has it, and what the archived journals say of its processes at the cut.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;

use super::Revision;
use crate::api::time::rfc3339;
use crate::api::{ITS_ID_IS_LATEST, LATEST};
use crate::archive::{ArchiveError, Objects, kept};
use crate::cli::archived::PATIENCE;
use crate::cli::progress::{BYTES, bar};
use crate::cli::scratch::within;
use crate::cli::{CliError, runtime};
use crate::config::CLUSTER_DEFAULT;
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::offsite::Source;
use crate::offsite::past::{ArchivedJournal, NotArchived, Share};
use crate::offsite::refill::{NotFilled, Until, load_revision};
use crate::process::identity::Identity;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::shipping::object::{RevisionKey, SnapshotName};
use crate::shipping::segment::Owner;
use crate::store::{Export, ExportError, Published, Store, StoreError};

/// The archive to read from.
#[derive(Debug, clap::Args)]
pub(super) struct ArchiveOptions {
    /// Read the snapshot from this archive, and compare it with the journals there; no node is asked.
    #[arg(long, value_name = "URL", conflicts_with = "proof")]
    archive: Option<String>,
    /// The name of the cluster in the archive [default: demo].
    #[arg(long, value_name = "NAME", requires = "archive")]
    cluster: Option<String>,
    /// The directory for a working copy of the snapshot. Default: the system's temporary directory.
    #[arg(long, value_name = "DIR", requires = "archive")]
    scratch: Option<PathBuf>,
}

/// Why a snapshot cannot be read from an archive.
#[derive(Debug, thiserror::Error)]
enum NotRead {
    #[error(transparent)]
    NotArchived(#[from] NotArchived),
    #[error(transparent)]
    NotFilled(#[from] NotFilled),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error("the working copy cannot be written: {0}; name another directory with --scratch")]
    Scratch(#[from] std::io::Error),
    #[error("the archive has no {what} of cluster {cluster}")]
    NoSnapshot { what: String, cluster: String },
    #[error("the archive has this snapshot, but not everything in it: {0}")]
    Incomplete(String),
    #[error("{0}")]
    Runtime(CliError),
}

impl From<ArchiveError> for NotRead {
    fn from(error: ArchiveError) -> Self {
        Self::NotArchived(error.into())
    }
}

impl From<NotRead> for CliError {
    fn from(error: NotRead) -> Self {
        match error {
            NotRead::Runtime(error) => error,
            error => Self::CheckFailed(format!("not verified: {error}")),
        }
    }
}

/// A snapshot as the archive has it.
pub(super) struct ArchivedSnapshot {
    pub(super) export: Export,
    pub(super) journals: Journals,
}

/// What the archived journal of each process says at the cut, or why it says nothing.
pub(super) type Journals = BTreeMap<ProcessId, Result<Share, NotCompared>>;

/// Why a process was not compared with its archived journal.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotCompared {
    /// The archive does not have it at the cut.
    #[error("{0}")]
    Absent(String),
    /// It is damaged.
    #[error("{0}")]
    Damaged(String),
}

/// What is looked for.
struct Wanted {
    url: String,
    cluster: String,
    /// `None`: the newest complete one.
    snapshot: Option<SnapshotId>,
    revision: Option<u32>,
}

impl ArchiveOptions {
    /// Whether an archive is given.
    pub(super) fn is_given(&self) -> bool {
        self.archive.is_some()
    }

    /// Reads a snapshot, or `latest`, and the journals of its processes. The working copy is removed.
    pub(super) fn read(
        &self,
        subject: &str,
        revision: &Revision,
    ) -> Result<ArchivedSnapshot, CliError> {
        let snapshot = match subject {
            LATEST => None,
            ITS_ID_IS_LATEST => Some(LATEST),
            id => Some(id),
        };
        let snapshot = snapshot.map(SnapshotId::parse).transpose();
        let wanted = Wanted {
            url: self.archive.clone().unwrap_or_default(),
            cluster: self
                .cluster
                .as_deref()
                .unwrap_or(CLUSTER_DEFAULT)
                .to_owned(),
            snapshot: snapshot.map_err(|why| CliError::Usage(format!("{subject}: {why}")))?,
            revision: revision.revision,
        };
        Ok(within(self.scratch.as_deref(), move |scratch| {
            runtime()
                .map_err(NotRead::Runtime)?
                .block_on(wanted.read(scratch))
        })??)
    }
}

impl Wanted {
    async fn read(&self, scratch: &Path) -> Result<ArchivedSnapshot, NotRead> {
        let archive = Objects::open(&self.url)?.patient(PATIENCE).remembering();
        // A store of no process of the cluster: all parts are those of others.
        let me = ProcessId::parse("verifier").expect("a valid id");
        let owner = Owner {
            cluster: self.cluster.clone(),
            process: me.to_string(),
        };
        let source = Source::new(&archive, owner);
        let (store, boot, run) = ([0; 16], 0, 0);
        let identity = Identity { store, boot, run };
        let store = Store::create_archived(scratch, &self.cluster, &me, identity, None)?;
        let loaded = self.load(&store, &source).await;
        if let Err(NotRead::NoSnapshot { .. }) = loaded
            && archive.below(&self.cluster).folders().await?.is_empty()
        {
            return Err(NotArchived::no_cluster(&archive, &self.cluster)
                .await?
                .into());
        }
        let published = loaded?;
        let export = export(&store, &self.cluster, &published, &scratch.join("export"))?;
        let shown = bar(0, BYTES);
        let mut journals = Journals::new();
        let with_journal = |part: &&Part| part.state.has_journal();
        for part in published.state.parts.values().filter(with_journal) {
            let found = self.journal_at(&archive, part, &shown).await?;
            journals.insert(part.process.clone(), found);
        }
        shown.finish_and_clear();
        Ok(ArchivedSnapshot { export, journals })
    }

    // What the archived journal of a process says at the cut of its part.
    async fn journal_at(
        &self,
        archive: &Objects,
        part: &Part,
        shown: &ProgressBar,
    ) -> Result<Result<Share, NotCompared>, NotRead> {
        let cut = part.state.position;
        let journal = ArchivedJournal::of(archive, &self.cluster, &part.process).await;
        let share = match journal {
            Ok(Some(journal)) => {
                shown.set_message(part.process.to_string());
                journal
                    .share(Until::Turn(cut), &|read| shown.inc(read))
                    .await
            }
            Ok(None) => return Ok(Err(NotCompared::Absent("the archive has none".to_owned()))),
            Err(error) => Err(error.into()),
        };
        Ok(match share {
            Ok(Share { totals, .. }) if totals.position < cut => {
                let last = totals.position;
                Err(NotCompared::Absent(format!(
                    "the archive has it up to turn {last} only"
                )))
            }
            Ok(share) => Ok(share),
            Err(NotArchived::TooEarly { since, .. }) => {
                let since = rfc3339(since.wall_us());
                Err(NotCompared::Absent(format!(
                    "the archive has it from {since} on only"
                )))
            }
            Err(error @ NotArchived::NoBeginning { .. }) => {
                Err(NotCompared::Absent(error.to_string()))
            }
            Err(NotArchived::Archive(error @ ArchiveError::Damaged { .. })) => {
                Err(NotCompared::Damaged(error.to_string()))
            }
            Err(error) => return Err(error.into()),
        })
    }

    // Loads the revision with its contents. As on a node, a complete revision is preferred to a later partial one.
    async fn load(&self, store: &Store, source: &Source) -> Result<Published, NotRead> {
        let name = self.snapshot.as_ref().map(SnapshotName::of);
        let keys = kept::list::<RevisionKey>(source.cluster()).await?;
        let is_named = |key: &&RevisionKey| {
            name.as_ref().is_none_or(|name| *name == key.snapshot)
                && self.revision.is_none_or(|wanted| wanted == key.revision)
        };
        let keys: Vec<&RevisionKey> = keys.iter().rev().filter(is_named).collect();
        let mut incomplete = None;
        for only_complete in [true, false] {
            for key in &keys {
                let is_wanted = |state: &GlobalState| state.is_complete() || !only_complete;
                match load_revision(store, source, key, is_wanted).await? {
                    Ok(Some(published)) => return Ok(published),
                    Ok(None) => {}
                    // Its parts may be on their way.
                    Err(why) => _ = incomplete.get_or_insert(why),
                }
            }
            if name.is_none() {
                break;
            }
        }
        if let Some(why) = incomplete {
            return Err(NotRead::Incomplete(why));
        }
        let revision = self.revision.map(|number| format!("revision {number} of "));
        let revision = revision.unwrap_or_default();
        Err(NotRead::NoSnapshot {
            what: match &self.snapshot {
                Some(id) => format!("{revision}snapshot {id}"),
                None => format!("{revision}a complete snapshot"),
            },
            cluster: self.cluster.clone(),
        })
    }
}

fn export(
    store: &Store,
    cluster: &str,
    published: &Published,
    path: &Path,
) -> Result<Export, NotRead> {
    let (snapshot, revision) = (&published.state.snapshot, published.state.revision);
    let mut file = File::create_new(path)?;
    store
        .history()
        .export(cluster, snapshot, revision, &mut file)?;
    file.flush()?;
    Ok(Export::open(path)?)
}
