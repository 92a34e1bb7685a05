//! An older copy of a store that is put in its place: the turns after the copy are lost. Peers with newer records refuse the
//! process. It answers for no instant between the copy and its next start, nor until it has caught up with its peers. Only
//! detectable copies are made: a backup or a copy that an operator has vouched for, whose boot numbers continue; or copied
//! files, which repeat earlier boot numbers. Finally the store is given up (`loss.rs`).

use snapledger::process::wall::ANSWERED_AHEAD_MAX;

use crate::checkers::Happened;
use crate::disk::Disk;
use crate::plan::SECOND;
use crate::world::{Checked, Event, Place, World};

/// After this time, everything in flight when the store was removed has arrived or is lost.
const AWAY: u64 = SECOND;
/// The maximum time for which the copy is used. With the least bound of clocks it may have caught up by then.
const USED_MAX: u64 = 4 * SECOND;
const AHEAD_LEAST: u64 = 2 * SECOND;
/// The boot number of a vouched copy is increased by this.
pub(crate) const BOOTS_AHEAD: u64 = 1_000;

/// The state of the copy in a run.
#[derive(Default)]
pub(crate) enum Copy {
    /// No copy exists.
    #[default]
    None,
    /// The copy was made.
    Made(Box<Copied>),
    /// The store was removed, and the copy is not in its place yet.
    Awaited(Box<Copied>),
    /// The disk was lost, and the archive is to fill another one.
    Lost,
    /// The copy is in the place of the store.
    Used,
}

/// A copy of a store, and what had happened by then.
pub(crate) struct Copied {
    disk: Disk,
    /// The number of starts that the copy knows.
    boots: u64,
    happened: Happened,
}

impl World {
    /// Loses the store of a process, step by step; if the plan says so, an older copy replaces it first.
    pub(crate) fn lose(&mut self, place: Place) -> Checked {
        let is_done = |part: u64| self.operations_done * part >= self.plan.operations;
        let is_archived = self.archive.plan.is_some();
        let has_begun = is_archived && self.archive.folder(place).newest().is_some();
        match std::mem::take(&mut self.copy) {
            Copy::None if self.plan.put_back && is_archived => match has_begun && is_done(2) {
                true => self.lose_with_lag(place),
                false => Ok(()),
            },
            Copy::None if !self.plan.put_back && is_done(3) => self.wipe(place),
            Copy::None if self.plan.put_back && is_done(4) && self.nodes[place].boot > 0 => {
                self.copy_store(place);
                Ok(())
            }
            Copy::Made(copied) if is_done(2) => {
                self.copy = Copy::Awaited(copied);
                self.after(AWAY, Event::PutBack(place));
                self.crash(place)
            }
            unchanged => {
                self.copy = unchanged;
                Ok(())
            }
        }
    }

    /// Whether the effects of an older copy are still to come.
    pub(crate) fn is_put_back(&self) -> bool {
        matches!(self.copy, Copy::Awaited(_) | Copy::Lost | Copy::Used)
    }

    /// Whether a process cannot start because its store was removed.
    pub(crate) fn is_away(&self, place: Place) -> bool {
        let is_removed = matches!(self.copy, Copy::Awaited(_) | Copy::Lost);
        is_removed && self.plan.wiped == Some(place) || self.archive.is_restoring(place)
    }

    fn copy_store(&mut self, place: Place) {
        let mut disk = self.nodes[place].disk.clone();
        // A backup is one of the states that a crash could have left.
        disk.crash(true, &mut self.random, &mut self.sometimes);
        disk.note_gap();
        self.trace
            .say(|| format!("copy {place} at {}", disk.head().0));
        let happened = self.checkers.happened_to(place);
        let boots = self.nodes[place].boot;
        self.copy = Copy::Made(Box::new(Copied {
            disk,
            boots,
            happened,
        }));
    }

    /// Puts the copy in the place of the store.
    pub(crate) fn put_back(&mut self, place: Place) -> Checked {
        let Copy::Awaited(copied) = std::mem::replace(&mut self.copy, Copy::Used) else {
            return Err("there is no copy".to_owned());
        };
        let head = copied.disk.head().0;
        self.trace.say(|| format!("put back {place} at {head}"));
        self.sometimes.saw("older copy of a store put back");
        let is_vouched = self.random.below(2) == 0;
        self.sometimes.saw(match is_vouched {
            true => "older copy that is vouched for",
            false => "older copy with the boots of before",
        });
        let node = &mut self.nodes[place];
        node.disk = copied.disk;
        match is_vouched {
            true => node.boot += BOOTS_AHEAD,
            false => node.boots_lost = node.boot - copied.boots,
        }
        self.use_older(place, copied.happened);
        self.restart(place)
    }

    /// Has a process continue with an older state.
    pub(crate) fn use_older(&mut self, place: Place, happened: Happened) {
        self.copy = Copy::Used;
        self.checkers.put_back(place, happened);
        for (route, channel) in &mut self.channels {
            if route.0 == place {
                channel.put_back();
            }
        }
        let used_max = match self.plan.clock_ahead_max {
            bound @ ..=AHEAD_LEAST => USED_MAX + ANSWERED_AHEAD_MAX * bound,
            _ => USED_MAX,
        };
        let used = self.random.below(used_max);
        self.after(used, Event::GiveUp(place));
    }

    /// Gives up the copy after its use. Answers given before it was put back must be repeated identically or not at all.
    pub(crate) fn give_up(&mut self, place: Place) -> Checked {
        self.ask_again_about_all()?;
        self.wipe(place)
    }
}
