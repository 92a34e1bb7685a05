//! When a channel opens, both ends compare what they know of each other. A store that was wiped, copied or put
//! back to an older state is noticed here, before it can debit or credit anything twice.
//!
//! Who a peer is keeps a second copy outside while the first is at work. What passed over the channel decides whether
//! the two ends belong together at all: everything that was delivered came from some life of the sender, so where the
//! contents differ, the sender has forgotten that life.

use super::Process;
use super::channel::ChannelDigest;
use super::clock::{Clocks, Hlc};
use super::effects::Effects;
use super::identity::{Identity, hexadecimal};
use super::ids::{ChannelId, ProcessId, Seq};
use super::message::Way;
use super::record::{Record, Turn};
use super::refusal::{Diverged, OtherRun, OtherStore, Refusal};
use super::reply::{Reply, Settlement};

/// What two processes tell each other when a channel opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The other process.
    pub peer: ProcessId,
    /// Who it is.
    pub identity: Identity,
    /// Its clocks, after all that it has answered so far. A process that begins anew moves its own up to them.
    pub clocks: Clocks,
    /// What it shows that is too far ahead to be followed: its time, and then `clocks` has none, or its wall clock.
    pub unfollowed: Option<Hlc>,
    /// What it says of the channel.
    pub claim: Claim,
    /// Whether the peer has found no contradiction either. Only then it is remembered: who is refused must not keep
    /// the right store outside later.
    pub agreed: bool,
}

/// What the other end of a channel says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The sender: what it has sent, and what it knows to be delivered.
    Sender {
        /// Everything it has made durable.
        sent: ChannelDigest,
        /// Newest sequence number it knows to be delivered.
        acknowledged: Seq,
    },
    /// The receiver: what it has delivered.
    Receiver {
        /// Everything it has made durable.
        delivered: ChannelDigest,
        /// What was sent here by the same number, or in all if that is less; read from the own journal.
        here: ChannelDigest,
    },
}

impl Record {
    /// The peer that is met, and its store.
    #[inline]
    pub(super) fn recognized(&self) -> Option<(&ProcessId, Identity)> {
        match self {
            Self::Recognized { peer, identity } => Some((peer, *identity)),
            Self::RecognizedOnce { peer, store, boot } => {
                let (store, boot, run) = (*store, *boot, 0);
                Some((peer, Identity { store, boot, run }))
            }
            Self::Deposited { .. }
            | Self::Withdrawn { .. }
            | Self::Moved { .. }
            | Self::Written(_)
            | Self::Sent { .. }
            | Self::Carried { .. }
            | Self::Delivered { .. }
            | Self::Acknowledged { .. }
            | Self::StateRecorded { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::Unfollowed { .. }
            | Self::Forgotten { .. }
            | Self::ClockAdvanced => None,
        }
    }
}

impl Turn {
    /// The peers that are met in this turn, and from which instant on: when the clock of this process is past theirs. Before
    /// it the cluster may have known another store of this process, which has answered for that time.
    pub fn recognitions(&self) -> impl Iterator<Item = (&ProcessId, Identity, Hlc)> {
        let mut unfollowed = None;
        self.records.iter().filter_map(move |record| {
            if let Record::Unfollowed { peer, time } = record {
                unfollowed = Some((peer, *time));
            }
            let (peer, identity) = record.recognized()?;
            let shown = unfollowed.take().filter(|(of, _)| *of == peer);
            let since = shown.map_or(self.time, |(_, time)| self.time.max(time));
            Some((peer, identity, since))
        })
    }
}

impl Process {
    pub(super) fn decide_handshake(&self, meeting: &Handshake) -> Effects {
        let checked = self.check_handshake(meeting);
        let known = self.registers.peers.get(&meeting.peer);
        let is_met = known == Some(&meeting.identity) && !self.to_meet.contains(&meeting.peer);
        let is_news = checked.is_ok() && meeting.agreed && !is_met;
        let news = is_news.then(|| Record::Recognized {
            peer: meeting.peer.clone(),
            identity: meeting.identity,
        });
        let unfollowed = meeting.unfollowed.filter(|_| is_news);
        let unfollowed = unfollowed.map(|time| Record::Unfollowed {
            peer: meeting.peer.clone(),
            time,
        });
        // A process that begins anew gives no name and no stamp a second time that the cluster has seen.
        let clock = match is_news {
            true => self.registers.clock.reach(meeting.clocks.logical),
            false => self.registers.clock,
        };
        Effects {
            records: unfollowed.into_iter().chain(news).collect(),
            reply: Reply::Handshake(checked.map(Box::new)),
            clock,
            refused: None,
        }
    }

    /// The time that a turn with this meeting passes: the peer's, unless it is refused.
    pub(super) fn time_of_handshake(&self, meeting: &Handshake) -> Hlc {
        match meeting.agreed && self.check_handshake(meeting).is_ok() {
            true => meeting.clocks.time,
            false => Hlc::default(),
        }
    }

