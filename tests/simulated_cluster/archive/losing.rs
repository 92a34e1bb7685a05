//! Lost disks. Where turns wait for the archive, the process is restored from it as if nothing had happened, while the old
//! program may still run (`zombie.rs`). Where nothing waits, it comes back with an older state, and the rules for older copies
//! hold (`copies.rs`).

use snapledger::history::part::Part;

use crate::archive::KeptPlan;
use crate::archive::objects::Folder;
use crate::archive::starting::Purpose;
use crate::copies::{BOOTS_AHEAD, Copy};
use crate::disk::Disk;
use crate::plan::{MS, SECOND};
use crate::world::{Checked, Event, Life, Place, World};

/// The maximum time from a loss to the beginning of the restore.
const RESTORED_WITHIN: u64 = 2 * SECOND;
/// A directory is copied once in so many events of its process.
const COPIED_ONCE_IN: u64 = 200;

impl World {
    /// Loses disks, and copies directories.
    pub(crate) fn fail_disks(&mut self, touched: Option<Place>) -> Checked {
        self.prefer_shortened();
        let Some(plan) = &self.archive.plan else {
            return Ok(());
        };
        let Some((place, times)) = plan.lost else {
            return Ok(());
        };
        let losses = self.archive.losses;
        let is_due = self.operations_done * (times + 1) >= self.plan.operations * (losses + 1);
        // What may be found wrong needs something that was deleted.
        let waits = plan.kept.is_some_and(KeptPlan::deletes)
            && self.operations_done * 8 < self.plan.operations * 7
            && !self.archive.folders[self.archive.folder_of[place]].is_shortened();
        let is_due = is_due && !waits;
        let start = self.nodes[place].start.as_ref();
        let is_mounted = !start.is_some_and(|start| start.purpose().is_not_mounted());
        let is_free = self.archive.zombie.is_none() && self.archive.restoring.is_none();
        let has_begun = self.archive.folder(place).newest().is_some();
        if losses < times && is_due && is_free && is_mounted && has_begun {
            return self.lose_disk(place);
        }
        if touched == Some(place)
            && self.nodes[place].life.is_some()
            && self.archive.random.below(COPIED_ONCE_IN) == 0
        {
            let node = &self.nodes[place];
            self.archive.copy = Some((node.disk.clone(), node.boot));
        }
        Ok(())
    }

    // What may be wrong after a deletion is found at the process whose archive was shortened.
    fn prefer_shortened(&mut self) {
        let archive = &mut self.archive;
        let Some(plan) = archive.plan.as_mut().filter(|_| archive.losses == 0) else {
            return;
        };
        let (Some((lost, _)), true) = (&mut plan.lost, plan.kept.is_some_and(KeptPlan::deletes))
        else {
            return;
        };
        let mut folders = archive.folder_of.iter().map(|of| &archive.folders[*of]);
        if archive.folders[archive.folder_of[*lost]].is_shortened() {
            return;
        }
        if let Some(place) = folders.position(Folder::is_shortened) {
            *lost = place;
            archive.copy = None;
        }
    }

    fn lose_disk(&mut self, place: Place) -> Checked {
        self.archive.losses += 1;
        self.trace.say(|| format!("disk of {place} lost"));
        self.sometimes.saw("disk lost");
        let goes_on = self.nodes[place].life.is_some() && self.archive.random.below(3) > 0;
        match goes_on {
            true => self.leave_zombie(place),
            false => self.end_program(place)?,
        }
        self.nodes[place].disk = Disk::default();
        self.nodes[place].rotten.clear();
        self.archive.restoring = Some(place);
        let delay = self.archive.random.below(RESTORED_WITHIN);
        self.after(delay, Event::Restore(place));
        Ok(())
    }

    // Ends a program in any state; it is not started again before its store is restored.
    fn end_program(&mut self, place: Place) -> Checked {
        self.crash(place)?;
        self.leave_start(place).map(drop)
    }

    /// Loses the disk of a process whose turns do not wait for the archive: what was not archived is lost.
    pub(crate) fn lose_with_lag(&mut self, place: Place) -> Checked {
        self.trace.say(|| format!("disk of {place} lost"));
        self.sometimes.saw("disk lost where nothing waits");
        self.end_program(place)?;
        self.nodes[place].disk = Disk::default();
        self.nodes[place].rotten.clear();
        self.copy = Copy::Lost;
        // By then, everything in flight has arrived or is lost.
        self.after(SECOND, Event::Restore(place));
        Ok(())
    }

    /// Begins to fill a store from the archive. Its next start follows any start that the lost one can have made.
    pub(crate) fn restore(&mut self, place: Place) -> Checked {
        if self.nodes[place].start.is_some() || !self.is_away(place) {
            return Ok(());
        }
        let Some(newest) = self.archive.folder(place).newest() else {
            return Err(format!("the archive has no journal of {place}"));
        };
        let run = self.archive.random.next();
        let node = &mut self.nodes[place];
        node.disk = Disk::default();
        node.boot = newest.identity.boot + BOOTS_AHEAD;
        node.run = run;
        self.trace.say(|| format!("restore {place}"));
        let keeps = self
            .archive
            .plan
            .as_ref()
            .is_some_and(|plan| plan.kept.is_some());
        match keeps {
            true => self.refill(place),
            // As where an operator vouches for a store that the archive is ahead of.
            false => self.attach(place, Purpose::Restore),
        }
    }

