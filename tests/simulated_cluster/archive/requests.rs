//! The way to the object store and back. A request that is not answered in time is repeated. It may be executed all the same,
//! even after its repetition, and even after its program has ended. Of several answers the first counts.

use object_store::{ObjectStore, ObjectStoreExt as _};
use snapledger::shipping::attach::{Action, Event as Answer};
use snapledger::shipping::writer::{Action as Wanted, Event as Told};
use tokio_stream::StreamExt as _;

use crate::archive::desk::{Ended, Reply, Task, Verb};
use crate::archive::keeping::Keeper;
use crate::archive::objects::{Storage, at_once};
use crate::archive::starting::Start;
use crate::plan::{MS, SECOND};
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, World};

/// How late a request may come that was repeated.
const LATE_MAX: u64 = 3 * SECOND;
/// The longest stretch without answers.
const OUTAGE_MAX: u64 = 6 * SECOND;

/// A request on its way.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) by: Life,
    /// The folder, by its index.
    pub(super) folder: usize,
    pub(super) number: u64,
    /// When it was asked first.
    pub(super) asked_at: u64,
    pub(super) asked: Asked,
}

/// What is asked.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    /// By a start or a writer.
    Shipping(Action),
    /// By a task.
    Object(Verb),
}

/// The answer.
#[derive(Debug)]
pub(crate) enum Answered {
    /// `None`: what was wanted is gone.
    Shipping(Option<Answer>),
    Object(Reply),
}

impl World {
    /// Sends a request of a process to the archive. Returns its number.
    pub(crate) fn ask_archive(&mut self, by: Life, action: Action) -> u64 {
        self.ask_store(by, Asked::Shipping(action))
    }

    fn ask_store(&mut self, by: Life, asked: Asked) -> u64 {
        let archive = &mut self.archive;
        archive.requests += 1;
        let request = Request {
            by,
            folder: archive.folder_of[by.place],
            number: archive.requests,
            asked_at: self.now,
            asked,
        };
        let number = request.number;
        self.repeat_deletion(&request);
        self.send_request(request);
        number
    }

    fn send_request(&mut self, request: Request) {
        let is_healed = self.is_healed;
        let archive = &mut self.archive;
        let Some(plan) = &archive.plan else {
            return;
        };
        let random = &mut archive.random;
        let patience = 2 * plan.delay_max + 20 * MS;
        let mut delay = 1 + random.below(plan.delay_max);
        if !is_healed && plan.late.strikes(random) {
            self.sometimes
                .saw("request to the archive that arrives after its repetition");
            delay += patience + random.below(LATE_MAX);
        }
        self.after(delay, Event::Requested(Box::new(request.clone())));
        self.after(patience, Event::RequestAgain(Box::new(request)));
    }

    /// Handles that a request was not answered in time, if it was not.
    pub(crate) fn request_again(&mut self, request: Request) {
        if self.awaits(&request) {
            self.sometimes.saw("request to the archive repeated");
            self.send_request(request);
        }
    }

    // Whether a program still waits for the answer.
    fn awaits(&mut self, request: &Request) -> bool {
        let (by, number) = (request.by, request.number);
        if let Asked::Object(_) = request.asked {
            let waiting = self.archive.desk.waiting.get(&number);
            return waiting.is_some_and(|answer| !answer.is_closed());
        }
        let node = &self.nodes[by.place];
        if let Some(start) = node.start.as_ref().filter(|start| start.life == by) {
            return start.asked.contains(&number);
        }
        let shipper = self.alive(by).and_then(|alive| alive.shipper.as_ref());
        shipper.is_some_and(|shipper| shipper.asked.contains(&number))
    }

    /// Handles the arrival of a request at the object store.
    pub(crate) fn requested(&mut self, request: Request) -> Checked {
        let (now, is_healed) = (self.now, self.is_healed);
        let archive = &mut self.archive;
        let Some(plan) = &archive.plan else {
            return Ok(());
        };
        if !is_healed && now >= archive.down_until && plan.outage.strikes(&mut archive.random) {
            archive.down_until = now + archive.random.below(OUTAGE_MAX);
            self.sometimes.saw("archive unreachable");
        }
        if !is_healed && now < archive.down_until {
            return Ok(());
        }
        let (lost_answer, delay_max) = (plan.lost_answer, plan.delay_max);
        let answer = match &request.asked {
            Asked::Shipping(action) => {
                let folder = &mut archive.folders[request.folder];
                let mut answer = folder.execute(action)?;
                if let Some(Answer::Told(Told::Exists(index))) = answer {
                    self.sometimes.saw("put that finds an object");
                    if self.plan.is_sabotaged(Sabotage::ExistsTakenForOwn) {
                        answer = Some(Answer::Told(Told::Created(index)));
                    }
                }
                Answered::Shipping(answer)
            }
            Asked::Object(verb) => Answered::Object(self.execute_verb(&request, verb)?),
        };
        self.trace.say(|| {
            let Request {
                by, number, asked, ..
            } = &request;
            format!("archive {by:?} {number}: {}", said(asked, &answer))
        });
        let random = &mut self.archive.random;
        if !is_healed && lost_answer.strikes(random) {
            self.sometimes.saw("answer of the archive lost");
            return Ok(());
        }
        let delay = 1 + random.below(delay_max);
        let (by, number) = (request.by, request.number);
        self.after(delay, Event::ArchiveTold(by, number, Box::new(answer)));
        Ok(())
    }

