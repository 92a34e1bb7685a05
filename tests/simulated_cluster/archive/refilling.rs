//! Makes the disk of a lost process again from the archive, by the code of the program (`offsite::refill`), step by step as
//! `cli/restore/archived.rs` does: everything is read, the process is taken over, and what was shipped meanwhile is read behind the
//! fence.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use snapledger::archive::rebuilt::RebuiltFigures;
use snapledger::history::part::Run;
use snapledger::history::pin::Pin;
use snapledger::offsite::refill::{self, Filled, NewStore, Successor, Wanted};
use snapledger::offsite::{Source, refill::NotFilled};
use snapledger::process::clock::Hlc;
use snapledger::process::identity::Identity;
use snapledger::process::ids::{Hash, Lsn, SnapshotId};
use snapledger::process::record::Turn;
use snapledger::shipping::JournalPoint;
use snapledger::shipping::chain::Link;
use snapledger::shipping::gaps::NotedGaps;
use snapledger::shipping::segment::WriterId;
use snapledger::store::codec::{addressed_chunk, decode_revision, decode_state, read_part};
use snapledger::store::{
    Arrived, ChunkGroup, Damage, Incoming, LostBeginning, Outgoing, Published, StoreError,
};

use crate::archive::desk::{Ended, Task};
use crate::archive::objects::Folder;
use crate::archive::starting::{Purpose, Start};
use crate::disk::Disk;
use crate::history::OtherRevision;
use crate::plan::{MS, SECOND};
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, Place, World};

/// The most attempts of a restore: each can meet requests of the ones before it, or deletions of the program that goes on.
const ATTEMPTS_MAX: u64 = 50;

/// The result of an attempt.
pub(crate) struct Refilled {
    /// The number of deletions when it began.
    deletions: u64,
    made: Result<Made, String>,
}

/// A disk that was made again.
struct Made {
    disk: Disk,
    identity: Identity,
    filled: Filled,
    /// The last turn before the process was taken over.
    read: Lsn,
}

async fn make(source: Source, run: u64) -> Result<Made, String> {
    let successor = Successor::with(&source, |lost| lost.successor(run)).await;
    let successor = successor.map_err(|error| error.to_string())?;
    let (store, mut filled) = fill(&source, Wanted::ALL).await?;
    let read = filled.end;
    let claim = successor.take_over(&source, filled.walked).await;
    let claim = claim.map_err(|error| error.to_string())?;
    let end = refill::finish(&store, &source, &filled, claim).await;
    filled.end = end.map_err(|error| error.to_string())?;
    Ok(Made {
        disk: store.into_disk(),
        identity: successor.identity,
        filled,
        read,
    })
}

/// Fills an empty disk.
pub(super) async fn fill(source: &Source, wanted: Wanted) -> Result<(NewDisk, Filled), String> {
    let create = || Ok::<_, NotFilled>(NewDisk::default());
    let filled = refill::make_in(create, source, wanted, &|_| {}).await;
    filled.map_err(|error| error.to_string())
}

impl World {
    /// Begins an attempt to fill a disk.
    pub(super) fn refill(&mut self, place: Place) -> Checked {
        let node = &self.nodes[place];
        let (boot, run) = (node.boot, node.run);
        let life = Life { place, boot };
        let archive = &mut self.archive;
        let storage = archive.desk.storage(life);
        let folder = archive.folder(place);
        let (source, deletions) = (folder.source_over(storage), folder.deletions);
        let work = async move {
            let made = make(source, run).await;
            Ended::Refilled(Box::new(Refilled { deletions, made }))
        };
        let task = self.archive.desk.begin(life, work);
        self.nodes[place].start = Some(Start::refilling(life, task));
        self.run_tasks(life)
    }

    /// Handles the end of an attempt.
    pub(super) fn refilled(&mut self, life: Life, refilled: Refilled) -> Checked {
        let place = life.place;
        let start = self.nodes[place].start.as_ref();
        if start.is_none_or(|start| start.life != life) {
            return Ok(());
        }
        self.leave_start(place)?;
        let Refilled { deletions, made } = refilled;
        let folder = self.archive.folder(place);
        let is_beside_deletions = folder.deletions != deletions;
        let made = made.and_then(|made| match made.filled.lost_messages.first() {
            None => Ok(made),
            Some(lost) => Err(format!(
                "it would begin where messages are needed: {lost:?}"
            )),
        });
        let made = match made {
            Ok(made) => made,
            Err(why) => return self.refill_again(place, is_beside_deletions, &why),
        };
        if self.plan.is_sabotaged(Sabotage::FenceDeleted) && self.archive.zombie.is_some() {
            let folder = self.archive.folder(place);
            let fence = folder.tip()?;
            folder.delete(fence.index)?;
        }
        if made.filled.end > made.read {
            self.sometimes.saw("turns taken from the archive");
        }
        if made.filled.states > 0 {
            self.sometimes.saw("restore with recorded states");
        }
        if made.filled.first > Lsn(1) {
            self.sometimes.saw("restore that begins at a state");
        }
        self.note_forgotten(place, &made.disk);
        let node = &mut self.nodes[place];
        node.disk = made.disk;
        (node.boot, node.run) = (made.identity.boot, made.identity.run);
        self.archive.attempts = 0;
        self.restored(place)
    }

