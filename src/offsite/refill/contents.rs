//! Recorded states, own parts and revisions from the archive, with their chunks.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::new_store::NewStore;
use super::{Filled, NotFilled, Phase, Progress};
use crate::archive::kept::Found;
use crate::archive::{ArchiveError, Objects, kept};
use crate::history::global::GlobalState;
use crate::offsite::Source;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};
use crate::shipping::Epoch;
use crate::shipping::object::{
    ArchivedObject, GroupRef, ObjectKey, PartKey, PieceKey, RevisionKey, SnapshotName, StateKey,
};
use crate::shipping::segment::Owner;
use crate::store::{
    Arrived, ChunkGroup, Incoming, Published, StoreError, groups_of_stored_part,
    groups_of_stored_state,
};

pub(super) type Told<'a> = &'a (dyn Fn(Progress) + Sync);
/// What is left out is named by a sentence; an error ends the work.
type Loaded = Result<Result<(), String>, NotFilled>;

/// Why a revision is left out.
enum LeftOut {
    /// A process has no part of its snapshot in the archive, or another revision has its number.
    Lacking(String),
    /// Something is damaged.
    Damaged(String),
}

impl LeftOut {
    fn sentence(self) -> String {
        match self {
            Self::Lacking(why) | Self::Damaged(why) => why,
        }
    }
}

/// Loads into a new store what is kept beside the journal.
pub(super) struct Contents<'a, S> {
    pub(super) store: &'a S,
    pub(super) source: &'a Source,
    /// The cuts of the states that are stored.
    states: BTreeSet<Lsn>,
    /// The snapshots that are left out.
    pub(super) deleted: HashSet<SnapshotName>,
    /// The parts that each process has in the archive, as far as they were asked for.
    parts: HashMap<ProcessId, BTreeMap<SnapshotName, Vec<PartKey>>>,
}

/// Where the chunks of an object are.
struct Place<'a> {
    folder: &'a Objects,
    owner: &'a Owner,
    epoch: Epoch,
    groups: &'a [GroupRef],
}

impl<'a, S: NewStore> Contents<'a, S> {
    pub(super) fn new(store: &'a S, source: &'a Source) -> Self {
        Self {
            store,
            source,
            states: BTreeSet::new(),
            deleted: HashSet::new(),
            parts: HashMap::new(),
        }
    }

    /// Loads one state.
    pub(super) async fn state(&mut self, key: &StateKey) -> Loaded {
        let (folder, owner) = (&self.source.process, &self.source.owner);
        let object = kept::read(folder, owner, key).await;
        self.take_state(key, object).await
    }

    async fn take_state(&mut self, key: &StateKey, object: Found) -> Loaded {
        let folder = &self.source.process;
        let object = match there(folder, key, object)? {
            Ok(object) => object,
            Err(why) => return Ok(Err(why)),
        };
        let groups = match groups_of_stored_state(&object.body) {
            Ok(groups) => groups,
            Err(damage) => return Ok(Err(damaged(folder, key, damage))),
        };
        let place = self.own(key.epoch, object.head.groups());
        if let Err(why) = self.chunks(place, groups).await? {
            return Ok(Err(why));
        }
        let arrived = self.store.put_state(key.cut, &object.body)?;
        let arrived = stored(folder, key, arrived).map(drop);
        if arrived.is_ok() {
            self.states.insert(key.cut);
        }
        Ok(arrived)
    }

    /// Loads the states of the journal, newest first.
    pub(super) async fn states(
        &mut self,
        all: &[StateKey],
        filled: &mut Filled,
        told: Told<'_>,
    ) -> Result<(), NotFilled> {
        let kept = (filled.first, filled.end);
        let is_within = |key: &&StateKey| key.cut.next() >= kept.0 && key.cut < kept.1;
        let wanted: Vec<StateKey> = all.iter().rev().filter(is_within).copied().collect();
        let mut progress = Counter::new(Phase::States, wanted.len(), told);
        let (folder, owner) = (&self.source.process, &self.source.owner);
        let mut reads = kept::Reads::of(folder, owner, wanted.into_iter());
        let mut lost = BTreeSet::new();
        while let Some((key, object)) = reads.next().await? {
            progress.count();
            if self.states.contains(&key.cut) {
                continue;
            }
            match self.take_state(&key, object).await? {
                Ok(()) => {
                    filled.states += 1;
                    filled.newest_state = filled.newest_state.max(Some(key.cut));
                }
                Err(why) => {
                    lost.insert(key.cut);
                    filled.left_out.push(why);
                }
            }
        }
        // Neighbours of a lost state may have been thinned because of it.
        let behind = |cut: &Lsn| self.states.range(cut..).next();
        let next = lost.difference(&self.states).filter_map(behind).max();
        match next {
            Some(next) => Ok(self.store.note_states_begin(*next)?),
            None => Ok(()),
        }
    }

