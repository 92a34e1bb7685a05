//! The journals of a cluster as its archive has them, read without a node and without claiming anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;

use super::CliError;
use crate::api::time::{before_now, read};
use crate::archive::walk::{Heads, Segments, check_end};
use crate::archive::{ArchiveError, Objects, journal, links};
use crate::history::audit::{Absence, Absent, Audit};
use crate::history::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::identity::Identity;
use crate::process::ids::{ChannelId, Lsn, ProcessId};
use crate::shipping::JournalPoint;
use crate::shipping::chain::Chain;
use crate::shipping::segment::Segment;
use crate::store::codec::Entry;

/// How long a request to the archive is repeated.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Why the archive has no cluster to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotArchived {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(
        "the archived journal of {process} begins after turn {last}: what the process was then is not in it"
    )]
    Trimmed { process: ProcessId, last: Lsn },
    #[error("the archive {url} has no cluster {cluster}{}", others(.found))]
    NoCluster {
        url: String,
        cluster: String,
        found: Vec<String>,
    },
}

fn others(found: &[String]) -> String {
    match found {
        [] => "; it is empty: check --archive".to_owned(),
        found => format!("; it has {}: check --cluster", found.join(", ")),
    }
}

impl From<NotArchived> for CliError {
    fn from(error: NotArchived) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The last clock value of an instant on the command line; before now by the clock of this machine.
pub(super) fn instant(text: &str) -> Result<Hlc, CliError> {
    let instant = match before_now(text) {
        Some(before) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            let then = now.ok().and_then(|now| now.checked_sub(before));
            let then = then.and_then(|then| u64::try_from(then.as_micros()).ok());
            then.map(Hlc::at)
        }
        None => read(text).map(|instant| instant.bound()),
    };
    let before_1970 =
        || CliError::Usage(format!("--at: {text} is before 1970; give a later instant"));
    instant.map(Hlc::last_of_label).ok_or_else(before_1970)
}

/// The journals of the processes that have one in the archive, by id.
pub(super) async fn journals(
    objects: &Objects,
    cluster: &str,
) -> Result<Vec<ArchivedJournal>, NotArchived> {
    let folder = objects.below(cluster);
    let mut journals = Vec::new();
    for name in folder.folders().await? {
        if let Ok(process) = ProcessId::parse(&name) {
            journals.extend(ArchivedJournal::find(folder.below(&name), process).await?);
        }
    }
    match journals.is_empty() {
        false => Ok(journals),
        true => Err(NotArchived::NoCluster {
            url: objects.url().to_owned(),
            cluster: cluster.to_owned(),
            found: objects.folders().await?,
        }),
    }
}

/// The newest instant, as people write it, up to which all of these reach: within the last microsecond there may be more turns.
pub(super) fn common_end(journals: &[ArchivedJournal]) -> Hlc {
    let ends = journals.iter().map(|journal| journal.ends.wall_us());
    let end = ends.min().unwrap_or_default().saturating_sub(1);
    Hlc::at(end).last_of_label()
}

/// The journal of one process in the archive; it has turns.
pub(super) struct ArchivedJournal {
    pub(super) objects: Objects,
    pub(super) process: ProcessId,
    /// The clock value of the newest turn.
    pub(super) ends: Hlc,
}

impl ArchivedJournal {
    async fn find(objects: Objects, process: ProcessId) -> Result<Option<Self>, ArchiveError> {
        let mut begin = links::nearest(&objects, Lsn(u64::MAX)).await?;
        let head = loop {
            let mut heads = Heads::along(&objects, Chain::behind(begin.last));
            let newest = heads.newest().await?;
            check_end(&objects, heads.chain()).await?;
            match newest {
                Some(head) => break head,
                // Behind the link there are only fences.
                None if begin.last != begin.boundary => begin.last = begin.boundary,
                None => return Ok(None),
            }
        };
        let segment = journal::counted(&objects, &head).await?;
        let mut journal = Self {
            objects,
            process,
            ends: Hlc::default(),
        };
        let newest = journal.entries(&segment).last().transpose()?;
        journal.ends = newest.map_or(Hlc::default(), |entry| entry.turn.time);
        Ok(Some(journal))
    }

