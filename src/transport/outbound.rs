//! The sending end of a channel, over one of two carriers. Between nodes of this program it is a stream: [`Sender`] decides,
//! and the task in this file executes its actions over gRPC. The other carrier is in `calls.rs`.

use std::pin::pin;

use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

use super::link::Links;
use super::peer_client::open_channel;
use super::stream::{Next, Stream, pending};
use super::wire::{ack_from_wire, envelope_to_wire, hello_to_wire};
use super::{Backlog, Closed, Inbox, Local, TooEarly, shown_clocks};
use crate::channel::links::LinkTable;
use crate::channel::sender::{Action, Event, Sender, SendingHost, UNACKNOWLEDGED_MAX};
use crate::channel::{Ack, Hello, Host};
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId, Seq};
use crate::proto::snapledger as proto;
use crate::proto::snapledger::frame::Body;

/// The maximum number of frames queued for the connection.
const FRAMES_WAITING: usize = 4;

/// The carrier of messages to the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Carrier {
    /// A native stream.
    Stream,
    /// Unary calls to a foreign process, one at a time.
    Calls,
}

/// The sending end of one channel.
pub struct Outbound<B, I> {
    /// The own process, which sends.
    pub local: Local,
    /// The receiving process.
    pub to: ProcessId,
    /// The connection to it, established on first use.
    pub connection: Channel,
    /// The source of the messages.
    pub backlog: B,
    /// The turn that takes the acknowledgements.
    pub inbox: I,
    /// The table that shows the state of the connection.
    pub links: Links,
    /// The check for times of the receiver that are not followed.
    pub too_early: TooEarly,
}

/// The result of a handshake step.
enum Outcome {
    Happened(Event),
    Connected(Opened),
}

/// A stream with the first answer of its receiving end.
struct Opened {
    frames: mpsc::Sender<proto::Frame>,
    acks: Streaming<proto::Ack>,
    first: Ack,
}

type Frames<'a> = Stream<'a, proto::Frame, proto::Ack, Outcome>;

impl<B: Backlog, I: Inbox> Outbound<B, I> {
    /// Runs the channel until the task is dropped.
    pub async fn run(self, carrier: Carrier) {
        match carrier {
            Carrier::Stream => self.stream().await,
            Carrier::Calls => self.call_for_ever().await,
        }
    }

    pub(super) fn channel(&self) -> ChannelId {
        ChannelId {
            from: self.local.process.clone(),
            to: self.to.clone(),
        }
    }

    // The futures that may be pending while the stream is open are on the stack of this task, so a frame causes no allocation.
    async fn stream(&self) {
        let mut sender = Sender::new(self.channel(), UNACKNOWLEDGED_MAX);
        let mut newest = self.backlog.newest();
        let mut slots = self.links.slot_changes();
        let mut stream = Frames::default();
        let (mut reading, mut handing) = (pin!(None), pin!(None));
        let mut event = Event::Elapsed;
        loop {
            sender.handle(event, &mut Node(self, &newest));
            while let Some(action) = sender.poll() {
                match action {
                    Action::Read(after) => reading.set(Some(self.backlog.read(after))),
                    Action::Acknowledge(seq) => handing.set(Some(self.acknowledge(seq))),
                    Action::Disconnect(_) => {
                        reading.set(None);
                        handing.set(None);
                        stream = Frames::default();
                    }
                    Action::Peek => {
                        let answer = stream.peek().await.map(|next| self.peeked(next));
                        stream.begin(async { Outcome::Happened(Event::Peeked(answer)) });
                    }
                    action => self.execute(action, &mut stream),
                }
            }
            let (listens, behind) = (sender.listens() && handing.is_none(), sender.waits_behind());
            event = tokio::select! {
                next = stream.next(listens) => self.happened(next, &mut stream),
                read = pending(reading.as_mut().as_pin_mut()) => {
                    reading.set(None);
                    Event::Read(read)
                }
                handed = pending(handing.as_mut().as_pin_mut()) => {
                    handing.set(None);
                    handed.map_or_else(Event::Closed, Event::Acknowledged)
                }
                newer = newest.wait_for(|newest| Some(*newest) > behind), if behind.is_some() => {
                    newer.map_or_else(|_| Event::Closed(gone()), |_| Event::Newer)
                }
                Ok(()) = slots.changed() => Event::SlotsChanged,
            };
        }
    }

