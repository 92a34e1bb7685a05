//! An older copy of a store that is put in its place: what followed the copy is lost. Peers that know of it refuse the
//! process, which answers for no instant between the copy and its next start, nor until it has caught up with its peers. Only
//! copies that show it themselves are made: a backup or one that an operator has vouched for, whose boots go on; or copied files,
//! which count the boots of before again. In the end the store is given up: `loss.rs`.

use snapledger::process::wall::ANSWERED_AHEAD_MAX;

use crate::checkers::Happened;
use crate::disk::Disk;
use crate::plan::SECOND;
use crate::world::{Checked, Event, Place, World};

/// What was under way when the store was taken away has arrived, or never does.
const AWAY: u64 = SECOND;
/// So long the copy is in use at most. Where clocks are followed least, it may have caught up by then.
const USED_MAX: u64 = 4 * SECOND;
const AHEAD_LEAST: u64 = 2 * SECOND;
/// A copy that is vouched for counts its boot on by so many.
const BOOTS_AHEAD: u64 = 1_000;

/// What becomes of the copy of a run.
#[derive(Default)]
pub(crate) enum Copy {
    /// There is none.
    #[default]
    None,
    /// It is made.
    Made(Box<Copied>),
    /// The store was taken away, and the copy is not in its place yet.
    Awaited(Box<Copied>),
    /// It is in the place of the store.
    Used,
}

/// A store as it was, and what had happened by then.
pub(crate) struct Copied {
    disk: Disk,
    /// The starts that the copy knows.
    boots: u64,
    happened: Happened,
}

impl World {
    /// Loses the store of a process, step by step: where the plan wants it, an older copy takes its place first.
    pub(crate) fn lose(&mut self, place: Place) -> Checked {
        let is_done = |part: u64| self.operations_done * part >= self.plan.operations;
        match std::mem::take(&mut self.copy) {
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

    /// Whether what follows from an older copy is still to come.
    pub(crate) fn is_put_back(&self) -> bool {
        matches!(self.copy, Copy::Awaited(_) | Copy::Used)
    }

    /// Whether a process cannot start, for its store is away.
    pub(crate) fn is_away(&self, place: Place) -> bool {
        matches!(self.copy, Copy::Awaited(_)) && self.plan.wiped == Some(place)
    }

    fn copy_store(&mut self, place: Place) {
        let mut disk = self.nodes[place].disk.clone();
        // A backup is what a crash could have left.
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

    /// The copy is put in the place of the store.
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
        self.checkers.put_back(place, copied.happened);
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
        self.restart(place)
    }

    /// The copy was in use for long enough. What was answered before it was put back is still answered so, or not at all.
    pub(crate) fn give_up(&mut self, place: Place) -> Checked {
        self.ask_again_about_all()?;
        self.wipe(place)
    }
}