    // The part of a snapshot that is too old is not kept, even if the snapshot is not complete yet.
    fn note_forgotten(&mut self, place: Place, disk: &Disk) {
        let since = self.archive.folder(place).oldest_kept();
        let recorded = self.checkers.recorded_before(place, since);
        let lost = recorded.filter(|snapshot| !disk.parts.contains_key(*snapshot));
        let lost: Vec<_> = lost.cloned().collect();
        self.archive.forgotten.extend(lost);
    }

    // An operator tries again. What fails although nobody else is at work fails for good.
    fn refill_again(&mut self, place: Place, is_beside_deletions: bool, why: &str) -> Checked {
        self.trace.say(|| format!("not restored {place}: {why}"));
        self.archive.attempts += 1;
        let is_alone = self.archive.zombie.is_none() && !is_beside_deletions;
        if is_alone && self.is_healed || self.archive.attempts > ATTEMPTS_MAX {
            return Err(format!("{place} is not restored: {why}"));
        }
        self.nodes[place].disk = Disk::default();
        let delay = MS + self.archive.random.below(SECOND);
        self.after(delay, Event::Restore(place));
        Ok(())
    }
}

impl Start {
    fn refilling(life: Life, task: Task) -> Self {
        Self {
            life,
            attaching: None,
            asked: BTreeSet::new(),
            purpose: Purpose::Restore,
            task: Some(task),
        }
    }
}

impl Folder {
    /// A disk as it would be restored now, without a word to anyone.
    pub(super) fn refilled(
        &self,
        wanted: Wanted,
    ) -> impl Future<Output = Result<(Disk, Filled), String>> + Send + use<> {
        let source = self.source().clone();
        async move {
            let (store, filled) = fill(&source, wanted).await?;
            Ok((store.into_disk(), filled))
        }
    }
}

/// A disk that is being filled.
#[derive(Default)]
pub(super) struct NewDisk(Mutex<Disk>);

impl NewDisk {
    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn into_disk(self) -> Disk {
        let mut disk = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        disk.synced(disk.stamp());
        disk
    }
}

fn damaged(what: &str, problem: impl ToString) -> StoreError {
    StoreError::Damaged {
        what: what.to_owned(),
        damage: Damage::Contradiction(problem.to_string()),
    }
}

impl NewStore for NewDisk {
    fn first(&self) -> Lsn {
        self.disk().begins().position.next()
    }

    fn end(&self) -> (Lsn, Hash) {
        self.disk().head()
    }

    fn ends_at(&self) -> Result<Hlc, StoreError> {
        let disk = self.disk();
        let newest = disk.turns(disk.head().0).next().transpose();
        let newest = newest.map_err(|why| damaged("the newest turn", why))?;
        let begin = disk.first_state().map(|state| state.registers.time);
        let newest = newest.map(|turn| turn.time).or(begin);
        Ok(newest.unwrap_or_default())
    }

    fn begin_at(&self, cut: Lsn) -> Result<(), StoreError> {
        let mut disk = self.disk();
        let state = disk.states.get(&cut).map(|state| &state.value.recorded);
        let state = state.ok_or_else(|| damaged("the first state", "it is missing"))?;
        let (position, hash) = (cut, state.journal);
        disk.begin_behind(JournalPoint { position, hash });
        Ok(())
    }