    fn execute<'a>(&'a self, action: Action, stream: &mut Frames<'a>) {
        match action {
            Action::Connect => stream.begin(self.connect()),
            Action::Learn(known) => stream.begin(async move {
                let learnt = self.inbox.known_as(&self.to, known).await;
                Outcome::Happened(Event::Learnt(learnt))
            }),
            Action::Count(seq) => stream.begin(async move {
                let counted = self.backlog.sent_by(seq).await;
                Outcome::Happened(Event::Counted(counted))
            }),
            Action::Compare(handshake) => stream.begin(async move {
                let compared = self.inbox.meet(*handshake).await;
                Outcome::Happened(Event::Compared(compared))
            }),
            Action::Agree => stream.send(framed(Body::Agreed(proto::Agreed {}))),
            Action::Send(envelopes) => {
                let messages = envelopes.iter().map(envelope_to_wire).collect();
                stream.send(framed(Body::Messages(proto::Messages { messages })));
            }
            Action::Refuse(reason) => {
                stream.send(framed(Body::Refusal(proto::Refusal { reason })));
            }
            Action::Arm { after_ms } => stream.arm(Some(after_ms)),
            Action::Disarm => stream.arm(None),
            Action::Peek | Action::Acknowledge(_) | Action::Read(_) | Action::Disconnect(_) => {
                unreachable!("executed by the loop")
            }
        }
    }

    fn happened<'a>(&'a self, next: Next<proto::Ack, Outcome>, stream: &mut Frames<'a>) -> Event {
        match next {
            Next::Step(Outcome::Happened(event)) => event,
            Next::Step(Outcome::Connected(opened)) => {
                stream.outgoing = Some(opened.frames);
                stream.incoming = Some(opened.acks);
                Event::Ack(opened.first)
            }
            Next::Came(ack) => Event::Ack(ack_from_wire(&self.local, ack)),
            Next::Sent => Event::Sent,
            Next::Elapsed => Event::Elapsed,
            Next::Ended => Event::Closed(broken("the receiver closed the stream")),
            Next::Broken(why) => Event::Closed(why),
        }
    }

    fn peeked(&self, next: Next<proto::Ack, Outcome>) -> Result<Ack, Closed> {
        match next {
            Next::Came(ack) => Ok(ack_from_wire(&self.local, ack)),
            Next::Broken(why) => Err(why),
            Next::Step(_) | Next::Sent | Next::Elapsed | Next::Ended => Ok(Ack::Unknown),
        }
    }

    // Opens a stream with a hello and waits for the first answer.
    async fn connect(&self) -> Outcome {
        let (frames, queue) = mpsc::channel(FRAMES_WAITING);
        let connected = async {
            let hello = framed(Body::Hello(hello_to_wire(&self.local, &self.hello().await)));
            frames.send(hello).await.map_err(|_| gone())?;
            let queue = ReceiverStream::new(queue);
            let mut acks = open_channel(self.connection.clone(), queue).await?;
            let first = acks.message().await?;
            let first = first.map_or(Ack::Unknown, |ack| ack_from_wire(&self.local, ack));
            Ok((acks, first))
        };
        match connected.await {
            Ok((acks, first)) => Outcome::Connected(Opened {
                frames,
                acks,
                first,
            }),
            Err(why) => Outcome::Happened(Event::Closed(why)),
        }
    }

    async fn hello(&self) -> Hello {
        let clocks = shown_clocks(&self.inbox).await;
        Hello {
            sender: self.local.process.clone(),
            identity: self.local.identity,
            receiver: self.to.clone(),
            sent: self.backlog.sent(),
            acknowledged: self.backlog.acknowledged(),
            clocks,
            known: self.inbox.known(&self.to),
        }
    }

    async fn acknowledge(&self, seq: Seq) -> Result<Seq, Closed> {
        self.inbox.acknowledge(&self.to, seq).await?;
        Ok(seq)
    }
}

/// The node, as the sending end queries it.
struct Node<'a, B, I>(&'a Outbound<B, I>, &'a watch::Receiver<Seq>);

impl<B: Backlog, I: Inbox> Host for Node<'_, B, I> {
    fn too_early(&self, time: Hlc) -> Option<String> {
        (self.0.too_early)(time)
    }

    fn links<T>(&mut self, act: impl FnOnce(&mut LinkTable) -> T) -> T {
        self.0.links.with(act)
    }
}

impl<B: Backlog, I: Inbox> SendingHost for Node<'_, B, I> {
    fn newest(&self) -> Seq {
        *self.1.borrow()
    }

    fn acknowledged(&self) -> Seq {
        self.0.backlog.acknowledged()
    }
}

fn framed(body: Body) -> proto::Frame {
    proto::Frame { body: Some(body) }
}

fn gone() -> Closed {
    broken("the stream ended")
}

fn broken(why: &str) -> Closed {
    Closed::Broken(why.to_owned())
}
