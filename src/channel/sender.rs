//! The sending end of a channel: connects, compares, continues after what the receiver has delivered, bounds the number of
//! unacknowledged messages, and reconnects after a pause when the stream ends.
//!
//! Only waiting for the other end or the turn has a time limit; reading a long journal has none. During the reads of the
//! handshake the stream is not polled: if its end aborted them, the next stream would have to repeat them.

use std::collections::VecDeque;

use super::links::LinkTable;
use super::{Ack, Backoff, Closed, Envelope, HANDSHAKE_MAX_MS, Host, Welcome};
use crate::process::channel::ChannelDigest;
use crate::process::handshake::{Claim, Handshake};
use crate::process::identity::Identity;
use crate::process::ids::{ChannelId, Seq};

/// The default maximum of unacknowledged messages.
pub const UNACKNOWLEDGED_MAX: u64 = 16_384;

/// The node, as a sending end queries it.
pub trait SendingHost: Host {
    /// The newest message that may be sent.
    fn newest(&self) -> Seq;

    /// The newest sequence number known to be delivered.
    fn acknowledged(&self) -> Seq;
}

/// An event for a sending end.
#[derive(Debug)]
pub enum Event {
    /// The timer has elapsed. Also the first event of a sending end.
    Elapsed,
    /// An answer has arrived from the receiver.
    Ack(Ack),
    /// The stream could not be opened, or has ended.
    Closed(Closed),
    /// [`Action::Learn`] is done.
    Learnt(Result<(), Closed>),
    /// [`Action::Count`] is done.
    Counted(Result<ChannelDigest, Closed>),
    /// The result of [`Action::Peek`]: an answer or the end of the stream, if either has arrived.
    Peeked(Option<Result<Ack, Closed>>),
    /// [`Action::Compare`] is done.
    Compared(Result<ChannelDigest, Closed>),
    /// The connection has taken the frame of [`Action::Agree`], [`Action::Send`] or [`Action::Refuse`].
    Sent,
    /// [`Action::Acknowledge`] is done for this sequence number.
    Acknowledged(Seq),
    /// [`Action::Read`] is done.
    Read(Result<Vec<Envelope>, Closed>),
    /// A newer message than [`Sender::waits_behind`] may be sent.
    Newer,
    /// The slots of streams have changed.
    SlotsChanged,
}

/// An action of a sending end.
#[derive(Debug)]
pub enum Action {
    /// Open a stream with a hello. Answered by [`Event::Ack`] or [`Event::Closed`].
    Connect,
    /// Report to the node the peer's record of its store, before the peer can record its present start.
    Learn(Identity),
    /// Compute the digest of what was sent up to this sequence number, or in total if that is less.
    Count(Seq),
    /// Check without waiting whether anything has arrived from the receiver.
    Peek,
    /// Have the turn compare.
    Compare(Box<Handshake>),
    /// Send that this end agrees.
    Agree,
    /// Pass an acknowledgement to the turn. A failure is reported as [`Event::Closed`].
    Acknowledge(Seq),
    /// Read some messages right after this sequence number.
    Read(Seq),
    /// Send messages.
    Send(Vec<Envelope>),
    /// Send the reason why this end refuses the receiver.
    Refuse(String),
    /// Drop the stream and everything pending for it.
    Disconnect(Closed),
    /// Restart the timer.
    Arm {
        /// The duration, milliseconds from now.
        after_ms: u64,
    },
    /// Stop the timer.
    Disarm,
}

/// The sending end of one channel.
#[derive(Debug)]
pub struct Sender {
    channel: ChannelId,
    unacknowledged_max: u64,
    stage: Stage,
    backoff: Backoff,
    /// The acknowledged sequence number at the start of this attempt.
    acknowledged_before: Seq,
    actions: VecDeque<Action>,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Pausing,
    /// The hello is being sent and answered.
    Greeting,
    /// The node receives the receiver's record of its store.
    Learning(Box<Welcome>),
    /// The digest at the receiver's sequence number is being computed.
    Counting(Box<Welcome>),
    /// Checks whether the receiver has given up waiting in the meantime.
    Peeking(Box<Welcome>, ChannelDigest),
    /// The turn compares.
    Comparing(Peer),
    /// The agreement is sent, and the receiver's sequence number is passed to the turn.
    Agreeing(Peer, Seq),
    /// The first messages are read before the channel opens. Otherwise a channel with a damaged next message would open and
    /// stop repeatedly.
    Filling(Peer, Seq),
    Open(Open),
    /// The receiver is told the reason; it ends the stream after reading it.
    Refusing(String),
}