    /// Loads the parts of this process, those that were finished by a turn if one is given.
    pub(super) async fn parts(
        &mut self,
        until: Option<Lsn>,
        filled: &mut Filled,
        told: Told<'_>,
    ) -> Result<(), NotFilled> {
        let folder = &self.source.process;
        let mut all = kept::list::<PartKey>(folder).await?;
        all.retain(|key| !self.deleted.contains(&key.snapshot));
        let mut progress = Counter::new(Phase::Parts, all.len(), told);
        let mut done: BTreeSet<SnapshotName> = BTreeSet::new();
        let mut reads = kept::Reads::of(folder, &self.source.owner, all.into_iter().rev());
        while let Some((key, object)) = reads.next().await? {
            progress.count();
            if done.contains(&key.snapshot) {
                continue;
            }
            match self.take_part(&key, object, until).await? {
                Ok(Arrived::Stored) => {
                    filled.parts += 1;
                    done.insert(key.snapshot);
                }
                Ok(Arrived::Later | Arrived::Refused(_) | Arrived::Second) => {}
                Err(why) => filled.left_out.push(why),
            }
        }
        Ok(())
    }

    async fn take_part(
        &self,
        key: &PartKey,
        object: Found,
        until: Option<Lsn>,
    ) -> Result<Result<Arrived, String>, NotFilled> {
        let folder = &self.source.process;
        let object = match there(folder, key, object)? {
            Ok(object) => object,
            Err(why) => return Ok(Err(why)),
        };
        let groups = match groups_of_stored_part(&object.body) {
            Ok(groups) => groups,
            Err(damage) => return Ok(Err(damaged(folder, key, damage))),
        };
        let place = self.own(key.epoch, object.head.groups());
        if let Err(why) = self.chunks(place, groups).await? {
            return Ok(Err(why));
        }
        let arrived = self.store.put_part(&object.body, until)?;
        Ok(stored(folder, key, arrived))
    }

    /// Loads the published revisions of which all parts are in the archive, those that existed at an instant if one is given.
    pub(super) async fn revisions(
        &mut self,
        until: Option<Hlc>,
        filled: &mut Filled,
        told: Told<'_>,
    ) -> Result<(), NotFilled> {
        let mut all = kept::list::<RevisionKey>(&self.source.cluster).await?;
        all.retain(|key| !self.deleted.contains(&key.snapshot));
        let is_later = |incoming: &Incoming| {
            until.is_some_and(|until| !existed(&incoming.published.state, until))
        };
        let mut progress = Counter::new(Phase::History, all.len(), told);
        let (folder, owner) = (&self.source.cluster, &self.source.owner);
        let mut reads = kept::Reads::of(folder, owner, all.into_iter());
        while let Some((key, object)) = reads.next().await? {
            progress.count();
            let taken = match self.incoming(&key, object)? {
                Ok((incoming, _)) if is_later(&incoming) => continue,
                Ok((incoming, body)) => self.take_revision(&key, incoming, &body).await?,
                Err(why) => Err(LeftOut::Damaged(why)),
            };
            match taken {
                Ok(_) => filled.revisions += 1,
                // Peers may have it.
                Err(LeftOut::Damaged(why)) => filled.left_out.push(why),
                Err(LeftOut::Lacking(why)) => filled.lacking.push(why),
            }
        }
        Ok(())
    }

