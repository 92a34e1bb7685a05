//! Deletes in the archive what is older than its limit. What remains is consistent wherever it is interrupted:
//!
//! 1. The boundary comes first: readers and writers then begin behind it.
//! 2. Segments with turns before it, newest first, so that what is left of them is the beginning of a chain and is found again.
//!    Fences and void segments stay ([decision 0046](../../docs/decisions/0046-fences-stay.md)).
//! 3. States before the one at the boundary, revisions, and parts; each names only what is still there. Then updates of pins
//!    that say nothing any more.
//! 4. Groups of chunks that nothing names any more.
//!
//! Never deleted are the state from which the kept journal begins, and what a pinned snapshot or one within the limit needs.
//! That state is the newest one that was recorded at or before the limit, or an earlier one if messages were not acknowledged at the limit, or
//! recordings not finished: a process that is restored to any instant from the limit on has the messages that were on their way
//! then. A writer deletes only what epochs up to its own have put
//! ([decision 0047](../../docs/decisions/0047-states-share-within-an-epoch.md)).

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::left::{Left, Needed};
use super::{Source, pins};
use crate::archive::walk::{Heads, newest_link};
use crate::archive::{ArchiveError, HEADS_AHEAD, Objects, ReadAhead, epochs, journal, kept, links};
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, SnapshotId};
use crate::shipping::chain::{Chain, Link};
use crate::shipping::object::{
    GroupRef, ObjectKey, PartKey, PieceKey, PinKey, RevisionKey, SnapshotName, StateKey,
};
use crate::shipping::{Epoch, SegmentIndex};
use crate::store::needs_of_stored_state;

/// The most segments that one round deletes.
const SEGMENTS_MAX: usize = 1024;

/// What is kept.
#[derive(Debug, Clone)]
pub struct Limit {
    /// Every instant from here on keeps its answers.
    pub since: Hlc,
    /// Snapshots that are kept whatever their age, besides those that are pinned in the archive.
    pub kept: HashSet<SnapshotName>,
}

impl Limit {
    /// The limit of a process that keeps everything up to an age; both are in microseconds.
    #[must_use]
    pub fn of_age(now_us: u64, age_us: u64, kept: &[SnapshotId]) -> Self {
        Self {
            since: Hlc::at(now_us.saturating_sub(age_us)),
            kept: kept.iter().map(SnapshotName::of).collect(),
        }
    }
}

/// What one round has deleted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deleted {
    /// Segments of the journal.
    pub segments: u64,
    /// Links to such segments.
    pub links: u64,
    /// Recorded states.
    pub states: u64,
    /// Published revisions.
    pub revisions: u64,
    /// Parts of this process.
    pub parts: u64,
    /// Updates of pins.
    pub pins: u64,
    /// Pieces of groups of chunks.
    pub pieces: u64,
    /// The groups of the own epoch among them.
    pub own_groups: Vec<Hash>,
    /// The snapshots whose part of this process is among them.
    pub own_parts: Vec<SnapshotName>,
    /// What is left; `None` if the round ended early.
    pub left: Option<Left>,
    /// Whether there may be more.
    pub is_more: bool,
}

impl Deleted {
    /// The number of objects.
    #[must_use]
    pub fn objects(&self) -> u64 {
        let Self {
            segments,
            links,
            states,
            revisions,
            parts,
            pins,
            pieces,
            ..
        } = self;
        segments + links + states + revisions + parts + pins + pieces
    }
}

/// Deletes in the archive of one process.
pub struct Retention<'a> {
    source: &'a Source,
    /// The epoch of the writer on whose behalf it deletes.
    epoch: Epoch,
    limit: &'a Limit,
    /// Asked before each change; if it says no, the round ends.
    goes_on: &'a mut (dyn FnMut() -> bool + Send + Sync),
    deleted: Deleted,
}

/// Why a round ended early.
enum End {
    Asked,
    Failed(ArchiveError),
}

impl From<ArchiveError> for End {
    fn from(error: ArchiveError) -> Self {
        Self::Failed(error)
    }
}