/// The receiving process in its present run.
#[derive(Debug, Clone, Copy)]
struct Peer {
    run: u64,
    /// Drawn before the contradictions of the reversed channel were checked.
    ticket: u64,
}

#[derive(Debug)]
struct Open {
    peer: Peer,
    generation: u64,
    sent: Seq,
    acknowledged: Seq,
    step: Step,
}

/// The state of an open stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Waits for a newer message.
    Idle,
    /// Waits for acknowledgements.
    Full,
    Reading,
    Sending,
}

impl Sender {
    /// A sending end before its first attempt. Its first event must be [`Event::Elapsed`].
    #[must_use]
    pub fn new(channel: ChannelId, unacknowledged_max: u64) -> Self {
        Self {
            channel,
            unacknowledged_max,
            stage: Stage::Pausing,
            backoff: Backoff::default(),
            acknowledged_before: Seq::default(),
            actions: VecDeque::new(),
        }
    }

    /// The next action to execute.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether answers and the end of the stream are to be reported now.
    #[must_use]
    pub fn listens(&self) -> bool {
        let stage = &self.stage;
        matches!(stage, Stage::Greeting | Stage::Open(_) | Stage::Refusing(_))
    }

    /// The sequence number of the last message sent, if the stream waits for a newer message.
    #[must_use]
    pub fn waits_behind(&self) -> Option<Seq> {
        match &self.stage {
            Stage::Open(open) if open.step == Step::Idle => Some(open.sent),
            _ => None,
        }
    }

    /// Whether the stream is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Handles an event. Events of an earlier stage or stream are ignored.
    pub fn handle(&mut self, event: Event, host: &mut impl SendingHost) {
        match (std::mem::take(&mut self.stage), event) {
            (Stage::Open(open), event) => self.go_on(open, event, host),
            (Stage::Pausing, Event::Elapsed) => {
                self.acknowledged_before = host.acknowledged();
                self.enter(Stage::Greeting, Some(Action::Connect), HANDSHAKE_MAX_MS);
            }
            (Stage::Greeting, Event::Ack(ack)) => self.welcomed(ack, host),
            (Stage::Learning(welcome), Event::Learnt(learnt)) => match learnt {
                Ok(()) => self.count(welcome),
                Err(why) => self.give_up(why, host),
            },
            (Stage::Counting(welcome), Event::Counted(counted)) => match counted {
                Ok(here) => {
                    self.stage = Stage::Peeking(welcome, here);
                    self.actions.push_back(Action::Peek);
                }
                Err(why) => self.give_up(why, host),
            },
            (Stage::Peeking(welcome, here), Event::Peeked(answer)) => match answer {
                None => self.compare(*welcome, here, host),
                Some(ack) => self.give_up(instead_of_waiting(ack), host),
            },
            (Stage::Comparing(peer), Event::Compared(compared)) => {
                self.compared(peer, compared, host);
            }
            (stage @ Stage::Agreeing(_, delivered), Event::Sent) => {
                self.stage = stage;
                self.actions.push_back(Action::Acknowledge(delivered));
            }
            (Stage::Agreeing(peer, delivered), Event::Acknowledged(_)) => {
                self.actions.push_back(Action::Disarm);
                match host.newest() > delivered {
                    true => {
                        self.stage = Stage::Filling(peer, delivered);
                        self.actions.push_back(Action::Read(delivered));
                    }
                    false => self.open(peer, delivered, Vec::new(), host),
                }
            }
            (Stage::Filling(peer, delivered), Event::Read(read)) => match read {
                Ok(first) if first.is_empty() => self.fail(not_in_journal(delivered), host),
                Ok(first) => self.open(peer, delivered, first, host),
                Err(why) => self.fail(why, host),
            },
            (Stage::Refusing(reason), Event::Closed(_) | Event::Elapsed) => {
                self.fail(Closed::Stopped(reason), host);
            }
            (stage @ (Stage::Pausing | Stage::Refusing(_)), _) => self.stage = stage,
            (_, Event::Closed(why)) => self.fail(why, host),
            (Stage::Greeting | Stage::Comparing(_) | Stage::Agreeing(..), Event::Elapsed) => {
                self.fail(broken("no answer to the handshake"), host);
            }
            (stage, _) => self.stage = stage,
        }
    }

