//! The journal from the archive: the segments that count, from the boundary or from a state behind it.

use super::contents::Contents;
use super::new_store::NewStore;
use super::{Filled, NotFilled, Phase, Progress, Wanted};
use crate::archive::walk::{Heads, Reads, check_end};
use crate::archive::{ArchiveError, journal, links, take_up};
use crate::offsite::Source;
use crate::process::ids::{Hash, Lsn};
use crate::shipping::chain::{Chain, Link};
use crate::shipping::object::StateKey;
use crate::shipping::segment::{Segment, SegmentHead};
use crate::shipping::writer::Walked;
use crate::shipping::{JournalPoint, SegmentIndex};
use crate::store::{Store, StoreError};

/// Reads the turns of a process into its new store.
pub(super) struct Turns<'a, S> {
    pub(super) store: &'a S,
    pub(super) source: &'a Source,
    pub(super) wanted: Wanted,
    /// A segment that counts, although a walk from the beginning does not reach it.
    pub(super) taken_up: Option<Link>,
    pub(super) told: &'a (dyn Fn(Progress) + Sync),
}

impl<S: NewStore> Turns<'_, S> {
    /// Reads all that are wanted. Returns whether the journal begins behind a state.
    pub(super) async fn read(
        &self,
        contents: &mut Contents<'_, S>,
        states: &[StateKey],
        filled: &mut Filled,
    ) -> Result<bool, NotFilled> {
        let process = self.source.process();
        let boundary = journal::boundary(process).await?;
        let mut chain = Chain::behind(boundary);
        let before = match journal::begins_behind(process).await {
            Err(error) => return Err(self.broken(error, &chain, states).await?),
            Ok(before) => before,
        };
        let behind = before.position.max(self.wanted.behind);
        let aged = self.aged(contents, states, before.position, filled);
        let cut = match aged.await? {
            Some(cut) => Some(cut),
            None if behind == Lsn(0) => None,
            None => Some(self.beginning(contents, states, behind, filled).await?),
        };
        let mut begin = JournalPoint::default();
        if let Some(cut) = cut {
            self.store.begin_at(cut)?;
            let (position, hash) = self.store.end();
            begin = JournalPoint { position, hash };
            // The segments before it are not needed, even where they are damaged.
            if let Some(near) = self.nearest(boundary, cut, states).await? {
                chain = Chain::behind(near);
            }
            self.skip(&mut chain, begin, states).await?;
        }
        self.append(&mut chain, begin, states).await?;
        filled.walked = Walked {
            boundary,
            last: chain.last(),
        };
        Ok(cut.is_some())
    }

    // The last segment up to a turn that is known to count without a walk.
    async fn nearest(
        &self,
        boundary: Link,
        cut: Lsn,
        states: &[StateKey],
    ) -> Result<Option<Link>, NotFilled> {
        let process = self.source.process();
        let near = match links::nearest(process, cut).await {
            Ok(near) => Some(near.last).filter(|_| near.boundary == boundary),
            Err(error) => {
                let named = links::newest(process, boundary.index, cut).await?;
                let before = named.map_or(0, |link| link.index.0 - 1);
                let chain = Chain::behind(Link {
                    index: SegmentIndex(before),
                    ..Link::default()
                });
                return Err(self.broken(error, &chain, states).await?);
            }
        };
        Ok(near
            .into_iter()
            .chain(self.taken_up)
            .max_by_key(|link| link.index))
    }

    // Passes over the segments before the beginning, of which the heads suffice.
    async fn skip(
        &self,
        chain: &mut Chain,
        begin: JournalPoint,
        states: &[StateKey],
    ) -> Result<(), NotFilled> {
        let mut heads = Heads::along(self.source.process(), chain.clone());
        loop {
            let head = match heads.next().await {
                Ok(Some(head)) => head,
                Ok(None) => break,
                Err(error) => {
                    return Err(self.broken(error, heads.chain(), states).await?);
                }
            };
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
            link: None,
            until: begin.position,
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
        let mut reads = Reads::from(process, chain.next()).ahead_to(Some(last));
        loop {
            let segment = match reads.counted(chain).await {
                Ok(Some(segment)) => segment,
                Ok(None) => break,
                Err(error) => return Err(self.broken(error, chain, states).await?),
            };
            if !segment.head.is_fence() && !self.take(&segment, begin, states)? {
                return Ok(());
            }
            let index = segment.head.index();
            (self.told)(Progress {
                phase: Phase::Journal,
                done: index.0,
                total: last.max(index).0,
            });
        }
        match check_end(process, chain).await {
            Err(error) => Err(self.broken(error, chain, states).await?),
            Ok(()) => Ok(()),
        }
    }

    // Appends the turns of a segment. Returns whether all were wanted.
    fn take(
        &self,
        segment: &Segment,
        begin: JournalPoint,
        states: &[StateKey],
    ) -> Result<bool, NotFilled> {
        journal::check_owner(self.source.process(), &segment.head, self.source.owner())?;
        let damaged = |reason: String| self.damaged(&segment.head, &reason, states);
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
        let all = self.store.append_while(entries, &wanted);
        let all = all.map_err(|error| match error {
            error @ StoreError::Damaged { .. } => damaged(error.to_string()),
            // A full or failing disk says nothing about the archive.
            error => error.into(),
        })?;
        let end: (Lsn, Hash) = self.store.end();
        let after = segment.head.after();
        if all && end != (after.position, after.hash) {
            return Err(damaged(
                "its turns do not end where its head says".to_owned(),
            ));
        }
        Ok(all)
    }

    // Behind a segment that is missing or damaged a new store can be filled from a state, if it is known where the chain goes on. The head
    // of a damaged one says that, if it can be read.
    async fn broken(
        &self,
        error: ArchiveError,
        chain: &Chain,
        states: &[StateKey],
    ) -> Result<NotFilled, NotFilled> {
        if !matches!(error, ArchiveError::Damaged { .. }) {
            return Ok(error.into());
        }
        let until = chain.last().journal.position;
        if states.is_empty() {
            return Ok(broken_at(error, None, states, until));
        }
        let process = self.source.process();
        let link = match journal::next_head(process, &mut chain.clone()).await {
            Ok(Some(head)) => Some(Link::of(&head)),
            _ => take_up(process, chain.next()).await?,
        };
        Ok(broken_at(error, link, states, until))
    }

    fn damaged(&self, head: &SegmentHead, reason: &str, states: &[StateKey]) -> NotFilled {
        let error = journal::damaged(self.source.process(), head.index(), reason);
        broken_at(error, Some(Link::of(head)), states, head.before().position)
    }
}

// Damage behind which this segment counts.
fn broken_at(
    error: ArchiveError,
    link: Option<Link>,
    states: &[StateKey],
    until: Lsn,
) -> NotFilled {
    let link = link.filter(|link| {
        let mut cuts = states.iter().map(|key| key.cut);
        cuts.any(|cut| cut >= link.journal.position)
    });
    NotFilled::Broken {
        error,
        behind: link.map(|link| link.journal.position),
        link,
        until,
    }
}
