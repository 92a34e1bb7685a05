//! The world: one scheduler, one random source, virtual time, and all events.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use snapledger::history::pin::Pin;
use snapledger::process::ids::{ProcessId, Seq, SnapshotId};

use crate::adoption::{Inquiry, Takeover};
use crate::archive::Archive;
use crate::archive::requests::{Answered, Request};
use crate::asking::Question;
use crate::checkers::Checkers;
use crate::clients::Client;
use crate::copies::Copy;
use crate::fetch::{Answer, Fetch};
use crate::loss::Loss;
use crate::network::{Channel, Route, StreamId};
use crate::node::Node;
use crate::pinning::Telling;
use crate::plan::{MS, Plan, SECOND};
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::sometimes::Sometimes;
use crate::trace::Trace;

/// The result of a check; the error says what does not hold.
pub(crate) type Checked<T = ()> = Result<T, String>;

/// A process, by its index in the plan.
pub(crate) type Place = usize;

/// One life of a process, from a start to the next crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Life {
    pub(crate) place: Place,
    pub(crate) boot: u64,
}

/// The scheduled events.
///
/// Each is executed at once, and its consequences are scheduled. No event reads a clock or another random source, so a seed
/// determines a run.
pub(crate) enum Event {
    /// The turn loop takes a turn.
    Turn(Life),
    /// A sync has ended.
    Synced(Life),
    /// The recorder has written something.
    Recorded(Life),
    /// The part writer has written something.
    Stored(Life),
    /// A timer of a sending end elapses, unless a newer one was started.
    SenderTimer(Life, Place, u64),
    /// A timer of a receiving end elapses, unless a newer one was started.
    ReceiverTimer(Life, StreamId, u64),
    /// A sending end has read the messages after a sequence number.
    Read(Life, StreamId, Seq),
    /// A sending end has computed the digest up to a sequence number.
    Count(Life, StreamId, Seq),
    /// Streams check their slots.
    SlotsChanged(Life),
    /// A frame arrives at a receiving end.
    Frame(StreamId),
    /// An answer arrives at a sending end.
    Ack(StreamId),
    /// A client acts.
    Client(Place),
    /// A client starts a snapshot that is also started at another process.
    Initiate(Place, SnapshotId),
    /// All processes greet each other.
    Greet,
    /// A starting process has compared its clock.
    Settle(Life),
    /// A timer of an assembly elapses.
    Assemble(Life, SnapshotId),
    /// A snapshot is resumed that had to wait for its own state to be written.
    Resume(Life, SnapshotId),
    /// The time limit of an assembly's job is over.
    JobOver(Life, SnapshotId, u64),
    /// A request for a part arrives.
    Asked(Fetch),
    /// The answer to a request for a part arrives.
    Answered(Fetch, Answer),
    /// A request for a complete revision arrives.
    Inquired(Inquiry),
    /// The answer to a request for a complete revision arrives.
    Informed(Inquiry, Option<u32>),
    /// A revision of another process arrives.
    Fetched(Takeover),
    /// A replicated revision is durable.
    TakenOver(Takeover, u64),
    /// A revision is durable.
    Published(Life, SnapshotId),
    /// An update of a pin arrives at a peer.
    PinTold(Telling),
    /// The newest update that a peer knows arrives.
    PinAnswered(Telling, Pin),
    /// The time limit for telling an update is over.
    PinRoundOver(Life, u64),
    /// The updates of a peer arrive.
    PinsHeard(Life, Place),
    /// A process starts again.
    Restart(Place),
    /// The operator of a process gives up the store that another one has lost.
    Forget(Place),
    /// An older copy replaces a store.
    PutBack(Place),
    /// The use of the older copy ends.
    GiveUp(Place),
    /// A query about the past is made.
    Question,
    /// A query about the past is answered.
    AnswerDue(u64),
    /// A request arrives at the archive.
    Requested(Box<Request>),
    /// A request to the archive is repeated, unless it was answered.
    RequestAgain(Box<Request>),
    /// The answer to a request of this number arrives.
    ArchiveTold(Life, u64, Box<Answered>),
    /// A writer without work looks whether another has taken over.
    LookAhead(Life),
    /// A process looks for what it can ship and delete beside its journal.
    Keep(Life),
    /// The store of a process is to be filled from the archive.
    Restore(Place),
}

