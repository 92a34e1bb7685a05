//! Delivery of messages from a channel: exactly once, in order, and without losing money.

use super::Process;
use super::answer::Receipt;
use super::effects::Effects;
use super::ids::{ProcessId, RequestId, Seq};
use super::message::{Body, Message, Way};
use super::record::Record;
use super::refusal::Refusal;
use super::reply::Reply;

/// The fingerprint of messages remembered before format 5, whose content is unknown: any message with the same id counts as a
/// repeat.
const UNKNOWN_CONTENT: u64 = 0;

/// The sequence number of a message on its channel, and the way in which it arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) seq: Seq,
    pub(super) way: Way,
}

impl Process {
    pub(super) fn decide_arrived(&self, from: &ProcessId, seq: Seq, message: Message) -> Effects {
        let Some(channel) = self.registers.incoming.get(from) else {
            let refusal = self.no_channel(from, &self.me);
            return self.saying(Reply::Arrived(Err(refusal)));
        };
        if channel.way == Some(Way::Unary) {
            return self.saying(Reply::Arrived(Err(Refusal::OtherWay {
                from: from.clone(),
                used: Way::Unary,
                asked: Way::Native,
            })));
        }
        let expected = channel.delivered.sequence.next();
        if seq < expected {
            return self.saying(Reply::Arrived(Ok(channel.delivered.sequence)));
        }
        if seq > expected {
            return self.saying(Reply::Arrived(Err(Refusal::Gap {
                from: from.clone(),
                expected,
                arrived: seq,
            })));
        }
        let clock = self.registers.clock.receive(message.clock);
        Effects {
            records: self.deliver(
                from,
                Arrival {
                    seq,
                    way: Way::Native,
                },
                message,
            ),
            reply: Reply::Arrived(Ok(seq)),
            clock,
            refused: None,
        }
    }

    pub(super) fn decide_called(
        &self,
        from: &ProcessId,
        message_id: Option<RequestId>,
        message: Message,
    ) -> Effects {
        let Some(channel) = self.registers.incoming.get(from) else {
            let refusal = self.no_channel(from, &self.me);
            return self.saying(Reply::Called(Err(refusal)));
        };
        // A recognized peer opens native streams, possibly before its first message.
        if channel.way == Some(Way::Native) || self.registers.peers.contains_key(from) {
            return self.saying(Reply::Called(Err(Refusal::OtherWay {
                from: from.clone(),
                used: Way::Native,
                asked: Way::Unary,
            })));
        }
        let fingerprint = message.body.fingerprint();
        if let Some(request) = &message_id
            && let Some(known) = self.requests.get(request)
        {
            let is_repeat = [fingerprint, UNKNOWN_CONTENT].contains(&known.fingerprint);
            let reused = || Refusal::RequestReused(request.clone());
            return self.saying(Reply::Called(is_repeat.then_some(false).ok_or_else(reused)));
        }
        let first = matches!(&message.body, Body::Marker(marker) if !self.registers.snapshots.has_seen(&marker.snapshot));
        let clock = self.registers.clock.receive(message.clock);
        let seq = channel.delivered.sequence.next();
        let mut records = self.deliver(
            from,
            Arrival {
                seq,
                way: Way::Unary,
            },
            message,
        );
        let receipt = Receipt::default();
        let remembered = message_id.map(|request| self.remembering(request, fingerprint, receipt));
        records.extend(remembered.into_iter().flatten());
        Effects {
            records,
            reply: Reply::Called(Ok(first)),
            clock,
            refused: None,
        }
    }

    fn deliver(&self, from: &ProcessId, arrival: Arrival, message: Message) -> Vec<Record> {
        if matches!(message.body, Body::Marker(_)) {
            return self.receive_marker(from, arrival, message);
        }
        let mut suspense = None;
        let mut forwards = Vec::new();
        match &message.body {
            Body::Transfer(transfer) => {
                suspense = self.suspense(&transfer.to_account, transfer.amount);
            }
            Body::Put(write) if self.keys.is_news(write) => {
                let clock = self.registers.clock.receive(message.clock);
                forwards = self.forward(write, clock, Some(from));
            }
            Body::Put(_) | Body::Marker(_) => {}
        }
        let delivered = Record::Delivered {
            from: from.clone(),
            seq: arrival.seq,
            way: arrival.way,
            suspense: suspense.map(Box::new),
            message,
        };
        std::iter::once(delivered).chain(forwards).collect()
    }
}
