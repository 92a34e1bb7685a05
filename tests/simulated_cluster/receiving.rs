//! The receiving end of a stream: hello, welcome, agreed, and only then messages; one stream at a time uses the end of
//! a channel. As `transport/inbound.rs` and `transport/stream_slot.rs`; only a peer whose store was wiped is refused, and
//! tries again.

use std::collections::VecDeque;

use snapledger::process::channel::ChannelDigest;
use snapledger::process::event::{Handshake, Input};
use snapledger::process::refusal::Refusal;
use snapledger::proto::snapledger::{Welcome, ack, frame};
use snapledger::transport::wire::{digest_to_wire, identity_to_wire};

use crate::handshake::CLUSTER;
use crate::node::Asker;
use crate::plan::MS;
use crate::stream::StreamId;
use crate::world::{Checked, Event, Life, World};

/// So long it may take until a stream that is to leave has left.
const LEAVING_MAX: u64 = 30 * MS;

/// How far the receiving end of a stream is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum ReceivingEnd {
    /// The hello has not come.
    #[default]
    Silent,
    /// It is being compared.
    Greeted(Handshake),
    /// The sender is to compare, too.
    Welcomed(Handshake, ChannelDigest),
    /// It has; now an older stream has to leave, and nothing may have come over it meanwhile.
    Entering(Handshake, ChannelDigest),
    /// Messages are taken.
    Open,
    /// Nothing is read any more.
    Ended,
}

/// Who uses the receiving end of a channel, by the numbers of their streams.
#[derive(Default)]
pub(crate) struct Entrance {
    holder: Option<u64>,
    entering: Option<u64>,
    waiting: VecDeque<u64>,
}

impl ReceivingEnd {
    fn reads(&self) -> bool {
        !matches!(self, Self::Greeted(_) | Self::Entering(..))
    }
}

impl World {
    /// Takes frames in order, as far as the receiving end reads: what comes while it compares waits.
    pub(crate) fn read(&mut self, life: Life, id: StreamId) -> Checked {
        while self.stream(id).is_some_and(|stream| stream.at.reads()) {
            let newest = self.stream(id).and_then(|stream| stream.newest_unread());
            if self.is_too_early(life, id, newest) {
                return Ok(());
            }
            let Some((frame, at)) = self
                .stream(id)
                .and_then(|stream| Some((stream.unread.pop_front()?, stream.at.clone())))
            else {
                return Ok(());
            };
            match (at, frame) {
                (ReceivingEnd::Silent, frame::Body::Hello(hello)) => {
                    self.meet_sender(life, id, hello)?;
                }
                (ReceivingEnd::Welcomed(meeting, delivered), frame::Body::Agreed(_)) => {
                    self.put(id, ReceivingEnd::Entering(meeting, delivered));
                    self.enter(id);
                }
                (ReceivingEnd::Open, frame::Body::Messages(messages)) => {
                    self.deliver(life, id, messages)?;
                }
                // As the real one: what is no message is passed over.
                (ReceivingEnd::Open, frame::Body::Agreed(_)) => {}
                (ReceivingEnd::Ended, _) => {
                    self.sometimes.saw("frame of an evicted stream dropped");
                }
                (at, frame) => return Err(format!("{id:?} is {at:?} and reads {frame:?}")),
            }
        }
        Ok(())
    }

    pub(crate) fn put(&mut self, id: StreamId, at: ReceivingEnd) {
        if let Some(stream) = self.stream(id) {
            stream.at = at;
        }
    }

    fn receiving(&mut self, id: StreamId) -> ReceivingEnd {
        let at = self.stream(id).map(|stream| stream.at.clone());
        at.unwrap_or(ReceivingEnd::Ended)
    }

    /// The hello was compared: the receiving end says what it has.
    pub(crate) fn welcome(
        &mut self,
        life: Life,
        id: StreamId,
        met: Result<ChannelDigest, Refusal>,
    ) -> Checked {
        let ReceivingEnd::Greeted(meeting) = self.receiving(id) else {
            return Ok(());
        };
        let delivered = match met {
            Ok(delivered) => delivered,
            Err(refusal) => return self.turn_away(id, &refusal),
        };
        self.put(id, ReceivingEnd::Welcomed(meeting, delivered));
        let (me, identity) = (self.id(life.place), self.identity(life.place));
        let welcome = Welcome {
            receiver: Some(identity_to_wire(CLUSTER, me, identity)),
            delivered: Some(digest_to_wire(delivered)),
            clocks: Some(self.clocks_of(life.place)?),
            known: None, // as in the hello
        };
        self.send_ack(id, ack::Body::Welcome(welcome));
        self.read(life, id)
    }