    /// Handles that a store is filled.
    pub(crate) fn restored(&mut self, place: Place) -> Checked {
        // Its journal has the turns that the lost program made meanwhile.
        self.nodes[place].is_misled |= self.is_zombie_misled(place);
        let disk = &mut self.nodes[place].disk;
        disk.note_gap();
        let end = disk.head().0;
        self.trace.say(|| format!("restored {place} up to {end}"));
        let forgets = self.archive.plan.as_ref().is_some_and(|one| one.forgets());
        if forgets {
            let happened = self.checkers.happened_by(place, end);
            self.use_older(place, happened);
        } else {
            self.archive.restoring = None;
            self.sometimes.saw("store restored from the archive");
            self.check_dependents(place)?;
            let disk = &self.nodes[place].disk;
            if self.checkers.restored(place, disk)? {
                self.sometimes.saw("answers to clients lost with a disk");
            }
        }
        self.restart(place)
    }

    // The parts of a process in the histories of others must not contain what it lost.
    fn check_dependents(&self, place: Place) -> Checked {
        let disk = &self.nodes[place].disk;
        let me = self.id(place);
        for (other, node) in self.nodes.iter().enumerate() {
            for revision in node.disk.history.values() {
                let Some(part) = revision.value.parts.get(me) else {
                    continue;
                };
                let (position, snapshot) = (part.state.position, &part.snapshot);
                if position < disk.begins().position {
                    self.checkers.is_turn(place, position, part.state.journal)?;
                } else if disk.hash_at(position) != Some(part.state.journal) {
                    return Err(format!(
                        "{snapshot} at {other} has a part of {me} at turn {position}, which is lost"
                    ));
                }
                let mut closings = part.channels.iter().filter_map(|one| one.closing);
                if let Some(lost) = closings.find(|closing| closing.position > disk.head().0) {
                    return Err(format!(
                        "{snapshot} at {other} has a channel to {me} that closed in a lost turn: {lost:?}"
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether a crash passes over a start: it takes so many requests that few would come to an end.
    pub(crate) fn is_start_spared(&mut self, place: Place) -> bool {
        self.nodes[place].start.is_some() && self.archive.random.below(6) > 0
    }

    /// Checks that the archive has the turns on which a part depends that another process fetches.
    pub(crate) fn check_archived(&mut self, place: Place, part: &Part) -> Checked {
        if !self.archive.holds() {
            return Ok(());
        }
        let closings = part.channels.iter().filter_map(|channel| channel.closing);
        let newest = closings.map(|closing| closing.position).max();
        let newest = newest.unwrap_or_default().max(part.state.position);
        let end = self.archive.folder(place).tip()?;
        match newest <= end.journal.position {
            true => Ok(()),
            false => Err(format!(
                "a part of {place} for {} depends on turn {newest}, and the archive ends at {}",
                part.snapshot, end.journal.position
            )),
        }
    }

    /// Whether a process is started on an older copy of its directory this time.
    pub(crate) fn starts_on_copy(&mut self, place: Place) -> bool {
        let newest = self.archive.folder(place).tip();
        let (Some((copy, _)), Ok(newest)) = (&self.archive.copy, newest) else {
            return false;
        };
        // Otherwise the archive cannot tell the copy from its original: nobody runs on the claim of a restore without a fence.
        let is_older = copy.claimed.is_some_and(|own| own.epoch < newest.epoch);
        let is_of_it = self.archive.plan.as_ref().and_then(|plan| plan.lost);
        let is_of_it = is_of_it.is_some_and(|(lost, _)| lost == place);
        is_older && is_of_it && self.archive.random.below(3) == 0
    }

    /// Starts a process on an older copy of its directory, which may have been started more often than the right one.
    pub(crate) fn start_on_copy(&mut self, place: Place) -> Checked {
        let Some((copy, boot)) = self.archive.copy.take() else {
            return Ok(());
        };
        let run = self.archive.random.next();
        let ahead = self.archive.random.below(2) * self.archive.random.below(2 * BOOTS_AHEAD);
        let mut boot = boot + 1 + ahead;
        // Here a program is known by its place and boot: two with the same would get each other's answers.
        if self.is_zombie(Life { place, boot }) {
            boot += 1;
        }
        let node = &mut self.nodes[place];
        let original = std::mem::replace(&mut node.disk, copy);
        let boots = std::mem::replace(&mut node.boot, boot);
        node.run = run;
        self.attach(place, Purpose::OlderCopy(Box::new(original), boots))
    }

    /// Keeps a copy that was refused: it is started again.
    pub(crate) fn keep_copy(&mut self, place: Place) {
        let node = &self.nodes[place];
        self.archive.copy = Some((node.disk.clone(), node.boot));
    }

    /// Handles that a program crashes before its process runs. Returns whether it was a restore.
    pub(crate) fn crash_start(&mut self, place: Place) -> Checked<bool> {
        let Some(purpose) = self.leave_start(place)? else {
            return Ok(false);
        };
        self.trace.say(|| format!("crash of the start of {place}"));
        Ok(match purpose {
            Purpose::Run | Purpose::NotMounted(_) => {
                self.sometimes.saw("crash of a start on the archive");
                false
            }
            Purpose::Restore => {
                self.sometimes.saw("crash of a restore");
                self.nodes[place].disk = Disk::default();
                let delay = MS + self.archive.random.below(SECOND);
                self.after(delay, Event::Restore(place));
                true
            }
            Purpose::OlderCopy(original, boot) => {
                self.put_original_back(place, *original, boot);
                false
            }
        })
    }
}
