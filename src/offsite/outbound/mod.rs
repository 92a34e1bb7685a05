//! What goes to the archive beside the journal: recorded states, own parts, published revisions and pins, once each, with their
//! chunks. A state or part names only chunks that its writer has put itself in its own epoch, so nothing that an earlier writer
//! deletes is missing to it ([decision 0047](../../../docs/decisions/0047-states-share-within-an-epoch.md)).

mod compared;
mod pinned;

use std::collections::{BTreeSet, HashMap, HashSet};

use super::Source;
use super::origin::{NotShipped, Origin as _, StoreReader};
use super::retention::Limit;
use crate::archive::{ArchiveError, journal, kept};
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, SnapshotId};
use crate::shipping::Epoch;
use crate::shipping::object::{
    ArchivedObject, GroupRef, ObjectKey, PIECE_BYTES, PartKey, PieceKey, PinKey, RevisionKey,
    SnapshotName, StateKey,
};
use crate::store::{ChunkGroup, GroupReader, Outgoing};

/// The revisions that are looked at together.
const REVISIONS_TOGETHER: usize = 64;
/// The parts beyond which those of deleted snapshots are forgotten.
const PARTS_MIN: usize = 1024;
/// The groups of chunks beyond which those that the newest state does not need are forgotten. One that is needed again is put
/// again under the same keys.
const GROUPS_MAX: usize = 65_536;

/// What was shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Shipped {
    /// Recorded states.
    pub states: u64,
    /// Parts of this process.
    pub parts: u64,
    /// Published revisions.
    pub revisions: u64,
    /// The bytes of all these with their chunks.
    pub bytes: u64,
}

/// What this writer has put into the archive.
pub struct Outbound {
    source: Source,
    epoch: Epoch,
    /// The number of pieces of each group of chunks in the own epoch.
    groups: HashMap<Hash, u32>,
    /// The newest state that was looked at.
    state: Option<Lsn>,
    /// The cuts of states that earlier writers have put.
    states_before: BTreeSet<Lsn>,
    /// The snapshots whose part is in the archive.
    parts: HashSet<SnapshotName>,
    parts_max: usize,
    /// The parts that were stored before the state at this cut were looked at.
    parts_until: Option<Lsn>,
    /// The revisions that were in the archive at the start, until all that are here were looked at.
    revisions_before: HashSet<RevisionKey>,
    /// The number of revisions that were looked at, in the order of their arrival.
    revisions: u64,
    /// The turn behind which the archived journal begins: states before it are of no use there.
    begins: Lsn,
    /// The last turn that the archive has.
    archived: Lsn,
    /// Parts wait for the turns that they were made from.
    has_waiting: bool,
    /// The number of packed revisions, in the order of their arrival, whose own parts were shipped or found damaged.
    packed: u64,
    /// The updates of pins that are in the archive.
    pins: HashSet<PinKey>,
    /// The number of updates that had arrived when all were shipped.
    pins_arrived: Option<u64>,
    /// The pinned snapshots, and those of them of which the archive may lack something that is here.
    pinned: HashSet<SnapshotName>,
    unheld: BTreeSet<SnapshotId>,
    /// The revisions of pinned snapshots that were put or found there.
    held: HashSet<RevisionKey>,
    /// What is too old for the archive.
    limit: Option<Limit>,
    shipped: Shipped,
}

