//! What the archive alone tells of the past: nothing is claimed or written, and no node is asked.

mod cluster;

use std::collections::BTreeMap;

pub use cluster::{audit_at, audit_of, common_end, journals, left_by, newest_known};

use super::Source;
use super::refill::Until;
use crate::archive::listing::{Keys, last};
use crate::archive::walk::{Heads, Segments, check_end};
use crate::archive::{ArchiveError, Objects, gaps, journal, kept, links};
use crate::history::audit::Absence;
use crate::history::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};
use crate::shipping::chain::Chain;
use crate::shipping::gaps::NotedGaps;
use crate::shipping::object::{STATES, StateKey};
use crate::shipping::segment::{Owner, Segment};
use crate::shipping::{JournalPoint, SegmentIndex};
use crate::store::codec::Entry;
use crate::store::totals_of_stored_state;

/// Why the archive does not tell what is asked.
#[derive(Debug, thiserror::Error)]
pub enum NotArchived {
    /// It cannot be read.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// What is asked is before the first turn that is kept there, or the first state.
    #[error("the archive has process {process} only from clock value {} on", .since.0)]
    TooEarly {
        /// The process.
        process: ProcessId,
        /// The instant of that state.
        since: Hlc,
    },
    /// The state behind which the journal there begins is missing.
    #[error(
        "the archived journal of {process} begins behind turn {last}, and the recorded state there is missing; ask a node instead"
    )]
    NoBeginning {
        /// The process.
        process: ProcessId,
        /// The last turn that is not there.
        last: Lsn,
    },
    /// It has nothing of the cluster.
    #[error("the archive {url} has no cluster {cluster}{}", others(.found))]
    NoCluster {
        /// The archive.
        url: String,
        /// The cluster.
        cluster: String,
        /// The clusters that it has.
        found: Vec<String>,
    },
}

impl NotArchived {
    /// For a cluster of which the archive has nothing, with those that it has.
    pub async fn no_cluster(archive: &Objects, cluster: &str) -> Result<Self, ArchiveError> {
        Ok(Self::NoCluster {
            url: archive.url().to_owned(),
            cluster: cluster.to_owned(),
            found: archive.folders().await?,
        })
    }
}

fn others(found: &[String]) -> String {
    match found {
        [] => "; it is empty: check --archive".to_owned(),
        found => format!("; it has {}: check --cluster", found.join(", ")),
    }
}

/// The journal of one process in the archive; it has turns.
pub struct ArchivedJournal {
    /// The archive of the process.
    pub source: Source,
    /// The process.
    pub process: ProcessId,
    /// The clock value of the newest turn.
    pub ends: Hlc,
    /// The newest turn.
    end: Lsn,
    /// The newest segment.
    last: SegmentIndex,
    /// Where turns may be missing.
    gaps: NotedGaps,
}

