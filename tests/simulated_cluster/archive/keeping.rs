//! What a process does on its archive beside its journal: it ships recorded states, parts, revisions and pins, and deletes what is too
//! old, by the code of the program (`offsite::rounds`), called as `node/archive/keeper.rs` calls it.

use std::collections::BTreeSet;

use snapledger::history::known::RevisionArrival;
use snapledger::offsite::Source;
use snapledger::offsite::origin::Origin;
use snapledger::offsite::outbound::{Outbound, Shipped};
use snapledger::offsite::retention::Limit;
use snapledger::offsite::rounds::Look;
use snapledger::process::ids::{Hash, Lsn, SnapshotId};
use snapledger::process::input::Input;
use snapledger::shipping::Epoch;
use snapledger::shipping::object::SnapshotName;
use snapledger::store::codec::{encode_revision, encode_state};
use snapledger::store::{Damage, GroupReader, Outgoing, OwnParts, StoreError, StoredPin};

use crate::archive::desk::{Ended, Task, Way};
use crate::archive::kept::Named;
use crate::disk::Disk;
use crate::history::Listed;
use crate::node::Alive;
use crate::world::{Checked, Event, Life, Place, World};

/// A state is recorded before one look of so many.
const CHECKPOINT_ONCE_IN: u64 = 4;

/// The keeper of one life.
#[derive(Default)]
pub(crate) struct Keeper {
    /// What it has put; `None` until its first look, and during each.
    outbound: Option<Outbound>,
    task: Option<Task>,
    /// The number of deletions in the archive before a look that deletes.
    deletions: Option<u64>,
}

impl Keeper {
    pub(super) fn task(&self) -> Option<&Task> {
        self.task.as_ref()
    }
}

/// The result of a look.
pub(crate) struct Looked {
    outbound: Option<Outbound>,
    shipped: Shipped,
    result: Result<(), String>,
}

/// What a look works on.
struct Work {
    source: Source,
    way: Way,
    epoch: Epoch,
    archived: Lsn,
    limit: Option<Limit>,
}

impl Work {
    async fn execute(self, outbound: Option<Outbound>) -> Looked {
        let Self {
            source,
            way,
            epoch,
            archived,
            limit,
        } = self;
        let opened = match outbound {
            Some(outbound) => Ok(outbound),
            None => Outbound::open(source, epoch).await,
        };
        let mut outbound = match opened {
            Ok(outbound) => outbound,
            Err(error) => {
                return Looked {
                    outbound: None,
                    shipped: Shipped::default(),
                    result: Err(error.to_string()),
                };
            }
        };
        let mut done = outbound.ship_pins(&way).await;
        if let Some(limit) = &limit {
            outbound.set_limit(limit.clone());
        }
        // Nothing is damaged on a simulated disk that is the own.
        let mut damaged = None;
        let look = Look {
            archived: &|| archived,
            has_parts: true,
            damaged: &mut |error| damaged = Some(error.to_string()),
        };
        if done.is_ok() {
            done = outbound.ship(&way, look).await;
        }
        if done.is_ok() {
            done = outbound.ship_pins(&way).await;
        }
        if let (Ok(()), Some(limit)) = (&done, limit) {
            done = outbound.delete(&limit, &mut |_| {}).await;
        }
        let result = done.map_err(|error| error.to_string());
        Looked {
            shipped: outbound.take_shipped(),
            outbound: Some(outbound),
            result: damaged.map_or(result, Err),
        }
    }
}

impl World {
    /// Has a program that has begun look for what it can ship and delete.
    pub(crate) fn begin_to_keep(&mut self, life: Life) {
        let Some(kept) = self.archive.plan.as_ref().and_then(|plan| plan.kept) else {
            return;
        };
        if let Some(alive) = self.alive(life) {
            alive.keeper = Some(Keeper::default());
        }
        let first = self.archive.random.below(kept.every);
        self.after(first, Event::Keep(life));
    }

