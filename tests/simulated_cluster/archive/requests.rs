//! The way to the object store and back. A request that is not answered in time is repeated. It may be executed all the same,
//! even after its repetition, and even after its program has ended. Of several answers the first counts.

use snapledger::shipping::attach::{Action, Event as Answer};
use snapledger::shipping::writer::{Action as Wanted, Event as Told};

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
    folder: usize,
    number: u64,
    action: Action,
}

impl World {
    /// Sends a request of a process to the archive. Returns its number.
    pub(crate) fn ask_archive(&mut self, by: Life, action: Action) -> u64 {
        let archive = &mut self.archive;
        archive.requests += 1;
        let request = Request {
            by,
            folder: archive.folder_of[by.place],
            number: archive.requests,
            action,
        };
        let number = request.number;
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
        if self.awaits(request.by, request.number) {
            self.sometimes.saw("request to the archive repeated");
            self.send_request(request);
        }
    }

    // Whether a program still waits for the answer.
    fn awaits(&mut self, by: Life, number: u64) -> bool {
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
        let mut answer = archive.folders[request.folder].execute(&request.action)?;
        if let Answer::Told(Told::Exists(index)) = answer {
            self.sometimes.saw("put that finds an object");
            if self.plan.is_sabotaged(Sabotage::ExistsTakenForOwn) {
                answer = Answer::Told(Told::Created(index));
            }
        }
        self.trace.say(|| {
            let Request { by, number, .. } = &request;
            format!(
                "archive {by:?} {number}: {}",
                said(&request.action, &answer)
            )
        });
        if !is_healed && plan.lost_answer.strikes(&mut archive.random) {
            self.sometimes.saw("answer of the archive lost");
            return Ok(());
        }
        let delay = 1 + archive.random.below(plan.delay_max);
        let (by, number) = (request.by, request.number);
        self.after(delay, Event::ArchiveTold(by, number, Box::new(answer)));
        Ok(())
    }

    /// Handles the arrival of an answer at a program, unless it has one or has ended.
    pub(crate) fn archive_told(&mut self, by: Life, number: u64, answer: Answer) -> Checked {
        let node = &mut self.nodes[by.place];
        if let Some(start) = node.start.as_mut().filter(|start| start.life == by) {
            return match start.asked.remove(&number) {
                true => self.go_on_starting(by.place, answer),
                false => Ok(()),
            };
        }
        let shipper = self.alive(by).and_then(|alive| alive.shipper.as_mut());
        match (shipper.map(|shipper| shipper.asked.remove(&number)), answer) {
            (Some(true), Answer::Told(event)) => self.shipper_told(by, event),
            _ => Ok(()),
        }
    }
}

fn said(action: &Action, answer: &Answer) -> String {
    match action {
        Action::Ask(Wanted::Put(segment)) => {
            let head = &segment.head;
            let (before, after) = (head.before().position, head.after().position);
            let (index, epoch) = (head.index(), head.epoch());
            format!("put {index} of epoch {epoch} from {before} to {after}: {answer:?}")
        }
        Action::Read(head) => format!("read {}", head.index()),
        action => format!("{action:?}: {answer:?}"),
    }
}
