//! The receiving ends of the streams: the real `channel::receiver`, with its actions executed over the simulated network.

use std::collections::VecDeque;

use prost::Message as _;
use snapledger::channel::receiver::{Action, Event as ReceiverEvent, Receiver};
use snapledger::channel::{Closed, Envelope, Welcome};
use snapledger::process::channel::ChannelDigest;
use snapledger::process::ids::{ProcessId, Seq};
use snapledger::process::input::Input;
use snapledger::process::refusal::Refusal;
use snapledger::proto::snapledger as wire;
use snapledger::proto::snapledger::ack;
use snapledger::transport::wire::{frame_from_wire, welcome_to_wire};

use crate::network::StreamId;
use crate::node::Asker;
use crate::plan::{MS, Plan};
use crate::sending::Surroundings;
use crate::world::{Checked, Event, Life, World};

/// The messages of a frame that wait until the archive has caught up.
pub(crate) struct Postponed {
    stream: StreamId,
    together: Vec<Input>,
}

/// The receiving end of one stream.
pub(crate) struct ReceivingEnd {
    pub(crate) receiver: Receiver,
    /// The frames that have arrived and are unread; `None` is the end of the stream.
    pub(crate) unread: VecDeque<Option<Vec<u8>>>,
    /// The number of timers so far; only the newest can elapse.
    timer: u64,
    /// Whether the sender was asked to compare.
    is_welcomed: bool,
    is_closed: bool,
}

impl ReceivingEnd {
    pub(crate) fn new(me: ProcessId, plan: &Plan) -> Self {
        Self {
            receiver: Receiver::new(me, plan.unsettled_max),
            unread: VecDeque::new(),
            timer: 0,
            is_welcomed: false,
            is_closed: false,
        }
    }

    /// Whether the sender was asked to agree and has not answered.
    pub(crate) fn is_asked_to_agree(&self) -> bool {
        self.is_welcomed && self.receiver.reads() && !self.receiver.is_open()
    }

    pub(crate) fn is_over(&self) -> bool {
        self.is_closed && self.unread.is_empty()
    }
}

