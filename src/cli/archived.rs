//! The journals of a cluster as its archive has them, read without a node and without claiming anything.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use indicatif::ProgressBar;

use super::CliError;
use crate::api::time::{before_now, read, rfc3339};
use crate::archive::walk::{Heads, Segments, check_end};
use crate::archive::{ArchiveError, Objects, gaps, journal, kept, links};
use crate::history::audit::{Absence, Absent, Audit};
use crate::history::process_totals::ProcessTotals;
use crate::offsite::Source;
use crate::offsite::refill::Until;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, Lsn, ProcessId};
use crate::shipping::JournalPoint;
use crate::shipping::chain::Chain;
use crate::shipping::gaps::NotedGaps;
use crate::shipping::object::{STATES, StateKey};
use crate::shipping::segment::{Owner, Segment};
use crate::store::codec::Entry;
use crate::store::totals_of_stored_state;

/// How long a request to the archive is repeated.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// Why the archive has no cluster to read.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotArchived {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(
        "the archive has process {process} only from {} on; give a later instant",
        rfc3339(.since.wall_us())
    )]
    TooEarly { process: ProcessId, since: Hlc },
    #[error(
        "the archived journal of {process} begins behind turn {last}, and the recorded state there is missing; ask a node instead"
    )]
    NoBeginning { process: ProcessId, last: Lsn },
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
    archive: &Objects,
    cluster: &str,
) -> Result<Vec<ArchivedJournal>, NotArchived> {
    let mut journals = Vec::new();
    for name in archive.below(cluster).folders().await? {
        if let Ok(process) = ProcessId::parse(&name) {
            journals.extend(ArchivedJournal::of(archive, cluster, &process).await?);
        }
    }
    match journals.is_empty() {
        false => Ok(journals),
        true => Err(NotArchived::NoCluster {
            url: archive.url().to_owned(),
            cluster: cluster.to_owned(),
            found: archive.folders().await?,
        }),
    }
}

/// The newest instant, as people write it, up to which the journals of all processes reach that had not left the cluster by then.
pub(super) async fn common_end(journals: &[ArchivedJournal]) -> Result<Hlc, NotArchived> {
    let mut totals = BTreeMap::new();
    for journal in journals {
        let end = Until::Instant(journal.ends);
        totals.insert(&journal.process, journal.totals(end).await?);
    }
    let stays = |journal: &&ArchivedJournal| !has_left(&journal.process, totals.values());
    let common = end_of(journals.iter().filter(stays));
    let gone = left_by(journals, common).await?;
    // It may have left only after that instant.
    match journals
        .iter()
        .all(|one| stays(&one) || gone.contains(&one.process))
    {
        true => Ok(common),
        false => Ok(end_of(journals.iter())),
    }
}

// Within the last microsecond of a journal there may be more turns.
fn end_of<'a>(journals: impl Iterator<Item = &'a ArchivedJournal>) -> Hlc {
    let ends = journals.map(|journal| journal.ends.wall_us());
    let end = ends.min().unwrap_or_default().saturating_sub(1);
    Hlc::at(end).last_of_label()
}

/// The processes that had left the cluster by an instant: their journals end before it, and by then the others had given them up.
pub(super) async fn left_by(
    journals: &[ArchivedJournal],
    at: Hlc,
) -> Result<BTreeSet<ProcessId>, NotArchived> {
    let (short, long): (Vec<_>, Vec<_>) = journals.iter().partition(|one| one.ends < at);
    let mut totals = Vec::new();
    if !short.is_empty() {
        for journal in long {
            totals.push(journal.totals(Until::Instant(at)).await?);
        }
    }
    let ended = short.into_iter().map(|journal| journal.process.clone());
    Ok(ended
        .filter(|process| has_left(process, totals.iter()))
        .collect())
}

// Whether one of the others has given up a process, and none knows it any more.
fn has_left<'a>(
    process: &ProcessId,
    others: impl Iterator<Item = &'a ProcessTotals> + Clone,
) -> bool {
    let knows = |totals: &ProcessTotals| {
        let known = totals.peers.get(process);
        known.is_some_and(|known| !known.is_given_up)
    };
    let has_given_up = |totals: &ProcessTotals| {
        let given_up = totals.given_up.as_ref();
        given_up.is_some_and(|given_up| given_up.contains_key(process))
    };
    !others.clone().any(knows) && others.clone().any(has_given_up)
}

