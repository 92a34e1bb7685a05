//! The wall clocks of the world, which jump, and the believed clock of each process: the real `process/wall.rs`, called where
//! `node/health/wall.rs` and the ends of channels call it.

use snapledger::channel::ShownClocks;
use snapledger::process::clock::{Clocks, Hlc};
use snapledger::process::ids::Lsn;
use snapledger::process::record::Turn;
use snapledger::process::registers::Registers;
use snapledger::process::wall::{ClockReading, Offset, TURN_AHEAD_MAX, Wall};

use crate::plan::{MS, SECOND};
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, Place, World};

/// How long a start waits for a majority of the clocks.
const SETTLE_MAX: u64 = 2 * SECOND;
/// How far ahead a clock may be, in multiples of the bound, if it is near the newest time of its journal: one more for received
/// messages.
const BELIEVED_AHEAD_MAX: i64 = TURN_AHEAD_MAX.cast_signed() - 1;

impl World {
    /// The believed clock of a process that starts over this journal. A process whose next turn is its first settles at once.
    pub(crate) fn wall(&self, place: Place, journal: &Registers) -> Wall {
        let bound = self.plan.clock_ahead_max;
        let now = self.reading(place);
        let mut wall = Wall::new(bound, journal.time, now);
        if journal.position == Lsn(0) || self.nodes[place].disk.is_gap(journal.position) {
            wall.settle(now, &self.told(place, true));
        }
        wall
    }

    /// A reading of both clocks of a process.
    pub(crate) fn reading(&self, place: Place) -> ClockReading {
        ClockReading {
            wall_us: self
                .true_us()
                .saturating_add_signed(self.nodes[place].clock_off),
            elapsed_us: self.now,
        }
    }

    /// The present time as a process believes it, microseconds.
    pub(crate) fn wall_us(&self, place: Place) -> u64 {
        let now = self.reading(place);
        let life = self.nodes[place].life.as_ref();
        life.map_or(now.wall_us, |alive| alive.wall.now_us(now))
    }

    /// Compares the clock of a process that has just started, unless it continues from its journal.
    pub(crate) fn begin_to_settle(&mut self, life: Life) -> Checked {
        let is_settled = self.alive(life).is_none_or(|alive| alive.wall.is_settled());
        let (now, told) = (self.reading(life.place), self.told(life.place, true));
        if is_settled {
            return self.judge(life.place, now, &told);
        }
        let delay = match (told.len() + 1) * 2 > self.nodes.len() {
            true => 1 + self.random.below(250 * MS),
            false => SETTLE_MAX,
        };
        self.after(delay, Event::Settle(life));
        Ok(())
    }

    /// Ends the start; turns are labelled from now on.
    pub(crate) fn end_start(&mut self, life: Life) -> Checked {
        let (now, told) = (self.reading(life.place), self.told(life.place, true));
        let Some(alive) = self.alive(life) else {
            return Ok(());
        };
        alive.wall.settle(now, &told);
        if !told.is_empty() {
            self.sometimes
                .saw("start compared with the clocks of others");
        }
        self.judge(life.place, now, &told)?;
        self.wake(life);
        Ok(())
    }

    /// Compares the clock of every process with those of the others.
    pub(crate) fn compare_clocks(&mut self) -> Checked {
        for place in 0..self.nodes.len() {
            let (now, told) = (self.reading(place), self.told(place, false));
            let Some(alive) = self.nodes[place].life.as_mut() else {
                continue;
            };
            // It does not label turns yet.
            if !alive.wall.is_settled() {
                continue;
            }
            let has_leapt = alive.wall.compare(now, &told);
            if alive.wall.is_skewed(alive.wall.skew_us(now)) {
                self.sometimes.saw("leap of a wall clock not followed");
            }
            if has_leapt {
                self.sometimes
                    .saw("wall clock followed where others confirm it");
            }
            self.judge(place, now, &told)?;
        }
        Ok(())
    }

