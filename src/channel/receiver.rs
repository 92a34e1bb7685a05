//! The receiving end of a stream: answers the handshake, waits for exclusive use of the receiving end of the channel, passes
//! messages to the turn in order, and acknowledges what is durable.

use std::collections::VecDeque;

use super::links::LinkTable;
use super::{Closed, Envelope, Frame, HANDSHAKE_MAX_MS, Hello, Host};
use crate::process::channel::ChannelDigest;
use crate::process::handshake::{Claim, Handshake};
use crate::process::identity::Identity;
use crate::process::ids::{ChannelId, ProcessId, Seq};

/// The default maximum of frames whose turn is not durable; beyond it the sender must wait.
pub const UNSETTLED_MAX: usize = 32;
/// The interval at which a message that is too early is checked again, milliseconds.
const EARLY_LOOK_EVERY_MS: u64 = 50;

/// An event for a receiving end.
#[derive(Debug)]
pub enum Event {
    /// The timer has elapsed.
    Elapsed,
    /// A frame has arrived from the sender.
    Frame(Frame),
    /// The stream has ended.
    Closed(Closed),
    /// [`Action::Learn`] is done.
    Learnt(Result<(), Closed>),
    /// [`Action::Compare`] is done.
    Compared(Result<ChannelDigest, Closed>),
    /// The connection has taken the answer of [`Action::Welcome`] or [`Action::Acknowledge`].
    Sent,
    /// [`Action::Deliver`] is done: the messages are in the queue of the turn.
    HandedOn(Result<(), Closed>),
    /// The oldest pending messages are durable; the value is the newest delivered sequence number.
    Settled(Result<Seq, Closed>),
    /// The slots of streams have changed.
    SlotsChanged,
}

/// An action of a receiving end.
#[derive(Debug)]
pub enum Action {
    /// Report to the node a peer's record of its store, before the peer can record its present start.
    Learn {
        /// The peer.
        peer: ProcessId,
        /// The peer's record.
        known: Identity,
    },
    /// Have the turn compare.
    Compare(Box<Handshake>),
    /// Answer the hello.
    Welcome {
        /// The sending process.
        peer: ProcessId,
        /// The digest of what was delivered from it durably.
        delivered: ChannelDigest,
    },
    /// Pass messages to the turn.
    Deliver {
        /// The sending process.
        from: ProcessId,
        /// The messages, in order.
        messages: Vec<Envelope>,
    },
    /// Send that all messages up to this sequence number are durable.
    Acknowledge(Seq),
    /// Send the reason why this end refuses the sender.
    Refuse(String),
    /// Drop the stream and everything pending for it. This is the last action.
    Close(Closed),
    /// Restart the timer.
    Arm {
        /// The duration, milliseconds from now.
        after_ms: u64,
    },
    /// Stop the timer.
    Disarm,
}

/// The receiving end of one stream.
#[derive(Debug)]
pub struct Receiver {
    me: ProcessId,
    unsettled_max: usize,
    stage: Stage,
    /// Its slot at the receiving end of the channel.
    slot: Option<Slot>,
    actions: VecDeque<Action>,
}

#[derive(Debug)]
struct Slot {
    channel: ChannelId,
    number: u64,
}

#[derive(Debug, Default)]
enum Stage {
    /// Waits for the hello.
    Silent,
    /// The node receives the sender's record of its store.
    Learning(Box<Handshake>),
    /// The turn compares.
    Comparing(Box<Handshake>),
    /// The answer is being sent.
    Welcoming(Agreement),
    /// Waits for the sender to compare.
    Welcomed(Agreement),
    /// The sender agrees; an older stream must end first.
    Entering(Agreement),
    /// The turn compares again, in case an older stream has delivered messages in between.
    ComparingAgain(Agreement),
    /// The turn records the peer.
    Remembering(Agreement),
    Open(Open),
    #[default]
    Ended,
}

/// The agreement of the two ends, once both have compared.
#[derive(Debug)]
struct Agreement {
    handshake: Box<Handshake>,
    delivered: ChannelDigest,
}

#[derive(Debug)]
struct Open {
    channel: ChannelId,
    /// The run of the peer.
    run: u64,
    generation: u64,
    /// The number of frames passed to the turn and not durable.
    unsettled: usize,
    step: Step,
    is_acknowledging: bool,
}