    /// What was sent to the lost store is gone with it, acknowledged or not: sent once more it could be credited twice,
    /// for the lost store may have passed it on. What came from it is here. The difference leaves or enters the sums
    /// of this process, so that they go on to say what is there. The lost store is remembered as given up, until the one
    /// that takes its place is met: should it turn up after all, its money is written off.
    pub(super) fn decide_forget(&self, peer: &ProcessId) -> Effects {
        let registers = &self.registers;
        let outgoing = registers.outgoing.get(peer);
        let incoming = registers.incoming.get(peer);
        let is_met = registers.peers.contains_key(peer);
        if outgoing.is_none() && incoming.is_none() && !is_met {
            let refusal = Refusal::UnknownProcess(peer.clone());
            return self.saying(Reply::Forgotten(Err(refusal)));
        }
        let sent = outgoing.map(|channel| channel.sent).unwrap_or_default();
        let delivered = incoming
            .map(|channel| channel.delivered)
            .unwrap_or_default();
        let settlement = Settlement {
            sent,
            acknowledged: outgoing
                .map(|channel| channel.acknowledged)
                .unwrap_or_default(),
            delivered,
            written_off: sent.amount - delivered.amount,
        };
        let forgotten = Record::Forgotten {
            peer: peer.clone(),
            written_off: settlement.written_off,
        };
        let given_up = registers.peers.get(peer).map(|known| Record::Recognized {
            peer: peer.clone(),
            identity: known.given_up(),
        });
        Effects {
            records: std::iter::once(forgotten).chain(given_up).collect(),
            reply: Reply::Forgotten(Ok(Box::new(settlement))),
            clock: registers.clock,
            refused: None,
        }
    }

    fn check_handshake(&self, meeting: &Handshake) -> Result<ChannelDigest, Refusal> {
        let peer = &meeting.peer;
        if let Some(known) = self.registers.peers.get(peer) {
            check_identity(peer, &meeting.identity, known)?;
        }
        match meeting.claim {
            Claim::Sender { sent, acknowledged } => self.check_sender(peer, sent, acknowledged),
            Claim::Receiver { delivered, here } => self.check_receiver(peer, delivered, here),
        }
    }

    fn check_sender(
        &self,
        from: &ProcessId,
        sent: ChannelDigest,
        acknowledged: Seq,
    ) -> Result<ChannelDigest, Refusal> {
        let Some(channel) = self.registers.incoming.get(from) else {
            return Err(self.no_channel(from, &self.me));
        };
        if channel.way == Some(Way::Unary) {
            return Err(Refusal::OtherWay {
                from: from.clone(),
                used: Way::Unary,
                asked: Way::Native,
            });
        }
        let delivered = channel.digest();
        let number = delivered.flow.sequence;
        let diverged = |lost_by: &ProcessId, figures: String| Diverged {
            from: from.clone(),
            to: self.me.clone(),
            lost_by: lost_by.clone(),
            figures: figures.into(),
        };
        // What it had sent by `number`, if it has sent more since, only the sender can tell.
        let is_comparable = sent.flow.sequence <= number;
        if is_comparable && sent != delivered {
            let figures = format!("sent {sent}, delivered {delivered}");
            return Err(diverged(from, figures).into());
        }
        if acknowledged > number {
            let figures = format!("acknowledged {acknowledged}, delivered {number}");
            return Err(diverged(&self.me, figures).into());
        }
        Ok(delivered)
    }

    fn check_receiver(
        &self,
        to: &ProcessId,
        delivered: ChannelDigest,
        here: ChannelDigest,
    ) -> Result<ChannelDigest, Refusal> {
        let Some(channel) = self.registers.outgoing.get(to) else {
            return Err(self.no_channel(&self.me, to));
        };
        let diverged = |lost_by: &ProcessId, figures: String| Diverged {
            from: self.me.clone(),
            to: to.clone(),
            lost_by: lost_by.clone(),
            figures: figures.into(),
        };
        let (number, acknowledged) = (delivered.flow.sequence, channel.acknowledged);
        if number < acknowledged {
            let figures = format!("acknowledged {acknowledged}, delivered {number}");
            return Err(diverged(to, figures).into());
        }
        if delivered != here {
            let figures = format!("sent {here}, delivered {delivered}");
            return Err(diverged(&self.me, figures).into());
        }
        Ok(delivered)
    }

    /// Why nothing can go from one process to the other.
    pub(super) fn no_channel(&self, from: &ProcessId, to: &ProcessId) -> Refusal {
        for process in [from, to] {
            if !self.topology.contains(process) {
                return Refusal::UnknownProcess(process.clone());
            }
        }
        let (from, to) = (from.clone(), to.clone());
        Refusal::NoChannel(Box::new(ChannelId { from, to }))
    }
}

fn check_identity(peer: &ProcessId, came: &Identity, known: &Identity) -> Result<(), Refusal> {
    let peer = peer.clone();
    if known.is_given_up() {
        let store = hexadecimal(&came.store);
        let is_another = came.store != known.store;
        return is_another
            .then_some(())
            .ok_or(Refusal::GivenUp { peer, store });
    }
    if came.store != known.store {
        let (store, known) = (hexadecimal(&came.store), hexadecimal(&known.store));
        return Err(OtherStore { peer, store, known }.into());
    }
    if came.boot < known.boot {
        return Err(Refusal::OlderBoot {
            peer,
            boot: came.boot,
            known: known.boot,
        });
    }
    let is_same_boot = came.boot == known.boot && known.run != 0;
    if is_same_boot && came.run != known.run {
        let other = OtherRun {
            peer,
            boot: came.boot,
            run: came.run,
            known: known.run,
        };
        return Err(other.into());
    }
    Ok(())
}
