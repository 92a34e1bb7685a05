//! The sending ends of the channels: the real `channel::sender`, with its actions executed over the simulated network.

use std::collections::VecDeque;

use prost::Message as _;
use snapledger::channel::links::LinkTable;
use snapledger::channel::sender::{Action, Event as SenderEvent, Sender, SendingHost};
use snapledger::channel::window::Window;
use snapledger::channel::{Ack, Closed, Envelope, Hello, Host};
use snapledger::process::channel::ChannelDigest;
use snapledger::process::clock::Hlc;
use snapledger::process::handshake::Handshake;
use snapledger::process::ids::{ChannelId, Seq};
use snapledger::process::input::Input;
use snapledger::process::message::Body;
use snapledger::process::refusal::Refusal;
use snapledger::process::wall::{ClockReading, Wall};
use snapledger::proto::snapledger as wire;
use snapledger::proto::snapledger::frame;
use snapledger::transport::wire::{ack_from_wire, envelope_to_wire, hello_to_wire};

use crate::network::StreamId;
use crate::node::Asker;
use crate::plan::MS;
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, Place, World};

/// The sending end of one channel.
pub(crate) struct SendingEnd {
    pub(crate) sender: Sender,
    /// The stream in use.
    stream: Option<u64>,
    /// The number of timers so far; only the newest can elapse.
    timer: u64,
    /// The answers that have arrived while the sending end was not listening.
    heard: VecDeque<Result<Ack, Closed>>,
}

/// The node, as the ends of channels query it.
pub(crate) struct Surroundings<'a> {
    pub(crate) links: &'a mut LinkTable,
    pub(crate) wall: &'a Wall,
    pub(crate) now: ClockReading,
    /// Every time is followed after the faults, and in one sabotage.
    pub(crate) follows_all: bool,
    /// The window of the sending end.
    pub(crate) window: Option<&'a Window>,
}

impl Host for Surroundings<'_> {
    fn too_early(&self, time: Hlc) -> Option<String> {
        let ahead_us = self
            .wall
            .too_early(self.now, time)
            .filter(|_| !self.follows_all);
        ahead_us.map(|ahead_us| format!("{ahead_us} us ahead"))
    }

    fn links<T>(&mut self, act: impl FnOnce(&mut LinkTable) -> T) -> T {
        act(self.links)
    }
}

impl SendingHost for Surroundings<'_> {
    fn newest(&self) -> Seq {
        self.window.map_or(Seq(0), Window::newest)
    }

    fn acknowledged(&self) -> Seq {
        self.window
            .map_or(Seq(0), |window| window.channel().acknowledged)
    }
}

impl SendingEnd {
    /// The stream on which both ends have agreed.
    pub(crate) fn open_stream(&self) -> Option<u64> {
        self.stream.filter(|_| self.sender.is_open())
    }

    pub(crate) fn new(channel: ChannelId, unacknowledged_max: u64) -> Self {
        Self {
            sender: Sender::new(channel, unacknowledged_max),
            stream: None,
            timer: 0,
            heard: VecDeque::new(),
        }
    }
}