    fn append_while(
        &self,
        turns: Vec<&[u8]>,
        is_wanted: &dyn Fn(&Turn) -> bool,
    ) -> Result<bool, StoreError> {
        let mut disk = self.disk();
        for framed in turns {
            let turn = disk.append_framed_if(framed, is_wanted);
            if !turn.map_err(|why| damaged("an archived turn", why))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn put_chunks(&self, stored: Vec<Vec<u8>>) -> Result<(), StoreError> {
        let mut disk = self.disk();
        for stored in stored {
            let chunk = addressed_chunk(stored);
            let (framed, hash) = chunk.map_err(|damage| damaged("a chunk", damage))?;
            let adopted = disk.adopt_chunk(hash, framed);
            adopted.map_err(|why| damaged("a chunk", why))?;
        }
        Ok(())
    }

    fn lacking(&self, groups: Vec<ChunkGroup>) -> Result<Vec<ChunkGroup>, StoreError> {
        let disk = self.disk();
        let lacks = |group: &ChunkGroup| match group {
            ChunkGroup::Run(index) => {
                let run = Run {
                    index: index.clone(),
                    ..Run::default()
                };
                disk.cells(&[run]).is_err()
            }
            ChunkGroup::Messages(chunks) => {
                chunks.iter().any(|hash| disk.framed_chunk(hash).is_none())
            }
        };
        Ok(groups.into_iter().filter(lacks).collect())
    }

    fn put_state(&self, cut: Lsn, stored: &[u8]) -> Result<Arrived, StoreError> {
        let mut disk = self.disk();
        let state = match decode_state(stored.to_vec()) {
            Ok(state) => state,
            Err(damage) => return Ok(Arrived::Refused(damage.to_string())),
        };
        let is_ahead = disk.head().0 < cut;
        if state.recorded.position != cut || !is_ahead && disk.contradicts(&state.recorded) {
            return Ok(Arrived::Refused("it is another state".to_owned()));
        }
        let state = disk.written(state);
        disk.states.insert(cut, state);
        Ok(Arrived::Stored)
    }

    fn put_part(&self, stored: &[u8], until: Option<Lsn>) -> Result<Arrived, StoreError> {
        let mut disk = self.disk();
        let part = match read_part(stored) {
            Ok(part) => part,
            Err(damage) => return Ok(Arrived::Refused(damage.to_string())),
        };
        if until.is_some_and(|until| !part.was_finished_by(until)) {
            return Ok(Arrived::Later);
        }
        if disk.contradicts(&part.state) {
            return Ok(Arrived::Refused("it is of another journal".to_owned()));
        }
        disk.put_part(part);
        Ok(Arrived::Stored)
    }

    fn published(&self, stored: &[u8]) -> Result<Published, StoreError> {
        let decoded = decode_revision(stored);
        let (state, root) = decoded.map_err(|damage| damaged("a revision", damage))?;
        Ok(Published { state, root })
    }

    fn note_deleted(&self, snapshots: Vec<(SnapshotId, Hlc)>) -> Result<(), StoreError> {
        let deleted = snapshots.into_iter().map(|(snapshot, _)| snapshot);
        self.disk().deleted.extend(deleted);
        Ok(())
    }

    fn incoming(&self, stored: &[u8]) -> Result<Incoming, StoreError> {
        let published = self.published(stored)?;
        let mut lacking = Vec::new();
        for part in published.state.parts.values() {
            let groups = self.lacking(Outgoing::of_part(part, Lsn(u64::MAX)).groups)?;
            lacking.push((part.process.clone(), groups));
        }
        lacking.retain(|(_, groups)| !groups.is_empty());
        Ok(Incoming { published, lacking })
    }

    fn put_revision(&self, stored: &[u8]) -> Result<Arrived, StoreError> {
        let decoded = decode_revision(stored);
        let (state, _) = decoded.map_err(|damage| damaged("a revision", damage))?;
        match self.disk().write_revision(&state) {
            Ok(()) => Ok(Arrived::Stored),
            Err(OtherRevision) => Ok(Arrived::Second),
        }
    }

    fn note_pins(&self, pins: Vec<(SnapshotId, Pin)>) -> Result<u64, StoreError> {
        let mut disk = self.disk();
        for (snapshot, pin) in pins {
            disk.note_pin(&snapshot, pin);
        }
        Ok(disk.pins().values().filter(|pin| pin.pinned).count() as u64)
    }

    // A simulated disk does not say which of its states it might lack.
    fn note_states_begin(&self, _: Lsn) -> Result<(), StoreError> {
        Ok(())
    }

    // A simulated recovery looks for each part.
    fn note_parts_may_be_missing(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn note_gaps(&self, gaps: &NotedGaps) -> Result<(), StoreError> {
        match *gaps == NotedGaps::default() {
            true => Ok(()),
            false => Err(damaged("the gaps", "nobody has noted any")),
        }
    }

    fn note_rebuilt(&self, _: RebuiltFigures) -> Result<(), StoreError> {
        Err(damaged(
            "what was booked",
            "nobody has made a store again from peers",
        ))
    }

    fn sync(&self) -> Result<(), StoreError> {
        let mut disk = self.disk();
        let stamp = disk.stamp();
        disk.synced(stamp);
        Ok(())
    }

    // A start does so.
    fn continue_from_newest(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn lost_beginning(&self) -> Result<LostBeginning, StoreError> {
        let disk = self.disk();
        let Some(begin) = disk.first_state() else {
            return Ok(LostBeginning::default());
        };
        let newest = disk.states.last_key_value().map(|(_, state)| &state.value);
        let newest = newest.unwrap_or(begin).clone();
        let turns = disk.turns(newest.recorded.position.next());
        let turns = turns.map(|turn| turn.map_err(|why| damaged("a turn", why)));
        let has_part = |snapshot: &SnapshotId| Ok(disk.parts.contains_key(snapshot));
        LostBeginning::of(begin, newest, turns, has_part)
    }

    fn remember(&self, last: Link, claim: WriterId) -> Result<(), StoreError> {
        let mut disk = self.disk();
        (disk.archived, disk.claimed) = (Some(last), Some(claim));
        Ok(())
    }
}
