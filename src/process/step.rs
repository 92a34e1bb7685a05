//! One turn over what waits for the process. The driver of a node and the simulated cluster step it here, so that
//! what is simulated is what runs.

use std::collections::VecDeque;
use std::vec;

use super::Process;
use super::clock::Hlc;
use super::ids::Lsn;
use super::input::Input;
use super::record::Turn;
use super::recording::Recording;
use super::registers::Sealed;
use super::reply::Reply;

/// So many accounts are looked for at once, ahead of the operations on them: each is somewhere else in memory, and the
/// processor waits for several of them together.
const AHEAD: usize = 16;

/// Inputs in the order in which they came. What was asked together stands together, and is never copied.
#[derive(Debug)]
pub struct InputQueue<T> {
    asked: VecDeque<Request<T>>,
    len: usize,
}

/// Inputs that were asked together, and who waits for their replies.
#[derive(Debug)]
struct Request<T> {
    inputs: vec::IntoIter<Input>,
    asker: Option<T>,
}

/// What a turn replies to inputs that were asked together.
#[derive(Debug)]
pub struct Replies<T> {
    /// In the order of the inputs.
    pub replies: Vec<Reply>,
    /// Who waits for them. `None` where the turn was full before the last of the inputs: the rest of the replies, and who
    /// waits for all of them, come with a later turn, before any others.
    pub to: Option<T>,
}

/// A turn that is decided and not yet durable, with everything that waits for it.
#[derive(Debug)]
pub struct Step<T> {
    /// What is to be made durable; without records there is nothing to be.
    pub turn: Turn,
    /// What is said once the turn and those before it are durable.
    pub replies: Vec<Replies<T>>,
    /// The newest turn when it was said: this one, or where it has no records the one before.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
    /// The states that this turn sealed.
    pub sealed: Vec<Sealed>,
    /// The recordings that this turn finished.
    pub finished: Vec<Recording>,
}

impl<T> Default for InputQueue<T> {
    fn default() -> Self {
        Self {
            asked: VecDeque::new(),
            len: 0,
        }
    }
}

impl<T> InputQueue<T> {
    /// Puts what is asked together behind all others; somebody may wait for the replies.
    pub fn push(&mut self, inputs: Vec<Input>, asker: Option<T>) {
        debug_assert!(!inputs.is_empty(), "nobody asks for nothing");
        self.len += inputs.len();
        let inputs = inputs.into_iter();
        self.asked.push_back(Request { inputs, asker });
    }

    /// Puts something before all others; nobody waits for a reply.
    pub fn push_front(&mut self, input: Input) {
        self.len += 1;
        let inputs = vec![input].into_iter();
        let asker = None;
        self.asked.push_front(Request { inputs, asker });
    }

    /// How many inputs wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    fn inputs(&self) -> impl Iterator<Item = &Input> {
        self.asked.iter().flat_map(|asked| asked.inputs.as_slice())
    }
}

impl Process {
    /// The first turn of a journal, or of one that was put back from a copy. It does nothing but say since when the journal
    /// knows what happened here: it answers for no instant right before it. `None` where the journal goes on.
    pub fn first_turn(&mut self, wall_us: u64) -> Option<Turn> {
        if self.registers.position > Lsn(0) && !self.is_put_back {
            return None;
        }
        self.is_put_back = false;
        let time = self.registers.time;
        self.begin_turn(wall_us, time);
        self.step(Input::AdvanceClock { time });
        Some(self.end_turn())
    }

    /// The same as a step of the turn loop.
    pub fn take_first<T>(&mut self, wall_us: u64) -> Option<Step<T>> {
        let turn = self.first_turn(wall_us)?;
        Some(self.step_of(turn, Vec::new()))
    }

    /// What a restart found unfinished: it is recorded before anything new.
    pub fn take_found<T>(&mut self) -> Step<T> {
        self.step_of(Turn::default(), Vec::new())
    }

    /// One turn: as much of what waits as may be in it. It takes no more once its records weigh `weight_max`.
    pub fn take_turn<T>(
        &mut self,
        wall_us: u64,
        waiting: &mut InputQueue<T>,
        weight_max: usize,
    ) -> Step<T> {
        self.begin_turn(wall_us, self.newest(waiting.inputs()));
        // Most inputs give one record: to grow step by step would copy each several times.
        self.turn.records.reserve(waiting.len());
        let mut said = Vec::with_capacity(waiting.asked.len());
        while let Some(asked) = waiting.asked.front_mut() {
            let before = asked.inputs.len();
            let replies = self.take_of(asked, weight_max);
            let left = asked.inputs.len();
            waiting.len -= before - left;
            let done = waiting.asked.pop_front_if(|asked| asked.inputs.len() == 0);
            let is_done = done.is_some();
            let to = done.and_then(|done| done.asker);
            if to.is_some() || !(is_done || replies.is_empty()) {
                said.push(Replies { replies, to });
            }
            if !is_done {
                break;
            }
        }
        let turn = self.end_turn();
        self.step_of(turn, said)
    }

    // The greatest clock among what waits, which the turn is to pass.
    fn newest<'a>(&self, inputs: impl Iterator<Item = &'a Input>) -> Hlc {
        let times = inputs.filter_map(|input| match input {
            Input::Arrived { time, .. } | Input::AdvanceClock { time } => Some(*time),
            Input::Handshake(meeting) => Some(self.time_of_handshake(meeting)),
            _ => None,
        });
        times.max().unwrap_or_default()
    }

    // The replies to as much of it as may be in this turn; none where nobody waits for them.
    fn take_of<T>(&mut self, asked: &mut Request<T>, weight_max: usize) -> Vec<Reply> {
        let (count, is_asked) = (asked.inputs.len(), asked.asker.is_some());
        let mut replies = Vec::with_capacity(if is_asked { count } else { 0 });
        let mut places = [None; AHEAD];
        for done in 0..count {
            let rest = asked.inputs.as_slice();
            if self.turn_weight() >= weight_max || self.wants_own_turn(&rest[0]) {
                break;
            }
            if done % AHEAD == 0 {
                places = self.places(rest);
            }
            self.bank.look_first_at(places[done % AHEAD]);
            let Some(input) = asked.inputs.next() else {
                break;
            };
            let reply = self.step(input);
            if is_asked {
                replies.push(reply);
            }
        }
        replies
    }

    // Where the accounts of the next inputs stand.
    fn places(&self, inputs: &[Input]) -> [Option<usize>; AHEAD] {
        std::array::from_fn(|index| self.bank.place_of(inputs.get(index)?.account()?))
    }

    fn step_of<T>(&mut self, turn: Turn, said: Vec<Replies<T>>) -> Step<T> {
        Step {
            turn,
            replies: said,
            position: self.registers().position,
            time: self.registers().time,
            sealed: self.take_sealed(),
            finished: self.take_finished(),
        }
    }
}