/// The journal of one process in the archive; it has turns.
pub(super) struct ArchivedJournal {
    pub(super) source: Source,
    pub(super) process: ProcessId,
    /// The clock value of the newest turn.
    pub(super) ends: Hlc,
    /// The newest turn.
    end: Lsn,
    /// Where turns may be missing.
    gaps: NotedGaps,
}

impl ArchivedJournal {
    /// The journal of a process; `None` if the archive has no turn of it.
    pub(super) async fn of(
        archive: &Objects,
        cluster: &str,
        process: &ProcessId,
    ) -> Result<Option<Self>, ArchiveError> {
        let owner = Owner {
            cluster: cluster.to_owned(),
            process: process.to_string(),
        };
        Self::find(Source::new(archive, owner), process.clone()).await
    }

    async fn find(source: Source, process: ProcessId) -> Result<Option<Self>, ArchiveError> {
        let objects = source.process();
        let mut begin = links::nearest(objects, Lsn(u64::MAX)).await?;
        let head = loop {
            let mut heads = Heads::along(objects, Chain::behind(begin.last));
            let newest = heads.newest().await?;
            check_end(objects, heads.chain()).await?;
            match newest {
                Some(head) => break head,
                None if begin.last == begin.boundary => return Ok(None),
                // Behind the link there are only fences; it names a segment with turns.
                None => match journal::head(objects, begin.last.index).await? {
                    Some(head) => break head,
                    None => begin = links::nearest(objects, Lsn(u64::MAX)).await?,
                },
            }
        };
        journal::check_owner(objects, &head, source.owner())?;
        let segment = journal::counted(objects, &head).await?;
        let gaps = gaps::read(objects).await?;
        let mut journal = Self {
            source,
            process,
            ends: Hlc::default(),
            end: head.after().position,
            gaps,
        };
        let newest = journal.entries(&segment).last().transpose()?;
        journal.ends = newest.map_or(Hlc::default(), |entry| entry.turn.time);
        Ok(Some(journal))
    }

    /// What the process was at an end: the totals of the state behind which the journal begins, and of every turn up to the end.
    pub(super) async fn share(
        &self,
        until: Until,
        shown: &ProgressBar,
    ) -> Result<Share, NotArchived> {
        shown.set_message(self.process.to_string());
        let beginning = self.beginning(until).await?;
        let begins = beginning.position;
        let totals = self.pass_turns(beginning, until, shown).await?;
        let doubt = self.doubt(&totals, until);
        Ok(Share {
            begins,
            totals,
            doubt,
        })
    }

    // As of `share`, from the newest recorded state: fewer turns are read, and fewer checked.
    async fn totals(&self, until: Until) -> Result<ProcessTotals, NotArchived> {
        let newest = self.newest_state(until).await?;
        let beginning = match newest {
            Some(newest) => newest,
            None => self.beginning(until).await?,
        };
        self.pass_turns(beginning, until, &ProgressBar::hidden())
            .await
    }

    // Adds every turn up to an end. What is before the totals is checked, too, in the segment where they begin.
    async fn pass_turns(
        &self,
        mut totals: ProcessTotals,
        until: Until,
        shown: &ProgressBar,
    ) -> Result<ProcessTotals, NotArchived> {
        let objects = self.source.process();
        let begin = JournalPoint {
            position: totals.position,
            hash: totals.journal,
        };
        let from = links::nearest(objects, begin.position).await?.last;
        let moved = || ArchiveError::Moved {
            url: objects.url().to_owned(),
        };
        if from.journal.position > begin.position {
            return Err(moved().into());
        }
        self.check(from.journal, begin)?;
        let mut segments = Segments::along(objects, Chain::behind(from));
        while let Some(segment) = segments.next().await? {
            journal::check_owner(objects, &segment.head, self.source.owner())?;
            let mut last = segment.head.before();
            for entry in self.entries(&segment) {
                let Entry { turn, hash, .. } = entry?;
                let position = turn.position;
                last = JournalPoint { position, hash };
                self.check(last, begin)?;
                if !until.reaches(position, turn.time) {
                    return Ok(totals);
                }
                if position > begin.position {
                    totals.pass(&turn, hash);
                }
                totals.store = Some(segment.head.writer().identity.store);
            }
            self.check_end_of(&segment, last)?;
            shown.inc(segment.body.len() as u64);
        }
        match totals.position < self.end {
            true => Err(moved().into()),
            false => Ok(totals),
        }
    }