impl Outbound {
    /// Learns what is in the archive.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn open(source: Source, epoch: Epoch) -> Result<Self, ArchiveError> {
        let states = kept::list::<StateKey>(&source.process).await?;
        let parts = kept::list::<PartKey>(&source.process).await?;
        let revisions = kept::list::<RevisionKey>(&source.cluster).await?;
        let pins = kept::list::<PinKey>(&source.cluster).await?;
        let begins = journal::begins_behind(&source.process).await?.position;
        Ok(Self {
            source,
            epoch,
            groups: HashMap::new(),
            state: None,
            states_before: states.into_iter().map(|key| key.cut).collect(),
            parts: parts.into_iter().map(|key| key.snapshot).collect(),
            parts_max: PARTS_MIN,
            parts_until: None,
            revisions_before: revisions.into_iter().collect(),
            revisions: 0,
            begins,
            archived: Lsn(0),
            has_waiting: false,
            packed: 0,
            pins: pins.into_iter().collect(),
            pins_arrived: None,
            pinned: HashSet::new(),
            unheld: BTreeSet::new(),
            held: HashSet::new(),
            limit: None,
            shipped: Shipped::default(),
        })
    }

    /// What was shipped since the last call.
    pub fn take_shipped(&mut self) -> Shipped {
        std::mem::take(&mut self.shipped)
    }

    /// Ships the oldest state that is not in the archive, if the archive has the turn that recorded it. Returns whether there may
    /// be more. The parts that were stored before it go first: a restored store does not know the recordings that ended before
    /// its newest state.
    ///
    /// # Errors
    /// [`NotShipped`]; after [`NotShipped::Damaged`] the next call goes on behind it.
    pub async fn ship_state(
        &mut self,
        store: &impl StoreReader,
        archived: Lsn,
    ) -> Result<bool, NotShipped> {
        self.archived = archived;
        let after = self.state;
        let next = store.read(move |store| store.state_after(after)).await?;
        let Some(cut) = next else {
            self.states_before = BTreeSet::new();
            return Ok(false);
        };
        if cut >= archived {
            return Ok(false);
        }
        if cut < self.begins || self.states_before.contains(&cut) {
            self.state = Some(cut);
            return Ok(true);
        }
        if self.parts_until < Some(cut) {
            let newest = store.read(|store| Ok(store.newest_state()));
            let newest = newest.await?;
            let shipped = self.ship_parts(store).await;
            if !matches!(shipped, Err(NotShipped::Archive(_))) {
                // Those that wait come before the states behind the last archived turn.
                let waiting = self.has_waiting.then(|| Lsn(archived.0 - 1));
                let until = waiting.map_or(newest, |end| newest.min(Some(end)));
                self.parts_until = until.max(Some(cut));
            }
            shipped?;
        }
        let shipped = self.ship_state_at(store, cut).await;
        if !matches!(shipped, Err(NotShipped::Archive(_))) {
            self.state = Some(cut);
        }
        shipped.map(|()| true)
    }

    async fn ship_state_at(
        &mut self,
        store: &impl StoreReader,
        cut: Lsn,
    ) -> Result<(), NotShipped> {
        let state = || store.read(move |store| store.state(cut));
        let Some(outgoing) = state().await? else {
            return Ok(());
        };
        match self.put_state(store, cut, outgoing).await {
            // Its chunks may be deleted after it.
            Err(NotShipped::Damaged(_)) if state().await?.is_none() => Ok(()),
            shipped => shipped,
        }
    }

    async fn put_state(
        &mut self,
        store: &impl StoreReader,
        cut: Lsn,
        state: Outgoing,
    ) -> Result<(), NotShipped> {
        let (time, epoch) = (state.time, self.epoch);
        let key = StateKey { cut, time, epoch };
        let needed: HashSet<Hash> = state.groups.iter().map(ChunkGroup::id).collect();
        self.put(store, &key, state).await?;
        self.shipped.states += 1;
        if self.groups.len() > GROUPS_MAX {
            self.groups.retain(|group, _| needed.contains(group));
        }
        Ok(())
    }

    /// Sets what is too old to be shipped: retention would delete it again.
    pub fn set_limit(&mut self, limit: Limit) {
        self.limit = Some(limit);
    }

    fn is_too_old(&self, snapshot: &SnapshotName, time: Hlc) -> bool {
        let is_kept =
            |limit: &Limit| limit.kept.contains(snapshot) || self.pinned.contains(snapshot);
        let limit = self.limit.as_ref();
        limit.is_some_and(|limit| time < limit.since && !is_kept(limit))
    }

    /// The epoch in which it ships.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The archive to which it ships.
    #[must_use]
    pub fn source(&self) -> &Source {
        &self.source
    }

    /// Goes on with other requests to the same archive.
    pub fn set_source(&mut self, source: Source) {
        self.source = source;
    }

    /// Ships the state at a cut before anything else: the journal in the archive begins behind it.
    ///
    /// # Errors
    /// [`NotShipped`].
    pub async fn ship_first(
        &mut self,
        store: &impl StoreReader,
        cut: Lsn,
    ) -> Result<(), NotShipped> {
        self.ship_state_at(store, cut).await
    }

    /// Whether parts wait until the archive has the turns that they were made from.
    #[must_use]
    pub fn has_waiting_parts(&self) -> bool {
        self.has_waiting
    }

    /// Ships the parts of this process that are not in the archive, if the archive has the turns that they were made from. Otherwise
    /// these could be lost with the disk, and the next store would record the snapshot in other turns and take the part in the
    /// archive for its own.
    ///
    /// # Errors
    /// [`NotShipped`].
    pub async fn ship_parts(&mut self, store: &impl StoreReader) -> Result<(), NotShipped> {
        self.has_waiting = false;
        let seen = self.packed;
        let own = store.read(move |store| store.own_parts(seen)).await?;
        let packed = self.ship_each(store, &own.packed).await;
        if let Err(NotShipped::Archive(_) | NotShipped::Stopping) = packed {
            return packed;
        }
        if !self.has_waiting {
            self.packed = own.packed_until;
        }
        let lone = self.ship_each(store, &own.lone).await;
        if let Err(NotShipped::Archive(_) | NotShipped::Stopping) = lone {
            return lone;
        }
        self.forget_parts(store, &own.lone).await?;
        packed.and(lone)
    }

    // Passes damaged parts over; returns the damage of one.
    async fn ship_each(
        &mut self,
        store: &impl StoreReader,
        snapshots: &[SnapshotId],
    ) -> Result<(), NotShipped> {
        let mut damaged = Ok(());
        for snapshot in snapshots {
            match self.ship_part(store, snapshot).await {
                Err(error @ NotShipped::Damaged(_)) => damaged = Err(error),
                shipped => shipped?,
            }
        }
        damaged
    }

    // Those of snapshots that are not known here any more.
    async fn forget_parts(
        &mut self,
        store: &impl StoreReader,
        lone: &[SnapshotId],
    ) -> Result<(), NotShipped> {
        if self.parts.len() <= self.parts_max {
            return Ok(());
        }
        let known = store.read(|store| Ok(store.snapshots())).await?;
        let known = known.iter().chain(lone).map(SnapshotName::of);
        let known: HashSet<SnapshotName> = known.collect();
        self.parts.retain(|name| known.contains(name));
        self.parts_max = PARTS_MIN.max(self.parts.len() * 2);
        Ok(())
    }

    async fn ship_part(
        &mut self,
        store: &impl StoreReader,
        snapshot: &SnapshotId,
    ) -> Result<(), NotShipped> {
        let name = SnapshotName::of(snapshot);
        if self.parts.contains(&name) {
            return Ok(());
        }
        let wanted = snapshot.clone();
        let part = store.read(move |store| store.part(&wanted)).await?;
        let Some(part) = part.filter(|part| !self.is_too_old(&name, part.time)) else {
            return Ok(());
        };
        if part.turn > self.archived {
            self.has_waiting = true;
            return Ok(());
        }
        let key = PartKey {
            time: part.time,
            epoch: self.epoch,
            snapshot: name.clone(),
        };
        self.put(store, &key, part).await?;
        self.shipped.parts += 1;
        self.parts.insert(name);
        Ok(())
    }

    /// Ships some of the revisions that have arrived in the history, each behind the own part in it. Returns whether there may be
    /// more.
    ///
    /// # Errors
    /// [`NotShipped`]; after [`NotShipped::Damaged`] the next call goes on behind it.
    pub async fn ship_revisions(&mut self, store: &impl StoreReader) -> Result<bool, NotShipped> {
        let seen = self.revisions;
        let arrived = store.read(move |store| Ok(store.revisions_after(seen, REVISIONS_TOGETHER)));
        let arrived = arrived.await?;
        if arrived.is_empty() {
            self.revisions_before = HashSet::new();
            return Ok(false);
        }
        for one in arrived {
            let shipped = self.ship_revision(store, &one.snapshot, one.revision).await;
            if let Err(error @ NotShipped::Archive(_)) = shipped {
                return Err(error);
            }
            self.revisions += 1;
            shipped?;
        }
        Ok(true)
    }

    async fn ship_revision(
        &mut self,
        store: &impl StoreReader,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<(), NotShipped> {
        self.ship_part(store, snapshot).await?;
        let wanted = snapshot.clone();
        let read = store.read(move |store| store.revision(&wanted, revision));
        let Some(outgoing) = read.await? else {
            return Ok(());
        };
        let key = RevisionKey {
            began: outgoing.time,
            revision,
            root: outgoing.root,
            snapshot: SnapshotName::of(snapshot),
        };
        if !self.is_too_old(&key.snapshot, key.began) && !self.revisions_before.contains(&key) {
            self.put(store, &key, outgoing).await?;
            self.shipped.revisions += 1;
        }
        if self.pinned.contains(&key.snapshot) {
            self.held.insert(key);
        }
        Ok(())
    }

    // Chunks first: an object in the archive is whole.
    async fn put(
        &mut self,
        store: &impl StoreReader,
        key: &impl ObjectKey,
        outgoing: Outgoing,
    ) -> Result<(), NotShipped> {
        let mut groups = Vec::new();
        for group in &outgoing.groups {
            groups.push(self.put_group(store, group).await?);
        }
        let bytes = outgoing.stored.len() as u64;
        let owner = self.source.owner.clone();
        let count = groups.len();
        let object = ArchivedObject::new(&owner, key, groups, outgoing.stored);
        let Some(object) = object else {
            tracing::error!(%key, count, "it names too many groups of chunks to be archived");
            return Ok(());
        };
        kept::put(self.source.folder_of(key), key, &object).await?;
        self.shipped.bytes += bytes;
        Ok(())
    }

    async fn put_group(
        &mut self,
        store: &impl StoreReader,
        group: &ChunkGroup,
    ) -> Result<GroupRef, NotShipped> {
        let id = group.id();
        if let Some(pieces) = self.groups.get(&id) {
            let pieces = *pieces;
            return Ok(GroupRef { group: id, pieces });
        }
        let mut reader = GroupReader::new(group);
        let mut piece = 0;
        while !reader.is_done() {
            let read = store.read(move |store| {
                let chunks = store.read(&mut reader, PIECE_BYTES)?;
                Ok((reader, chunks))
            });
            let (rest, chunks) = read.await?;
            reader = rest;
            let key = PieceKey {
                epoch: self.epoch,
                group: id,
                piece,
            };
            let object = ArchivedObject::piece(&self.source.owner, &key, &chunks);
            kept::put(&self.source.process, &key, &object).await?;
            self.shipped.bytes += object.body.len() as u64;
            piece += 1;
        }
        self.groups.insert(id, piece);
        Ok(GroupRef {
            group: id,
            pieces: piece,
        })
    }
}