    /// Handles the arrival of an answer at a program, unless it has one or has ended.
    pub(crate) fn archive_told(&mut self, by: Life, number: u64, answer: Answered) -> Checked {
        let answer = match answer {
            Answered::Object(reply) => {
                let waiting = self.archive.desk.waiting.remove(&number);
                // Its task may have ended.
                let is_new = waiting.is_some_and(|answer| answer.send(reply).is_ok());
                return match is_new {
                    true => self.run_tasks(by),
                    false => Ok(()),
                };
            }
            Answered::Shipping(answer) => answer,
        };
        let node = &mut self.nodes[by.place];
        if let Some(start) = node.start.as_mut().filter(|start| start.life == by) {
            return match (start.asked.remove(&number), answer) {
                (true, Some(answer)) => self.go_on_starting(by.place, answer),
                (true, None) => self.end_start_for_nothing(by.place),
                (false, _) => Ok(()),
            };
        }
        let shipper = self.alive(by).and_then(|alive| alive.shipper.as_mut());
        match (shipper.map(|shipper| shipper.asked.remove(&number)), answer) {
            (Some(true), Some(Answer::Told(event))) => self.shipper_told(by, event),
            _ => Ok(()),
        }
    }

    /// Has tasks run until each waits. Only those of this program have something to do.
    pub(crate) fn run_tasks(&mut self, by: Life) -> Checked {
        loop {
            let mail = self.archive.desk.run();
            if mail.is_empty() {
                return self.check_tasks(by);
            }
            for (of, verb, answer) in mail.asked {
                let number = self.ask_store(of, Asked::Object(verb));
                self.archive.desk.waiting.insert(number, answer);
            }
            for (of, look) in mail.looks {
                if of != by {
                    return Err(format!("{of:?} looks at its disk while {by:?} acts"));
                }
                look(&self.nodes[of.place].disk);
            }
            for (of, ended) in mail.ended {
                if of != by {
                    return Err(format!("a task of {of:?} ends while {by:?} acts"));
                }
                match ended {
                    Ended::Looked(looked) => self.looked(of, looked)?,
                    Ended::Refilled(refilled) => self.refilled(of, *refilled)?,
                }
            }
        }
    }

    // A task that panics ends without a result.
    fn check_tasks(&self, by: Life) -> Checked {
        let node = &self.nodes[by.place];
        let alive = node.life.as_ref().filter(|_| node.boot == by.boot);
        let keeper = alive.and_then(|alive| alive.keeper.as_ref());
        let start = node.start.as_ref().filter(|start| start.life == by);
        let task = keeper.and_then(Keeper::task);
        let task = task.or(start.and_then(Start::task));
        match task.is_some_and(Task::is_finished) {
            true => Err(format!("a task of {by:?} has panicked")),
            false => Ok(()),
        }
    }
}

/// Executes a request of a task.
pub(super) fn execute(storage: &Storage, verb: &Verb) -> Checked<Reply> {
    Ok(match verb {
        Verb::Put(at, bytes, how) => {
            Reply::Put(at_once(storage.put_opts(at, bytes.clone(), how.clone()))?)
        }
        Verb::Get(at, how) => Reply::Got(at_once(storage.get_opts(at, how.clone()))?),
        Verb::Delete(at) => Reply::Deleted(at_once(storage.delete(at))?),
        Verb::List(below, behind) => {
            let found = match behind {
                Some(behind) => storage.list_with_offset(Some(below), behind),
                None => storage.list(Some(below)),
            };
            let found: Result<Vec<_>, _> = at_once(found.collect())?;
            Reply::Listed(found.map_err(|error| error.to_string())?)
        }
    })
}

fn said(asked: &Asked, answer: &Answered) -> String {
    match (asked, answer) {
        (Asked::Shipping(Action::Ask(Wanted::Put(segment))), answer) => {
            let head = &segment.head;
            let (before, after) = (head.before().position, head.after().position);
            let (index, epoch) = (head.index(), head.epoch());
            format!("put {index} of epoch {epoch} from {before} to {after}: {answer:?}")
        }
        (Asked::Shipping(Action::Read(head)), _) => format!("read {}", head.index()),
        (Asked::Shipping(action), answer) => format!("{action:?}: {answer:?}"),
        (Asked::Object(verb), Answered::Object(reply)) => object_said(verb, reply),
        (Asked::Object(verb), answer) => format!("{verb:?}: {answer:?}"),
    }
}

fn object_said(verb: &Verb, reply: &Reply) -> String {
    match (verb, reply) {
        (Verb::Put(at, ..), Reply::Put(put)) => format!("put {at}: created {}", put.is_ok()),
        (Verb::Get(at, _), Reply::Got(got)) => format!("get {at}: found {}", got.is_ok()),
        (Verb::Delete(at), Reply::Deleted(deleted)) => {
            format!("delete {at}: deleted {}", deleted.is_ok())
        }
        (Verb::List(below, _), Reply::Listed(found)) => {
            format!("list {below}: {} objects", found.len())
        }
        (verb, reply) => format!("{verb:?}: {reply:?}"),
    }
}
