//! When a channel opens, both ends compare what they know of each other. A store that was wiped, copied or put
//! back to an older state is noticed here, before it can debit or credit anything twice.

use super::Process;
use super::event::{Claim, Effects, Meeting, Record, Reply, Way};
use super::ids::{ProcessId, Seq};
use super::refusal::Refusal;

impl Process {
    pub(super) fn decide_meeting(&self, meeting: &Meeting) -> Effects {
        let clock = self.registers.clock;
        match self.check_meeting(meeting) {
            Err(refusal) => Effects {
                records: Vec::new(),
                reply: Reply::Met(Err(refusal)),
                clock,
            },
            Ok(delivered) => {
                let known = self.registers.peers.get(&meeting.peer);
                let news = (known != Some(&meeting.identity)).then(|| Record::Met {
                    peer: meeting.peer.clone(),
                    identity: meeting.identity,
                });
                Effects {
                    records: news.into_iter().collect(),
                    reply: Reply::Met(Ok(delivered)),
                    clock,
                }
            }
        }
    }

    fn check_meeting(&self, meeting: &Meeting) -> Result<Seq, Refusal> {
        let peer = &meeting.peer;
        if let Some(known) = self.registers.peers.get(peer) {
            if known.store != meeting.identity.store {
                return Err(Refusal::OtherStore(peer.clone()));
            }
            if known.boot > meeting.identity.boot {
                return Err(Refusal::OlderBoot {
                    peer: peer.clone(),
                    boot: meeting.identity.boot,
                    known: known.boot,
                });
            }
        }
        match meeting.claim {
            Claim::Sender { sent, acknowledged } => self.check_sender(peer, sent, acknowledged),
            Claim::Receiver { delivered } => self.check_receiver(peer, delivered),
        }
    }

    fn check_sender(&self, from: &ProcessId, sent: Seq, acknowledged: Seq) -> Result<Seq, Refusal> {
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
        let delivered = channel.delivered.sequence;
        let diverged = |lost_by: &ProcessId, figures: String| Refusal::Diverged {
            from: from.clone(),
            to: self.me.clone(),
            lost_by: lost_by.clone(),
            figures: figures.into(),
        };
        if sent < delivered {
            let figures = format!("sent {sent}, delivered {delivered}");
            return Err(diverged(from, figures));
        }
        if acknowledged > delivered {
            let figures = format!("acknowledged {acknowledged}, delivered {delivered}");
            return Err(diverged(&self.me, figures));
        }
        Ok(delivered)
    }

    fn check_receiver(&self, to: &ProcessId, delivered: Seq) -> Result<Seq, Refusal> {
        let Some(channel) = self.registers.outgoing.get(to) else {
            return Err(self.no_channel(&self.me, to));
        };
        let diverged = |lost_by: &ProcessId, figures: String| Refusal::Diverged {
            from: self.me.clone(),
            to: to.clone(),
            lost_by: lost_by.clone(),
            figures: figures.into(),
        };
        let sent = channel.sent.sequence;
        if delivered > sent {
            let figures = format!("sent {sent}, delivered {delivered}");
            return Err(diverged(&self.me, figures));
        }
        if delivered < channel.acknowledged {
            let acknowledged = channel.acknowledged;
            let figures = format!("acknowledged {acknowledged}, delivered {delivered}");
            return Err(diverged(to, figures));
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
        Refusal::NoChannel {
            from: from.clone(),
            to: to.clone(),
        }
    }
}
