//! The wall clocks of the world, which leap, and what each process makes of its own: the real `process/wall.rs`, asked when
//! `node/clock.rs` and `transport/inbound.rs` ask it.
//!
//! A process may go by a wrong clock where nobody could tell it, or where as many were as wrong. It is misled then, for as
//! long as its journal is; every other one is held to the true time.

use snapledger::process::clock::{Clocks, Hlc};
use snapledger::process::event::Turn;
use snapledger::process::ids::Lsn;
use snapledger::process::registers::Registers;
use snapledger::process::wall::{ClockReading, Offset, TURN_AHEAD_MAX, Wall};
use snapledger::proto::snapledger as wire;
use snapledger::transport::wire::clocks_from_wire;

use crate::plan::{MS, SECOND};
use crate::sabotage::Sabotage;
use crate::stream::StreamId;
use crate::world::{Checked, Event, Life, Place, World};

/// How long a start waits for a majority of the clocks.
const SETTLE_MAX: u64 = 2 * SECOND;
/// How many times the bound a clock may be ahead that is near the newest time of its journal: messages may be one further.
const BELIEVED_AHEAD_MAX: i64 = TURN_AHEAD_MAX.cast_signed() - 1;
/// When a message that waits for the clock is looked at again.
const EARLY_LOOK_EVERY: u64 = 100 * MS;

impl World {
    /// The believed clock of a process that starts over this journal. One whose next turn is its first waits for nothing here.
    pub(crate) fn wall(&self, place: Place, journal: &Registers) -> Wall {
        let bound = self.plan.clock_ahead_max;
        let now = self.reading(place);
        let mut wall = Wall::new(bound, journal.time, now);
        if journal.position == Lsn(0) || self.nodes[place].disk.is_gap(journal.position) {
            wall.settle(now, &self.told(place, true));
        }
        wall
    }

    /// Both clocks of a process.
    pub(crate) fn reading(&self, place: Place) -> ClockReading {
        ClockReading {
            wall_us: self
                .true_us()
                .saturating_add_signed(self.nodes[place].clock_off),
            elapsed_us: self.now,
        }
    }

    /// What a process takes for the present, microseconds.
    pub(crate) fn wall_us(&self, place: Place) -> u64 {
        let now = self.reading(place);
        let life = self.nodes[place].life.as_ref();
        life.map_or(now.wall_us, |alive| alive.wall.now_us(now))
    }

    /// A process that has just started compares its clock, unless that goes on from its journal.
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

    /// The start ends: turns are labelled from now on.
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

    /// Every process compares its clock with those of the others.
    pub(crate) fn compare_clocks(&mut self) -> Checked {
        for place in 0..self.nodes.len() {
            let (now, told) = (self.reading(place), self.told(place, false));
            let Some(alive) = self.nodes[place].life.as_mut() else {
                continue;
            };
            // Nothing is labelled yet.
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

    // What the clocks of those show whom a process reaches: the believed ones where it starts.
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

    // Who goes by a wrong clock must have had no better one to go by.
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

    /// An operator decides in the store of a stopped process: the wall clock is taken as it is.
    pub(crate) fn decided_by_wall(&mut self, place: Place) {
        let bound = i64::try_from(self.plan.clock_ahead_max).unwrap_or(i64::MAX);
        let node = &mut self.nodes[place];
        node.is_misled |= node.clock_off > bound;
    }

    /// Whether a time is followed here.
    pub(crate) fn is_followed(&mut self, life: Life, time: Hlc) -> bool {
        let now = self.reading(life.place);
        let is_all = self.is_healed || self.plan.is_sabotaged(Sabotage::ClocksFollowed);
        let alive = self.alive(life);
        is_all || alive.is_none_or(|alive| alive.wall.too_early(now, time).is_none())
    }

    /// The clocks that a peer says, as far as they are followed, and its time where that is not.
    pub(crate) fn followed(
        &mut self,
        life: Life,
        told: Option<wire::Clocks>,
    ) -> (Clocks, Option<Hlc>) {
        let present = Hlc(told.as_ref().map_or(0, |told| told.present));
        let mut clocks = clocks_from_wire(told);
        let unfollowed = Some(present).filter(|present| !self.is_followed(life, *present));
        if self.is_followed(life, clocks.time) {
            if unfollowed.is_none() {
                clocks.time = clocks.time.max(present);
            }
            return (clocks, unfollowed);
        }
        self.sometimes.saw("met a peer whose clock is not followed");
        let without = Clocks {
            time: Hlc::default(),
            ..clocks
        };
        (without, unfollowed.max(Some(clocks.time)))
    }

    /// Whether a message has to wait for the clock; it is looked at again.
    pub(crate) fn is_too_early(&mut self, life: Life, id: StreamId, newest: Option<Hlc>) -> bool {
        // In the end the operators accept the times that there are.
        let is_early = newest.is_some_and(|newest| !self.is_followed(life, newest));
        if is_early {
            self.sometimes.saw("message that waits for the clock");
            let stream = self.stream(id).filter(|stream| !stream.is_waiting);
            if let Some(stream) = stream {
                stream.is_waiting = true;
                self.after(EARLY_LOOK_EVERY, Event::Reread(life, id));
            }
        }
        is_early
    }

    /// The receiving end looks again at what waits.
    pub(crate) fn reread(&mut self, life: Life, id: StreamId) -> Checked {
        if let Some(stream) = self.stream(id) {
            stream.is_waiting = false;
        }
        match self.alive(life) {
            Some(_) => self.read(life, id),
            None => Ok(()),
        }
    }

    /// No turn of a process that was not misled is far ahead of the true time.
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