/// The maximum virtual time from the end of the faults until everything is at rest.
const REST_MAX: u64 = 120 * SECOND;
/// The maximum number of events of a run; a run with more does not come to rest.
const EVENTS_MAX: u64 = 200_000;

/// One run.
pub(crate) struct World {
    pub(crate) now: u64,
    pub(crate) plan: Plan,
    pub(crate) random: Random,
    pub(crate) nodes: Vec<Node>,
    pub(crate) channels: BTreeMap<Route, Channel>,
    pub(crate) clients: Vec<Client>,
    pub(crate) operations_done: u64,
    pub(crate) snapshots_named: u64,
    /// The snapshots that a process has deleted, also those that came back for a pin.
    pub(crate) deleted: BTreeSet<SnapshotId>,
    /// Whether the faults have ended.
    pub(crate) is_healed: bool,
    /// The pairs of processes that cannot reach each other, with the end of the partition.
    pub(crate) parted: BTreeMap<(Place, Place), u64>,
    /// The end of the newest partition of each pair, including past ones.
    pub(crate) apart_until: BTreeMap<(Place, Place), u64>,
    /// The lost store.
    pub(crate) loss: Option<Loss>,
    /// The older copy of a store.
    pub(crate) copy: Copy,
    pub(crate) archive: Archive,
    /// The queries about the past in progress, by number.
    pub(crate) questions: BTreeMap<u64, Question>,
    pub(crate) questions_asked: u64,
    /// The number of rounds in which updates of pins were told.
    pub(crate) pinnings: u64,
    pub(crate) checkers: Checkers,
    pub(crate) sometimes: Sometimes,
    pub(crate) trace: Trace,
    pub(crate) events: u64,
    /// The time of the next check whether everything is at rest.
    pub(crate) next_look: u64,
    schedule: BinaryHeap<Reverse<(u64, u64)>>,
    due: BTreeMap<(u64, u64), Event>,
    scheduled: u64,
}

/// The outcome of a run.
pub(crate) struct Outcome {
    pub(crate) result: Checked,
    pub(crate) sometimes: Sometimes,
    pub(crate) trace: Trace,
    pub(crate) figures: Figures,
}

/// The size of a run.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) seeds: u64,
    pub(crate) events: u64,
    pub(crate) turns: u64,
    pub(crate) crashes: u64,
    pub(crate) snapshots: u64,
    pub(crate) revisions: u64,
    pub(crate) messages: u64,
    pub(crate) virtual_seconds: u64,
}

impl World {
    pub(crate) fn new(seed: u64, sabotage: Option<Sabotage>, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let mut plan = Plan::drawn(&mut random, sabotage).joining(seed);
        let archive = Archive::drawn(seed, &mut plan);
        let keeps_turns = archive.plan.is_some();
        let nodes = (0..plan.ids.len()).map(|place| Node::new(place, &plan, seed));
        Self {
            now: 0,
            nodes: nodes.collect(),
            channels: Channel::all(&plan),
            clients: Client::all(&plan),
            operations_done: 0,
            snapshots_named: 0,
            deleted: BTreeSet::new(),
            is_healed: false,
            parted: BTreeMap::new(),
            apart_until: BTreeMap::new(),
            loss: None,
            copy: Copy::default(),
            archive,
            questions: BTreeMap::new(),
            questions_asked: 0,
            pinnings: 0,
            checkers: Checkers::new(&plan, keeps_turns),
            sometimes: Sometimes::default(),
            trace,
            events: 0,
            next_look: 0,
            schedule: BinaryHeap::new(),
            due: BTreeMap::new(),
            scheduled: 0,
            random,
            plan,
        }
    }

    /// Runs until all operations are done, all faults are over and everything is at rest.
    pub(crate) fn run(&mut self) -> Checked {
        self.trace.say(|| format!("plan {}", self.plan));
        if let Some(archive) = &self.archive.plan {
            self.trace.say(|| format!("{archive:?}"));
        }
        for place in 0..self.nodes.len() {
            let first = self.random.below(50 * MS);
            let joins = self.plan.joins.filter(|(late, _)| *late == place);
            let first = joins.map_or(first, |(_, late)| first + late);
            self.at(first, Event::Restart(place));
            self.after(20 * MS, Event::Client(place));
        }
        self.after(0, Event::Greet);
        self.after(0, Event::Question);
        let mut end = u64::MAX;
        while let Some((at, event)) = self.next() {
            self.now = at;
            self.trace.at(at);
            self.events += 1;
            let touched = event.place();
            self.happen(event)?;
            if self.is_healed {
                if end == u64::MAX {
                    end = self.now + REST_MAX;
                }
                if self.is_at_rest() {
                    return self.check_rest();
                }
                if self.now > end || self.events > EVENTS_MAX {
                    return Err(format!("it does not come to rest: {}", self.unrest()));
                }
            } else {
                self.fail_something(touched)?;
                if self.events > EVENTS_MAX {
                    return Err(format!("the faults do not end: {}", self.unrest()));
                }
            }
        }
        Err("nothing is left to happen, and it is not at rest".to_owned())
    }