    /// Loads one published revision if it `is_wanted`; `None` if it is not.
    pub(super) async fn revision(
        &mut self,
        key: &RevisionKey,
        is_wanted: impl Fn(&GlobalState) -> bool,
    ) -> Result<Result<Option<Published>, String>, NotFilled> {
        let object = kept::read(&self.source.cluster, &self.source.owner, key).await;
        match self.incoming(key, object)? {
            Ok((incoming, _)) if !is_wanted(&incoming.published.state) => Ok(Ok(None)),
            Ok((incoming, body)) => {
                let taken = self.take_revision(key, incoming, &body).await?;
                Ok(taken.map(Some).map_err(LeftOut::sentence))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    // The revision of an object, and its body.
    fn incoming(
        &self,
        key: &RevisionKey,
        object: Found,
    ) -> Result<Result<(Incoming, Vec<u8>), String>, NotFilled> {
        let folder = &self.source.cluster;
        let object = match there(folder, key, object)? {
            Ok(object) => object,
            Err(why) => return Ok(Err(why)),
        };
        let incoming = match self.store.incoming(&object.body) {
            Ok(incoming) => incoming,
            Err(StoreError::Damaged { damage, .. }) => {
                return Ok(Err(damaged(folder, key, damage)));
            }
            Err(error) => return Err(error.into()),
        };
        let Published { state, root, .. } = &incoming.published;
        let is_named = SnapshotName::of(&state.snapshot) == key.snapshot;
        match *root == key.root && is_named && state.revision == key.revision {
            true => Ok(Ok((incoming, object.body))),
            false => Ok(Err(damaged(folder, key, "it is another revision"))),
        }
    }

    async fn take_revision(
        &mut self,
        key: &RevisionKey,
        incoming: Incoming,
        body: &[u8],
    ) -> Result<Result<Published, LeftOut>, NotFilled> {
        let published = incoming.published;
        let (snapshot, revision) = (&published.state.snapshot, key.revision);
        let named = |why: String| format!("revision {revision} of snapshot {snapshot}: {why}");
        for (process, groups) in incoming.lacking {
            match self.foreign(&process, &key.snapshot, groups).await? {
                Ok(()) => {}
                Err(LeftOut::Damaged(why)) => return Ok(Err(LeftOut::Damaged(named(why)))),
                Err(LeftOut::Lacking(why)) => return Ok(Err(LeftOut::Lacking(named(why)))),
            }
        }
        let arrived = self.store.put_revision(body)?;
        Ok(match stored(&self.source.cluster, key, arrived) {
            Ok(Arrived::Second) => Err(LeftOut::Lacking(named(format!(
                "two processes have assembled one of this number; the other is restored, and this one stays in the archive as {key}"
            )))),
            Ok(_) => Ok(published),
            Err(why) => Err(LeftOut::Damaged(why)),
        })
    }

    // Loads the chunks that a process has recorded for a snapshot.
    async fn foreign(
        &mut self,
        process: &ProcessId,
        snapshot: &SnapshotName,
        groups: Vec<ChunkGroup>,
    ) -> Result<Result<(), LeftOut>, NotFilled> {
        let folder = self.source.cluster.below(process.as_str());
        let owner = Owner {
            process: process.to_string(),
            ..self.source.owner.clone()
        };
        if !self.parts.contains_key(process) {
            let mut parts: BTreeMap<SnapshotName, Vec<PartKey>> = BTreeMap::new();
            for key in kept::list::<PartKey>(&folder).await? {
                parts.entry(key.snapshot.clone()).or_default().push(key);
            }
            self.parts.insert(process.clone(), parts);
        }
        let parts = self
            .parts
            .get(process)
            .and_then(|parts| parts.get(snapshot));
        let why = format!("the part of process {process} is not in the archive");
        let mut why = LeftOut::Lacking(why);
        for key in parts.into_iter().flatten().rev() {
            let head = match kept::head(&folder, &owner, key).await {
                Ok(Some(head)) => head,
                Ok(None) => continue,
                Err(error @ ArchiveError::Damaged { .. }) => {
                    why = LeftOut::Damaged(error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let place = Place {
                folder: &folder,
                owner: &owner,
                epoch: key.epoch,
                groups: head.groups(),
            };
            match self.chunks(place, groups.clone()).await? {
                Ok(()) => return Ok(Ok(())),
                Err(missing) => why = LeftOut::Damaged(missing),
            }
        }
        Ok(Err(why))
    }

    fn own<'b>(&'b self, epoch: Epoch, groups: &'b [GroupRef]) -> Place<'b> {
        Place {
            folder: &self.source.process,
            owner: &self.source.owner,
            epoch,
            groups,
        }
    }

    // Loads the groups of chunks that are not here.
    async fn chunks(&self, place: Place<'_>, groups: Vec<ChunkGroup>) -> Loaded {
        for group in self.store.lacking(groups)? {
            let id = group.id();
            let first = PieceKey {
                epoch: place.epoch,
                group: id,
                piece: 0,
            };
            let Some(found) = place.groups.iter().find(|found| found.group == id) else {
                let reason = "no object names the number of its pieces";
                return Ok(Err(damaged(place.folder, &first, reason)));
            };
            let pieces = (0..found.pieces).map(|piece| PieceKey { piece, ..first });
            if let Err(why) = self.pieces(&place, pieces).await? {
                return Ok(Err(why));
            }
            if !self.store.lacking(vec![group])?.is_empty() {
                let reason = "chunks are missing in it or behind it";
                return Ok(Err(damaged(place.folder, &first, reason)));
            }
        }
        Ok(Ok(()))
    }

    async fn pieces(&self, place: &Place<'_>, keys: impl Iterator<Item = PieceKey>) -> Loaded {
        let mut reads = kept::Reads::of(place.folder, place.owner, keys);
        while let Some((key, object)) = reads.next().await? {
            let object = match there(place.folder, &key, object)? {
                Ok(object) => object,
                Err(why) => return Ok(Err(why)),
            };
            let chunks: Result<Vec<_>, _> = object
                .chunks()
                .map(|chunk| chunk.map(<[u8]>::to_vec))
                .collect();
            let chunks = match chunks {
                Ok(chunks) => chunks,
                Err(unreadable) => return Ok(Err(damaged(place.folder, &key, unreadable))),
            };
            match self.store.put_chunks(chunks) {
                Ok(()) => {}
                Err(StoreError::Damaged { damage, .. }) => {
                    return Ok(Err(damaged(place.folder, &key, damage)));
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(Ok(()))
    }
}

// The object, or why it is left out.
pub(super) fn there(
    folder: &Objects,
    key: &impl ObjectKey,
    object: Found,
) -> Result<Result<ArchivedObject, String>, ArchiveError> {
    match object {
        Ok(Some(object)) => Ok(Ok(object)),
        Ok(None) => Ok(Err(damaged(folder, key, "it is gone"))),
        Err(error @ ArchiveError::Damaged { .. }) => Ok(Err(error.to_string())),
        Err(error) => Err(error),
    }
}

fn damaged(folder: &Objects, key: &impl ObjectKey, reason: impl std::fmt::Display) -> String {
    folder.damaged(&key.to_string(), reason).to_string()
}

fn stored(folder: &Objects, key: &impl ObjectKey, arrived: Arrived) -> Result<Arrived, String> {
    match arrived {
        Arrived::Refused(reason) => Err(damaged(folder, key, reason)),
        Arrived::Stored | Arrived::Later | Arrived::Second => Ok(arrived),
    }
}

// Whether everything that a revision says had happened by an instant.
fn existed(state: &GlobalState, until: Hlc) -> bool {
    let recorded = state.parts.values().all(|part| {
        let mut closings = part.channels.iter().map(|channel| channel.closing);
        part.state.time <= until
            && closings.all(|closing| closing.is_none_or(|closing| closing.time <= until))
    });
    recorded && state.finished_at <= until
}

/// Counts what is done of a phase.
pub(super) struct Counter<'a> {
    progress: Progress,
    told: Told<'a>,
}

impl<'a> Counter<'a> {
    pub(super) fn new(phase: Phase, total: usize, told: Told<'a>) -> Self {
        let (done, total) = (0, total as u64);
        Self {
            progress: Progress { phase, done, total },
            told,
        }
    }

    pub(super) fn count(&mut self) {
        self.progress.done += 1;
        (self.told)(self.progress);
    }
}