/// The state of an open stream.
#[derive(Debug)]
enum Step {
    /// Reads the next frame, unless too many are unsettled.
    Reading,
    /// Messages are being put into the queue of the turn.
    Delivering,
    /// Messages wait for the clock, and all later ones wait behind them. This keeps the channel in order, and the sender's
    /// window bounds the number of waiting messages.
    Early(Vec<Envelope>),
}

impl Receiver {
    /// The receiving end of a newly opened stream.
    #[must_use]
    pub fn new(me: ProcessId, unsettled_max: usize) -> Self {
        let after_ms = HANDSHAKE_MAX_MS;
        Self {
            me,
            unsettled_max,
            stage: Stage::Silent,
            slot: None,
            actions: VecDeque::from([Action::Arm { after_ms }]),
        }
    }

    /// The next action to execute.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Whether the next frame and the end of the stream are to be reported now.
    #[must_use]
    pub fn reads(&self) -> bool {
        match &self.stage {
            Stage::Silent | Stage::Welcomed(_) => true,
            Stage::Open(open) => {
                matches!(open.step, Step::Reading) && open.unsettled <= self.unsettled_max
            }
            _ => false,
        }
    }

    /// Whether the result of the oldest pending messages is to be reported now.
    #[must_use]
    pub fn awaits_settled(&self) -> bool {
        matches!(&self.stage, Stage::Open(open) if open.unsettled > 0 && !open.is_acknowledging)
    }

    /// Whether the stream waits for exclusive use of the receiving end.
    #[must_use]
    pub fn waits_for_place(&self) -> bool {
        matches!(self.stage, Stage::Entering(_))
    }

    /// Whether the stream is open.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// Releases the slot, for a stream that is dropped without an event.
    pub fn abandon(&mut self, links: &mut LinkTable) {
        if let Some(slot) = self.slot.take() {
            links.leave(&slot.channel, slot.number);
        }
    }

    /// Handles an event. Events of an earlier stage are ignored.
    pub fn handle(&mut self, event: Event, host: &mut impl Host) {
        match (std::mem::take(&mut self.stage), event) {
            (Stage::Open(open), event) => self.go_on(open, event, host),
            (Stage::Ended, _) => {}
            (Stage::Silent, Event::Frame(Frame::Hello(hello))) => self.greeted(hello, host),
            (Stage::Silent, Event::Frame(_)) => {
                self.fail(broken("the first frame is not a hello"), host)
            }
            (Stage::Learning(handshake), Event::Learnt(learnt)) => match learnt {
                Ok(()) => self.compare(handshake, host),
                Err(why) => self.fail(why, host),
            },
            (Stage::Comparing(handshake), Event::Compared(compared)) => {
                match self.judged(&handshake, compared, host) {
                    Ok(delivered) => self.welcome(handshake, delivered),
                    Err(why) => self.refuse(&handshake, why, host),
                }
            }
            (Stage::Welcoming(agreement), Event::Sent) => self.stage = Stage::Welcomed(agreement),
            (Stage::Welcomed(agreement), Event::Frame(frame)) => match frame {
                Frame::Agreed => self.enter(agreement, host),
                Frame::Refusal(reason) => {
                    self.refuse(&agreement.handshake, Closed::Stopped(reason), host);
                }
                Frame::Hello(_) | Frame::Messages(_) | Frame::Unknown => {
                    self.fail(broken("the sender did not agree"), host);
                }
            },
            (Stage::Entering(agreement), Event::SlotsChanged) => {
                self.compare_again(agreement, host)
            }
            (Stage::ComparingAgain(agreement), Event::Compared(compared)) => {
                match self.judged(&agreement.handshake, compared, host) {
                    Ok(delivered) => self.remember(agreement, delivered, host),
                    Err(why) => self.refuse(&agreement.handshake, why, host),
                }
            }
            (Stage::Remembering(agreement), Event::Compared(compared)) => {
                match self.judged(&agreement.handshake, compared, host) {
                    Ok(_) => self.open(&agreement.handshake, host),
                    Err(why) => self.refuse(&agreement.handshake, why, host),
                }
            }
            (_, Event::Closed(why)) => self.fail(why, host),
            (_, Event::Elapsed) => self.fail(broken("no handshake was received"), host),
            (stage, _) => self.stage = stage,
        }
    }

