//! The receiving end of a channel over gRPC: [`Receiver`] decides, and the task in this file executes its actions on one
//! stream.

use std::collections::VecDeque;
use std::pin::pin;

use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::link::Links;
use super::stream::{Next, Stream, pending};
use super::wire::{frame_from_wire, welcome_to_wire};
use super::{Closed, Envelope, Inbox, Local, Settling, TooEarly, shown_clocks};
use crate::access::peer::{NotThePeer, Peer};
use crate::channel::links::LinkTable;
use crate::channel::receiver::{Action, Event, Receiver, UNSETTLED_MAX};
use crate::channel::{Host, Welcome};
use crate::process::channel::ChannelDigest;
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::proto::snapledger as proto;
use crate::proto::snapledger::ack::Body;
use crate::proto::snapledger::frame;

/// The queue of acknowledgements to the connection.
pub type Acks = mpsc::Sender<Answer>;

type Answer = Result<proto::Ack, Status>;

/// The receiving end of one stream.
pub struct Inbound<I> {
    /// The process at the other end, as far as it is proven.
    pub peer: Peer,
    /// The own process, which receives.
    pub local: Local,
    /// The turn that takes the messages.
    pub inbox: I,
    /// The table that shows the state of the connection.
    pub links: Links,
    /// The check for messages that are too early.
    pub too_early: TooEarly,
    /// The queue of acknowledgements to the connection.
    pub acks: Acks,
}

/// The result of a handshake step.
enum Outcome {
    Happened(Event),
    Welcome(proto::Welcome),
}

type Answers<'a> = Stream<'a, Answer, proto::Frame, Outcome>;

/// The slot of a stream, released also when its task is dropped.
struct SlotGuard<'a> {
    receiver: Receiver,
    links: &'a Links,
}

impl Drop for SlotGuard<'_> {
    fn drop(&mut self) {
        self.links.with(|links| self.receiver.abandon(links));
    }
}

impl<I: Inbox> Inbound<I> {
    /// Serves one stream until it ends.
    pub async fn run(self, frames: Streaming<proto::Frame>) {
        let mut slots = self.links.slot_changes();
        let mut guard = SlotGuard {
            receiver: Receiver::new(self.local.process.clone(), UNSETTLED_MAX),
            links: &self.links,
        };
        let receiver = &mut guard.receiver;
        let mut stream = Answers::default();
        stream.outgoing = Some(self.acks.clone());
        stream.incoming = Some(frames);
        let mut unsettled: VecDeque<Settling> = VecDeque::new();
        let mut delivering = pin!(None);
        loop {
            while let Some(action) = receiver.poll() {
                match action {
                    Action::Deliver { from, messages } => {
                        delivering.set(Some(self.deliver(from, messages)));
                    }
                    Action::Refuse(reason) => self.refuse(reason).await,
                    Action::Close(_) => return,
                    action => self.execute(action, &mut stream),
                }
            }
            let (reads, awaits) = (receiver.reads(), receiver.awaits_settled());
            let event = tokio::select! {
                next = stream.next(reads) => match self.happened(next, &mut stream) {
                    Some(event) => event,
                    None => continue,
                },
                delivered = pending(delivering.as_mut().as_pin_mut()) => {
                    delivering.set(None);
                    Event::HandedOn(delivered.map(|settling| unsettled.push_back(settling)))
                }
                settled = pending(unsettled.front_mut()), if awaits => {
                    unsettled.pop_front();
                    Event::Settled(settled)
                }
                Ok(()) = slots.changed() => Event::SlotsChanged,
            };
            receiver.handle(event, &mut Node(&self));
        }
    }