    fn happen(&mut self, event: Event) -> Checked {
        match self.is_of_zombie_event(&event) {
            true => self.happen_in_zombie(event),
            false => self.happen_here(event),
        }
    }

    /// Has an event happen in the present program of its process.
    pub(crate) fn happen_here(&mut self, event: Event) -> Checked {
        match event {
            Event::Turn(life) => self.take_turn(life),
            Event::Synced(life) => self.end_sync(life),
            Event::Recorded(life) => self.end_recording(life),
            Event::Stored(life) => self.end_storing(life),
            Event::SenderTimer(life, to, timer) => self.sender_timer(life, to, timer),
            Event::ReceiverTimer(_, stream, timer) => self.receiver_timer(stream, timer),
            Event::Read(life, stream, after) => self.read_messages(life, stream, after),
            Event::Count(life, stream, seq) => self.count_sent(life, stream, seq),
            Event::SlotsChanged(life) => self.slots_changed(life),
            Event::Frame(stream) => self.frame_arrives(stream),
            Event::Ack(stream) => self.ack_arrives(stream),
            Event::Client(place) => self.go_on(place),
            Event::Initiate(place, snapshot) => {
                self.initiate_as(place, snapshot);
                Ok(())
            }
            Event::Greet => self.greet(),
            Event::Settle(life) => self.end_start(life),
            Event::Assemble(life, snapshot) => self.wake_assembly(life, &snapshot),
            Event::Resume(life, snapshot) => self.resume(life, &snapshot),
            Event::JobOver(life, snapshot, number) => self.end_job_in_time(life, &snapshot, number),
            Event::Asked(fetch) => self.asked(fetch),
            Event::Answered(fetch, answer) => self.answered(fetch, answer),
            Event::Inquired(inquiry) => {
                self.inquired(inquiry);
                Ok(())
            }
            Event::Informed(inquiry, answer) => self.informed(inquiry, answer),
            Event::Fetched(takeover) => self.fetched(&takeover),
            Event::TakenOver(takeover, stamp) => self.taken_over(takeover, stamp),
            Event::Published(life, snapshot) => self.published(life, &snapshot),
            Event::PinTold(telling) => self.pin_told(telling),
            Event::PinAnswered(telling, newest) => self.pin_answered(telling, newest),
            Event::PinRoundOver(life, number) => self.end_round(life, number),
            Event::PinsHeard(life, of) => self.pins_heard(life, of),
            Event::Restart(place) => self.restart(place),
            Event::Forget(place) => self.forget(place),
            Event::PutBack(place) => self.put_back(place),
            Event::GiveUp(place) => self.give_up(place),
            Event::Question => {
                self.ask_about_the_past();
                Ok(())
            }
            Event::AnswerDue(number) => self.answer_question(number),
            Event::Requested(request) => self.requested(*request),
            Event::RequestAgain(request) => {
                self.request_again(*request);
                Ok(())
            }
            Event::ArchiveTold(life, number, answer) => self.archive_told(life, number, *answer),
            Event::LookAhead(life) => {
                self.look_ahead(life);
                Ok(())
            }
            Event::Keep(life) => self.keep(life),
            Event::Restore(place) => self.restore(place),
        }
    }

    fn next(&mut self) -> Option<(u64, Event)> {
        let Reverse(key) = self.schedule.pop()?;
        let event = self.due.remove(&key).expect("what is scheduled is due");
        Some((key.0, event))
    }