    fn greeted(&mut self, hello: Result<Hello, String>, host: &mut impl Host) {
        let hello = match hello {
            Ok(hello) => hello,
            Err(reason) => return self.fail(Closed::Stopped(reason), host),
        };
        let (clocks, unfollowed) = hello.clocks.followed(host);
        let handshake = Box::new(Handshake {
            peer: hello.sender,
            identity: hello.identity,
            clocks,
            unfollowed,
            claim: Claim::Sender {
                sent: hello.sent,
                acknowledged: hello.acknowledged,
            },
            agreed: false,
        });
        match hello.known {
            Some(known) => {
                let peer = handshake.peer.clone();
                self.stage = Stage::Learning(handshake);
                self.actions.push_back(Action::Learn { peer, known });
            }
            None => self.compare(handshake, host),
        }
    }

    fn compare(&mut self, handshake: Box<Handshake>, host: &mut impl Host) {
        if let Some(held) = self.held(&handshake, host) {
            return self.refuse(&handshake, held, host);
        }
        self.actions.push_back(Action::Compare(handshake.clone()));
        self.stage = Stage::Comparing(handshake);
    }

    // A contradiction also stops the reversed channel. A hello that was overtaken by a newer stream is not a contradiction.
    fn judged(
        &self,
        handshake: &Handshake,
        compared: Result<ChannelDigest, Closed>,
        host: &mut impl Host,
    ) -> Result<ChannelDigest, Closed> {
        let Err(Closed::Stopped(why)) = compared else {
            return compared;
        };
        let (channel, run) = (self.channel(handshake), handshake.identity.run);
        host.links(|links| match links.has_agreed(&channel, run) {
            true => Err(broken(
                "a newer stream has delivered more than this one states",
            )),
            false => {
                links.contradict(&channel, run, &why);
                Err(Closed::Stopped(why))
            }
        })
    }

    fn welcome(&mut self, handshake: Box<Handshake>, delivered: ChannelDigest) {
        let peer = handshake.peer.clone();
        self.actions.push_back(Action::Welcome { peer, delivered });
        self.stage = Stage::Welcoming(Agreement {
            handshake,
            delivered,
        });
    }

    // Evicts older streams only after the sender has agreed: a refused sender must not disturb the open stream.
    fn enter(&mut self, agreement: Agreement, host: &mut impl Host) {
        let channel = self.channel(&agreement.handshake);
        let number = host.links(|links| links.enter(&channel));
        self.slot = Some(Slot { channel, number });
        self.compare_again(agreement, host);
    }

    fn compare_again(&mut self, agreement: Agreement, host: &mut impl Host) {
        let is_first = self
            .slot
            .as_ref()
            .is_some_and(|slot| host.links(|links| links.is_first(&slot.channel, slot.number)));
        if !is_first {
            self.stage = Stage::Entering(agreement);
            return;
        }
        // A contradiction found earlier evicted the streams of that time; one found later evicts this stream.
        if let Some(held) = self.held(&agreement.handshake, host) {
            return self.refuse(&agreement.handshake, held, host);
        }
        let handshake = agreement.handshake.clone();
        self.actions.push_back(Action::Compare(handshake));
        self.stage = Stage::ComparingAgain(agreement);
    }

    fn remember(&mut self, agreement: Agreement, delivered: ChannelDigest, host: &mut impl Host) {
        if delivered != agreement.delivered {
            return self.fail(
                broken("messages of an older stream were delivered in between"),
                host,
            );
        }
        let handshake = Handshake {
            agreed: true,
            ..(*agreement.handshake).clone()
        };
        self.actions.push_back(Action::Compare(Box::new(handshake)));
        self.stage = Stage::Remembering(agreement);
    }

    fn open(&mut self, handshake: &Handshake, host: &mut impl Host) {
        let (channel, run) = (self.channel(handshake), handshake.identity.run);
        let generation = host.links(|links| {
            links.agree(&channel, run);
            links.open(&channel)
        });
        self.actions.push_back(Action::Disarm);
        let open = Open {
            channel,
            run,
            generation,
            unsettled: 0,
            step: Step::Reading,
            is_acknowledging: false,
        };
        self.end_if_evicted(open, host);
    }

