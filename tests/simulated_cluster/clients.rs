//! The clients. Each has one process, makes one request at a time, and repeats it under the same request id until it is
//! answered.

use snapledger::process::clock::Lamport;
use snapledger::process::ids::{Key, RequestId, SnapshotId};
use snapledger::process::input::{Input, Operation};
use snapledger::process::record::Record;
use snapledger::process::refusal::Refusal;
use snapledger::process::reply::Reply;
use snapledger::process::snapshot::drawn_name;
use snapledger::process::start::{Start, StartedBy};
use snapledger::shipping::hold::Waits;

use crate::node::{Alive, Asker};
use crate::plan::{MS, Plan};
use crate::random::Random;
use crate::world::{Checked, Event, Place, World};

/// How long a client waits before it repeats a request.
const PATIENCE: u64 = 150 * MS;
/// The deadline that is recorded for snapshots; the assemblies wait as the plan says.
const DEADLINE_US: u64 = 10_000 * MS;

/// The client of one process.
#[derive(Default)]
pub(crate) struct Client {
    /// All requests it has made, by number.
    asked: Vec<Asked>,
    /// The awaited request, and the time since which it waits.
    waiting: Option<(u64, u64)>,
}

struct Asked {
    request: Option<RequestId>,
    operation: Operation,
    is_answered: bool,
    /// Whether a crash lost the turn that had done it.
    is_lost: bool,
}

impl Client {
    pub(crate) fn all(plan: &Plan) -> Vec<Self> {
        plan.ids.iter().map(|_| Self::default()).collect()
    }

    /// Whether it will repeat its request until it is answered.
    pub(crate) fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }
}

impl World {
    /// Performs the next action of the client of a process.
    pub(crate) fn go_on(&mut self, place: Place) -> Checked {
        let pause = 1 + self.random.below(self.plan.pause_max);
        self.after(pause, Event::Client(place));
        let waiting = self.clients[place].waiting;
        match waiting {
            Some((_, since)) if self.now < since + PATIENCE => {}
            Some((number, _)) => self.ask_again(place, number),
            None if self.is_healed => {}
            None => {
                match self.random.below(12) {
                    0 | 1 => self.ask_for_snapshot(place)?,
                    2 => self.pin_something(place)?,
                    _ => {}
                }
                self.want_something(place);
            }
        }
        Ok(())
    }

    fn want_something(&mut self, place: Place) {
        self.operations_done += 1;
        match self.random.below(12) {
            0 => self.initiate(place),
            1 if self.random.below(3) == 0 => {
                if let Some(life) = self.life(place) {
                    self.enqueue(life, Input::Checkpoint, None);
                }
            }
            1 | 2 => self.repeat_something(place),
            _ => {
                let operation = self.draw_operation(place);
                let number = self.clients[place].asked.len() as u64;
                let name = format!("{place}/{number}");
                let request = (self.random.below(5) > 0)
                    .then(|| RequestId::parse(&name).expect("a valid id"));
                self.clients[place].asked.push(Asked {
                    request,
                    operation,
                    is_answered: false,
                    is_lost: false,
                });
                self.ask(place, number);
            }
        }
    }

    // Repeats an old request; the answer must be the first one.
    fn repeat_something(&mut self, place: Place) {
        let asked = &self.clients[place].asked;
        if asked.is_empty() {
            return;
        }
        let number = self.random.index(asked.len());
        if asked[number].request.is_some() {
            self.ask(place, number as u64);
        }
    }

    fn ask_again(&mut self, place: Place, number: u64) {
        let asked = &self.clients[place].asked[usize::try_from(number).unwrap_or(usize::MAX)];
        if asked.request.is_none() || (self.is_healed && self.plan.never_returns == Some(place)) {
            // A request without an id may have been done and must not be done twice.
            self.clients[place].waiting = None;
        } else {
            self.ask(place, number);
        }
    }

    fn ask(&mut self, place: Place, number: u64) {
        self.clients[place].waiting = Some((number, self.now));
        let asked = &self.clients[place].asked[usize::try_from(number).unwrap_or(usize::MAX)];
        let input = Input::Operation {
            request: asked.request.clone(),
            operation: asked.operation.clone(),
        };
        let zombie = self.zombie_for_client(place);
        let Some(life) = zombie.or_else(|| self.life(place)) else {
            return;
        };
        if self.refuses_work(life) {
            self.sometimes.saw("new work refused behind the archive");
            return;
        }
        let asker = Some(Asker::Client(place, number));
        match zombie {
            None => self.enqueue(life, input, asker),
            Some(life) => self.enqueue_in_zombie(life, input, asker),
        }
    }