    /// Schedules an event after a delay.
    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        self.at(self.now + delay, event);
    }

    /// Schedules an event at an instant. Events at the same instant happen in the order of scheduling.
    pub(crate) fn at(&mut self, at: u64, event: Event) {
        let key = (at, self.scheduled);
        self.scheduled += 1;
        self.schedule.push(Reverse(key));
        self.due.insert(key, event);
    }

    /// A random delay of the network.
    pub(crate) fn net_delay(&mut self) -> u64 {
        1 + self.random.below(self.plan.net_delay_max)
    }

    pub(crate) fn id(&self, place: Place) -> &ProcessId {
        &self.plan.ids[place]
    }

    pub(crate) fn place_of(&self, id: &ProcessId) -> Place {
        let place = self.plan.ids.iter().position(|known| known == id);
        place.expect("only processes of the plan are named")
    }

    /// Whether two processes are up and can reach each other.
    pub(crate) fn reach(&self, one: Place, other: Place) -> bool {
        let up = |place: Place| self.nodes[place].life.is_some();
        up(one) && up(other) && !self.are_parted(one, other)
    }

    /// Whether a partition separates two processes.
    pub(crate) fn are_parted(&self, one: Place, other: Place) -> bool {
        let apart = |pair| {
            self.parted
                .get(&pair)
                .is_some_and(|until| *until > self.now)
        };
        apart((one, other)) || apart((other, one))
    }

    pub(crate) fn figures(&self) -> Figures {
        Figures {
            seeds: 1,
            events: self.events,
            virtual_seconds: self.now / SECOND,
            ..self.checkers.figures
        }
    }
}

impl Event {
    /// The life in which the event happens; of frames and acknowledgements the stream knows it.
    pub(crate) fn life(&self) -> Option<Life> {
        match self {
            Self::Turn(life)
            | Self::Synced(life)
            | Self::Recorded(life)
            | Self::Stored(life)
            | Self::SenderTimer(life, ..)
            | Self::ReceiverTimer(life, ..)
            | Self::Read(life, ..)
            | Self::Count(life, ..)
            | Self::SlotsChanged(life)
            | Self::Assemble(life, _)
            | Self::Resume(life, _)
            | Self::JobOver(life, ..)
            | Self::Settle(life)
            | Self::PinRoundOver(life, _)
            | Self::PinsHeard(life, _)
            | Self::Published(life, _)
            | Self::ArchiveTold(life, ..)
            | Self::LookAhead(life)
            | Self::Keep(life) => Some(*life),
            Self::PinAnswered(telling, _) => Some(telling.by),
            Self::Informed(inquiry, _) => Some(inquiry.by),
            Self::Fetched(takeover) | Self::TakenOver(takeover, _) => Some(takeover.by),
            Self::Answered(fetch, _) => Some(fetch.by),
            Self::RequestAgain(request) => Some(request.by),
            Self::Ack(_)
            | Self::Frame(_)
            | Self::PinTold(_)
            | Self::Inquired(_)
            | Self::Asked(_)
            | Self::Client(_)
            | Self::Initiate(..)
            | Self::Greet
            | Self::Restart(_)
            | Self::Forget(_)
            | Self::PutBack(_)
            | Self::GiveUp(_)
            | Self::Question
            | Self::AnswerDue(_)
            | Self::Requested(_)
            | Self::Restore(_) => None,
        }
    }

    /// The process at which the event happens: a crash right after it tests the gaps between two steps.
    fn place(&self) -> Option<Place> {
        match self {
            Self::PinTold(telling) => Some(telling.to),
            Self::Ack(stream) => Some(stream.route.0),
            Self::Frame(stream) => Some(stream.route.1),
            Self::Inquired(inquiry) => Some(inquiry.of),
            Self::Asked(fetch) => Some(fetch.from),
            other => other.life().map(|life| life.place),
        }
    }
}

impl Figures {
    pub(crate) fn add(&mut self, other: &Self) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.turns += other.turns;
        self.crashes += other.crashes;
        self.snapshots += other.snapshots;
        self.revisions += other.revisions;
        self.messages += other.messages;
        self.virtual_seconds += other.virtual_seconds;
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            seeds,
            events,
            turns,
            crashes,
            snapshots,
            revisions,
            messages,
            virtual_seconds,
        } = self;
        write!(
            f,
            "{seeds} seeds, {events} steps, {turns} durable turns, {crashes} crashes, {snapshots} snapshots, \
             {revisions} revisions, {messages} messages delivered, {virtual_seconds} s of virtual time"
        )
    }
}