    fn go_on(&mut self, mut open: Open, event: Event, host: &mut impl Host) {
        match event {
            Event::Frame(Frame::Messages(Ok(messages))) => self.take(&mut open, messages, host),
            Event::Frame(Frame::Messages(Err(reason))) => {
                return self.end(&open, Closed::Stopped(reason), host);
            }
            Event::HandedOn(Ok(())) => {
                open.unsettled += 1;
                open.step = Step::Reading;
            }
            Event::Settled(Ok(delivered)) => {
                open.unsettled = open.unsettled.saturating_sub(1);
                open.is_acknowledging = true;
                self.actions.push_back(Action::Acknowledge(delivered));
            }
            Event::Sent => open.is_acknowledging = false,
            Event::Elapsed => self.look_again(&mut open, host),
            Event::SlotsChanged => return self.end_if_evicted(open, host),
            Event::Closed(why) | Event::HandedOn(Err(why)) | Event::Settled(Err(why)) => {
                return self.end(&open, why, host);
            }
            // Other frames are ignored.
            Event::Frame(_) | Event::Learnt(_) | Event::Compared(_) => {}
        }
        self.stage = Stage::Open(open);
    }

    // Passes messages to the turn unless they are too early. The next frame is read before they are durable; the
    // acknowledgement is sent after.
    fn take(&mut self, open: &mut Open, messages: Vec<Envelope>, host: &mut impl Host) {
        let newest = messages.iter().map(|envelope| envelope.time).max();
        if let Some(why) = newest.and_then(|newest| host.too_early(newest)) {
            host.links(|links| links.wait_for_clock(&open.channel, why));
            open.step = Step::Early(messages);
            let after_ms = EARLY_LOOK_EVERY_MS;
            self.actions.push_back(Action::Arm { after_ms });
            return;
        }
        open.step = Step::Delivering;
        let from = open.channel.from.clone();
        self.actions.push_back(Action::Deliver { from, messages });
    }

    fn look_again(&mut self, open: &mut Open, host: &mut impl Host) {
        let step = std::mem::replace(&mut open.step, Step::Reading);
        let Step::Early(messages) = step else {
            open.step = step;
            return;
        };
        self.take(open, messages, host);
        if !matches!(open.step, Step::Early(_)) {
            host.links(|links| links.go_on(&open.channel));
        }
    }

    // Ends the stream if the reversed channel contradicts or the peer has opened another stream.
    fn end_if_evicted(&mut self, open: Open, host: &mut impl Host) {
        let number = self.slot.as_ref().map_or(0, |slot| slot.number);
        let why = host.links(|links: &mut LinkTable| {
            let anew = || broken("a newer stream replaces this one");
            links
                .is_evicted(&open.channel, number)
                .then(|| links.held(&open.channel, open.run).unwrap_or_else(anew))
        });
        match why {
            Some(why) => self.end(&open, why, host),
            None => self.stage = Stage::Open(open),
        }
    }

    fn end(&mut self, open: &Open, why: Closed, host: &mut impl Host) {
        host.links(|links| links.end(&open.channel, open.generation, &why));
        self.fail(why, host);
    }

    // Ends a handshake with a member of this cluster.
    fn refuse(&mut self, handshake: &Handshake, why: Closed, host: &mut impl Host) {
        if matches!(why, Closed::Stopped(_)) {
            let channel = self.channel(handshake);
            host.links(|links| links.fail(&channel, &why));
        }
        self.fail(why, host);
    }

    // Releases the slot first: the next stream must not wait for a sender that may be gone. The sender is told the reason only
    // if a retry does not help.
    fn fail(&mut self, why: Closed, host: &mut impl Host) {
        host.links(|links| self.abandon(links));
        self.stage = Stage::Ended;
        self.actions.clear();
        if let Closed::Stopped(reason) = &why {
            self.actions.push_back(Action::Refuse(reason.clone()));
        }
        self.actions.push_back(Action::Close(why));
    }

    fn held(&self, handshake: &Handshake, host: &mut impl Host) -> Option<Closed> {
        let channel = self.channel(handshake);
        host.links(|links| links.held(&channel, handshake.identity.run))
    }

    fn channel(&self, handshake: &Handshake) -> ChannelId {
        ChannelId {
            from: handshake.peer.clone(),
            to: self.me.clone(),
        }
    }
}

fn broken(why: &str) -> Closed {
    Closed::Broken(why.to_owned())
}

#[cfg(test)]
#[path = "receiver_tests.rs"]
mod tests;
