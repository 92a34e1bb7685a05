//! `restore --archive --at`: makes the stores of all processes again, as they were at an instant.
//!
//! The turns up to one clock value on every process are a consistent cut: no message is received in it that is not sent in it.
//! What was on its way is in the journals of its senders and arrives once the processes run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use indicatif::ProgressBar;

use super::super::archived::{PATIENCE, instant, said};
use super::super::destination::Destination;
use super::super::output::Report;
use super::super::progress::{STEPS, bar};
use super::super::{CliError, runtime};
use super::archived::{MessagesLost, say_left_out, say_lost_messages, show_of};
use super::{Args, cluster_file, named_as_directories, say_how_to_start};
use crate::api::time::rfc3339;
use crate::archive::{ArchiveError, Objects};
use crate::config::CLUSTER_DEFAULT;
use crate::history::audit::Audit;
use crate::history::process_totals::ProcessTotals;
use crate::offsite::past::{
    ArchivedJournal, NotArchived, Share, audit_of, common_end, journals, left_by, newest_known,
};
use crate::offsite::refill;
use crate::offsite::refill::{Filled, NotFilled, Progress, Successor, Until, Wanted};
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::{LostMessages, StoreError};

/// Why the stores are not restored.
#[derive(Debug, thiserror::Error)]
enum NotRestored {
    #[error(transparent)]
    NotArchived(#[from] NotArchived),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    NotFilled(#[from] NotFilled),
    #[error(transparent)]
    LostMessages(#[from] MessagesLost),
    #[error(
        "the archived journal of {process} ends at {}, before that instant. If the process may have gone on since, restore to the \
         newest instant to which all reach, --at {}; if it ended then, add --short to take it as it was",
        rfc3339(.ends.wall_us()),
        rfc3339(.common.wall_us())
    )]
    TooLate {
        process: ProcessId,
        ends: Hlc,
        common: Hlc,
    },
    #[error(
        "what process {process} was at that instant is not known ({reason}): turns may be missing there. {}",
        instead(*.known)
    )]
    Unknown {
        process: ProcessId,
        reason: &'static str,
        known: Option<Hlc>,
    },
    #[error(
        "the journals contradict each other at that instant ({check} of {subject}: {figures}); give an earlier one"
    )]
    Wrong {
        check: &'static str,
        subject: String,
        figures: String,
    },
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
        let why = match error {
            NotRestored::NotArchived(error) => said(&error),
            error => error.to_string(),
        };
        Self::Refused(format!("not restored: {why}"))
    }
}

/// Restores, and prints what was made and how to start it.
pub(super) fn run(args: &Args, url: &str, at: &str) -> Result<(), CliError> {
    let destination = Destination::check("--into", &args.into)?;
    let wanted = WantedCluster {
        cluster: args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT),
        at: instant("--at", at)?,
        takes_short: args.short,
        without_messages: args.without_messages,
    };
    let objects = Objects::open(url).map_err(NotRestored::from)?;
    let objects = objects.patient(PATIENCE).remembering();
    let staged = destination.stage()?;
    let shown = bar(0, STEPS);
    let restored = restore(&objects, &wanted, staged.dir(), &shown);
    let RestoredCluster {
        audit,
        others,
        made,
    } = runtime()?.block_on(restored)?;
    shown.finish_and_clear();
    let names = named_as_directories(audit.shares.keys().collect())?;
    let file = cluster_file(wanted.cluster, &names, &audit.channels, destination.dir());
    staged.write("cluster.toml", &file)?;
    staged.move_into_place()?;
    let mut report = report(&audit, wanted.at, destination.dir());
    for (process, why) in others {
        report.line(&format!("process {process} {why} and is not restored"));
    }
    // Each process lacks the same revisions.
    let mut said = BTreeSet::new();
    let left_out = made.values().flat_map(Filled::not_filled);
    let left_out = left_out.filter(|why| said.insert(*why)).cloned();
    say_left_out(&mut report, &left_out.collect::<Vec<_>>());
    for (process, filled) in &made {
        say_lost_messages(&mut report, process, &filled.lost_messages);
    }
    report.line("stop the cluster that runs before you start this one");
    report.line(&format!(
        "if this one is to have an archive, set another url in the table [archive] of {}/cluster.toml: the old archive goes on behind \
         this instant, and refuses these stores",
        destination.dir().display()
    ));
    say_how_to_start(&mut report, &names, destination.dir());
    report.print()
}

/// What is restored, and how.
struct WantedCluster<'a> {
    cluster: &'a str,
    at: Hlc,
    /// Whether a process whose archived journal ends before the instant is taken as it was then.
    takes_short: bool,
    /// Whether messages may be lost.
    without_messages: bool,
}

struct RestoredCluster {
    audit: Audit,
    /// The processes that were not in it then, and why.
    others: BTreeMap<ProcessId, &'static str>,
    /// What each store was filled with. The messages that it lacks are those that were on their way.
    made: BTreeMap<ProcessId, Filled>,
}

