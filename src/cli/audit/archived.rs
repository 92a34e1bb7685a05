//! `audit --archive`: the totals of all processes at an instant, recomputed from their archived journals. Nothing is stored, and
//! no node is asked.

use std::collections::{BTreeMap, BTreeSet};

use indicatif::ProgressBar;
use serde_json::Value;

use super::super::archived::{ArchivedJournal, NotArchived, common_end, instant, journals};
use super::super::progress::{BYTES, bar};
use super::super::{CliError, runtime};
use super::Args;
use crate::api::rest::audit_document;
use crate::archive::{ArchiveError, Objects, journal};
use crate::config::CLUSTER_DEFAULT;
use crate::history::audit::{Absence, Absent, Audit};
use crate::history::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::identity::Identity;
use crate::process::ids::{ChannelId, Lsn, ProcessId};
use crate::shipping::chain::Chain;
use crate::store::codec::Entry;

/// Why the archive gives no audit.
#[derive(Debug, thiserror::Error)]
enum NotAudited {
    #[error(transparent)]
    NotArchived(#[from] NotArchived),
    #[error(
        "the archived journal of {process} begins after turn {last}: what its totals were then is not in it"
    )]
    Trimmed { process: ProcessId, last: Lsn },
}

impl From<ArchiveError> for NotAudited {
    fn from(error: ArchiveError) -> Self {
        Self::NotArchived(error.into())
    }
}

impl From<NotAudited> for CliError {
    fn from(error: NotAudited) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The document of the audit, as a node would answer it.
pub(super) fn run(args: &Args, url: &str) -> Result<Value, CliError> {
    let cluster = args.cluster.as_deref().unwrap_or(CLUSTER_DEFAULT);
    let at = args.at.as_deref().map(instant).transpose()?;
    let objects = Objects::open(url).map_err(NotAudited::from)?;
    let shown = bar(0, BYTES);
    let audit = runtime()?.block_on(audit(&objects, cluster, at, &shown))?;
    shown.finish_and_clear();
    Ok(audit_document(&audit, cluster))
}

async fn audit(
    objects: &Objects,
    cluster: &str,
    at: Option<Hlc>,
    shown: &ProgressBar,
) -> Result<Audit, NotAudited> {
    let journals = journals(objects, cluster).await?;
    let at = at.unwrap_or_else(|| common_end(&journals));
    let mut audit = Audit {
        at: Some(at),
        channels: BTreeSet::new(),
        shares: BTreeMap::new(),
        missing: BTreeMap::new(),
    };
    for journal in &journals {
        let process = journal.process.clone();
        shown.set_message(process.to_string());
        match totals(journal, at, shown).await? {
            Ok(totals) => _ = audit.shares.insert(process, totals),
            Err(absence) => leave_out(&mut audit, process, absence),
        }
    }
    connect(&mut audit);
    for process in audit.removed() {
        audit.add_channels_of(&process);
        leave_out(&mut audit, process, Absence::NotArchived);
    }
    for (process, why) in audit.strangers() {
        audit.shares.remove(&process);
        leave_out(&mut audit, process, why);
    }
    Ok(audit)
}

fn leave_out(audit: &mut Audit, process: ProcessId, reason: Absence) {
    let known = None;
    audit.missing.insert(process, Absent { reason, known });
}

// There is a channel in both directions between processes of which one knows the other.
fn connect(audit: &mut Audit) {
    for (process, share) in &audit.shares {
        for peer in share.peers.keys() {
            let (from, to) = (process.clone(), peer.clone());
            let there = ChannelId { from, to };
            audit.channels.insert(there.reversed());
            audit.channels.insert(there);
        }
    }
}

// The totals after the newest turn that is not later than the instant, or why they are not known.
async fn totals(
    journal: &ArchivedJournal,
    at: Hlc,
    shown: &ProgressBar,
) -> Result<Result<ProcessTotals, Absence>, NotAudited> {
    if journal.ends < at {
        return Ok(Err(Absence::NotArchived));
    }
    let begin = journal::boundary(&journal.objects).await?;
    if begin.journal.position > Lsn(0) {
        return Err(NotAudited::Trimmed {
            process: journal.process.clone(),
            last: begin.journal.position,
        });
    }
    let mut chain = Chain::behind(begin);
    let mut totals = ProcessTotals {
        given_up: Some(BTreeMap::new()),
        ..ProcessTotals::default()
    };
    let mut newest: Option<(Hlc, Identity)> = None;
    'past: while let Some(segment) = journal::next_segment(&journal.objects, &mut chain).await? {
        let writer = segment.head.writer().identity;
        for entry in journal.entries(&segment) {
            let Entry { turn, hash, .. } = entry?;
            if turn.time > at {
                // Turns of a store that was lost may be missing before the first one of its successor.
                let is_in_gap = newest.is_some_and(|(time, before)| {
                    time < at && writer.is_ahead_of_copies_of(before)
                });
                if is_in_gap {
                    return Ok(Err(Absence::OtherJournal));
                }
                break 'past;
            }
            totals.pass(&turn, hash);
            totals.store = Some(writer.store);
            newest = Some((turn.time, writer));
        }
        shown.inc(segment.body.len() as u64);
    }
    Ok(match totals.is_known() {
        true => Ok(totals),
        false => Err(Absence::OtherJournal),
    })
}
