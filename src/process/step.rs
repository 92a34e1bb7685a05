//! One turn over what waits for the process. The driver of a node and the simulated cluster step it here, so that
//! what is simulated is what runs.

use std::collections::VecDeque;

use super::Process;
use super::clock::Hlc;
use super::event::{Input, Reply, Turn};
use super::ids::Lsn;
use super::registers::Sealed;
use super::snapshot::Recording;

/// Inputs in the order in which they came, each with who waits for its reply.
pub type Waiting<T> = VecDeque<(Input, Option<T>)>;

/// A turn that is decided and not yet durable, with everything that waits for it.
#[derive(Debug)]
pub struct Step<T> {
    /// What is to be made durable; without records there is nothing to be.
    pub turn: Turn,
    /// Who asked, and what is said once the turn and those before it are durable.
    pub replies: Vec<(T, Reply)>,
    /// The newest turn when it was said: this one, or where it has no records the one before.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
    /// The states that this turn sealed.
    pub sealed: Vec<Sealed>,
    /// The recordings that this turn finished.
    pub finished: Vec<Recording>,
}

impl Process {
    /// What a restart found unfinished: it is recorded before anything new.
    pub fn take_found<T>(&mut self) -> Step<T> {
        self.step_of(Turn::default(), Vec::new())
    }

    /// One turn: as much of what waits as may be in it. It takes no more once its records weigh `weight_max`.
    pub fn take_turn<T>(
        &mut self,
        wall_us: u64,
        waiting: &mut Waiting<T>,
        weight_max: usize,
    ) -> Step<T> {
        let times = waiting.iter().filter_map(|(input, _)| match input {
            Input::Arrived { time, .. } | Input::Reach { time } => Some(*time),
            _ => None,
        });
        self.begin_turn(wall_us, times.max().unwrap_or_default());
        // Most inputs give one record and one reply: to grow step by step would copy each several times.
        self.turn.records.reserve(waiting.len());
        let mut replies = Vec::with_capacity(waiting.len());
        while let Some((input, asker)) = waiting.pop_front_if(|(input, _)| {
            self.turn_weight() < weight_max && !self.wants_own_turn(input)
        }) {
            let reply = self.step(input);
            replies.extend(asker.map(|asker| (asker, reply)));
        }
        let turn = self.end_turn();
        self.step_of(turn, replies)
    }

    fn step_of<T>(&mut self, turn: Turn, replies: Vec<(T, Reply)>) -> Step<T> {
        Step {
            turn,
            replies,
            position: self.registers().position,
            time: self.registers().time,
            sealed: self.take_sealed(),
            finished: self.take_finished(),
        }
    }
}