    // Enters a stage with a time limit.
    fn enter(&mut self, stage: Stage, action: Option<Action>, after_ms: u64) {
        self.stage = stage;
        self.actions.extend(action);
        self.actions.push_back(Action::Arm { after_ms });
    }

    fn welcomed(&mut self, ack: Ack, host: &mut impl SendingHost) {
        self.actions.push_back(Action::Disarm);
        let welcome = match ack {
            Ack::Welcome(Ok(welcome)) => welcome,
            Ack::Welcome(Err(reason)) => return self.give_up(Closed::Stopped(reason), host),
            Ack::Refusal(reason) => return self.fail(Closed::Stopped(reason), host),
            Ack::Delivered(_) | Ack::Unknown => {
                return self.fail(broken("no welcome was received"), host);
            }
        };
        let (receiver, to) = (&welcome.receiver, &self.channel.to);
        if receiver != to {
            let sentence = format!("process {receiver:?} answers at the address of {to:?}");
            return self.give_up(Closed::Stopped(sentence), host);
        }
        match welcome.known {
            Some(known) => {
                self.stage = Stage::Learning(Box::new(welcome));
                self.actions.push_back(Action::Learn(known));
            }
            None => self.count(Box::new(welcome)),
        }
    }

    fn count(&mut self, welcome: Box<Welcome>) {
        let number = welcome.delivered.flow.sequence;
        self.stage = Stage::Counting(welcome);
        self.actions.push_back(Action::Count(number));
    }

    // Has the turn compare the receiver's welcome with this end.
    fn compare(&mut self, welcome: Welcome, here: ChannelDigest, host: &mut impl SendingHost) {
        let (clocks, unfollowed) = welcome.clocks.followed(host);
        let (channel, run) = (&self.channel, welcome.identity.run);
        let ticket = host.links(|links| links.ticket(channel));
        if let Some(held) = host.links(|links| links.held(channel, run)) {
            return self.give_up(held, host);
        }
        let handshake = Handshake {
            peer: welcome.receiver,
            identity: welcome.identity,
            clocks,
            unfollowed,
            claim: Claim::Receiver {
                delivered: welcome.delivered,
                here,
            },
            agreed: true,
        };
        let action = Action::Compare(Box::new(handshake));
        let stage = Stage::Comparing(Peer { run, ticket });
        self.enter(stage, Some(action), HANDSHAKE_MAX_MS);
    }

    fn compared(
        &mut self,
        peer: Peer,
        compared: Result<ChannelDigest, Closed>,
        host: &mut impl SendingHost,
    ) {
        match compared {
            Ok(agreed) => {
                let stage = Stage::Agreeing(peer, agreed.flow.sequence);
                self.enter(stage, Some(Action::Agree), HANDSHAKE_MAX_MS);
            }
            Err(why) => {
                if let Closed::Stopped(why) = &why {
                    host.links(|links| links.contradict(&self.channel, peer.run, why));
                }
                self.give_up(why, host);
            }
        }
    }

    fn open(
        &mut self,
        peer: Peer,
        delivered: Seq,
        first: Vec<Envelope>,
        host: &mut impl SendingHost,
    ) {
        let generation = host.links(|links| links.open(&self.channel));
        let mut open = Open {
            peer,
            generation,
            sent: delivered,
            acknowledged: delivered,
            step: Step::Idle,
        };
        match first.is_empty() {
            true => self.look(&mut open, host),
            false => self.send(&mut open, first),
        }
        self.end_if_evicted(open, host);
    }

