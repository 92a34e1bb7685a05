//! The streams under the channels: FIFO, slow, and mortal. A frame is the bytes of the real wire codec. When a stream
//! breaks, some of what is under way still arrives, even behind a newer stream; nothing is ever reordered within one.
//!
//! What the ends do is what `transport/outbound.rs` and `transport/inbound.rs` do; of the latter only frames and
//! acknowledgements are here, the rest is in `receiving.rs`.

use std::collections::{BTreeMap, VecDeque};

use prost::Message as _;
use snapledger::process::clock::Hlc;
use snapledger::process::event::Input;
use snapledger::process::ids::{Lsn, ProcessId, Seq};
use snapledger::process::message::Body;
use snapledger::process::refusal::Refusal;
use snapledger::proto::snapledger::{Ack, Frame, Messages, ack, frame};
use snapledger::transport::Envelope;
use snapledger::transport::wire::{envelope_from_wire, envelope_to_wire};

use crate::node::Asker;
use crate::plan::{MS, Plan};
use crate::receiving::{Entrance, ReceivingEnd};
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, Place, World};

/// A directed channel: from, to.
pub(crate) type Route = (Place, Place);

/// One stream of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StreamId {
    pub(crate) route: Route,
    pub(crate) number: u64,
}

/// All streams of one channel, old ones too: what they still carry may arrive.
#[derive(Default)]
pub(crate) struct Channel {
    /// The newest stream.
    current: u64,
    streams: BTreeMap<u64, Stream>,
    /// The newest message that was ever put into a frame.
    pub(crate) transmitted: Seq,
    pub(crate) entrance: Entrance,
}

pub(crate) struct Stream {
    pub(crate) sender: Life,
    pub(crate) receiver: Life,
    forward: Pipe,
    backward: Pipe,
    pub(crate) end: SendingEnd,
    pub(crate) at: ReceivingEnd,
    /// What has come out and waits for the receiving end to read on.
    pub(crate) unread: VecDeque<frame::Body>,
    /// Whether the receiving end looks again by itself: what comes first waits for the clock.
    pub(crate) is_waiting: bool,
    is_broken: bool,
    /// What was under way when it broke arrives no earlier.
    not_before: u64,
}

/// How far the sending end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SendingEnd {
    Greeting,
    Open {
        sent: Seq,
        acknowledged: Seq,
        is_woken: bool,
    },
}

/// Frames under way in one direction.
#[derive(Default)]
struct Pipe {
    frames: VecDeque<Vec<u8>>,
    /// When the newest of them arrives: none arrives before one that was sent earlier.
    last: u64,
}

impl Channel {
    /// The channels of the plan.
    pub(crate) fn all(plan: &Plan) -> BTreeMap<Route, Self> {
        let place = |id: &ProcessId| plan.ids.iter().position(|known| known == id);
        let channels = plan.topology.channels();
        let routes =
            channels.filter_map(|channel| Some((place(&channel.from)?, place(&channel.to)?)));
        routes.map(|route| (route, Self::default())).collect()
    }

    /// The number of the newest stream.
    pub(crate) fn newest(&self) -> u64 {
        self.current
    }

    /// The numbers of its messages begin at 1 again.
    pub(crate) fn begin_anew(&mut self) {
        self.transmitted = Seq(0);
    }

    /// The sender has gone back: what it said before and nobody has read is gone with its connections.
    pub(crate) fn put_back(&mut self) {
        self.streams
            .values_mut()
            .for_each(|stream| stream.unread.clear());
    }

    /// Whether the sending end sends.
    fn is_sending(&self) -> bool {
        let current = self.streams.get(&self.current);
        current.is_some_and(|stream| !stream.is_broken && stream.end != SendingEnd::Greeting)
    }

    /// Whether both ends have agreed and everything goes on from there.
    pub(crate) fn is_open(&self) -> bool {
        let current = self.streams.get(&self.current);
        self.is_sending() && current.is_some_and(|stream| stream.at == ReceivingEnd::Open)
    }
}