    /// Begins a look. Sometimes a state is recorded first, as after many turns.
    pub(crate) fn keep(&mut self, life: Life) -> Checked {
        if !self.is_healed && self.archive.random.below(CHECKPOINT_ONCE_IN) == 0 {
            self.enqueue(life, Input::Checkpoint, None);
        }
        let limit = self.limit_of(life);
        let Some(alive) = self.alive(life) else {
            return Ok(());
        };
        let (Some(shipper), Some(keeper)) = (&alive.shipper, &mut alive.keeper) else {
            return Ok(());
        };
        let (epoch, archived) = (shipper.writer.epoch(), shipper.archived());
        let outbound = keeper.outbound.take();
        let archive = &mut self.archive;
        let way = archive.desk.way(life);
        let storage = archive.desk.storage(life);
        let folder = archive.folder(life.place);
        if let Some(limit) = &limit {
            let limits = folder.limits.entry(life.boot).or_default();
            limits.push(limit.clone());
        }
        let deletions = limit.as_ref().map(|_| folder.deletions);
        let work = Work {
            source: folder.source_over(storage),
            way,
            epoch,
            archived,
            limit,
        };
        let work = async move { Ended::Looked(work.execute(outbound).await) };
        let task = archive.desk.begin(life, work);
        if let Some(keeper) = self.alive(life).and_then(|alive| alive.keeper.as_mut()) {
            (keeper.task, keeper.deletions) = (Some(task), deletions);
        }
        self.run_tasks(life)
    }

    // What is too old, if the process may delete.
    fn limit_of(&mut self, life: Life) -> Option<Limit> {
        let kept = self.archive.plan.as_ref().and_then(|plan| plan.kept)?;
        let age = kept.age?;
        let wall_us = self.wall_us(life.place);
        let alive = self.alive(life).filter(|alive| alive.wall.is_settled());
        alive?;
        if !self.knows_pins(life.place) || self.archive.random.below(2) == 0 {
            return None;
        }
        let disk = &self.nodes[life.place].disk;
        let pins = disk.pins().iter().filter(|(_, pin)| pin.pinned);
        let pinned = pins.map(|(snapshot, _)| snapshot.clone());
        let kept: Vec<SnapshotId> = pinned.chain(disk.newest_complete()).collect();
        Some(Limit::of_age(wall_us, age, &kept))
    }

    /// Takes note of a look that ends with its program.
    pub(crate) fn note_cut_off(&mut self, place: Place, alive: &Alive) {
        let deletions = self.archive.folder(place).deletions;
        let keeper = alive.keeper.as_ref().filter(|keeper| keeper.task.is_some());
        let before = keeper.and_then(|keeper| keeper.deletions);
        if before.is_some_and(|before| before < deletions) {
            self.sometimes.saw("deletion in the archive cut off");
        }
    }

    /// Handles the end of a look.
    pub(crate) fn looked(&mut self, life: Life, looked: Looked) -> Checked {
        let Looked {
            outbound,
            shipped,
            result,
        } = looked;
        result.map_err(|error| format!("{life:?} does not ship or delete: {error}"))?;
        for (count, what) in [
            (shipped.states, "recorded state archived"),
            (shipped.parts, "part archived"),
        ] {
            if count > 0 {
                self.sometimes.saw(what);
            }
        }
        let Some(keeper) = self.alive(life).and_then(|alive| alive.keeper.as_mut()) else {
            return Ok(());
        };
        *keeper = Keeper {
            outbound,
            ..Keeper::default()
        };
        let every = self.archive.plan.as_ref().and_then(|plan| plan.kept);
        if let Some(every) = every.map(|kept| kept.every) {
            let pause = every / 2 + self.archive.random.below(every);
            self.after(pause, Event::Keep(life));
        }
        Ok(())
    }