impl World {
    /// Passes an event to a receiving end, executes all actions that follow, then reads on.
    pub(crate) fn receiving(&mut self, id: StreamId, event: ReceiverEvent) -> Checked {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let Some((life, actions)) = self.handle_receiving(id, event) else {
                return Ok(());
            };
            for action in actions {
                events.extend(self.execute_receiving(life, id, action)?);
            }
            if events.is_empty() {
                events.extend(self.read_on(life, id)?);
            }
        }
        Ok(())
    }

    fn handle_receiving(
        &mut self,
        id: StreamId,
        event: ReceiverEvent,
    ) -> Option<(Life, Vec<Action>)> {
        let (now, follows_all) = (self.reading(id.route.1), self.follows_all());
        let stream = self
            .channels
            .get_mut(&id.route)?
            .streams
            .get_mut(&id.number)?;
        let life = stream.receiver;
        let node = &mut self.nodes[life.place];
        let alive = node.life.as_mut().filter(|_| node.boot == life.boot)?;
        let before = alive.links.slot_changes();
        let mut node = Surroundings {
            links: &mut alive.links,
            wall: &alive.wall,
            now,
            follows_all,
            window: None,
        };
        let receiver = &mut stream.end.receiver;
        receiver.handle(event, &mut node);
        let actions = std::iter::from_fn(|| receiver.poll()).collect();
        let waits = receiver.waits_for_place();
        let has_changed = alive.links.slot_changes() != before;
        if waits {
            self.sometimes.saw("stream that waits for its place");
        }
        if has_changed {
            self.wake_waiting(life);
        }
        Some((life, actions))
    }

    fn execute_receiving(
        &mut self,
        life: Life,
        id: StreamId,
        action: Action,
    ) -> Checked<Option<ReceiverEvent>> {
        match action {
            Action::Learn { .. } => return Ok(Some(ReceiverEvent::Learnt(Ok(())))),
            Action::Compare(handshake) => self.compare(life, *handshake, Asker::Receiving(id)),
            Action::Welcome { peer, delivered } => {
                self.welcome(life, id, &peer, delivered)?;
                return Ok(Some(ReceiverEvent::Sent));
            }
            Action::Deliver { from, messages } => {
                self.deliver(life, id, &from, messages);
                return Ok(Some(ReceiverEvent::HandedOn(Ok(()))));
            }
            Action::Acknowledge(seq) => {
                self.acknowledge(id, seq);
                return Ok(Some(ReceiverEvent::Sent));
            }
            Action::Refuse(reason) => {
                self.send_ack(id, ack::Body::Refusal(wire::Refusal { reason }));
            }
            Action::Close(why) => self.close(id, &why)?,
            Action::Arm { after_ms } => {
                let timer = self.receiver_clock(id);
                self.after(after_ms * MS, Event::ReceiverTimer(life, id, timer));
                if self
                    .stream(id)
                    .is_some_and(|stream| stream.end.receiver.is_open())
                {
                    self.sometimes.saw("message that waits for the clock");
                }
            }
            Action::Disarm => {
                self.receiver_clock(id);
                self.trace.say(|| format!("open {id:?}"));
            }
        }
        Ok(None)
    }

    // The number of the next timer; the one before is ignored when it elapses.
    fn receiver_clock(&mut self, id: StreamId) -> u64 {
        self.stream(id).map_or(0, |stream| {
            stream.end.timer += 1;
            stream.end.timer
        })
    }

    pub(crate) fn receiver_timer(&mut self, id: StreamId, timer: u64) -> Checked {
        match self
            .stream(id)
            .is_some_and(|stream| stream.end.timer == timer)
        {
            true => self.receiving(id, ReceiverEvent::Elapsed),
            false => Ok(()),
        }
    }

    /// Handles the arrival of a frame, or of the end of the stream, at the receiving end.
    pub(crate) fn frame_arrives(&mut self, id: StreamId) -> Checked {
        let now = self.now;
        let Some(stream) = self.stream(id) else {
            return Ok(());
        };
        let (sender, receiver) = (stream.sender, stream.receiver);
        let Some(frame) = stream.arrived(now) else {
            return Ok(());
        };
        let (is_frame, is_closed) = (frame.is_some(), stream.end.is_closed);
        stream.end.unread.push_back(frame);
        if self.alive(receiver).is_none() {
            return Ok(());
        }
        let current = StreamId {
            number: self.channels[&id.route].current,
            ..id
        };
        if is_frame && !self.is_current(id) && self.is_sending(sender, current) {
            self.sometimes
                .saw("frame of an old stream after the new one opened");
        }
        if is_frame && is_closed {
            self.sometimes.saw("frame of an evicted stream dropped");
        }
        match self.read_on(receiver, id)? {
            Some(event) => self.receiving(id, event),
            None => Ok(()),
        }
    }

    // The next frame, if the receiving end reads.
    fn read_on(&mut self, life: Life, id: StreamId) -> Checked<Option<ReceiverEvent>> {
        let local = self.local(life.place);
        let Some(end) = self.stream(id).map(|stream| &mut stream.end) else {
            return Ok(None);
        };
        if end.is_closed {
            end.unread.clear();
        }
        if !end.receiver.reads() {
            return Ok(None);
        }
        let event = match end.unread.pop_front() {
            None => return Ok(None),
            Some(None) => {
                let ended = Closed::Broken("the sender closed the stream".to_owned());
                ReceiverEvent::Closed(ended)
            }
            Some(Some(bytes)) => {
                let frame = wire::Frame::decode(&bytes[..]).map_err(|error| error.to_string())?;
                ReceiverEvent::Frame(frame_from_wire(&local, frame))
            }
        };
        Ok(Some(event))
    }

    fn welcome(
        &mut self,
        life: Life,
        id: StreamId,
        peer: &ProcessId,
        delivered: ChannelDigest,
    ) -> Checked {
        let local = self.local(life.place);
        let welcome = Welcome {
            receiver: local.process.clone(),
            identity: local.identity,
            delivered,
            clocks: self.clocks_of(life.place)?,
            known: None, // as in the hello
        };
        self.send_ack(
            id,
            ack::Body::Welcome(welcome_to_wire(&local, peer, &welcome)),
        );
        if let Some(stream) = self.stream(id) {
            stream.end.is_welcomed = true;
        }
        Ok(())
    }

    fn deliver(&mut self, life: Life, id: StreamId, from: &ProcessId, messages: Vec<Envelope>) {
        let alive = self.alive(life);
        let incoming = alive.and_then(|alive| alive.process.registers().incoming.get(from));
        let delivered = incoming.map_or(Seq(0), |channel| channel.delivered.sequence);
        if messages.iter().any(|envelope| envelope.seq <= delivered) {
            self.sometimes.saw("duplicate dropped");
        }
        let together = messages.into_iter().map(|envelope| Input::Arrived {
            from: from.clone(),
            seq: envelope.seq,
            time: envelope.time,
            message: envelope.message,
        });
        let together = together.collect();
        let is_behind = self.is_behind(life);
        let Some(alive) = self.alive(life) else {
            return;
        };
        if !is_behind && alive.postponed.is_empty() {
            self.enqueue_together(life, together, Some(Asker::Frame(id)));
            return;
        }
        let stream = id;
        alive.postponed.push_back(Postponed { stream, together });
        self.sometimes
            .saw("message that waits for the archive to catch up");
    }

    /// Takes up the messages that have waited for the archive.
    pub(crate) fn take_postponed(&mut self, life: Life) {
        let alive = self.alive(life);
        let postponed = alive.map(|alive| std::mem::take(&mut alive.postponed));
        for Postponed { stream, together } in postponed.unwrap_or_default() {
            self.enqueue_together(life, together, Some(Asker::Frame(stream)));
        }
    }

    // Acknowledges the messages of a frame that are durable; the acknowledgement may be lost.
    fn acknowledge(&mut self, id: StreamId, seq: Seq) {
        if !self.is_healed && self.is_current(id) && self.plan.lost_ack.strikes(&mut self.random) {
            self.sometimes
                .saw("acknowledgement lost after a durable apply");
            return self.break_stream(id);
        }
        self.send_ack(id, ack::Body::Delivered(seq.0));
    }

    // Only a peer of a lost store, or an old stream, may refuse a sender.
    fn close(&mut self, id: StreamId, why: &Closed) -> Checked {
        self.trace.say(|| format!("close {id:?}: {why}"));
        let (is_current, is_of_zombie) = (self.is_current(id), self.is_of_zombie(id));
        if why.to_string() == "a newer stream replaces this one" {
            self.note_eviction(id);
        }
        match why.to_string().as_str() {
            "messages of an older stream were delivered in between" => self
                .sometimes
                .saw("older stream delivered between welcome and agreement"),
            "a newer stream has delivered more than this one states" => {
                self.sometimes.saw("late hello overtaken by deliveries");
            }
            "no handshake was received" => self.sometimes.saw("handshake that took too long"),
            "the first frame is not a hello" | "the sender did not agree"
                if !self.may_contradict(id.route) && !self.is_of_zombie(id) =>
            {
                return Err(format!("{id:?}: {why}"));
            }
            _ => {}
        }
        if let Some(stream) = self.stream(id) {
            stream.end.is_closed = true;
        }
        self.close_stream(id);
        match why {
            Closed::Stopped(_) if self.may_contradict(id.route) => {
                self.sometimes.saw("another store refused");
                Ok(())
            }
            Closed::Stopped(why) if is_current && !is_of_zombie => {
                Err(format!("{id:?} was not welcome: {why}"))
            }
            Closed::Stopped(_) | Closed::Broken(_) => Ok(()),
        }
    }

    // Notes that an open stream ends for a waiting one.
    fn note_eviction(&mut self, id: StreamId) {
        let streams = self.channels[&id.route].streams.iter();
        let mut waiting = streams.filter(|(_, stream)| stream.end.receiver.waits_for_place());
        let is_newer = waiting.any(|(number, _)| *number > id.number);
        self.sometimes.saw(match is_newer {
            true => "stream evicted by a newer one",
            false => "stream evicted by a late agreement",
        });
    }

    /// Passes the turn's comparison to the receiving end.
    pub(crate) fn receiver_compared(
        &mut self,
        id: StreamId,
        compared: Result<ChannelDigest, Refusal>,
    ) -> Checked {
        if matches!(compared, Err(Refusal::OlderBoot { .. })) && !self.is_current(id) {
            self.sometimes.saw("peer of an older boot refused");
        }
        let compared = compared.map_err(|refusal| Closed::Stopped(refusal.to_string()));
        self.receiving(id, ReceiverEvent::Compared(compared))
    }

    /// Handles that the messages of a frame are durable or refused.
    pub(crate) fn settled(&mut self, id: StreamId, arrived: Result<Seq, Refusal>) -> Checked {
        if let Err(refusal) = &arrived
            && !self.may_contradict(id.route)
            && !self.is_of_zombie(id)
        {
            return Err(format!("{id:?}: {refusal}"));
        }
        let settled = arrived.map_err(|refusal| Closed::Stopped(refusal.to_string()));
        self.receiving(id, ReceiverEvent::Settled(settled))
    }
}