async fn restore(
    objects: &Objects,
    wanted: &WantedCluster<'_>,
    dir: &Path,
    shown: &ProgressBar,
) -> Result<RestoredCluster, NotRestored> {
    let WantedCluster {
        cluster,
        at,
        takes_short,
        without_messages,
    } = *wanted;
    let all = journals(objects, cluster).await?;
    let left = left_by(&all, at).await?;
    let stays = |journal: &&ArchivedJournal| !left.contains(&journal.process);
    let journals: Vec<&ArchivedJournal> = all.iter().filter(stays).collect();
    let short = journals.iter().find(|journal| journal.ends < at);
    if let Some(short) = short.filter(|_| !takes_short) {
        return Err(NotRestored::TooLate {
            process: short.process.clone(),
            ends: short.ends,
            common: common_end(&all).await?,
        });
    }
    let (mut shares, mut made) = (BTreeMap::new(), BTreeMap::new());
    for journal in &journals {
        let into = dir.join(journal.process.as_str());
        let (mut share, filled) = one(journal, at, &into, shown).await?;
        share.doubt = share.doubt.filter(|_| !(takes_short && journal.ends < at));
        shares.insert(journal.process.clone(), share);
        made.insert(journal.process.clone(), filled);
    }
    let left = left.into_iter();
    let mut others: BTreeMap<_, _> = left
        .map(|process| (process, "had left the cluster by then"))
        .collect();
    let later = joined_later(&mut shares);
    if later.len() == shares.len() {
        return Err(NotRestored::TooEarly);
    }
    for process in later {
        made.remove(&process);
        std::fs::remove_dir_all(dir.join(process.as_str())).map_err(NotFilled::Directory)?;
        others.insert(process, "had no turn by then");
    }
    let audit = audit_of(at, shares);
    if let Some((process, absent)) = audit.missing.iter().next() {
        return Err(NotRestored::Unknown {
            process: process.clone(),
            reason: absent.reason.as_str(),
            known: newest_known(&journals, at).await?,
        });
    }
    check(&audit)?;
    for (process, filled) in &mut made {
        let lost = &mut filled.lost_messages;
        lost.retain(|lost| !has_delivered(&audit, process, lost));
        if !without_messages {
            MessagesLost::check(process.as_str(), filled)?;
        }
    }
    Ok(RestoredCluster {
        audit,
        others,
        made,
    })
}

fn check(audit: &Audit) -> Result<(), NotRestored> {
    let verification = audit.verify();
    let Some(wrong) = verification.checks.iter().find(|check| !check.holds) else {
        return Ok(());
    };
    let figures = wrong.figures.iter();
    let figures: Vec<String> = figures.map(|(name, sum)| format!("{name} {sum}")).collect();
    Err(NotRestored::Wrong {
        check: wrong.check,
        subject: wrong.subject.clone(),
        figures: figures.join(", "),
    })
}

// What to do where an instant is not known of all; with the newest one before it that is.
fn instead(known: Option<Hlc>) -> String {
    match known {
        Some(known) => format!(
            "The newest instant before it that is known of all is --at {}",
            rfc3339(known.wall_us())
        ),
        None => "The archive has no instant before it that is known of all: give a later one, or restore each process alone \
                 (--process), up to its last turn"
            .to_owned(),
    }
}

// The processes that had no turn yet and that no other one knew. One that another knew had a store then whose journal is not here:
// it is unknown.
fn joined_later(shares: &mut BTreeMap<ProcessId, Share>) -> BTreeSet<ProcessId> {
    let peers = shares.values().flat_map(|share| share.totals.peers.keys());
    let known: BTreeSet<_> = peers.cloned().collect();
    let mut later = BTreeSet::new();
    for (process, share) in shares {
        match share.totals.begins_later() {
            Some(_) if known.contains(process) => share.totals = ProcessTotals::default(),
            Some(_) => _ = later.insert(process.clone()),
            None => {}
        }
    }
    later
}

// Whether the receiver has them at the instant, where only their acknowledgement was on its way.
fn has_delivered(audit: &Audit, from: &ProcessId, lost: &LostMessages) -> bool {
    let delivered = audit.shares.get(&lost.to);
    let delivered = delivered.and_then(|receiver| receiver.delivered.get(from));
    delivered.is_some_and(|delivered| delivered.sequence >= lost.last)
}

async fn one(
    archived: &ArchivedJournal,
    at: Hlc,
    into: &Path,
    shown: &ProgressBar,
) -> Result<(Share, Filled), NotRestored> {
    let (process, source) = (&archived.process, &archived.source);
    let until = Until::Instant(at);
    shown.set_message(process.to_string());
    let successor = Successor::of(source).await?;
    let told = |progress: Progress| show_of(shown, process.as_str(), progress);
    let wanted = Wanted {
        until: Some(until),
        ..Wanted::ALL
    };
    let (store, filled) = refill::make(into, source, &successor, wanted, &told).await?;
    let begins = Lsn(filled.first.0 - 1);
    let totals = match store.past().recomputed_totals()? {
        totals if begins > Lsn(0) || totals.is_known() => totals,
        _ => ProcessTotals::before_all_turns(store.identity().store),
    };
    store.end_here()?;
    let share = Share {
        begins,
        doubt: archived.doubt(&totals, until),
        totals,
    };
    Ok((share, filled))
}

fn report(audit: &Audit, at: Hlc, dir: &Path) -> Report {
    let mut report = Report::default();
    let shown = dir.display();
    let at = rfc3339(at.wall_us());
    report.line(&format!(
        "the cluster is restored into {shown} as it was at {at}"
    ));
    let rows = audit.shares.iter().map(|(process, share)| {
        let (turn, balances) = (share.position.to_string(), share.balance_total.to_string());
        vec![process.to_string(), turn, balances]
    });
    report.table(&["process", "last turn", "balances"], rows.collect());
    let totals = audit.totals();
    let (balances, in_flight) = (totals.balances, totals.in_flight);
    report.line(&format!(
        "{} minor units in total, {balances} in accounts and {in_flight} in flight, which arrive once the processes run",
        balances + in_flight
    ));
    report
}