    /// Calls `each` for every turn that is not later than the instant, with the bytes as they are stored. Returns the totals after
    /// the newest of them, or why they are not those of the process at the instant.
    pub(super) async fn until<E: From<NotArchived>>(
        &self,
        at: Hlc,
        shown: &ProgressBar,
        mut each: impl FnMut(&[u8], &Entry) -> Result<(), E>,
    ) -> Result<Share, E> {
        let archived = |error| E::from(NotArchived::from(error));
        shown.set_message(self.process.to_string());
        let begin = journal::boundary(&self.objects).await.map_err(archived)?;
        if begin.journal.position > Lsn(0) {
            let (process, last) = (self.process.clone(), begin.journal.position);
            return Err(NotArchived::Trimmed { process, last }.into());
        }
        let mut segments = Segments::along(&self.objects, Chain::behind(begin));
        let mut share = Share {
            totals: ProcessTotals {
                given_up: Some(BTreeMap::new()),
                ..ProcessTotals::default()
            },
            doubt: (self.ends < at).then_some(Absence::NotArchived),
        };
        let mut newest: Option<(Hlc, Identity)> = None;
        loop {
            let Some(segment) = segments.next().await.map_err(archived)? else {
                break;
            };
            let writer = segment.head.writer().identity;
            for (framed, entry) in segment.entries().zip(self.entries(&segment)) {
                let (framed, entry) = (framed.unwrap_or_default(), entry.map_err(archived)?);
                let time = entry.turn.time;
                if time > at {
                    // Turns of a store that was lost may be missing before the first one of its successor.
                    let is_in_gap = newest.is_some_and(|(before, lost)| {
                        before < at && writer.is_ahead_of_copies_of(lost)
                    });
                    share.doubt = is_in_gap.then_some(Absence::OtherJournal).or(share.doubt);
                    return Ok(share);
                }
                each(framed, &entry)?;
                share.totals.pass(&entry.turn, entry.hash);
                share.totals.store = Some(writer.store);
                newest = Some((time, writer));
            }
            shown.inc(segment.body.len() as u64);
        }
        Ok(share)
    }

    /// The turns of a segment, each checked to continue the one before it.
    pub(super) fn entries(
        &self,
        segment: &Segment,
    ) -> impl Iterator<Item = Result<Entry, ArchiveError>> {
        let mut before = segment.head.before();
        let key = format!("journal/{:020}", segment.head.index().0);
        segment.entries().map(move |framed| {
            let framed = framed.map_err(|error| self.objects.damaged(&key, error))?;
            let position = before.position.next();
            let entry = Entry::decode(position, framed)
                .and_then(|entry| entry.chained(position, Some(before.hash)))
                .map_err(|error| self.objects.damaged(&key, error))?;
            let hash = entry.hash;
            before = JournalPoint { position, hash };
            Ok(entry)
        })
    }
}

/// What the archived journal of a process says of it at an instant.
pub(super) struct Share {
    /// The totals after its newest turn by then.
    pub(super) totals: ProcessTotals,
    /// Why these may not be all.
    pub(super) doubt: Option<Absence>,
}

/// The cluster at an instant.
pub(super) fn audit_of(at: Hlc, shares: BTreeMap<ProcessId, Share>) -> Audit {
    let mut audit = Audit {
        at: Some(at),
        channels: BTreeSet::new(),
        shares: BTreeMap::new(),
        missing: BTreeMap::new(),
    };
    for (process, Share { totals, doubt }) in shares {
        let not_begun = (!totals.is_known()).then_some(Absence::OtherJournal);
        match doubt.or(not_begun) {
            None => _ = audit.shares.insert(process, totals),
            Some(absence) => leave_out(&mut audit, process, absence),
        }
    }
    dismiss(&mut audit);
    connect(&mut audit);
    for process in audit.removed() {
        audit.add_channels_of(&process);
        leave_out(&mut audit, process, Absence::NotArchived);
    }
    for (process, why) in audit.strangers() {
        audit.shares.remove(&process);
        leave_out(&mut audit, process, why);
    }
    audit
}

fn leave_out(audit: &mut Audit, process: ProcessId, reason: Absence) {
    let known = None;
    audit.missing.insert(process, Absent { reason, known });
}

// A process that had left by then: another one had given it up, and none knew it any more.
fn dismiss(audit: &mut Audit) {
    let Audit {
        shares, missing, ..
    } = audit;
    missing.retain(|process, _| {
        let knows = |share: &ProcessTotals| {
            let known = share.peers.get(process);
            known.is_some_and(|known| !known.is_given_up)
        };
        let has_given_up = |share: &ProcessTotals| {
            let given_up = share.given_up.as_ref();
            given_up.is_some_and(|given_up| given_up.contains_key(process))
        };
        shares.values().any(knows) || !shares.values().any(has_given_up)
    });
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