impl ArchivedJournal {
    /// The journal of a process; `None` if the archive has no turn of it.
    pub async fn of(
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

    pub(super) async fn find(
        source: Source,
        process: ProcessId,
    ) -> Result<Option<Self>, ArchiveError> {
        let objects = source.process();
        let mut begin = links::nearest(objects, Lsn(u64::MAX)).await?;
        let end = links::end_to_read(objects).await?;
        let (head, last) = loop {
            let mut heads = Heads::along(objects, Chain::behind(begin.last)).ahead_to(end);
            let newest = heads.newest().await?;
            check_end(objects, heads.chain()).await?;
            let last = heads.chain().last().index;
            match newest {
                Some(head) => break (head, last),
                None if begin.last == begin.boundary => return Ok(None),
                // Behind the link there are only fences; it names a segment with turns.
                None => match journal::head(objects, begin.last.index).await? {
                    Some(head) => break (head, last),
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
            last,
            gaps,
        };
        let newest = journal.entries(&segment).last().transpose()?;
        journal.ends = newest.map_or(Hlc::default(), |entry| entry.turn.time);
        Ok(Some(journal))
    }

    /// The newest turn.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.end
    }

    /// What the process was at an end: the totals of the state behind which the journal begins, and of every turn up to the end.
    pub async fn share(&self, until: Until, told: &dyn Fn(u64)) -> Result<Share, NotArchived> {
        let beginning = self.beginning(until).await?;
        let begins = beginning.position;
        let totals = self.pass_turns(beginning, until, told).await?;
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
        self.pass_turns(beginning, until, &|_| {}).await
    }

    // Adds every turn up to an end. What is before the totals is checked, too, in the segment where they begin.
    async fn pass_turns(
        &self,
        mut totals: ProcessTotals,
        until: Until,
        told: &dyn Fn(u64),
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
        let mut segments = Segments::along(objects, Chain::behind(from)).ahead_to(Some(self.last));
        while let Some(segment) = segments.next().await? {
            journal::check_owner(objects, &segment.head, self.source.owner())?;
            let mut last = segment.head.before();
            for entry in self.entries(&segment) {
                let Entry { turn, hash, .. } = entry?;
                let position = turn.position;
                last = JournalPoint { position, hash };
                self.check(last, begin)?;
                let store = segment.head.writer().identity.store;
                if !until.reaches(position, turn.time) {
                    return Ok(match totals.is_known() {
                        true => totals,
                        false => ProcessTotals::before_all_turns(store),
                    });
                }
                if position > begin.position {
                    totals.pass(&turn, hash);
                }
                totals.store = Some(store);
            }
            self.check_end_of(&segment, last)?;
            told(segment.body.len() as u64);
        }
        match totals.position < self.end {
            true => Err(moved().into()),
            false => Ok(totals),
        }
    }

    // The newest instant, as people write it and not after this one, that is before a gap or in none; `None` if the archive has none.
    async fn known_until(&self, at: Hlc) -> Result<Option<Hlc>, NotArchived> {
        if self.gaps == NotedGaps::default() {
            return Ok(Some(at));
        }
        let position = self.totals(Until::Instant(at)).await?.position;
        if self.gaps.knows(position, at) {
            return Ok(Some(at));
        }
        let ranges = self.gaps.ranges().map(|(first, _)| first);
        match ranges.filter(|first| *first <= position).max() {
            None | Some(Lsn(0)) => Ok(None),
            // The archive keeps no instant before the gap.
            Some(first)
                if first
                    <= journal::begins_behind(self.source.process())
                        .await?
                        .position =>
            {
                Ok(None)
            }
            Some(first) => {
                let before = self.time(first).await?.wall_us().saturating_sub(1);
                Ok(Some(Hlc::at(before).last_of_label()))
            }
        }
    }

    // The clock value of a turn.
    async fn time(&self, position: Lsn) -> Result<Hlc, ArchiveError> {
        let objects = self.source.process();
        let near = links::nearest(objects, Lsn(position.0 - 1)).await?;
        let mut segments =
            Segments::along(objects, Chain::behind(near.last)).ahead_to(Some(self.last));
        while let Some(segment) = segments.next().await? {
            if segment.head.after().position < position {
                continue;
            }
            for entry in self.entries(&segment) {
                let turn = entry?.turn;
                if turn.position == position {
                    return Ok(turn.time);
                }
            }
        }
        let reason = format!("turn {position}, behind which others may be missing, is not there");
        Err(objects.damaged("journal", reason))
    }

    /// Why the totals at an end may not be all. A turn is what it is, whatever may be missing behind it.
    pub fn doubt(&self, totals: &ProcessTotals, until: Until) -> Option<Absence> {
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
        let mut states = Keys::<StateKey>::from(objects, behind.0);
        let mut damaged = None;
        while let Some(key) = states.next().await? {
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
        let objects = self.source.process();
        let mut damaged = None;
        loop {
            let is_before = |cut| damaged.is_none_or(|damaged| cut < damaged);
            let suits = |key: &StateKey| is_before(key.cut) && until.reaches(key.cut, key.time);
            let Some(key) = last(objects, 0, suits).await? else {
                return Ok(None);
            };
            match self.state(&key).await {
                Err(ArchiveError::Damaged { .. }) => damaged = Some(key.cut),
                found => return found.map(Some),
            }
        }
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
    pub fn entries(&self, segment: &Segment) -> impl Iterator<Item = Result<Entry, ArchiveError>> {
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
pub struct Share {
    /// The turn behind which the journal begins: the totals up to there are those of a recorded state.
    pub begins: Lsn,
    /// The totals after its newest turn by then.
    pub totals: ProcessTotals,
    /// Why these may not be all.
    pub doubt: Option<Absence>,
}
