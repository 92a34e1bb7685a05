//! The writer of one journal's segments: it fences earlier writers off, keeps several puts in flight, acknowledges in order,
//! and stops when a later writer has fenced it off.

use std::collections::VecDeque;

use super::chain::{Broken, Chain, Link};
use super::segment::{Owner, Segment, SegmentHead, Turns, WriterId};
use super::{Epoch, JournalPoint, SegmentIndex};

/// An event for a writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Event {
    /// The answer to [`Action::Look`]: the segment there, if any.
    Found(SegmentIndex, Option<Box<SegmentHead>>),
    /// [`Action::Put`] has created the object.
    Created(SegmentIndex),
    /// [`Action::Put`] has found an object; possibly the own one, if an earlier answer was lost.
    Exists(SegmentIndex),
    /// The answer to [`Action::ReadBoundary`]: the last segment before the kept ones; the default if nothing was deleted.
    Boundary(Link),
}

/// An action of a writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// Read the head of the segment at this index.
    Look(SegmentIndex),
    /// Create an object, trying again until there is an answer. Puts may be executed in any order.
    Put(Box<Segment>),
    /// Read the newest boundary.
    ReadBoundary,
    /// The fence is set; turns after this point may be shipped.
    Opened(JournalPoint),
    /// Everything up to this segment is archived.
    Archived(Link),
    /// Stop the process: another writer has taken over.
    Stop(Superseded),
    /// Stop the process: the archive is damaged.
    Refuse(Broken),
}

/// The writer that has taken over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Superseded {
    /// The epoch of the later writer.
    pub by: Epoch,
    /// Its start, if its segment was read.
    pub boot: Option<u64>,
    /// The index of its segment.
    pub at: SegmentIndex,
}

/// A walk along a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Walked {
    /// The boundary behind which it began.
    pub boundary: Link,
    /// The last segment that counts so far.
    pub last: Link,
}