impl Stream {
    /// The greatest time in the frame that is read next, where messages are taken.
    pub(crate) fn newest_unread(&self) -> Option<Hlc> {
        match (&self.at, self.unread.front()?) {
            (ReceivingEnd::Open, frame::Body::Messages(messages)) => {
                let times = messages.messages.iter().map(|message| Hlc(message.time));
                times.max()
            }
            _ => None,
        }
    }
}

impl World {
    pub(crate) fn stream(&mut self, id: StreamId) -> Option<&mut Stream> {
        self.channels
            .get_mut(&id.route)?
            .streams
            .get_mut(&id.number)
    }

    /// Whether the stream is the newest of its channel and whole.
    pub(crate) fn is_current(&self, id: StreamId) -> bool {
        let channel = &self.channels[&id.route];
        channel.current == id.number
            && channel
                .streams
                .get(&id.number)
                .is_some_and(|stream| !stream.is_broken)
    }

    /// The sending end opens a stream, if there is none.
    pub(crate) fn connect(&mut self, sender: Life, route: Route) -> Checked {
        let number = self.channels[&route].current;
        if self.alive(sender).is_none() || self.is_current(StreamId { route, number }) {
            return Ok(());
        }
        let receiver = self.life(route.1).filter(|_| self.reach(route.0, route.1));
        let Some(receiver) = receiver else {
            self.connect_later(sender, route);
            return Ok(());
        };
        let hello = self.hello(sender, route)?;
        let number = number + 1;
        let stream = Stream {
            sender,
            receiver,
            forward: Pipe::default(),
            backward: Pipe::default(),
            end: SendingEnd::Greeting,
            at: ReceivingEnd::default(),
            unread: VecDeque::new(),
            is_waiting: false,
            is_broken: false,
            not_before: 0,
        };
        let channel = self.channels.entry(route).or_default();
        channel.current = number;
        channel.streams.insert(number, stream);
        self.send_frame(StreamId { route, number }, &hello);
        Ok(())
    }

    fn connect_later(&mut self, sender: Life, route: Route) {
        let pause = MS + self.random.below(400 * MS);
        self.after(pause, Event::Connect(sender, route));
    }

    /// Puts a frame into the stream; it comes out behind those before it.
    pub(crate) fn send_frame(&mut self, id: StreamId, frame: &Frame) {
        let (due, bytes) = (self.now + self.net_delay(), frame.encode_to_vec());
        if let Some(at) = self
            .stream(id)
            .map(|stream| stream.forward.push(due, bytes))
        {
            self.at(at, Event::Frame(id));
        }
    }

    /// Puts an answer into the stream.
    pub(crate) fn send_ack(&mut self, id: StreamId, body: ack::Body) {
        let bytes = Ack { body: Some(body) }.encode_to_vec();
        let due = self.now + self.net_delay();
        let stream = self.stream(id).filter(|stream| !stream.is_broken);
        if let Some(at) = stream.map(|stream| stream.backward.push(due, bytes)) {
            self.at(at, Event::Ack(id));
        }
    }