    // Whoever uses the end leaves, and takes its time; of those who want in, one goes after the other.
    fn enter(&mut self, id: StreamId) {
        let delay = self.random.below(LEAVING_MAX);
        let Some(receiver) = self.stream(id).map(|stream| stream.receiver) else {
            return;
        };
        let entrance = self.entrance(id);
        if entrance.entering.is_some() {
            entrance.waiting.push_back(id.number);
            self.sometimes.saw("stream that waits at the entrance");
            return;
        }
        entrance.entering = Some(id.number);
        self.after(delay, Event::Entered(receiver, id));
    }

    fn evict(&mut self, held: StreamId, by: StreamId) {
        self.sometimes.saw(if held.number < by.number {
            "stream evicted by a newer one"
        } else {
            "stream evicted by a late agreement"
        });
        self.put(held, ReceivingEnd::Ended);
        self.break_stream(held);
    }

    /// Only now, with nobody else there: what is delivered must still be what the sender agreed to.
    pub(crate) fn admit(&mut self, life: Life, id: StreamId) -> Checked {
        if self.alive(life).is_none() {
            return Ok(());
        }
        let holder = self.entrance(id).holder.replace(id.number);
        let held = holder.map(|number| StreamId { number, ..id });
        if let Some(held) = held.filter(|held| self.receiving(*held) == ReceivingEnd::Open) {
            self.evict(held, id);
        }
        self.trace.say(|| format!("enter {id:?}"));
        let ReceivingEnd::Entering(meeting, _) = self.receiving(id) else {
            return Err(format!("{id:?} enters without an agreement"));
        };
        self.enqueue(
            life,
            Input::Handshake(Box::new(meeting)),
            Some(Asker::Entered(id)),
        );
        Ok(())
    }

    // The next one of those who wait.
    fn let_in(&mut self, id: StreamId) {
        let entrance = self.entrance(id);
        entrance.entering = None;
        if let Some(number) = entrance.waiting.pop_front() {
            self.enter(StreamId { number, ..id });
        }
    }

    /// It was compared once more: the peer is remembered, unless something came in between.
    pub(crate) fn entered(
        &mut self,
        life: Life,
        id: StreamId,
        met: Result<ChannelDigest, Refusal>,
    ) -> Checked {
        let ReceivingEnd::Entering(meeting, before) = self.receiving(id) else {
            return Ok(());
        };
        match met {
            Err(refusal) => return self.turn_away(id, &refusal),
            Ok(delivered) if delivered != before => {
                self.sometimes
                    .saw("older stream delivered between welcome and agreement");
                self.end(id);
                return Ok(());
            }
            Ok(_) => {}
        }
        let agreed = Handshake {
            agreed: true,
            ..meeting
        };
        self.enqueue(
            life,
            Input::Handshake(Box::new(agreed)),
            Some(Asker::Agreed(id)),
        );
        Ok(())
    }

    /// The peer is remembered: messages are taken.
    pub(crate) fn agreed(
        &mut self,
        life: Life,
        id: StreamId,
        met: Result<ChannelDigest, Refusal>,
    ) -> Checked {
        if let Err(refusal) = met {
            return self.turn_away(id, &refusal);
        }
        self.put(id, ReceivingEnd::Open);
        self.let_in(id);
        self.read(life, id)
    }

    // Only the hello of a stream that is gone is refused: it comes late, and says what was true once.
    fn turn_away(&mut self, id: StreamId, refusal: &Refusal) -> Checked {
        if self.may_contradict(id.route) {
            self.sometimes.saw("another store refused");
            self.end(id);
            return Ok(());
        }
        if self.is_current(id) {
            return Err(format!("{id:?} was not welcome: {refusal}"));
        }
        match refusal {
            Refusal::OlderBoot { .. } => self.sometimes.saw("peer of an older boot refused"),
            Refusal::Diverged { .. } => self.sometimes.saw("late hello overtaken by deliveries"),
            _ => return Err(format!("{id:?}, which is gone, was refused: {refusal}")),
        }
        self.end(id);
        Ok(())
    }

    fn end(&mut self, id: StreamId) {
        self.put(id, ReceivingEnd::Ended);
        self.break_stream(id);
        if self.entrance(id).entering == Some(id.number) {
            self.entrance(id).holder = None;
            self.let_in(id);
        }
    }

    fn entrance(&mut self, id: StreamId) -> &mut Entrance {
        &mut self.channels.entry(id.route).or_default().entrance
    }
}
