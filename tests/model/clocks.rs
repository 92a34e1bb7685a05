//! A model of bounded clocks: three processes whose wall clocks jump, that restart with peers or alone, and a chain of
//! messages between them, in every order within the bounds. It drives the real `Wall` and `Hlc`. Without it, the proof
//! in `process/wall.rs` would cover the description, not the code.
//!
//! Checked: no message is received at a time that is not later than its sending, so every cut by clock is consistent;
//! and no process whose clock could be recognized as wrong is ahead of the true time by more than the bounds allow.

use std::collections::VecDeque;
use std::time::Instant;

use snapledger::process::clock::Hlc;
use snapledger::process::wall::{ClockReading, Offset, Wall};
use stateright::{Checker, HasDiscoveries, Model, Property};

const PROCESSES: usize = 3;
const BOUND_US: u64 = 2;
/// The start of the run.
const NOON_US: u64 = 1_000;
/// The duration of the run.
const TIME_US: u64 = 2;
/// The errors of a wall clock: none, just beyond the bound, far beyond it.
const OFF_US: [i64; 3] = [0, 3, 100];
const RESTARTS_MAX: u8 = 1;
const SENDS_MAX: u8 = 2;

const LATER: &str = "nothing is received before it is sent";
const BOUNDED: &str = "no clock that could be told right is far ahead";