    fn execute<'a>(&'a self, action: Action, stream: &mut Answers<'a>) {
        match action {
            Action::Learn { peer, known } => stream.begin(async move {
                let learnt = self.inbox.known_as(&peer, known).await;
                Outcome::Happened(Event::Learnt(learnt))
            }),
            Action::Compare(handshake) => stream.begin(async move {
                let compared = self.inbox.meet(*handshake).await;
                Outcome::Happened(Event::Compared(compared))
            }),
            Action::Welcome { peer, delivered } => {
                stream.begin(async move { Outcome::Welcome(self.welcome(&peer, delivered).await) })
            }
            Action::Acknowledge(seq) => stream.send(answer(Body::Delivered(seq.0))),
            Action::Arm { after_ms } => stream.arm(Some(after_ms)),
            Action::Disarm => stream.arm(None),
            Action::Deliver { .. } | Action::Refuse(_) | Action::Close(_) => {
                unreachable!("executed by the loop")
            }
        }
    }

    // The event of what happened; `None` if it only concerns the stream.
    fn happened<'a>(
        &'a self,
        next: Next<proto::Frame, Outcome>,
        stream: &mut Answers<'a>,
    ) -> Option<Event> {
        let event = match next {
            Next::Step(Outcome::Happened(event)) => event,
            Next::Step(Outcome::Welcome(welcome)) => {
                stream.send(answer(Body::Welcome(welcome)));
                return None;
            }
            Next::Came(frame) => match self.check(&frame) {
                Ok(()) => Event::Frame(frame_from_wire(&self.local, frame)),
                Err(why) => self.deny(&why),
            },
            Next::Sent => Event::Sent,
            Next::Elapsed => Event::Elapsed,
            Next::Ended => Event::Closed(broken("the sender closed the stream")),
            Next::Broken(why) => Event::Closed(why),
        };
        Some(event)
    }

    // The hello is the only frame in which the sender names itself. Puts and markers name the process they begin with, which
    // is not always the sender.
    fn check(&self, frame: &proto::Frame) -> Result<(), NotThePeer> {
        match &frame.body {
            Some(frame::Body::Hello(hello)) => {
                let sender = hello.sender.as_ref();
                let claimed = sender.map_or("", |sender| sender.process.as_str());
                self.peer.check(claimed)
            }
            _ => Ok(()),
        }
    }

    // Before the receiver sees the frame, so that the channel of the process that is named is not affected.
    fn deny(&self, why: &NotThePeer) -> Event {
        tracing::warn!("channel refused: {why}");
        // The queue is empty before the hello is answered; without space the sender sees the end of the stream.
        let _full = self
            .acks
            .try_send(Err(Status::permission_denied(why.to_string())));
        Event::Closed(broken("the sender speaks in the name of another process"))
    }

    async fn welcome(&self, peer: &ProcessId, delivered: ChannelDigest) -> proto::Welcome {
        let welcome = Welcome {
            receiver: self.local.process.clone(),
            identity: self.local.identity,
            delivered,
            clocks: shown_clocks(&self.inbox).await,
            known: self.inbox.known(peer),
        };
        welcome_to_wire(&self.local, peer, &welcome)
    }

    async fn deliver(&self, from: ProcessId, messages: Vec<Envelope>) -> Result<Settling, Closed> {
        self.inbox.deliver(&from, messages).await
    }

    async fn refuse(&self, reason: String) {
        // A failed send is ignored: the sender has gone, and the next attempt gets the same refusal.
        let _gone = self
            .acks
            .send(answer(Body::Refusal(proto::Refusal { reason })))
            .await;
    }
}

/// The node, as the receiving end queries it.
struct Node<'a, I>(&'a Inbound<I>);

impl<I: Inbox> Host for Node<'_, I> {
    fn too_early(&self, time: Hlc) -> Option<String> {
        (self.0.too_early)(time)
    }

    fn links<T>(&mut self, act: impl FnOnce(&mut LinkTable) -> T) -> T {
        self.0.links.with(act)
    }
}

fn answer(body: Body) -> Answer {
    Ok(proto::Ack { body: Some(body) })
}

fn broken(why: &str) -> Closed {
    Closed::Broken(why.to_owned())
}