impl World {
    /// Passes an event to a sending end and executes all actions that follow.
    pub(crate) fn sending(&mut self, life: Life, to: Place, event: SenderEvent) -> Checked {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let (now, follows_all) = (self.reading(life.place), self.follows_all());
            let Some(alive) = self.alive(life) else {
                return Ok(());
            };
            let before = alive.links.slot_changes();
            let mut node = Surroundings {
                links: &mut alive.links,
                wall: &alive.wall,
                now,
                follows_all,
                window: alive.outboxes.get(&to),
            };
            let end = alive.senders.get_mut(&to).ok_or("no such channel")?;
            end.sender.handle(event, &mut node);
            let actions: Vec<_> = std::iter::from_fn(|| end.sender.poll()).collect();
            let has_changed = alive.links.slot_changes() != before;
            for action in actions {
                events.extend(self.execute_sending(life, to, action)?);
            }
            if has_changed {
                self.wake_waiting(life);
            }
            events.extend(self.heard(life, to));
        }
        Ok(())
    }

    // The next answer from the receiver, if the sending end listens.
    fn heard(&mut self, life: Life, to: Place) -> Option<SenderEvent> {
        let end = self.end(life, to)?;
        let heard = end.sender.listens().then(|| end.heard.pop_front())??;
        Some(heard.map_or_else(SenderEvent::Closed, SenderEvent::Ack))
    }

    // Returns the event of an immediate result.
    fn execute_sending(
        &mut self,
        life: Life,
        to: Place,
        action: Action,
    ) -> Checked<Option<SenderEvent>> {
        let number = self.end(life, to).and_then(|end| end.stream);
        let id = StreamId {
            route: (life.place, to),
            number: number.unwrap_or_default(),
        };
        let happened = match action {
            Action::Connect => return self.connect(life, to),
            Action::Learn(_) => SenderEvent::Learnt(Ok(())),
            Action::Peek => self.peek(life, to),
            Action::Acknowledge(seq) => {
                let to = self.id(to).clone();
                self.enqueue(life, Input::Acknowledged { to, seq }, None);
                SenderEvent::Acknowledged(seq)
            }
            Action::Agree => {
                let agreed = frame::Body::Agreed(wire::Agreed {});
                self.send_twice_at_times(id, agreed, "agreement sent twice");
                SenderEvent::Sent
            }
            Action::Send(messages) => {
                self.send(id, messages);
                SenderEvent::Sent
            }
            Action::Refuse(reason) => {
                self.send_frame(id, frame::Body::Refusal(wire::Refusal { reason }));
                SenderEvent::Sent
            }
            later => {
                self.begin_sending(life, id, later)?;
                return Ok(None);
            }
        };
        Ok(Some(happened))
    }

    fn begin_sending(&mut self, life: Life, id: StreamId, action: Action) -> Checked {
        match action {
            Action::Read(after) => {
                let delay = self.random.below(2 * MS);
                self.after(delay, Event::Read(life, id, after));
            }
            Action::Count(seq) => {
                let delay = self.counting_delay();
                self.after(delay, Event::Count(life, id, seq));
            }
            Action::Compare(handshake) => self.compare(life, *handshake, Asker::Sending(id)),
            Action::Disconnect(why) => return self.end_sending(life, id, &why),
            Action::Arm { after_ms } => {
                let timer = self.timer(life, id.route.1);
                self.after(after_ms * MS, Event::SenderTimer(life, id.route.1, timer));
            }
            _ => _ = self.timer(life, id.route.1),
        }
        Ok(())
    }

    fn peek(&mut self, life: Life, to: Place) -> SenderEvent {
        let heard = self.end(life, to).and_then(|end| end.heard.pop_front());
        if heard.is_some() {
            self.sometimes
                .saw("receiver gone while the journal was counted");
        }
        SenderEvent::Peeked(heard)
    }

    pub(crate) fn end(&mut self, life: Life, to: Place) -> Option<&mut SendingEnd> {
        self.alive(life)?.senders.get_mut(&to)
    }

    // The number of the next timer; the one before is ignored when it elapses.
    fn timer(&mut self, life: Life, to: Place) -> u64 {
        self.end(life, to).map_or(0, |end| {
            end.timer += 1;
            end.timer
        })
    }

    pub(crate) fn sender_timer(&mut self, life: Life, to: Place, timer: u64) -> Checked {
        match self.end(life, to).is_some_and(|end| end.timer == timer) {
            true => self.sending(life, to, SenderEvent::Elapsed),
            false => Ok(()),
        }
    }

    fn connect(&mut self, life: Life, to: Place) -> Checked<Option<SenderEvent>> {
        let Some(id) = self.open_stream(life, (life.place, to)) else {
            let unreachable = Closed::Broken("it does not answer".to_owned());
            return Ok(Some(SenderEvent::Closed(unreachable)));
        };
        if let Some(end) = self.end(life, to) {
            end.stream = Some(id.number);
        }
        let local = self.local(life.place);
        let channel = self.window(life, to)?.channel();
        let (sent, acknowledged) = (channel.digest(), channel.acknowledged);
        let hello = Hello {
            sender: local.process.clone(),
            identity: local.identity,
            receiver: self.id(to).clone(),
            sent,
            acknowledged,
            clocks: self.clocks_of(life.place)?,
            known: None, // the world knows from the start what this reveals
        };
        self.send_frame(id, frame::Body::Hello(hello_to_wire(&local, &hello)));
        Ok(None)
    }

    fn send(&mut self, id: StreamId, mut messages: Vec<Envelope>) {
        if self.plan.is_sabotaged(Sabotage::MarkerOvertakes) {
            overtake(&mut messages);
        }
        let last = messages.last().map_or(Seq(0), |last| last.seq);
        self.trace.say(|| format!("send {id:?} up to {last}"));
        let messages = messages.iter().map(envelope_to_wire).collect();
        let body = frame::Body::Messages(wire::Messages { messages });
        self.send_twice_at_times(id, body, "frame sent twice");
        let channel = self.channels.entry(id.route).or_default();
        channel.transmitted = channel.transmitted.max(last);
    }

    fn send_twice_at_times(&mut self, id: StreamId, body: frame::Body, twice: &'static str) {
        if self.plan.duplicate.strikes(&mut self.random) {
            self.sometimes.saw(twice);
            self.send_frame(id, body.clone());
        }
        self.send_frame(id, body);
    }

    // Two ends may refuse each other only if a store was lost.
    fn end_sending(&mut self, life: Life, id: StreamId, why: &Closed) -> Checked {
        self.trace.say(|| format!("disconnect {id:?}: {why}"));
        if let Some(end) = self.end(life, id.route.1) {
            end.stream = None;
            end.heard.clear();
        }
        // The end of a stream broken earlier may still be of an earlier life of the peer.
        let is_current = self.is_current(id) && !self.is_of_zombie(id);
        self.break_stream(id);
        match why {
            Closed::Stopped(_) if self.may_contradict(id.route) => {
                self.sometimes.saw("another store refused");
                Ok(())
            }
            Closed::Stopped(why) if is_current => Err(format!("{id:?} is stopped: {why}")),
            Closed::Stopped(_) | Closed::Broken(_) => Ok(()),
        }
    }

    /// Whether a sending end uses this stream and has agreed.
    pub(crate) fn is_sending(&mut self, life: Life, id: StreamId) -> bool {
        let end = self.end(life, id.route.1);
        end.is_some_and(|end| end.stream == Some(id.number) && end.sender.is_open())
    }

    /// Whether a sending end still uses the stream.
    pub(crate) fn uses(&mut self, life: Life, id: StreamId) -> bool {
        let end = self.end(life, id.route.1);
        end.is_some_and(|end| end.stream == Some(id.number))
    }

    /// Handles the arrival of an answer, or of the end of the stream, at the sending end.
    pub(crate) fn ack_arrives(&mut self, id: StreamId) -> Checked {
        let Some(stream) = self.stream(id) else {
            return Ok(());
        };
        let life = stream.sender;
        let Some(answer) = stream.answered() else {
            return Ok(());
        };
        if !self.uses(life, id) {
            return Ok(());
        }
        let heard = match answer {
            Some(bytes) => {
                let ack = wire::Ack::decode(&bytes[..]).map_err(|error| error.to_string())?;
                Ok(ack_from_wire(&self.local(life.place), ack))
            }
            None => Err(Closed::Broken("the receiver closed the stream".to_owned())),
        };
        if let Some(end) = self.end(life, id.route.1) {
            end.heard.push_back(heard);
        }
        match self.heard(life, id.route.1) {
            Some(event) => self.sending(life, id.route.1, event),
            None => Ok(()),
        }
    }

    /// Passes the turn's comparison to the sending end.
    pub(crate) fn sender_compared(
        &mut self,
        life: Life,
        id: StreamId,
        compared: Result<ChannelDigest, Refusal>,
    ) -> Checked {
        if !self.uses(life, id) {
            return Ok(());
        }
        let compared = compared.map_err(|refusal| Closed::Stopped(refusal.to_string()));
        self.sending(life, id.route.1, SenderEvent::Compared(compared))
    }

    /// Puts a comparison into the queue of a process.
    pub(crate) fn compare(&mut self, life: Life, handshake: Handshake, asker: Asker) {
        if handshake.unfollowed.is_some() {
            self.sometimes.saw("met a peer whose clock is not followed");
        }
        self.enqueue(life, Input::Handshake(Box::new(handshake)), Some(asker));
    }

    /// Has streams check their slots after a delay.
    pub(crate) fn wake_waiting(&mut self, life: Life) {
        let delay = self.random.below(30 * MS);
        self.after(delay, Event::SlotsChanged(life));
    }

    pub(crate) fn slots_changed(&mut self, life: Life) -> Checked {
        let Some(alive) = self.alive(life) else {
            return Ok(());
        };
        for to in alive.senders.keys().copied().collect::<Vec<_>>() {
            self.sending(life, to, SenderEvent::SlotsChanged)?;
        }
        let channels = self
            .channels
            .iter()
            .filter(|(route, _)| route.1 == life.place);
        let streams = channels.flat_map(|(route, channel)| {
            let numbers = channel.streams.keys();
            numbers.map(|number| StreamId {
                route: *route,
                number: *number,
            })
        });
        for id in streams.collect::<Vec<_>>() {
            self.receiving(id, snapledger::channel::receiver::Event::SlotsChanged)?;
        }
        Ok(())
    }
}

// Sabotage: a marker swaps places with the messages before it in the same frame.
fn overtake(messages: &mut [Envelope]) {
    let is_marker = |envelope: &Envelope| matches!(envelope.message.body, Body::Marker(_));
    for last in 1..messages.len() {
        let mut at = last;
        while at > 0 && is_marker(&messages[at]) && !is_marker(&messages[at - 1]) {
            let (before, after) = (messages[at - 1].seq, messages[at].seq);
            messages.swap(at - 1, at);
            (messages[at - 1].seq, messages[at].seq) = (before, after);
            at -= 1;
        }
    }
}
