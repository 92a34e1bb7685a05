//! Deletions that are executed once more, later than their repetition was answered: what was put again since goes. The program must
//! notice, and put it there once more.

use object_store::path::Path;
use snapledger::shipping::Epoch;
use snapledger::shipping::object::SnapshotName;

use crate::archive::desk::Verb;
use crate::archive::kept::Named;
use crate::archive::requests::{Asked, Request};
use crate::plan::SECOND;
use crate::world::{Event, Place, World};

/// A deletion is executed once more where so many are not.
const REPEATED_ONCE_IN: u64 = 4;
/// How late it comes at most.
const LATE_MAX: u64 = 8 * SECOND;

impl World {
    /// Sometimes has a deletion executed once more. One of chunks not later than what is deleted is kept at least: the state from which
    /// a kept journal begins is older.
    pub(super) fn repeat_deletion(&mut self, request: &Request) {
        let Asked::Object(Verb::Delete(at)) = &request.asked else {
            return;
        };
        let is_healed = self.is_healed;
        let archive = &mut self.archive;
        let Some(plan) = archive.plan.as_ref().filter(|_| !is_healed) else {
            return;
        };
        let age = plan.kept.and_then(|kept| kept.age()).unwrap_or_default();
        let late_max = match Named::of(&archive.folders[request.folder], at) {
            Named::Piece(_) => age,
            Named::Part(_) | Named::Revision(_) => LATE_MAX,
            _ => 0,
        };
        if late_max > 0 && archive.random.below(REPEATED_ONCE_IN) == 0 {
            let delay = archive.random.below(late_max);
            self.after(delay, Event::Requested(Box::new(request.clone())));
        }
    }

    /// Whether a deletion meets an object that was put when it had been asked for already. Then it is noted, and is no fault of a
    /// program.
    pub(super) fn is_late_deletion(&mut self, request: &Request, at: &Path) -> bool {
        let folders = &mut self.archive.folders;
        let put_at = folders.iter().filter_map(|folder| folder.put_at.get(at));
        if put_at.max().is_none_or(|put| *put <= request.asked_at) {
            return false;
        }
        for folder in folders.iter_mut() {
            folder.put_at.remove(at);
        }
        let folder = &mut folders[request.folder];
        match Named::of(folder, at) {
            Named::Piece(key) => {
                folder.pieces.remove(&(key.epoch, key.group, key.piece));
            }
            Named::Part(_) => {
                folder.named.remove(at);
                folder.gone.insert(at.clone());
            }
            Named::Revision(_) => {
                folder.gone.insert(at.clone());
            }
            _ => return false,
        }
        self.sometimes.saw("late deletion of what was put again");
        true
    }

    /// Whether the archive of a process lacks what it has put there, and still has and needs.
    pub(crate) fn archive_lacks(&self, place: Place) -> bool {
        let Some(kept) = self.archive.plan.as_ref().and_then(|plan| plan.kept) else {
            return false;
        };
        let node = &self.nodes[place];
        let alive = node.life.as_ref();
        let Some(shipper) = alive.and_then(|alive| alive.shipper.as_ref()) else {
            return false;
        };
        if kept.age().is_none() || self.plan.sabotage.is_some() {
            return false;
        }
        let epoch = shipper.writer.epoch();
        let folder = &self.archive.folders[self.archive.folder_of[place]];
        let mut states = folder.states.iter().filter(|state| state.epoch == epoch);
        states.any(|state| node.disk.states.contains_key(&state.cut) && !folder.is_whole(state))
            || folder.gone.iter().any(|at| self.needs(place, epoch, at))
    }

    fn needs(&self, place: Place, epoch: Epoch, at: &Path) -> bool {
        let folder = &self.archive.folders[self.archive.folder_of[place]];
        let disk = &self.nodes[place].disk;
        let is_pinned = |name: &SnapshotName| {
            let mut pins = disk.pins().iter();
            pins.any(|(snapshot, pin)| pin.pinned && SnapshotName::of(snapshot) == *name)
        };
        match Named::of(folder, at) {
            Named::Revision(key) => {
                let mut listed = disk.listed.iter();
                is_pinned(&key.snapshot)
                    && listed.any(|one| {
                        let is_it = SnapshotName::of(&one.snapshot) == key.snapshot;
                        is_it && one.revision == key.revision
                    })
            }
            Named::Part(key) => {
                let mut parts = disk.parts.keys().map(SnapshotName::of);
                key.epoch == epoch
                    && is_pinned(&key.snapshot)
                    && parts.any(|name| name == key.snapshot)
            }
            _ => false,
        }
    }
}