    /// Why the totals at an end may not be all. A turn is what it is, whatever may be missing behind it.
    pub(super) fn doubt(&self, totals: &ProcessTotals, until: Until) -> Option<Absence> {
        let is_short = match until {
            Until::Instant(at) => self.ends < at,
            Until::Turn(last) => totals.position < last,
        };
        let is_known = match until {
            Until::Instant(at) => self.gaps.knows(totals.position, at),
            Until::Turn(_) => true,
        };
        let unknown = (!is_known).then_some(Absence::OtherJournal);
        is_short.then_some(Absence::NotArchived).or(unknown)
    }

    fn check_end_of(&self, segment: &Segment, last: JournalPoint) -> Result<(), ArchiveError> {
        if last == segment.head.after() {
            return Ok(());
        }
        let (objects, index) = (self.source.process(), segment.head.index());
        let reason = "its turns do not end where its head says";
        Err(journal::damaged(objects, index, reason))
    }

    // Before the first turn, or in the first whole state if the archive has lost the turns before it.
    async fn beginning(&self, until: Until) -> Result<ProcessTotals, NotArchived> {
        let objects = self.source.process();
        let behind = journal::begins_behind(objects).await?.position;
        if behind == Lsn(0) {
            return Ok(ProcessTotals {
                given_up: Some(BTreeMap::new()),
                ..ProcessTotals::default()
            });
        }
        let states = kept::list::<StateKey>(objects).await?;
        let mut damaged = None;
        for key in states.into_iter().filter(|key| key.cut >= behind) {
            if !until.reaches(key.cut, key.time) {
                return Err(NotArchived::TooEarly {
                    process: self.process.clone(),
                    since: key.time,
                });
            }
            let totals = self.state(&key).await;
            match totals {
                Ok(totals) => return Ok(totals),
                Err(error @ ArchiveError::Damaged { .. }) => damaged = Some(error),
                Err(error) => return Err(error.into()),
            }
        }
        let (process, last) = (self.process.clone(), behind);
        Err(damaged.map_or_else(|| NotArchived::NoBeginning { process, last }, Into::into))
    }

    // The newest whole state up to an end.
    async fn newest_state(&self, until: Until) -> Result<Option<ProcessTotals>, ArchiveError> {
        let states = kept::list::<StateKey>(self.source.process()).await?;
        for key in states.iter().rev() {
            if until.reaches(key.cut, key.time) {
                match self.state(key).await {
                    Err(ArchiveError::Damaged { .. }) => {}
                    found => return found.map(Some),
                }
            }
        }
        Ok(None)
    }

    async fn state(&self, key: &StateKey) -> Result<ProcessTotals, ArchiveError> {
        let (objects, owner) = (self.source.process(), self.source.owner());
        let found = kept::read(objects, owner, key).await?;
        let found = found.ok_or_else(|| objects.damaged(&key.to_string(), "it is gone"))?;
        totals_of_stored_state(&found.body)
            .map_err(|damage| objects.damaged(&key.to_string(), damage))
    }

    // A state belongs to the journal if the entry at its cut has the hash that it names.
    fn check(&self, point: JournalPoint, state: JournalPoint) -> Result<(), ArchiveError> {
        if point.position != state.position || point == state {
            return Ok(());
        }
        let reason = format!(
            "it names another hash of the journal than turn {} has",
            state.position
        );
        Err(self.source.process().damaged(STATES, reason))
    }

    /// The turns of a segment, each checked to continue the one before it.
    pub(super) fn entries(
        &self,
        segment: &Segment,
    ) -> impl Iterator<Item = Result<Entry, ArchiveError>> {
        let mut before = segment.head.before();
        let key = format!("journal/{:020}", segment.head.index().0);
        let objects = self.source.process();
        segment.entries().map(move |framed| {
            let framed = framed.map_err(|error| objects.damaged(&key, error))?;
            let position = before.position.next();
            let entry = Entry::decode(position, framed)
                .and_then(|entry| entry.chained(position, Some(before.hash)))
                .map_err(|error| objects.damaged(&key, error))?;
            let hash = entry.hash;
            before = JournalPoint { position, hash };
            Ok(entry)
        })
    }
}

/// What the archived journal of a process says of it at an instant.
pub(super) struct Share {
    /// The turn behind which the journal begins: the totals up to there are those of a recorded state.
    pub(super) begins: Lsn,
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
    for (process, Share { totals, doubt, .. }) in shares {
        let not_begun = (!totals.is_known()).then_some(Absence::OtherJournal);
        match doubt.or(not_begun) {
            None => _ = audit.shares.insert(process, totals),
            Some(absence) => leave_out(&mut audit, process, absence),
        }
    }
    let Audit {
        shares, missing, ..
    } = &mut audit;
    missing.retain(|process, _| !has_left(process, shares.values()));
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
