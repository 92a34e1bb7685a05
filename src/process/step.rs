//! One turn over the waiting inputs. Both the driver of a node and the simulated cluster run it, so the simulation covers the
//! code of the node.

use std::collections::VecDeque;
use std::{fmt, vec};

use super::Process;
use super::clock::Hlc;
use super::ids::Lsn;
use super::input::Input;
use super::record::Turn;
use super::recording::Recording;
use super::registers::Sealed;
use super::reply::Reply;

/// The number of accounts that are looked up ahead of their operations. Each is somewhere else in memory, and the processor
/// overlaps the cache misses.
const AHEAD: usize = 16;

/// The waiting inputs in order of arrival. Inputs submitted together stay together and are not copied.
pub struct InputQueue<T> {
    asked: VecDeque<Request<T>>,
    len: usize,
}

/// A [query](super::query::Query) that waits among the inputs. It returns the address of its answer, with the answer.
pub type WaitingQuery<T> = Box<dyn FnOnce(&Process) -> T + Send>;

enum Request<T> {
    Inputs(Together<T>),
    Query(WaitingQuery<T>),
}

/// Inputs submitted together, and the address for their replies.
struct Together<T> {
    inputs: vec::IntoIter<Input>,
    asker: Option<T>,
}

/// Replies of a turn to inputs that were submitted together, or to a query: then there are none, and the address holds the
/// answer.
#[derive(Debug)]
pub struct Replies<T> {
    /// In the order of the inputs.
    pub replies: Vec<Reply>,
    /// The address for the replies. `None` if the turn was full before the last input: the remaining replies and the address
    /// come with a later turn, before any others.
    pub to: Option<T>,
}

/// A turn that is decided and not yet durable, with everything that depends on it.
#[derive(Debug)]
pub struct Step<T> {
    /// The records to make durable; an empty turn needs no commit.
    pub turn: Turn,
    /// The replies to send once the turn and those before it are durable.
    pub replies: Vec<Replies<T>>,
    /// The newest turn at the time of the replies: this one, or the one before if this one has no records.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
    /// The states sealed by this turn.
    pub sealed: Vec<Sealed>,
    /// The recordings finished by this turn.
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

impl<T> fmt::Debug for InputQueue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("InputQueue");
        shown.field("len", &self.len).finish_non_exhaustive()
    }
}

impl<T> InputQueue<T> {
    /// Appends inputs that are submitted together; `asker` is the address for their replies, if replies are wanted.
    pub fn push(&mut self, inputs: Vec<Input>, asker: Option<T>) {
        debug_assert!(!inputs.is_empty(), "a request has at least one input");
        self.len += inputs.len();
        let inputs = inputs.into_iter();
        let together = Together { inputs, asker };
        self.asked.push_back(Request::Inputs(together));
    }

    /// Appends a query.
    pub fn push_query(&mut self, query: WaitingQuery<T>) {
        self.len += 1;
        self.asked.push_back(Request::Query(query));
    }

    /// Puts an input before all others; its reply is dropped.
    pub fn push_front(&mut self, input: Input) {
        self.len += 1;
        let inputs = vec![input].into_iter();
        let asker = None;
        let together = Together { inputs, asker };
        self.asked.push_front(Request::Inputs(together));
    }

    /// The number of waiting inputs and queries.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether neither an input nor a query waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.asked.is_empty()
    }

    fn inputs(&self) -> impl Iterator<Item = &Input> {
        let inputs = self.asked.iter().map(|asked| match asked {
            Request::Inputs(together) => together.inputs.as_slice(),
            Request::Query(_) => &[],
        });
        inputs.flatten()
    }
}

impl Process {
    /// The first turn of a new journal, or of one that was put back from a copy. It records no more than the instant from which
    /// on the journal is complete: the journal answers for no instant right before it. `None` if the journal continues.
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

    /// The first turn as a step, see [`Process::first_turn`].
    pub fn take_first<T>(&mut self, wall_us: u64) -> Option<Step<T>> {
        let turn = self.first_turn(wall_us)?;
        Some(self.step_of(turn, Vec::new()))
    }

    /// The recorded states and recordings that a restart found unfinished, as a step to be executed before any turn.
    pub fn take_found<T>(&mut self) -> Step<T> {
        self.step_of(Turn::default(), Vec::new())
    }

    /// One turn over as many waiting inputs as fit. It takes no more once the cost of its records reaches `weight_max`.
    pub fn take_turn<T>(
        &mut self,
        wall_us: u64,
        waiting: &mut InputQueue<T>,
        weight_max: usize,
    ) -> Step<T> {
        self.begin_turn(wall_us, self.newest(waiting.inputs()));
        // Most inputs yield one record; growing the vector stepwise would copy each several times.
        self.turn.records.reserve(waiting.len());
        let mut all = Vec::with_capacity(waiting.asked.len());
        while let Some(asked) = waiting.asked.pop_front() {
            let mut together = match asked {
                Request::Inputs(together) => together,
                Request::Query(query) => {
                    waiting.len -= 1;
                    let (replies, to) = (Vec::new(), Some(query(self)));
                    all.push(Replies { replies, to });
                    continue;
                }
            };
            let before = together.inputs.len();
            let replies = self.take_of(&mut together, weight_max);
            let left = together.inputs.len();
            waiting.len -= before - left;
            if left > 0 {
                if !replies.is_empty() {
                    all.push(Replies { replies, to: None });
                }
                waiting.asked.push_front(Request::Inputs(together));
                break;
            }
            if let to @ Some(_) = together.asker {
                all.push(Replies { replies, to });
            }
        }
        let turn = self.end_turn();
        self.step_of(turn, all)
    }

    // The greatest clock among the waiting inputs, which the turn's clock must pass.
    fn newest<'a>(&self, inputs: impl Iterator<Item = &'a Input>) -> Hlc {
        let times = inputs.filter_map(|input| match input {
            Input::Arrived { time, .. } | Input::AdvanceClock { time } => Some(*time),
            Input::Handshake(handshake) => Some(self.time_of_handshake(handshake)),
            _ => None,
        });
        times.max().unwrap_or_default()
    }

    // Steps as many of the inputs as fit into this turn. Returns their replies; none if no replies are wanted.
    fn take_of<T>(&mut self, asked: &mut Together<T>, weight_max: usize) -> Vec<Reply> {
        let (count, is_asked) = (asked.inputs.len(), asked.asker.is_some());
        let mut replies = Vec::with_capacity(if is_asked { count } else { 0 });
        let mut indices = [None; AHEAD];
        for done in 0..count {
            let rest = asked.inputs.as_slice();
            if self.turn_weight() >= weight_max || self.wants_own_turn(&rest[0]) {
                break;
            }
            if done % AHEAD == 0 {
                indices = self.indices(rest);
            }
            self.bank.look_first_at(indices[done % AHEAD]);
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

    // The indices of the accounts of the next inputs.
    fn indices(&self, inputs: &[Input]) -> [Option<usize>; AHEAD] {
        std::array::from_fn(|index| self.bank.index_of(inputs.get(index)?.account()?))
    }

    fn step_of<T>(&mut self, turn: Turn, replies: Vec<Replies<T>>) -> Step<T> {
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