/// A writer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Writer {
    owner: Owner,
    writer: WriterId,
    window: usize,
    /// The boundary behind which the walk began.
    boundary: Link,
    stage: Stage,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Stage {
    /// Looks for the end of the chain.
    Walking(Chain),
    /// The fence is being put at the end of the chain.
    Fencing(Chain, Box<Segment>),
    /// The fence is put. If the boundary has moved, segments were deleted during the walk: it may have taken a deleted index for
    /// the end, or a late put that landed there for a segment.
    Confirming(Link),
    Shipping(Shipping),
    Stopped,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Shipping {
    /// The newest acknowledged segment.
    archived: Link,
    /// The newest segment that was sent.
    tip: Link,
    /// The first index that this writer has not used.
    next: SegmentIndex,
    /// What is not acknowledged, in order.
    flights: VecDeque<Flight>,
}

/// A put whose segment is not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Flight {
    index: SegmentIndex,
    head: SegmentHead,
    turns: Turns,
    state: FlightState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum FlightState {
    InFlight,
    /// Its index has an object: possibly the own one.
    Asked,
    Landed,
    /// The index holds a segment of an earlier writer.
    Void,
}

impl Writer {
    /// A writer with a claimed epoch, and its first action. It walks the chain behind the newest boundary.
    #[must_use]
    pub fn open(owner: Owner, writer: WriterId, window: usize, boundary: Link) -> (Self, Action) {
        let walked = Walked {
            boundary,
            last: boundary,
        };
        Self::continuing(owner, writer, window, walked)
    }

    /// The same, where a part of the chain is walked already.
    #[must_use]
    pub fn continuing(
        owner: Owner,
        writer: WriterId,
        window: usize,
        walked: Walked,
    ) -> (Self, Action) {
        let Walked { boundary, last } = walked;
        let chain = Chain::behind(last);
        let first = Action::Look(chain.next());
        let new = Self {
            owner,
            writer,
            window: window.max(1),
            boundary,
            stage: Stage::Walking(chain),
        };
        (new, first)
    }

    /// The boundary behind which its fence was found to count.
    #[must_use]
    pub fn boundary(&self) -> Link {
        self.boundary
    }

    /// The epoch in which it ships.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        self.writer.epoch
    }

    /// Whose journal it ships.
    #[must_use]
    pub fn owner(&self) -> &Owner {
        &self.owner
    }

    /// Whether [`Writer::ship`] may be called.
    #[must_use]
    pub fn has_room(&self) -> bool {
        match &self.stage {
            Stage::Shipping(shipping) => shipping.has_room(self.window),
            Stage::Walking(_) | Stage::Fencing(..) | Stage::Confirming(_) | Stage::Stopped => false,
        }
    }

    /// The newest turn that was given to the writer; `None` before it is open.
    #[must_use]
    pub fn shipped(&self) -> Option<JournalPoint> {
        match &self.stage {
            Stage::Shipping(shipping) => Some(shipping.tip.journal),
            Stage::Walking(_) | Stage::Fencing(..) | Stage::Confirming(_) | Stage::Stopped => None,
        }
    }

    /// Sends turns as the next segment.
    ///
    /// # Panics
    /// If there is no room, or the turns do not follow those shipped before.
    pub fn ship(&mut self, turns: Turns) -> Action {
        let Stage::Shipping(shipping) = &mut self.stage else {
            unreachable!("turns are shipped once the fence is set");
        };
        assert!(shipping.has_room(self.window), "the window is full");
        assert_eq!(
            turns.before, shipping.tip.journal,
            "turns are shipped in order"
        );
        shipping.send(&self.owner, self.writer, turns)
    }

    /// Looks whether a later writer has fenced this one off, which otherwise only a put finds out. For a writer without work.
    #[must_use]
    pub fn look_ahead(&self) -> Option<Action> {
        match &self.stage {
            Stage::Shipping(shipping) => Some(Action::Look(shipping.next)),
            Stage::Walking(_) | Stage::Fencing(..) | Stage::Confirming(_) | Stage::Stopped => None,
        }
    }

    /// Takes an event; returns the actions to execute.
    pub fn on(&mut self, event: Event) -> Vec<Action> {
        match (&mut self.stage, event) {
            (Stage::Walking(chain), Event::Found(index, found)) if index == chain.next() => {
                match found {
                    Some(head) => match chain.take(&head) {
                        Ok(true) if head.epoch() > self.writer.epoch => self.superseded(&head),
                        Ok(_) => vec![Action::Look(chain.next())],
                        Err(broken) => self.refuse(broken),
                    },
                    None => self.fence(),
                }
            }
            (Stage::Fencing(chain, fence), Event::Created(index)) if index == chain.next() => {
                self.stage = Stage::Confirming(Link::of(&fence.head));
                vec![Action::ReadBoundary]
            }
            (Stage::Fencing(chain, _), Event::Exists(index)) if index == chain.next() => {
                vec![Action::Look(index)]
            }
            (Stage::Fencing(chain, fence), Event::Found(index, found)) if index == chain.next() => {
                match found {
                    // It was deleted, or the store does not show it yet.
                    None => vec![Action::Put(fence.clone())],
                    Some(head) if *head == fence.head => {
                        self.stage = Stage::Confirming(Link::of(&head));
                        vec![Action::ReadBoundary]
                    }
                    Some(head) if head.epoch() >= self.writer.epoch => self.superseded(&head),
                    Some(_) => {
                        self.stage = Stage::Walking(chain.clone());
                        vec![Action::Look(index)]
                    }
                }
            }
            (Stage::Confirming(fence), Event::Boundary(boundary)) => {
                let fence = *fence;
                self.confirmed(fence, boundary)
            }
            (Stage::Shipping(shipping), Event::Created(index)) => {
                shipping.answered(index, FlightState::Landed);
                self.settle()
            }
            (Stage::Shipping(shipping), Event::Exists(index)) => {
                shipping.asks(index);
                vec![Action::Look(index)]
            }
            (Stage::Shipping(_), Event::Found(index, found)) => self.found(index, found),
            (
                Stage::Walking(_)
                | Stage::Fencing(..)
                | Stage::Confirming(_)
                | Stage::Shipping(_)
                | Stage::Stopped,
                _,
            ) => Vec::new(),
        }
    }

    // The chain has ended, without a later writer in it: the fence goes to its end.
    fn fence(&mut self) -> Vec<Action> {
        let Stage::Walking(chain) = &self.stage else {
            return Vec::new();
        };
        let last = chain.last();
        // The segments of a later writer may be before the boundary, from which this walk began.
        if last.epoch > self.writer.epoch {
            self.stage = Stage::Stopped;
            return vec![Action::Stop(Superseded {
                by: last.epoch,
                boot: None,
                at: last.index,
            })];
        }
        let turns = Turns::none(last.journal);
        let fence = Segment::new(&self.owner, self.writer, chain.next(), last.hash, &turns);
        let fence = Box::new(fence);
        self.stage = Stage::Fencing(chain.clone(), fence.clone());
        vec![Action::Put(fence)]
    }

    fn confirmed(&mut self, fence: Link, boundary: Link) -> Vec<Action> {
        if boundary != self.boundary {
            self.boundary = boundary;
            let chain = Chain::behind(boundary);
            let next = chain.next();
            self.stage = Stage::Walking(chain);
            return vec![Action::Look(next)];
        }
        self.stage = Stage::Shipping(Shipping::after(fence, fence.index.next()));
        vec![Action::Archived(fence), Action::Opened(fence.journal)]
    }

    // What lies at an index that this writer wanted to use, or looks at.
    fn found(&mut self, index: SegmentIndex, found: Option<Box<SegmentHead>>) -> Vec<Action> {
        let Stage::Shipping(shipping) = &mut self.stage else {
            return Vec::new();
        };
        let flight = shipping
            .flights
            .iter_mut()
            .find(|flight| flight.index == index);
        match (flight, found) {
            (None, None) => Vec::new(),
            // Looked for before it was put, which is under way.
            (Some(flight), None) if flight.state != FlightState::Asked => Vec::new(),
            (Some(flight), None) => {
                flight.state = FlightState::InFlight;
                let (head, body) = (flight.head.clone(), flight.turns.body.clone());
                vec![Action::Put(Box::new(Segment { head, body }))]
            }
            (Some(flight), Some(head)) if *head == flight.head => {
                flight.state = FlightState::Landed;
                self.settle()
            }
            (_, Some(head)) if head.epoch() > self.writer.epoch => self.superseded(&head),
            (Some(flight), Some(_)) => {
                flight.state = FlightState::Void;
                self.settle()
            }
            // A late put of an earlier writer: it is void, and the next index may hold the fence of a later one.
            (None, Some(head)) if index == shipping.next && head.epoch() < self.writer.epoch => {
                shipping.next = index.next();
                vec![Action::Look(shipping.next)]
            }
            // An own segment, looked for before it was put.
            (None, Some(_)) => Vec::new(),
        }
    }

    fn settle(&mut self) -> Vec<Action> {
        let Stage::Shipping(shipping) = &mut self.stage else {
            return Vec::new();
        };
        let mut actions = Vec::new();
        if shipping.acknowledge() {
            actions.push(Action::Archived(shipping.archived));
        }
        if let Some(void) = shipping.take_void() {
            for turns in void {
                actions.push(shipping.send(&self.owner, self.writer, turns));
            }
        }
        actions
    }

    fn superseded(&mut self, head: &SegmentHead) -> Vec<Action> {
        self.stage = Stage::Stopped;
        vec![Action::Stop(Superseded {
            by: head.epoch(),
            boot: Some(head.writer().identity.boot),
            at: head.index(),
        })]
    }

    fn refuse(&mut self, broken: Broken) -> Vec<Action> {
        self.stage = Stage::Stopped;
        vec![Action::Refuse(broken)]
    }
}

