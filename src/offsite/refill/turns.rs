//! The journal from the archive: the segments that count, from the boundary or from a state behind it.

use super::contents::Contents;
use super::{Filled, NotFilled, Phase, Progress, Until, Wanted};
use crate::archive::walk::{Heads, Reads, check_end};
use crate::archive::{ArchiveError, journal, links};
use crate::offsite::Source;
use crate::process::ids::{Hash, Lsn};
use crate::shipping::chain::Chain;
use crate::shipping::object::StateKey;
use crate::shipping::segment::Segment;
use crate::shipping::writer::Walked;
use crate::shipping::{JournalPoint, SegmentIndex};
use crate::store::{Store, StoreError};

/// Reads the turns of a process into its new store.
pub(super) struct Turns<'a> {
    pub(super) store: &'a Store,
    pub(super) source: &'a Source,
    pub(super) wanted: Wanted,
    pub(super) told: &'a (dyn Fn(Progress) + Sync),
}

impl Turns<'_> {
    /// Reads all that are wanted. Returns whether the journal begins behind a state.
    pub(super) async fn read(
        &self,
        contents: &mut Contents<'_>,
        states: &[StateKey],
        filled: &mut Filled,
    ) -> Result<bool, NotFilled> {
        let process = self.source.process();
        let boundary = journal::boundary(process).await?;
        let mut chain = Chain::behind(boundary);
        let before = journal::begins_behind(process).await?;
        let behind = before.position.max(self.wanted.behind);
        let mut begin = JournalPoint::default();
        if behind > Lsn(0) {
            let cut = self.beginning(contents, states, behind, filled).await?;
            self.store.archived().begin_at(cut)?;
            let (position, hash) = self.store.journal().end();
            begin = JournalPoint { position, hash };
            // The segments before it are not needed, even where they are damaged.
            let near = links::nearest(process, cut).await?;
            if near.boundary == boundary {
                chain = Chain::behind(near.last);
            }
            self.skip(&mut chain, begin).await?;
        }
        self.append(&mut chain, begin, states).await?;
        filled.walked = Walked {
            boundary,
            last: chain.last(),
        };
        Ok(behind > Lsn(0))
    }

    // The cut of the first whole state from which the journal can begin.
    async fn beginning(
        &self,
        contents: &mut Contents<'_>,
        states: &[StateKey],
        behind: Lsn,
        filled: &mut Filled,
    ) -> Result<Lsn, NotFilled> {
        let mut damaged = None;
        for key in states.iter().filter(|key| key.cut >= behind) {
            let is_wanted = match self.wanted.until {
                Some(Until::Turn(last)) => key.cut < last,
                Some(Until::Instant(last)) => key.time <= last,
                None => true,
            };
            if !is_wanted {
                return Err(NotFilled::TooEarly {
                    url: self.source.process.url().to_owned(),
                    process: self.source.owner.process.clone(),
                    first: key.cut.next(),
                });
            }
            match contents.state(key).await? {
                Ok(()) => {
                    filled.newest_state = Some(key.cut);
                    filled.states += 1;
                    return Ok(key.cut);
                }
                Err(why) => {
                    filled.left_out.push(why.clone());
                    damaged = Some(why);
                }
            }
        }
        Err(NotFilled::NoBeginning {
            url: self.source.process.url().to_owned(),
            process: self.source.owner.process.clone(),
            begin: behind,
            damaged,
        })
    }

    // Passes over the segments before the beginning, of which the heads suffice.
    async fn skip(&self, chain: &mut Chain, begin: JournalPoint) -> Result<(), NotFilled> {
        let mut heads = Heads::along(self.source.process(), chain.clone());
        while let Some(head) = heads.next().await? {
            if head.after().position > begin.position {
                break;
            }
            self.check(head.after(), begin)?;
            *chain = heads.chain().clone();
        }
        self.check(chain.last().journal, begin)
    }

    // A state belongs to the journal if the entry at its cut has the hash that it names.
    fn check(&self, point: JournalPoint, begin: JournalPoint) -> Result<(), NotFilled> {
        if point.position != begin.position || point.hash == begin.hash {
            return Ok(());
        }
        let folder = &self.source.process;
        let key = format!(
            "{}/{:020}",
            crate::shipping::object::STATES,
            begin.position.0
        );
        Err(NotFilled::Broken {
            error: folder.damaged(&key, "the journal has another hash at its position"),
            behind: Some(begin.position.next()),
        })
    }

    pub(super) async fn append(
        &self,
        chain: &mut Chain,
        begin: JournalPoint,
        states: &[StateKey],
    ) -> Result<(), NotFilled> {
        let process = self.source.process();
        let last = links::about_newest(process).await?;
        let mut reads = Reads::from(process, chain.next());
        loop {
            let segment = match reads.next().await {
                Ok(Some(segment)) => segment,
                Ok(None) => break,
                Err(error) => return Err(self.broken(error, chain, states).await),
            };
            let index = chain.next();
            let counts = chain.take(&segment.head);
            let counts = counts.map_err(|broken| journal::damaged(process, index, broken))?;
            if counts && !segment.head.is_fence() && !self.take(&segment, begin, states)? {
                return Ok(());
            }
            (self.told)(Progress {
                phase: Phase::Journal,
                done: index.0,
                total: last.max(index).0,
            });
        }
        Ok(check_end(process, chain).await?)
    }

    // Appends the turns of a segment. Returns whether all were wanted.
    fn take(
        &self,
        segment: &Segment,
        begin: JournalPoint,
        states: &[StateKey],
    ) -> Result<bool, NotFilled> {
        let index = segment.head.index();
        journal::check_owner(self.source.process(), &segment.head, self.source.owner())?;
        let damaged = |reason: String| self.damaged(index, &reason, segment.head.after(), states);
        let mut entries = Vec::new();
        let JournalPoint {
            mut position,
            mut hash,
        } = segment.head.before();
        for framed in segment.entries() {
            let framed = framed.map_err(|unreadable| damaged(unreadable.to_string()))?;
            if position >= begin.position {
                entries.push(framed);
                continue;
            }
            position = position.next();
            hash = match Store::link_of_archived(position, hash, framed) {
                Ok(hash) => hash,
                Err(error) => return Err(damaged(error.to_string())),
            };
            self.check(JournalPoint { position, hash }, begin)?;
        }
        let wanted =
            |turn: &crate::process::record::Turn| self.wanted.reaches(turn.position, turn.time);
        let all = self.store.append_archived_while(entries, wanted);
        let all = all.map_err(|error| match error {
            error @ StoreError::Damaged { .. } => damaged(error.to_string()),
            // A full or failing disk says nothing about the archive.
            error => error.into(),
        })?;
        let end: (Lsn, Hash) = self.store.journal().end();
        let after = segment.head.after();
        if all && end != (after.position, after.hash) {
            return Err(damaged(
                "its turns do not end where its head says".to_owned(),
            ));
        }
        self.store.account_index().write_full()?;
        Ok(all)
    }

    // Of a segment with a readable head it is known behind which turn a later state must be.
    async fn broken(&self, error: ArchiveError, chain: &Chain, states: &[StateKey]) -> NotFilled {
        if !matches!(error, ArchiveError::Damaged { .. }) {
            return error.into();
        }
        let head = journal::next_head(self.source.process(), &mut chain.clone()).await;
        let behind = head.ok().flatten().map(|head| head.after().position);
        NotFilled::Broken {
            error,
            behind: behind.filter(|behind| states.iter().any(|key| key.cut >= *behind)),
        }
    }

    fn damaged(
        &self,
        index: SegmentIndex,
        reason: &str,
        after: JournalPoint,
        states: &[StateKey],
    ) -> NotFilled {
        let is_behind = |key: &StateKey| key.cut >= after.position;
        NotFilled::Broken {
            error: journal::damaged(self.source.process(), index, reason),
            behind: states.iter().any(is_behind).then_some(after.position),
        }
    }
}