// What is damaged ends only a part of the work.
fn unless_damaged<T>(done: Result<T, End>) -> Result<Result<T, ArchiveError>, End> {
    match done {
        Ok(done) => Ok(Ok(done)),
        Err(End::Failed(error @ ArchiveError::Damaged { .. })) => Ok(Err(error)),
        Err(end) => Err(end),
    }
}

/// The groups of chunks in the archive, and what names them.
struct Groups {
    /// The number of pieces of each.
    present: BTreeMap<(Epoch, Hash), u32>,
}

impl Groups {
    fn has_all(&self, epoch: Epoch, named: &[GroupRef]) -> bool {
        named.iter().all(|one| {
            let pieces = self.present.get(&(epoch, one.group));
            pieces.copied().unwrap_or(0) >= one.pieces
        })
    }
}

impl<'a> Retention<'a> {
    /// Retention on behalf of a writer.
    pub fn new(
        source: &'a Source,
        epoch: Epoch,
        limit: &'a Limit,
        goes_on: &'a mut (dyn FnMut() -> bool + Send + Sync),
    ) -> Self {
        Self {
            source,
            epoch,
            limit,
            goes_on,
            deleted: Deleted::default(),
        }
    }

    /// Deletes what is due, and nothing if a later writer has taken over. Returns what was deleted, also before an error; the next
    /// round goes on.
    pub async fn round(mut self) -> (Deleted, Result<(), ArchiveError>) {
        let ended = match self.delete_all().await {
            Ok(()) | Err(End::Asked) => Ok(()),
            Err(End::Failed(error)) => Err(error),
        };
        (self.deleted, ended)
    }

    async fn delete_all(&mut self) -> Result<(), End> {
        if !self.is_newest().await? {
            return Ok(());
        }
        let pieces = kept::list::<PieceKey>(&self.source.process).await?;
        let mut groups = Groups {
            present: BTreeMap::new(),
        };
        for key in &pieces {
            *groups.present.entry((key.epoch, key.group)).or_default() += 1;
        }
        let states = kept::list::<StateKey>(&self.source.process).await?;
        let begin = self.beginning(&states, &groups).await?;
        // Where the journal is damaged, its segments stay; everything else is deleted as if it were not.
        let shortened = unless_damaged(self.shorten(begin).await)?;
        let (gone, states): (Vec<_>, Vec<_>) = states.into_iter().partition(|key| {
            begin.is_some_and(|begin| key.cut < begin.cut) && key.epoch <= self.epoch
        });
        for key in gone {
            self.delete(&key).await?;
            self.deleted.states += 1;
        }
        let pins = kept::list::<PinKey>(&self.source.cluster).await?;
        let (revisions, parts) = self.delete_snapshots(&pins::pinned(&pins)).await?;
        self.delete_pins(&pins).await?;
        self.delete_groups(&states, &parts, &pieces).await?;
        self.deleted.left = Some(Left {
            parts,
            revisions,
            ..Left::of(self.epoch, &pieces, &self.deleted.own_groups, &states)
        });
        Ok(shortened?)
    }

    // Deletes segments before a state.
    async fn shorten(&mut self, begin: Option<StateKey>) -> Result<(), End> {
        let moved = match begin {
            Some(begin) => unless_damaged(self.move_boundary(begin).await)?,
            None => Ok(()),
        };
        self.finish_segments().await?;
        Ok(moved?)
    }

    // Whether no later writer has taken over: one has once its fence is set, and not when it has claimed its epoch.
    async fn is_newest(&self) -> Result<bool, ArchiveError> {
        let process = &self.source.process;
        let claimed = epochs::newest(process).await?.map(|newest| newest.epoch);
        if claimed <= Some(self.epoch) {
            return Ok(claimed == Some(self.epoch));
        }
        let is_newest = newest_link(process).await?.epoch <= self.epoch;
        if is_newest {
            tracing::warn!(
                "a restore has claimed this process and has not taken it over: it has failed, or goes on; repeat it, or leave \
                 the process as it is"
            );
        }
        Ok(is_newest)
    }

