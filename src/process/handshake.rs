//! The handshake: when a channel opens, both ends compare what they know of each other. It detects a store that was wiped,
//! copied or put back to an older state before anything is debited or credited twice.
//!
//! The identity of the peer excludes a second copy of a store while the first is running. The digest of the channel shows
//! whether the two ends belong together: the sender must have sent everything that was delivered. If the digests differ, the
//! sender's store has lost part of what it had sent.

use super::Process;
use super::channel::ChannelDigest;
use super::clock::{Clocks, Hlc};
use super::effects::Effects;
use super::identity::Identity;
use super::ids::{ChannelId, ProcessId, Seq};
use super::message::Way;
use super::record::{Record, Turn};
use super::refusal::{Diverged, OtherRun, OtherStore, Refusal};
use super::reply::{Reply, Settlement};

/// What the other end of a channel presents when the channel opens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handshake {
    /// The peer.
    pub peer: ProcessId,
    /// Its store and start.
    pub identity: Identity,
    /// Its clocks after its newest durable turn. A process with a new store advances its own clocks to them.
    pub clocks: Clocks,
    /// The latest time of the peer that is too far ahead to be followed: that of its newest turn (`clocks` then has no time) or
    /// that of its wall clock.
    pub unfollowed: Option<Hlc>,
    /// Its state of the channel.
    pub claim: Claim,
    /// Whether the peer has found no contradiction either. Only then its identity is recorded: a refused store must not lock
    /// out the right one later.
    pub agreed: bool,
}

/// The other end's state of the channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// The other end is the sender.
    Sender {
        /// The digest of all messages that it has sent durably.
        sent: ChannelDigest,
        /// The newest sequence number that it knows to be delivered.
        acknowledged: Seq,
    },
    /// The other end is the receiver.
    Receiver {
        /// The digest of all messages that it has delivered durably.
        delivered: ChannelDigest,
        /// The digest of what this process had sent up to the same sequence number, or in total if that is less; computed from
        /// the own journal.
        here: ChannelDigest,
    },
}

impl Record {
    /// The peer that the record recognizes, and its identity.
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
            | Self::MovedToSuspense { .. }
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
            | Self::OldestForgotten(_)
            | Self::Decided(_)
            | Self::Unfollowed { .. }
            | Self::Forgotten { .. }
            | Self::Started { .. }
            | Self::ClockAdvanced => None,
        }
    }
}

impl Turn {
    /// The peers recognized in this turn, each with the instant from which the recognition holds: the clock of this process is
    /// then past that of the peer. For earlier instants the cluster may have answered from another store of this process.
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
    pub(super) fn decide_handshake(&self, handshake: &Handshake) -> Effects {
        let checked = self.check_handshake(handshake);
        let known = self.registers.peers.get(&handshake.peer);
        let is_met = known == Some(&handshake.identity) && !self.to_meet.contains(&handshake.peer);
        let is_news = checked.is_ok() && handshake.agreed && !is_met;
        let news = is_news.then(|| Record::Recognized {
            peer: handshake.peer.clone(),
            identity: handshake.identity,
        });
        let unfollowed = handshake.unfollowed.filter(|_| is_news);
        let unfollowed = unfollowed.map(|time| Record::Unfollowed {
            peer: handshake.peer.clone(),
            time,
        });
        // A process whose store is new or an older copy advances its clock, so that it repeats no snapshot id and no stamp
        // known to the cluster.
        let clock = match is_news {
            true => self.registers.clock.reach(handshake.clocks.logical),
            false => self.registers.clock,
        };
        Effects {
            records: unfollowed.into_iter().chain(news).collect(),
            reply: Reply::Handshake(checked.map(Box::new)),
            clock,
            refused: None,
        }
    }

    /// The time that the clock of a turn with this handshake must pass: the peer's, or 0 if the handshake is refused.
    pub(super) fn time_of_handshake(&self, handshake: &Handshake) -> Hlc {
        match handshake.agreed && self.check_handshake(handshake).is_ok() {
            true => handshake.clocks.time,
            false => Hlc::default(),
        }
    }

    /// Settles a peer whose store is lost. What was sent to the lost store is written off, acknowledged or not: the lost store
    /// may have passed it on, so sending it again could credit it twice. What was delivered from it is kept. The difference
    /// enters the deposits or withdrawals of this process, so that the sums stay balanced. The lost store is recorded as given
    /// up until its replacement is recognized; if the lost store returns, it is refused because its money is written off.
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

    fn check_handshake(&self, handshake: &Handshake) -> Result<ChannelDigest, Refusal> {
        let peer = &handshake.peer;
        if let Some(known) = self.registers.peers.get(peer) {
            check_identity(peer, &handshake.identity, known)?;
        }
        match handshake.claim {
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
        // If the sender has sent more than `number`, only the sender can compute its digest at `number`.
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

    /// The reason why no message can go from one process to the other.
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

fn check_identity(peer: &ProcessId, presented: &Identity, known: &Identity) -> Result<(), Refusal> {
    let peer = peer.clone();
    if known.is_given_up() {
        let store = presented.store_in_hexadecimal();
        let is_another = presented.store != known.store;
        return is_another
            .then_some(())
            .ok_or(Refusal::GivenUp { peer, store });
    }
    if presented.store != known.store {
        let (store, known) = (
            presented.store_in_hexadecimal(),
            known.store_in_hexadecimal(),
        );
        return Err(OtherStore { peer, store, known }.into());
    }
    if presented.boot < known.boot {
        return Err(Refusal::OlderBoot {
            peer,
            boot: presented.boot,
            known: known.boot,
        });
    }
    let is_same_boot = presented.boot == known.boot && known.run != 0;
    if is_same_boot && presented.run != known.run {
        let other = OtherRun {
            peer,
            boot: presented.boot,
            run: presented.run,
            known: known.run,
        };
        return Err(other.into());
    }
    Ok(())
}