impl Shipping {
    fn after(link: Link, next: SegmentIndex) -> Self {
        Self {
            archived: link,
            tip: link,
            next,
            flights: VecDeque::new(),
        }
    }

    fn has_room(&self, window: usize) -> bool {
        self.flights.len() < window && !self.has_void()
    }

    fn has_void(&self) -> bool {
        let mut flights = self.flights.iter();
        flights.any(|flight| flight.state == FlightState::Void)
    }

    fn send(&mut self, owner: &Owner, writer: WriterId, turns: Turns) -> Action {
        let segment = Segment::new(owner, writer, self.next, self.tip.hash, &turns);
        self.tip = Link::of(&segment.head);
        self.flights.push_back(Flight {
            index: self.next,
            head: segment.head.clone(),
            turns,
            state: FlightState::InFlight,
        });
        self.next = self.next.next();
        Action::Put(Box::new(segment))
    }

    fn answered(&mut self, index: SegmentIndex, state: FlightState) {
        let mut flights = self.flights.iter_mut();
        if let Some(flight) = flights.find(|flight| flight.index == index) {
            flight.state = state;
        }
    }

    // Notes that the index of a put has an object.
    fn asks(&mut self, index: SegmentIndex) {
        let mut flights = self.flights.iter_mut();
        let flight = flights.find(|flight| flight.index == index);
        if let Some(flight) = flight.filter(|flight| flight.state == FlightState::InFlight) {
            flight.state = FlightState::Asked;
        }
    }

    // Acknowledges what has landed without a gap; whether that is anything.
    fn acknowledge(&mut self) -> bool {
        let before = self.archived.index;
        while let Some(flight) = self
            .flights
            .pop_front_if(|flight| flight.state == FlightState::Landed)
        {
            self.archived = Link::of(&flight.head);
        }
        self.archived.index != before
    }

    // The turns behind a void segment, that one included, once no put is in flight: they are chained to it and so do not count.
    fn take_void(&mut self) -> Option<VecDeque<Turns>> {
        let mut flights = self.flights.iter();
        let flies = flights
            .any(|flight| matches!(flight.state, FlightState::InFlight | FlightState::Asked));
        if flies || !self.has_void() {
            return None;
        }
        // What has landed before the first void segment is acknowledged, so this one is the first.
        self.tip = self.archived;
        let flights = std::mem::take(&mut self.flights);
        Some(flights.into_iter().map(|flight| flight.turns).collect())
    }
}

impl Link {
    /// The link of a segment that counts.
    #[must_use]
    pub fn of(head: &SegmentHead) -> Self {
        Self {
            index: head.index(),
            hash: head.hash(),
            epoch: head.epoch(),
            journal: head.after(),
        }
    }
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