    // The newest whole state from which everything within the limit can be restored. What a process needs only moves forward,
    // so no instant behind the newest state at the limit needs more than that state does.
    async fn beginning(
        &self,
        states: &[StateKey],
        groups: &Groups,
    ) -> Result<Option<StateKey>, ArchiveError> {
        let (process, since) = (&self.source.process, self.limit.since);
        for key in states.iter().rev().filter(|key| key.time <= since) {
            if !self.is_whole(key, groups).await? {
                continue;
            }
            let state = kept::read(process, &self.source.owner, key).await;
            let needs = state.and_then(|state| match state {
                Some(state) => needs_of_stored_state(&state.body)
                    .map_err(|damage| process.damaged(&key.to_string(), damage)),
                None => Err(process.damaged(&key.to_string(), "it is gone")),
            });
            match needs {
                // Until that turn, a journal that begins here would have none.
                Ok(needs) if needs.recorded > since => {}
                Ok(needs) if needs.from >= key.cut => return Ok(Some(*key)),
                Ok(needs) => return self.newest_whole(states, needs.from, groups).await,
                Err(error @ ArchiveError::Damaged { .. }) => {
                    tracing::warn!(%error, "retention keeps what is before it");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }

    async fn newest_whole(
        &self,
        states: &[StateKey],
        until: Lsn,
        groups: &Groups,
    ) -> Result<Option<StateKey>, ArchiveError> {
        for key in states.iter().rev().filter(|key| key.cut <= until) {
            if self.is_whole(key, groups).await? {
                return Ok(Some(*key));
            }
        }
        Ok(None)
    }

    // Whether everything of a state is there.
    async fn is_whole(&self, key: &StateKey, groups: &Groups) -> Result<bool, ArchiveError> {
        match kept::head(&self.source.process, &self.source.owner, key).await {
            Ok(Some(head)) if groups.has_all(key.epoch, head.groups()) => return Ok(true),
            Ok(_) => {
                tracing::warn!(%key, "an archived state lacks chunks; retention keeps what is before it");
            }
            Err(error @ ArchiveError::Damaged { .. }) => {
                tracing::warn!(%error, "retention keeps what is before it");
            }
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    // Moves the boundary behind the last segment that the state replaces.
    async fn move_boundary(&mut self, begin: StateKey) -> Result<(), End> {
        let process = &self.source.process;
        let before = journal::boundary(process).await?;
        let mut heads = Heads::along(process, Chain::behind(before));
        let mut last = before;
        let mut walked = Ok(());
        for _ in 0..SEGMENTS_MAX {
            let head = match heads.next().await {
                Err(error @ ArchiveError::Damaged { .. }) => {
                    walked = Err(error);
                    break;
                }
                head => head?,
            };
            if head.is_none_or(|head| head.after().position > begin.cut) {
                break;
            }
            last = heads.chain().last();
        }
        self.deleted.is_more = heads.chain().last() == last && last != before;
        if last == before {
            return Ok(walked?);
        }
        self.ask()?;
        if before.index == SegmentIndex::default() {
            // Until the segments behind it are deleted it says where they begin.
            journal::set_boundary(process, before).await?;
        }
        journal::set_boundary(process, last).await?;
        Ok(walked?)
    }

    // Deletes the segments before the boundary, behind each earlier one that is still there.
    async fn finish_segments(&mut self) -> Result<(), End> {
        let process = &self.source.process;
        let mut boundaries = journal::boundaries(process).await?;
        let Some(valid) = boundaries.pop() else {
            return Ok(());
        };
        for key in links::until(process, valid).await? {
            self.ask()?;
            links::delete(process, key).await?;
            self.deleted.links += 1;
        }
        for earlier in boundaries {
            let Some(link) = journal::boundary_of(process, earlier).await? else {
                continue;
            };
            let due = due_segments(process, link, valid).await?;
            for index in due.into_iter().rev() {
                self.ask()?;
                journal::delete(process, index).await?;
                self.deleted.segments += 1;
            }
            self.ask()?;
            journal::delete_boundary(process, earlier).await?;
        }
        Ok(())
    }

    async fn delete_pins(&mut self, pins: &[PinKey]) -> Result<(), End> {
        for key in pins::due(pins, self.limit.since) {
            self.delete(key).await?;
            self.deleted.pins += 1;
        }
        Ok(())
    }

    // Deletes revisions and then parts that are due; returns those that stay.
    async fn delete_snapshots(
        &mut self,
        pinned: &HashSet<SnapshotName>,
    ) -> Result<(HashSet<RevisionKey>, Vec<PartKey>), End> {
        let since = self.limit.since;
        let kept = self.limit.kept.union(pinned).cloned();
        let kept: HashSet<SnapshotName> = kept.collect();
        let (mut staying, mut revisions) = (HashSet::new(), HashSet::new());
        for key in kept::list::<RevisionKey>(&self.source.cluster).await? {
            if key.began >= since || kept.contains(&key.snapshot) {
                staying.insert(key.snapshot.clone());
                revisions.insert(key);
                continue;
            }
            self.delete(&key).await?;
            self.deleted.revisions += 1;
        }
        let mut parts = Vec::new();
        for key in kept::list::<PartKey>(&self.source.process).await? {
            let is_kept = key.time >= since
                || key.epoch > self.epoch
                || staying.contains(&key.snapshot)
                || kept.contains(&key.snapshot);
            if is_kept {
                parts.push(key);
                continue;
            }
            self.deleted.own_parts.push(key.snapshot.clone());
            self.delete(&key).await?;
            self.deleted.parts += 1;
        }
        Ok((revisions, parts))
    }

    async fn delete_groups(
        &mut self,
        states: &[StateKey],
        parts: &[PartKey],
        pieces: &[PieceKey],
    ) -> Result<(), End> {
        let mut needed = Needed::default();
        let states = states.iter().map(|key| (key.epoch, *key));
        self.mark(&mut needed, states.collect()).await?;
        let parts = parts.iter().map(|key| (key.epoch, key.clone()));
        self.mark(&mut needed, parts.collect()).await?;
        let mut own = BTreeSet::new();
        for key in pieces.iter().rev() {
            if key.epoch > self.epoch || needed.needs(key) {
                continue;
            }
            if key.epoch == self.epoch && own.insert(key.group) {
                // Noted before its first piece goes.
                self.deleted.own_groups.push(key.group);
            }
            self.delete(key).await?;
            self.deleted.pieces += 1;
        }
        Ok(())
    }

    async fn mark<K: ObjectKey + Clone + Send + Sync + 'static>(
        &self,
        needed: &mut Needed,
        keys: Vec<(Epoch, K)>,
    ) -> Result<(), ArchiveError> {
        let (folder, owner) = (&self.source.process, &self.source.owner);
        let mut rest = keys.into_iter();
        let mut ahead = ReadAhead::new(HEADS_AHEAD);
        let mut next = || {
            let (folder, owner) = (folder.clone(), owner.clone());
            let (epoch, key) = rest.next()?;
            Some(async move { Ok((epoch, kept::head(&folder, &owner, &key).await)) })
        };
        while let Some((epoch, head)) = ahead.next(&mut next).await? {
            needed.take(epoch, head)?;
        }
        Ok(())
    }

    async fn delete<K: ObjectKey>(&mut self, key: &K) -> Result<(), End> {
        self.ask()?;
        let folder = self.source.folder_of(key);
        Ok(folder.delete(&key.to_string()).await?)
    }

    fn ask(&mut self) -> Result<(), End> {
        match (self.goes_on)() {
            true => Ok(()),
            false => Err(End::Asked),
        }
    }
}

// The segments with turns that count, from a boundary to a later one, as far as the first that is gone.
async fn due_segments(
    process: &Objects,
    from: Link,
    until: SegmentIndex,
) -> Result<Vec<SegmentIndex>, ArchiveError> {
    let mut heads = Heads::along(process, Chain::behind(from));
    let mut due = Vec::new();
    // The object behind the last one may be damaged.
    while heads.chain().next() <= until
        && let Some(head) = heads.next().await?
    {
        if !head.is_fence() {
            due.push(head.index());
        }
    }
    Ok(due)
}