    // Starts a snapshot under a generated id, or under one id at several processes within a short time.
    fn initiate(&mut self, place: Place) {
        self.snapshots_named += 1;
        let number = Lamport(self.snapshots_named);
        if !self.plan.same_id.strikes(&mut self.random) {
            self.initiate_as(place, drawn_name(self.id(place), number, None));
            return;
        }
        let snapshot = SnapshotId::parse(&format!("same-{}", number.0)).expect("a valid id");
        for other in 0..self.nodes.len() {
            if other != place && self.random.below(2) == 0 {
                let apart = self.net_delay();
                self.after(apart, Event::Initiate(other, snapshot.clone()));
            }
        }
        self.initiate_as(place, snapshot);
    }

    /// Starts a snapshot with this id for a client.
    pub(crate) fn initiate_as(&mut self, place: Place, snapshot: SnapshotId) {
        let is_served = !self.is_healed && !self.is_stranger(place);
        let life = self.life(place).filter(|_| is_served);
        if let Some(life) = life
            && !self.refuses_work(life)
        {
            let is_scheduled = self.snapshots_named.is_multiple_of(2);
            let start = Some(Start {
                by: match is_scheduled {
                    true => StartedBy::Interval,
                    false => StartedBy::Request,
                },
                deadline_us: DEADLINE_US,
            });
            let input = Input::Initiate { snapshot, start };
            self.enqueue(life, input, Some(Asker::Initiator));
        }
    }

    /// Handles the answer to a request, the first or a repeated one.
    pub(crate) fn reply_to_client(&mut self, place: Place, number: u64, reply: Reply) -> Checked {
        let Reply::Operation(answer) = reply else {
            return Err(format!("an operation was answered {reply:?}"));
        };
        let client = &mut self.clients[place];
        let asked = &mut client.asked[usize::try_from(number).unwrap_or(usize::MAX)];
        self.trace
            .say(|| format!("answer {place}/{number} {answer:?}"));
        if let Err(refusal) = &answer.outcome {
            self.sometimes.saw("operation refused");
            if let Some(limit) = of_limit(refusal) {
                self.sometimes.saw(limit);
            }
        }
        if asked.is_answered {
            self.sometimes.saw("request answered from memory");
        }
        asked.is_answered = true;
        let request = asked.request.clone();
        if std::mem::take(&mut asked.is_lost) {
            self.sometimes
                .saw("request done again after its turn was lost");
        }
        if client.waiting.is_some_and(|(waiting, _)| waiting == number) {
            client.waiting = None;
        }
        // What a program that was taken over answers before it notices is lost where clients do not wait for the archive.
        let is_lost = self.is_zombie_acting()
            && (answer.outcome.is_err() || self.archive.waits() == Some(Waits::Processes));
        match request.filter(|_| !is_lost) {
            Some(request) => self.checkers.answered(place, &request, answer),
            None => Ok(()),
        }
    }

    /// Notes the answers in turns that a crash has lost because they were not durable.
    pub(crate) fn forget_answers(&mut self, place: Place, life: &Alive) {
        let head = self.nodes[place].disk.head().0;
        let lost = life.computed.iter().map(|computed| &computed.step.turn);
        let records = lost
            .filter(|turn| turn.position > head)
            .flat_map(|turn| &turn.records);
        for record in records {
            let Record::Answered { request, .. } = record else {
                continue;
            };
            let mut asked = self.clients[place].asked.iter_mut();
            if let Some(asked) = asked.find(|asked| asked.request.as_ref() == Some(request)) {
                asked.is_lost = true;
            }
        }
    }

    fn draw_operation(&mut self, place: Place) -> Operation {
        let (plan, random) = (&self.plan, &mut self.random);
        let outgoing: Vec<_> = plan.topology.outgoing(&plan.ids[place]).collect();
        let amount = amount(random, plan.is_rich);
        let (account, other) = (Plan::account(random), Plan::account(random));
        match random.below(10) {
            0..=2 => Operation::Deposit { account, amount },
            3 => Operation::Withdraw { account, amount },
            4 => Operation::Transfer {
                from_account: account,
                to_process: None,
                to_account: other,
                amount,
                is_blind: random.below(2) == 0,
            },
            5 => Operation::Put {
                key: Key::parse(["k", "l"][random.index(2)]).expect("a valid id"),
                value: (random.below(4) > 0).then(|| format!("v{}", random.below(9)).into()),
            },
            _ => Operation::Transfer {
                from_account: account,
                to_process: Some(outgoing[random.index(outgoing.len())].clone()),
                to_account: other,
                amount,
                is_blind: false,
            },
        }
    }
}

fn of_limit(refusal: &Refusal) -> Option<&'static str> {
    match refusal {
        Refusal::TooManyAccounts(_) => Some("account over the limit"),
        Refusal::TooManyKeys(_) => Some("key over the limit"),
        Refusal::TooManyValueBytes(_) => Some("value over the limit"),
        _ => None,
    }
}

fn amount(random: &mut Random, is_rich: bool) -> i64 {
    match random.below(40) {
        0 => 0,
        1..=4 if is_rich => i64::MAX - 3,
        _ => 1 + i64::try_from(random.below(50)).unwrap_or(0),
    }
}
