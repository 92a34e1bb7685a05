//! What a restore would give, before a disk is lost: the readers of a restore fill a store that is thrown away. Nothing is claimed, and
//! nothing is written to the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use super::past::ArchivedJournal;
use super::refill::{self, Filled, NotFilled, Progress, Successor, Wanted, distinct};
use super::{Source, pins};
use crate::archive::epochs::{self, CheckedClaims};
use crate::archive::{ArchiveError, Kept, Objects, journal, kept};
use crate::process::clock::Hlc;
use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId};
use crate::shipping::JournalPoint;
use crate::shipping::object::{PINS, PartKey, PinKey, RevisionKey, SNAPSHOTS, StateKey};
use crate::shipping::segment::Owner;
use crate::store::{Store, StoreError};

type Told<'a> = &'a (dyn Fn(Progress) + Sync);

/// The archive of one process, read as a restore reads it.
#[derive(Debug, Default)]
pub struct Rehearsed {
    /// The starts that have claimed it.
    pub claims: u64,
    /// What is kept, by folder.
    pub kept: BTreeMap<String, Kept>,
    /// Whether a restore was made; otherwise the figures are those of lists and of the newest segments.
    pub is_read: bool,
    /// What a restore makes; `None` if it refuses.
    pub made: Option<Made>,
    /// If it refuses because of the journal: the last turn before the damage.
    pub whole_until: Option<Lsn>,
    /// What is damaged or missing, a sentence for each.
    pub wrong: Vec<String>,
    /// The processes that it knows and has not given up.
    pub peers: BTreeSet<ProcessId>,
}

/// A store that was made and thrown away.
#[derive(Debug)]
pub struct Made {
    /// What it was filled with; published revisions belong to the cluster.
    pub filled: Filled,
    /// The clock value of its last turn.
    pub newest: Hlc,
}

/// The published revisions and pins of a cluster, with the chunks of all processes, read as a restore reads them.
#[derive(Debug, Default)]
pub struct RehearsedHistory {
    /// What is kept.
    pub kept: Kept,
    /// The revisions that are whole.
    pub revisions: u64,
    /// The revisions that a restore leaves out although they are whole: a process has no part of the snapshot here, because it shipped
    /// nothing then or to another archive, or another revision has the number. A sentence for each.
    pub lacking: Vec<String>,
    /// The snapshots that are pinned.
    pub pinned: u64,
    /// What is damaged or missing, a sentence for each.
    pub wrong: Vec<String>,
}

/// The processes of a cluster that have claimed an archive or shipped to it, by id.
///
/// # Errors
/// [`ArchiveError`].
pub async fn processes(
    archive: &Objects,
    cluster: &str,
) -> Result<BTreeSet<ProcessId>, ArchiveError> {
    let cluster = archive.below(cluster);
    let mut processes = BTreeSet::new();
    for name in cluster.folders().await? {
        let Ok(process) = ProcessId::parse(&name) else {
            continue;
        };
        let folders = cluster.below(&name).folders().await?;
        if folders
            .iter()
            .any(|one| [epochs::FOLDER, journal::JOURNAL].contains(&&**one))
        {
            processes.insert(process);
        }
    }
    Ok(processes)
}

/// Reads the archive of a process; `dir` is an empty directory. What seems to be missing is looked for again, because retention may
/// have deleted it meanwhile.
///
/// # Errors
/// [`NotFilled`]: the archive cannot be read, or the directory cannot be written.
pub async fn rehearse(dir: &Path, source: &Source, told: Told<'_>) -> Result<Rehearsed, NotFilled> {
    let first = of_process(&dir.join("first"), source, told).await?;
    match first.wrong.is_empty() {
        true => Ok(first),
        false => of_process(&dir.join("again"), source, told).await,
    }
}

/// Reads what the processes of a cluster share; as [`rehearse`].
///
/// # Errors
/// As [`rehearse`].
pub async fn rehearse_history(
    dir: &Path,
    archive: &Objects,
    cluster: &str,
    told: Told<'_>,
) -> Result<RehearsedHistory, NotFilled> {
    let first = of_cluster(&dir.join("first"), archive, cluster, told).await?;
    match first.wrong.is_empty() {
        true => Ok(first),
        false => of_cluster(&dir.join("again"), archive, cluster, told).await,
    }
}

/// The newest turn of a process, and how much is kept of it: nothing is read but lists, claims and the newest segments.
///
/// # Errors
/// As [`rehearse`].
pub async fn glance(source: &Source, process: &ProcessId) -> Result<Rehearsed, NotFilled> {
    let objects = source.process();
    let CheckedClaims { count, damaged } = epochs::check(objects).await?;
    let mut found = Rehearsed {
        claims: count,
        kept: objects.kept().await?,
        wrong: damaged,
        ..Rehearsed::default()
    };
    let states = kept::list::<StateKey>(objects).await?;
    let parts = kept::list::<PartKey>(objects).await?;
    match newest(source, process).await {
        Ok(Some((begins, journal))) => {
            let filled = Filled {
                first: begins.position.next(),
                end: journal.end(),
                newest_state: states.last().map(|key| key.cut),
                states: states.len() as u64,
                parts: parts.len() as u64,
                ..Filled::default()
            };
            let newest = journal.ends;
            found.made = Some(Made { filled, newest });
        }
        Ok(None) => {}
        Err(error) => found.wrong.push(refusal(error.into())?),
    }
    distinct(&mut found.wrong);
    Ok(found)
}