    // The offsets of the clocks of all reachable processes; at a start the believed clocks.
    fn told(&self, by: Place, believed: bool) -> Vec<Offset> {
        let others = (0..self.nodes.len()).filter(|of| *of != by && !self.are_parted(by, *of));
        let others = others.filter_map(|of| {
            let (now, life) = (self.reading(of), self.nodes[of].life.as_ref()?);
            let shown = match believed && life.wall.is_settled() {
                true => life.wall.now_us(now),
                false => now.wall_us,
            };
            Some(now.offset_of(shown))
        });
        others.collect()
    }

    // A process may only believe a wrong clock if it had no better one.
    fn judge(&mut self, place: Place, now: ClockReading, told: &[Offset]) -> Checked {
        let bound = i64::try_from(self.plan.clock_ahead_max).unwrap_or(i64::MAX);
        let right = now.offset_of(self.true_us());
        let off = |offset: Offset| offset.ahead_of(right);
        let believed = now.offset_of(self.wall_us(place));
        let node = &mut self.nodes[place];
        if self.is_healed || node.is_misled || off(believed) <= BELIEVED_AHEAD_MAX * bound {
            return Ok(());
        }
        let shown = || told.iter().copied().chain([now.offset()]).map(off);
        let wrong = shown().filter(|off| *off > bound).count();
        let right = shown().filter(|off| off.abs() <= bound).count();
        if told.is_empty() || wrong >= right {
            node.is_misled = true;
            self.sometimes.saw("process misled by its clock");
            return Ok(());
        }
        Err(format!(
            "{place} goes by a clock that is ahead, and {told:?} say otherwise"
        ))
    }

    /// The operator of a stopped process decides in its store: the wall clock is used unchecked.
    pub(crate) fn decided_by_wall(&mut self, place: Place) {
        let bound = i64::try_from(self.plan.clock_ahead_max).unwrap_or(i64::MAX);
        let node = &mut self.nodes[place];
        node.is_misled |= node.clock_off > bound;
    }

    /// Whether every time is followed. After the faults, the operators accept the existing times.
    pub(crate) fn follows_all(&self) -> bool {
        self.is_healed || self.plan.is_sabotaged(Sabotage::ClocksFollowed)
    }

    /// Whether this process follows a time.
    pub(crate) fn is_followed(&mut self, life: Life, time: Hlc) -> bool {
        let now = self.reading(life.place);
        let is_all = self.follows_all();
        let alive = self.alive(life);
        is_all || alive.is_none_or(|alive| alive.wall.too_early(now, time).is_none())
    }

    /// The clocks of the newest durable turn, and the time that would label a turn now.
    pub(crate) fn clocks_of(&self, place: Place) -> Checked<ShownClocks> {
        let disk = &self.nodes[place].disk;
        let newest = disk.turns(disk.durable()).next().transpose()?;
        let newest = newest.map(|turn| Clocks {
            logical: turn.clock,
            time: turn.time,
        });
        let life = self.nodes[place].life.as_ref();
        let wall = life.map(|alive| &alive.wall);
        let wall = wall.filter(|wall| wall.is_settled());
        let present = wall.map(|wall| Hlc::at(wall.now_us(self.reading(place))));
        Ok(ShownClocks {
            newest: newest.unwrap_or_default(),
            present: present.unwrap_or_default(),
        })
    }

    /// Checks that no turn of a process that is not misled is far ahead of the true time.
    pub(crate) fn check_time(&self, place: Place, turn: &Turn) -> Checked {
        let ahead_us = turn.time.wall_us().saturating_sub(self.true_us());
        if self.is_healed || self.nodes[place].is_misled {
            return Ok(());
        }
        match ahead_us > TURN_AHEAD_MAX * self.plan.clock_ahead_max + SECOND {
            true => Err(format!(
                "a turn of {place} is {ahead_us} us ahead of the true time"
            )),
            false => Ok(()),
        }
    }
}
