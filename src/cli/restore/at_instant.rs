//! `restore --archive --at`: makes the stores of all processes again, as they were at an instant.
//!
//! The turns up to one clock value on every process are a consistent cut: no message is received in it that is not sent in it.
//! What was on its way is in the journals of its senders and arrives once the processes run.

use std::collections::BTreeSet;
use std::path::Path;

use indicatif::ProgressBar;

use super::super::archived::{ArchivedJournal, NotArchived, common_end, instant, journals};
use super::super::destination::Destination;
use super::super::output::Report;
use super::super::progress::{BYTES, bar};
use super::super::{CliError, runtime};
use super::{Args, cluster_file, named_as_directories, say_how_to_start};
use crate::api::time::rfc3339;
use crate::archive::{ArchiveError, Objects, epochs, journal};
use crate::config::CLUSTER_DEFAULT;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, Lsn, ProcessId};
use crate::shipping::chain::Chain;
use crate::store::{Store, StoreError};

/// Why the stores are not restored.
#[derive(Debug, thiserror::Error)]
enum NotRestored {
    #[error(transparent)]
    NotArchived(#[from] NotArchived),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(
        "the archived journal of {process} ends before that instant; the newest instant to which all reach is {}: --at {}",
        rfc3339(.common.wall_us()), rfc3339(.common.wall_us())
    )]
    TooLate { process: ProcessId, common: Hlc },
    #[error(
        "the archived journal of {process} begins after turn {last}, so it cannot be restored to an instant"
    )]
    Trimmed { process: ProcessId, last: Lsn },
    #[error("no process had a turn by then; give a later instant")]
    TooEarly,
}

impl From<ArchiveError> for NotRestored {
    fn from(error: ArchiveError) -> Self {
        Self::NotArchived(error.into())
    }
}

impl From<NotRestored> for CliError {
    fn from(error: NotRestored) -> Self {
        Self::Refused(format!("not restored: {error}"))
    }
}

/// A restored store.
struct Made {
    process: ProcessId,
    position: Lsn,
    peers: BTreeSet<ProcessId>,
}

/// Restores, and prints what was made and how to start it.
pub(super) fn run(args: &Args, url: &str, at: &str) -> Result<(), CliError> {
    let destination = Destination::check(&args.into)?;
    let (cluster, at) = (
        args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT),
        instant(at)?,
    );
    let objects = Objects::open(url).map_err(NotRestored::from)?;
    let staged = destination.stage()?;
    let shown = bar(0, BYTES);
    let made = restore(&objects, cluster, at, staged.dir(), &shown);
    let made = runtime()?.block_on(made)?;
    shown.finish_and_clear();
    let names = named_as_directories(made.iter().map(|made| &made.process).collect())?;
    let file = cluster_file(cluster, &names, &channels(&made), destination.dir());
    staged.write("cluster.toml", &file)?;
    staged.move_into_place()?;
    report(&made, &names, at, destination.dir()).print()
}

async fn restore(
    objects: &Objects,
    cluster: &str,
    at: Hlc,
    dir: &Path,
    shown: &ProgressBar,
) -> Result<Vec<Made>, NotRestored> {
    let journals = journals(objects, cluster).await?;
    let common = common_end(&journals);
    if let Some(short) = journals.iter().find(|journal| journal.ends < at) {
        let process = short.process.clone();
        return Err(NotRestored::TooLate { process, common });
    }
    let mut all = Vec::new();
    for journal in &journals {
        shown.set_message(journal.process.to_string());
        let into = dir.join(journal.process.as_str());
        let made = one(journal, cluster, at, &into, shown).await?;
        all.push(made);
    }
    match all.iter().all(|made| made.position == Lsn(0)) {
        true => Err(NotRestored::TooEarly),
        false => Ok(all),
    }
}

async fn one(
    archived: &ArchivedJournal,
    cluster: &str,
    at: Hlc,
    into: &Path,
    shown: &ProgressBar,
) -> Result<Made, NotRestored> {
    let (objects, process) = (&archived.objects, &archived.process);
    let begin = journal::boundary(objects).await?;
    if begin.journal.position > Lsn(0) {
        return Err(NotRestored::Trimmed {
            process: process.clone(),
            last: begin.journal.position,
        });
    }
    let newest = epochs::newest(objects).await?;
    let newest = newest.ok_or_else(|| objects.damaged("epochs", "nobody has claimed an epoch"))?;
    let store = Store::create_archived(into, cluster, process, newest.identity)?;
    let mut made = Made {
        process: process.clone(),
        position: Lsn(0),
        peers: BTreeSet::new(),
    };
    let mut chain = Chain::behind(begin);
    'until: while let Some(segment) = journal::next_segment(objects, &mut chain).await? {
        for (framed, entry) in segment.entries().zip(archived.entries(&segment)) {
            let (turn, framed) = (entry?.turn, framed.unwrap_or_default());
            if turn.time > at {
                break 'until;
            }
            store.append_archived(framed)?;
            made.position = turn.position;
            let known = turn.recognitions();
            made.peers.extend(known.map(|(peer, ..)| peer.clone()));
        }
        shown.inc(segment.body.len() as u64);
    }
    store.sync_journal()?;
    store.end_here()?;
    Ok(made)
}

// There is a channel in both directions between processes of which one knows the other.
fn channels(made: &[Made]) -> BTreeSet<ChannelId> {
    let is_here = |peer: &&ProcessId| made.iter().any(|made| made.process == **peer);
    let known = made.iter().flat_map(|made| {
        let peers = made.peers.iter().filter(is_here);
        peers.map(|peer| ChannelId {
            from: made.process.clone(),
            to: peer.clone(),
        })
    });
    known
        .flat_map(|channel| [channel.reversed(), channel])
        .collect()
}

fn report(made: &[Made], names: &[&ProcessId], at: Hlc, dir: &Path) -> Report {
    let mut report = Report::default();
    let shown = dir.display();
    let at = rfc3339(at.wall_us());
    report.line(&format!(
        "the cluster is restored into {shown} as it was at {at}"
    ));
    let row = |made: &Made| vec![made.process.to_string(), made.position.to_string()];
    report.table(&["process", "last turn"], made.iter().map(row).collect());
    report.line(
        "messages that were on their way are in these stores and arrive once the processes run",
    );
    report.line("stop the cluster that runs, and give this one another archive: the old one goes on behind this instant");
    say_how_to_start(&mut report, names, dir);
    report
}