/// The world. A world that follows received times however far ahead they are is wrong.
struct World {
    follows: bool,
    leaps_max: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    /// The true time.
    now_us: u64,
    nodes: [Node; PROCESSES],
    /// For each process but the first, the times of the messages in flight from the process before it.
    channels: [VecDeque<Hlc>; PROCESSES],
    leaps: u8,
    restarts: u8,
    sends: u8,
    /// A message was received too early.
    reversed: bool,
    /// A process followed a clock that the others contradict.
    credulous: bool,
    /// A message from a sender ahead of the receiver was delivered within the bound.
    from_ahead: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Node {
    off_us: i64,
    wall: Wall,
    time: Hlc,
    /// It follows a wrong clock, or did, and could not have known.
    misled: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Action {
    Pass,
    Leap(usize, i64),
    Compare(usize),
    Restart(usize),
    RestartAlone(usize),
    Send(usize),
    Deliver(usize),
}

impl State {
    fn begin() -> Self {
        let wall = Wall::new(BOUND_US, Hlc::at(NOON_US), reading(NOON_US, 0));
        let node = Node {
            off_us: 0,
            wall,
            time: Hlc::at(NOON_US),
            misled: false,
        };
        Self {
            now_us: NOON_US,
            nodes: std::array::from_fn(|_| node.clone()),
            channels: Default::default(),
            leaps: 0,
            restarts: 0,
            sends: 0,
            reversed: false,
            credulous: false,
            from_ahead: false,
        }
    }

    fn reading(&self, at: usize) -> ClockReading {
        reading(self.now_us, self.nodes[at].off_us)
    }

    // The offsets that the others show, and follow if a process starts.
    fn told(&self, by: usize, believed: bool) -> Vec<Offset> {
        let others = (0..PROCESSES).filter(|of| *of != by);
        let shown = others.map(|of| {
            let now = self.reading(of);
            match believed {
                true => now.offset_of(self.nodes[of].wall.now_us(now)),
                false => now.offset(),
            }
        });
        shown.collect()
    }

    // A process that follows a wrong clock has no better clocks around it.
    fn judge(&mut self, at: usize, told: &[Offset]) {
        let bound = i64::try_from(BOUND_US).expect("it is small");
        let now = self.reading(at);
        let right = now.offset_of(self.now_us);
        let off = |offset: Offset| offset.ahead_of(right);
        let believed = now.offset_of(self.nodes[at].wall.now_us(now));
        if self.nodes[at].misled || off(believed) <= bound {
            return;
        }
        let shown = || told.iter().copied().chain([now.offset()]).map(off);
        let wrong = shown().filter(|off| *off > bound).count();
        let right = shown().filter(|off| off.abs() <= bound).count();
        self.nodes[at].misled = true;
        // A clock within a bound of its journal may be ahead for one comparison.
        let is_near = off(believed) <= 3 * bound;
        self.credulous |= !(told.is_empty() || wrong >= right || is_near);
    }

    fn compare(&mut self, at: usize) {
        let (now, told) = (self.reading(at), self.told(at, false));
        self.nodes[at].wall.compare(now, &told);
        self.judge(at, &told);
    }

    fn restart(&mut self, at: usize, told: &[Offset]) {
        let now = self.reading(at);
        let node = &mut self.nodes[at];
        node.wall = Wall::new(BOUND_US, node.time, now);
        node.wall.settle(now, told);
        self.restarts += 1;
        self.judge(at, told);
    }

    fn send(&mut self, at: usize) {
        let now = self.reading(at);
        let node = &mut self.nodes[at];
        node.time = node.time.tick(node.wall.now_us(now));
        self.channels[at + 1].push_back(node.time);
        self.sends += 1;
    }

    // Whether a process has anything to compare: its clock is wrong, or the time it follows.
    fn is_off(&self, at: usize) -> bool {
        let node = &self.nodes[at];
        node.off_us != 0 || node.wall.now_us(self.reading(at)) != self.now_us
    }

    fn is_early(&self, at: usize, sent: Hlc) -> bool {
        self.nodes[at]
            .wall
            .too_early(self.reading(at), sent)
            .is_some()
    }

    fn deliver(&mut self, at: usize, sent: Hlc) {
        let now = self.reading(at);
        self.channels[at].pop_front();
        let node = &mut self.nodes[at];
        let shown_us = node.wall.now_us(now);
        self.from_ahead |= sent.wall_us() > shown_us;
        node.time = node.time.receive(sent).tick(shown_us);
        self.reversed |= node.time <= sent;
    }

    fn is_bounded(&self) -> bool {
        let limit = self.now_us + 4 * BOUND_US;
        let mut right = self.nodes.iter().filter(|node| !node.misled);
        right.all(|node| node.time.wall_us() <= limit)
    }
}

fn reading(now_us: u64, off_us: i64) -> ClockReading {
    ClockReading {
        wall_us: now_us.saturating_add_signed(off_us),
        elapsed_us: now_us,
    }
}

impl Model for World {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::begin()]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        if state.now_us < NOON_US + TIME_US {
            actions.push(Action::Pass);
        }
        for at in 0..PROCESSES {
            if state.is_off(at) {
                actions.push(Action::Compare(at));
            }
            if state.leaps < self.leaps_max {
                actions.extend(OFF_US.map(|off_us| Action::Leap(at, off_us)));
            }
            if state.restarts < RESTARTS_MAX {
                actions.extend([Action::Restart(at), Action::RestartAlone(at)]);
            }
            if state.sends < SENDS_MAX && at + 1 < PROCESSES {
                actions.push(Action::Send(at));
            }
            if let Some(sent) = state.channels[at].front()
                && (self.follows || !state.is_early(at, *sent))
            {
                actions.push(Action::Deliver(at));
            }
        }
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Pass => state.now_us += 1,
            Action::Leap(at, off_us) => {
                state.leaps += 1;
                state.nodes[at].off_us = off_us;
            }
            Action::Compare(at) => state.compare(at),
            Action::Restart(at) => state.restart(at, &state.told(at, true)),
            Action::RestartAlone(at) => state.restart(at, &[]),
            Action::Send(at) => state.send(at),
            Action::Deliver(at) => {
                let sent = *state.channels[at].front()?;
                state.deliver(at, sent);
            }
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(LATER, |_, state: &State| !state.reversed),
            Property::always(BOUNDED, |_, state: &State| {
                !state.credulous && state.is_bounded()
            }),
            Property::sometimes("a message waits for the clock", |_, state: &State| {
                let mut heads = state.channels.iter().enumerate();
                heads.any(|(at, channel)| {
                    channel
                        .front()
                        .is_some_and(|sent| state.is_early(at, *sent))
                })
            }),
            Property::sometimes("a message from ahead is delivered", |_, state: &State| {
                state.from_ahead
            }),
            Property::sometimes("a process is misled", |_, state: &State| {
                state.nodes.iter().any(|node| node.misled)
            }),
        ]
    }
}

#[test]
fn clocks_are_bounded_and_cuts_by_clock_consistent() {
    explore(1);
}

// Run by its own command, as in `main.rs`: a clock that jumps and is set back.
#[test]
fn large_clocks_are_bounded_and_cuts_by_clock_consistent() {
    match crate::is_large() {
        true => explore(2),
        false => eprintln!("passed over; SNAPLEDGER_MODEL=large explores it"),
    }
}

fn explore(leaps_max: u8) {
    let started = Instant::now();
    let world = World {
        follows: false,
        leaps_max,
    };
    let checker = world.checker().spawn_bfs().join();
    eprintln!(
        "{} states of which {} unique, depth {}, {:.1?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed(),
    );
    checker.assert_properties();
}

#[test]
fn it_sees_a_clock_that_follows_a_wrong_one() {
    let world = World {
        follows: true,
        leaps_max: 1,
    };
    let sought = HasDiscoveries::AllOf([BOUNDED].into());
    let checker = world.checker().finish_when(sought).spawn_bfs().join();
    assert!(checker.discovery(BOUNDED).is_some(), "the model is blind");
    assert!(checker.discovery(LATER).is_none());
}