    fn go_on(&mut self, mut open: Open, event: Event, host: &mut impl SendingHost) {
        match event {
            Event::Read(Ok(envelopes)) if envelopes.is_empty() => {
                let why = not_in_journal(open.sent);
                return self.end(&open, why, host);
            }
            Event::Read(Ok(envelopes)) => self.send(&mut open, envelopes),
            Event::Sent | Event::Newer => self.look(&mut open, host),
            Event::Ack(Ack::Delivered(seq)) => self.actions.push_back(Action::Acknowledge(seq)),
            Event::Acknowledged(seq) => {
                open.acknowledged = seq;
                if open.step == Step::Full {
                    self.look(&mut open, host);
                }
            }
            Event::Ack(Ack::Refusal(reason)) => {
                return self.end(&open, Closed::Stopped(reason), host);
            }
            Event::Read(Err(why)) | Event::Closed(why) => return self.end(&open, why, host),
            Event::SlotsChanged => return self.end_if_evicted(open, host),
            Event::Elapsed
            | Event::Ack(Ack::Welcome(_) | Ack::Unknown)
            | Event::Learnt(_)
            | Event::Counted(_)
            | Event::Peeked(_)
            | Event::Compared(_) => {}
        }
        self.stage = Stage::Open(open);
    }

    // Reads on, unless too many messages are unacknowledged.
    fn look(&mut self, open: &mut Open, host: &impl SendingHost) {
        open.step = if host.newest() <= open.sent {
            Step::Idle
        } else if open.sent.0 >= open.acknowledged.0.saturating_add(self.unacknowledged_max) {
            Step::Full
        } else {
            self.actions.push_back(Action::Read(open.sent));
            Step::Reading
        };
    }

    fn send(&mut self, open: &mut Open, envelopes: Vec<Envelope>) {
        open.sent = envelopes.last().map_or(open.sent, |last| last.seq);
        open.step = Step::Sending;
        self.actions.push_back(Action::Send(envelopes));
    }

    fn end_if_evicted(&mut self, open: Open, host: &mut impl SendingHost) {
        let (channel, Peer { run, ticket }) = (&self.channel, open.peer);
        let why = host.links(|links: &mut LinkTable| {
            let evicted = || broken("the other channel is stopped");
            links
                .is_evicted(channel, ticket)
                .then(|| links.held(channel, run).unwrap_or_else(evicted))
        });
        match why {
            Some(why) => self.end(&open, why, host),
            None => self.stage = Stage::Open(open),
        }
    }

    // Ends an open stream.
    fn end(&mut self, open: &Open, why: Closed, host: &mut impl SendingHost) {
        host.links(|links| links.end(&self.channel, open.generation, &why));
        self.disconnect(why, host);
    }

    // Ends the handshake; tells the receiver the reason if this end found a contradiction.
    fn give_up(&mut self, why: Closed, host: &mut impl SendingHost) {
        match why {
            Closed::Stopped(reason) => {
                let action = Action::Refuse(reason.clone());
                self.enter(Stage::Refusing(reason), Some(action), HANDSHAKE_MAX_MS);
            }
            broken @ Closed::Broken(_) => self.fail(broken, host),
        }
    }

    // Ends a stream that was not open yet.
    fn fail(&mut self, why: Closed, host: &mut impl SendingHost) {
        host.links(|links| links.fail(&self.channel, &why));
        self.disconnect(why, host);
    }

    fn disconnect(&mut self, why: Closed, host: &impl SendingHost) {
        let has_delivered = host.acknowledged() > self.acknowledged_before;
        let after_ms = self.backoff.pause_ms(&why, has_delivered);
        self.actions.clear();
        self.enter(Stage::Pausing, Some(Action::Disconnect(why)), after_ms);
    }
}

// The receiver must not send anything until this end has compared.
fn instead_of_waiting(answer: Result<Ack, Closed>) -> Closed {
    match answer {
        Err(why) => why,
        Ok(Ack::Refusal(reason)) => Closed::Stopped(reason),
        Ok(Ack::Welcome(_) | Ack::Delivered(_) | Ack::Unknown) => {
            broken("the receiver did not wait")
        }
    }
}

fn not_in_journal(sent: Seq) -> Closed {
    Closed::Broken(format!("message {} is not in the journal", sent.next()))
}

fn broken(why: &str) -> Closed {
    Closed::Broken(why.to_owned())
}

#[cfg(test)]
#[path = "sender_tests.rs"]
mod tests;