    /// A stored revision that the archive lacks, or whose own part it lacks. Only where retention deletes nothing there.
    pub(crate) fn archive_awaits(&self, place: Place) -> Option<&Listed> {
        let node = &self.nodes[place];
        let keeps = self.archive.plan.as_ref().and_then(|plan| plan.kept);
        let is_shipping = node
            .life
            .as_ref()
            .is_some_and(|alive| alive.shipper.is_some());
        let may_lack = keeps.is_none_or(|kept| kept.age().is_some());
        if !is_shipping || may_lack || self.plan.sabotage.is_some() {
            return None;
        }
        let own = self.archive.folder_of[place];
        let (mut parts, mut revisions) = (BTreeSet::new(), BTreeSet::new());
        for (number, folder) in self.archive.folders.iter().enumerate() {
            for at in folder.put_at.keys() {
                match Named::of(folder, at) {
                    Named::Part(key) if number == own => _ = parts.insert(key.snapshot),
                    Named::Revision(key) => _ = revisions.insert((key.snapshot, key.revision)),
                    _ => {}
                }
            }
        }
        node.disk.listed().find(|one| {
            let name = SnapshotName::of(&one.snapshot);
            let part = node.disk.parts.get(&one.snapshot);
            let has_part = part.is_some_and(|part| part.value.is_finished());
            let lacks_part = has_part && !parts.contains(&name);
            lacks_part || !revisions.contains(&(name, one.revision))
        })
    }
}

/// A disk as the program ships from it.
impl Origin for Disk {
    fn state_after(&self, cut: Option<Lsn>) -> Result<Option<Lsn>, StoreError> {
        let next = cut.map_or(Lsn(0), Lsn::next);
        let newest = self.newest_state();
        let mut cuts = self.states.range(next..).map(|(cut, _)| *cut);
        Ok(cuts.next().filter(|cut| Some(*cut) <= newest))
    }

    fn newest_state(&self) -> Option<Lsn> {
        self.newest.as_ref().map(|(cut, _)| *cut)
    }

    fn state(&self, cut: Lsn) -> Result<Option<Outgoing>, StoreError> {
        let state = Disk::state(self, cut);
        Ok(state.map(|state| Outgoing::of_state(state, encode_state(state))))
    }

    fn own_parts(&self, packed: u64) -> Result<OwnParts, StoreError> {
        Ok(Disk::own_parts(self, packed))
    }

    fn part(&self, snapshot: &SnapshotId) -> Result<Option<Outgoing>, StoreError> {
        let part = self.parts.get(snapshot).map(|part| &part.value);
        let part = part.filter(|part| part.is_finished());
        Ok(part.map(|part| Outgoing::of_part(part, self.head().0)))
    }

    fn snapshots(&self) -> Vec<SnapshotId> {
        Disk::snapshots(self).into_iter().cloned().collect()
    }

    fn revisions_after(&self, count: u64, limit: usize) -> Vec<RevisionArrival> {
        let seen = usize::try_from(count).unwrap_or(usize::MAX);
        let listed = self.listed.iter().skip(seen).take(limit);
        let arrived = listed.map(|one| match self.revision(&one.snapshot, one.revision) {
            Some(state) => RevisionArrival::of(state),
            // It keeps its place.
            None => RevisionArrival {
                snapshot: one.snapshot.clone(),
                revision: one.revision,
                complete: false,
                known: (0, 0),
            },
        });
        arrived.collect()
    }

    fn revisions_of(&self, snapshot: &SnapshotId) -> Vec<u32> {
        let listed = self.listed_of(snapshot);
        listed.map(|one| one.revision).collect()
    }

    fn revision(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
    ) -> Result<Option<Outgoing>, StoreError> {
        let state = Disk::revision(self, snapshot, revision);
        let outgoing = state.map(|state| Outgoing::of_revision(encode_revision(state)));
        outgoing.transpose().map_err(|damage| StoreError::Damaged {
            what: format!("revision {revision} of {snapshot}"),
            damage,
        })
    }

    fn read(&self, reader: &mut GroupReader, bytes_max: usize) -> Result<Vec<Vec<u8>>, StoreError> {
        let missing = |hash: &Hash| StoreError::Damaged {
            what: format!("chunk {hash}"),
            damage: Damage::Contradiction("it is missing".to_owned()),
        };
        reader.read(bytes_max, |hash| {
            self.framed_chunk(hash).ok_or_else(|| missing(hash))
        })
    }

    fn pins_arrived(&self) -> u64 {
        self.pins_arrived
    }

    fn pins(&self) -> Vec<StoredPin> {
        let pins = Disk::pins(self).iter();
        pins.map(|(snapshot, pin)| StoredPin::of(snapshot.clone(), pin.clone()))
            .collect()
    }
}