async fn newest(
    source: &Source,
    process: &ProcessId,
) -> Result<Option<(JournalPoint, ArchivedJournal)>, ArchiveError> {
    let begins = journal::begins_behind(source.process()).await?;
    let journal = ArchivedJournal::find(source.clone(), process.clone()).await?;
    Ok(journal.map(|journal| (begins, journal)))
}

/// How many revisions and pins a cluster has in its archive, from lists alone.
///
/// # Errors
/// As [`rehearse`].
pub async fn glance_at_history(
    archive: &Objects,
    cluster: &str,
) -> Result<RehearsedHistory, NotFilled> {
    let cluster = archive.below(cluster);
    let revisions = kept::list::<RevisionKey>(&cluster).await?;
    let pins = kept::list::<PinKey>(&cluster).await?;
    Ok(RehearsedHistory {
        kept: kept_of_history(&cluster).await?,
        revisions: revisions.len() as u64,
        pinned: pins::pinned(&pins).len() as u64,
        ..RehearsedHistory::default()
    })
}

async fn kept_of_history(cluster: &Objects) -> Result<Kept, ArchiveError> {
    let mut kept = Kept::default();
    for folder in [SNAPSHOTS, PINS] {
        let of_folder = cluster.below(folder).kept().await?;
        of_folder.into_values().for_each(|one| kept.add(one));
    }
    Ok(kept)
}

async fn of_process(dir: &Path, source: &Source, told: Told<'_>) -> Result<Rehearsed, NotFilled> {
    let CheckedClaims { count, damaged } = epochs::check(source.process()).await?;
    let mut found = Rehearsed {
        claims: count,
        kept: source.process().kept().await?,
        is_read: true,
        wrong: damaged,
        ..Rehearsed::default()
    };
    match make(dir, source, told).await {
        Ok((store, filled)) => found.take(&store, filled)?,
        Err(error) => {
            if let NotFilled::Broken { until, .. } = &error {
                found.whole_until = Some(*until);
            }
            found.wrong.push(refusal(error)?);
        }
    }
    distinct(&mut found.wrong);
    remove(dir)?;
    Ok(found)
}

async fn make(dir: &Path, source: &Source, told: Told<'_>) -> Result<(Store, Filled), NotFilled> {
    let successor = Successor::of(source).await?;
    let wanted = Wanted {
        revisions: false,
        ..Wanted::ALL
    };
    refill::make(dir, source, &successor, wanted, told).await
}

impl Rehearsed {
    fn take(&mut self, store: &Store, filled: Filled) -> Result<(), NotFilled> {
        match store.past().recomputed_totals() {
            Ok(totals) => {
                let known = totals.peers.into_iter();
                let known = known.filter(|(_, store)| !store.is_given_up);
                self.peers = known.map(|(process, _)| process).collect();
            }
            Err(error @ StoreError::Damaged { .. }) => self.wrong.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
        self.wrong.extend(filled.left_out.iter().cloned());
        let lost = filled.lost_messages.iter();
        self.wrong.extend(lost.map(|lost| {
            format!("{lost}, which were not acknowledged, are before the first turn that is kept")
        }));
        let newest = store.archived().ends_at()?;
        self.made = Some(Made { filled, newest });
        Ok(())
    }
}

async fn of_cluster(
    dir: &Path,
    archive: &Objects,
    cluster: &str,
    told: Told<'_>,
) -> Result<RehearsedHistory, NotFilled> {
    // A store of no process of the cluster: all parts are those of others.
    let me = ProcessId::parse("rehearsal").expect("a valid id");
    let owner = Owner {
        cluster: cluster.to_owned(),
        process: me.to_string(),
    };
    let source = Source::new(archive, owner);
    let kept = kept_of_history(source.cluster()).await?;
    let (store, boot, run) = ([0; 16], 0, 0);
    let identity = Identity { store, boot, run };
    let store = Store::create_archived(dir, cluster, &me, identity, None)?;
    let filled = refill::load_history(&store, &source, told).await;
    drop(store);
    let mut found = RehearsedHistory {
        kept,
        ..RehearsedHistory::default()
    };
    match filled {
        Ok(filled) => {
            found.revisions = filled.revisions;
            found.pinned = filled.pinned;
            found.lacking = filled.lacking;
            found.wrong = filled.left_out;
        }
        Err(error) => found.wrong.push(refusal(error)?),
    }
    distinct(&mut found.wrong);
    remove(dir)?;
    Ok(found)
}

// What a restore says that refuses because of what is in the archive; other errors end the work.
fn refusal(error: NotFilled) -> Result<String, NotFilled> {
    match error {
        NotFilled::NoJournal { .. } => {
            Ok("no start has claimed an epoch here, or its claim is gone".to_owned())
        }
        NotFilled::Broken { .. }
        | NotFilled::NoBeginning { .. }
        | NotFilled::TooEarly { .. }
        | NotFilled::Archive(ArchiveError::Damaged { .. } | ArchiveError::Moved { .. })
        | NotFilled::Store(StoreError::Damaged { .. }) => Ok(error.to_string()),
        NotFilled::Archive(_) | NotFilled::Store(_) | NotFilled::Directory(_) => Err(error),
    }
}

fn remove(dir: &Path) -> Result<(), NotFilled> {
    match dir.exists() {
        true => fs::remove_dir_all(dir).map_err(NotFilled::Directory),
        false => Ok(()),
    }
}