    /// A stream breaks: what comes back is lost, of what goes forward some arrives late. The sender tries again.
    pub(crate) fn break_stream(&mut self, id: StreamId) {
        let late = self.random.below(4);
        let not_before = self.now + self.random.below(800 * MS);
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_broken) else {
            return;
        };
        stream.is_broken = true;
        stream.not_before = not_before;
        stream.backward.frames.clear();
        let kept = usize::try_from(late).unwrap_or(0);
        stream.forward.frames.truncate(kept);
        let (sender, arriving) = (stream.sender, stream.forward.frames.len());
        let is_sending = stream.end != SendingEnd::Greeting;
        let is_agreed_at_one_end = is_sending && matches!(stream.at, ReceivingEnd::Welcomed(..));
        if is_agreed_at_one_end && arriving == 0 {
            self.sometimes.saw("agreement lost with its stream");
        }
        self.trace
            .say(|| format!("break {id:?}, {arriving} frames still arrive"));
        self.connect_later(sender, id.route);
        for _ in 0..arriving {
            self.at(not_before, Event::Frame(id));
        }
    }

    /// Breaks every stream that begins or ends at a process.
    pub(crate) fn break_streams_of(&mut self, place: Place) {
        let touches = |route: &Route| route.0 == place || route.1 == place;
        let routes: Vec<_> = self.channels.keys().copied().filter(touches).collect();
        for route in routes {
            let number = self.channels[&route].current;
            self.break_stream(StreamId { route, number });
            if route.1 == place {
                self.channels.entry(route).or_default().entrance = Entrance::default();
            }
        }
    }

    /// Lets a durable message out, and wakes the sending end.
    pub(crate) fn push(&mut self, life: Life, to: Place, (envelope, position): (Envelope, Lsn)) {
        let route = (life.place, to);
        let is_marker = matches!(envelope.message.body, Body::Marker(_));
        let overtakes = is_marker && self.plan.is_sabotaged(Sabotage::MarkerOvertakes);
        let (memory_max, sent) = (
            self.plan.memory_messages_max,
            self.channels[&route].transmitted,
        );
        let memory_max = if self.plan.sabotage.is_some() {
            usize::MAX
        } else {
            memory_max
        };
        if let Some(outbox) = self
            .alive(life)
            .and_then(|alive| alive.outboxes.get_mut(&to))
        {
            outbox.push(envelope, position, memory_max);
            if overtakes {
                outbox.overtake(sent);
            }
        }
        let number = self.channels[&route].current;
        self.wake_sender(StreamId { route, number });
    }

    pub(crate) fn wake_sender(&mut self, id: StreamId) {
        let delay = self.random.below(2 * MS);
        let Some(stream) = self.stream(id) else {
            return;
        };
        if let SendingEnd::Open { is_woken, .. } = &mut stream.end
            && !*is_woken
        {
            *is_woken = true;
            self.after(delay, Event::Send(id));
        }
    }

    /// The sending end sends what is released, as long as not too much is unacknowledged.
    pub(crate) fn send(&mut self, id: StreamId) -> Checked {
        let (window, most) = (self.plan.window_messages_max, self.plan.frame_messages_max);
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_broken) else {
            return Ok(());
        };
        let sender = stream.sender;
        let SendingEnd::Open {
            sent,
            acknowledged,
            is_woken,
        } = &mut stream.end
        else {
            return Ok(());
        };
        *is_woken = false;
        let (sent, room) = (*sent, sent.0 < acknowledged.0 + window);
        let node = &self.nodes[sender.place];
        let outbox = node
            .life
            .as_ref()
            .and_then(|alive| alive.outboxes.get(&id.route.1));
        let Some(outbox) = outbox.filter(|outbox| room && outbox.newest() > sent) else {
            return Ok(());
        };
        let (envelopes, is_journaled) = outbox.read(sent, &node.disk, most)?;
        let last = envelopes.last().map(|envelope| envelope.seq);
        let last = last.ok_or_else(|| format!("message {} is not in the journal", sent.next()))?;
        if is_journaled {
            self.sometimes.saw("message read from the journal");
        }
        self.trace.say(|| format!("send {id:?} up to {last}"));
        let messages = envelopes.iter().map(envelope_to_wire).collect();
        let frame = Frame {
            body: Some(frame::Body::Messages(Messages { messages })),
        };
        self.send_frame(id, &frame);
        if self.plan.duplicate.strikes(&mut self.random) {
            self.sometimes.saw("frame sent twice");
            self.send_frame(id, &frame);
        }
        let channel = self.channels.entry(id.route).or_default();
        channel.transmitted = channel.transmitted.max(last);
        if let Some(SendingEnd::Open { sent, .. }) = self.stream(id).map(|stream| &mut stream.end) {
            *sent = last;
        }
        self.wake_sender(id);
        Ok(())
    }

    /// A frame comes out at the receiving end.
    pub(crate) fn receive_frame(&mut self, id: StreamId) -> Checked {
        let is_late = self.channels[&id.route].is_sending() && !self.is_current(id);
        let now = self.now;
        let Some(stream) = self.stream(id) else {
            return Ok(());
        };
        if now < stream.not_before {
            return Ok(());
        }
        let receiver = stream.receiver;
        let Some(bytes) = stream.forward.frames.pop_front() else {
            return Ok(());
        };
        if self.alive(receiver).is_none() {
            return Ok(());
        }
        if is_late {
            self.sometimes
                .saw("frame of an old stream after the new one opened");
        }
        let frame = Frame::decode(&bytes[..]).map_err(|error| error.to_string())?;
        let body = frame.body.ok_or("an empty frame")?;
        if let Some(stream) = self.stream(id) {
            stream.unread.push_back(body);
        }
        self.read(receiver, id)
    }

    pub(crate) fn deliver(&mut self, receiver: Life, id: StreamId, messages: Messages) -> Checked {
        let from = self.id(id.route.0).clone();
        let mut together = Vec::new();
        for message in messages.messages {
            let envelope = envelope_from_wire(message).map_err(|error| error.to_string())?;
            let arrived = Input::Arrived {
                from: from.clone(),
                seq: envelope.seq,
                time: envelope.time,
                message: envelope.message,
            };
            if self.is_delivered(receiver, id.route, envelope.seq) {
                self.sometimes.saw("duplicate dropped");
            }
            together.push(arrived);
        }
        self.enqueue_together(receiver, together, Some(Asker::Frame(id)));
        Ok(())
    }

    fn is_delivered(&mut self, receiver: Life, route: Route, seq: Seq) -> bool {
        let from = self.id(route.0).clone();
        let incoming = self
            .alive(receiver)
            .and_then(|alive| alive.process.registers().incoming.get(&from));
        incoming.is_some_and(|channel| seq <= channel.delivered.sequence)
    }

    /// What a frame held is durable at the receiver: it says so, unless that is lost.
    pub(crate) fn acknowledge(&mut self, id: StreamId, arrived: Result<Seq, Refusal>) -> Checked {
        let seq = arrived.map_err(|refusal| format!("{id:?}: {refusal}"))?;
        if !self.is_healed && self.is_current(id) && self.plan.lost_ack.strikes(&mut self.random) {
            self.sometimes
                .saw("acknowledgement lost after a durable apply");
            self.break_stream(id);
            return Ok(());
        }
        self.send_ack(id, ack::Body::Delivered(seq.0));
        Ok(())
    }

    /// An answer comes out at the sending end.
    pub(crate) fn receive_ack(&mut self, id: StreamId) -> Checked {
        let Some(stream) = self.stream(id).filter(|stream| !stream.is_broken) else {
            return Ok(());
        };
        let sender = stream.sender;
        let Some(bytes) = stream.backward.frames.pop_front() else {
            return Ok(());
        };
        match Ack::decode(&bytes[..])
            .map_err(|error| error.to_string())?
            .body
        {
            Some(ack::Body::Welcome(welcome)) => self.meet_receiver(sender, id, welcome),
            Some(ack::Body::Delivered(seq)) => {
                self.note_acknowledged(sender, id, Seq(seq));
                Ok(())
            }
            Some(ack::Body::Refusal(refusal)) => Err(format!("{id:?} refused: {}", refusal.reason)),
            None => Err("an empty answer".to_owned()),
        }
    }

    pub(crate) fn note_acknowledged(&mut self, sender: Life, id: StreamId, seq: Seq) {
        let to = self.id(id.route.1).clone();
        self.enqueue(sender, Input::Acknowledged { to, seq }, None);
        if let Some(SendingEnd::Open { acknowledged, .. }) =
            self.stream(id).map(|stream| &mut stream.end)
        {
            *acknowledged = seq;
        }
        self.wake_sender(id);
    }
}

impl Pipe {
    fn push(&mut self, due: u64, bytes: Vec<u8>) -> u64 {
        self.last = self.last.max(due);
        self.frames.push_back(bytes);
        self.last
    }
}
