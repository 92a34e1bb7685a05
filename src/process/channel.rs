//! The two ends of a FIFO channel: what was sent and acknowledged, what was delivered.

use std::collections::VecDeque;

use super::clock::Hlc;
use super::ids::{Lsn, Seq};
use super::message::{Body, Message, Way};

/// The totals of what passed one end of a channel: messages of all kinds, and the amount of the transfers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// The newest sequence number.
    pub sequence: Seq,
    /// The number of transfers among the messages.
    pub transfers: u64,
    /// The sum of the transfers, minor units.
    pub amount: i128,
}

impl Flow {
    /// Counts one more message.
    pub fn pass(&mut self, seq: Seq, body: &Body) {
        self.sequence = seq;
        if let Some(transfer) = body.transfer() {
            self.transfers += 1;
            self.amount += i128::from(transfer.amount.units());
        }
    }
}

/// The digest of what passed one end of a channel up to a sequence number: totals, and a checksum over every message in order.
///
/// Two ends with equal digests hold the same messages. The totals alone do not prove it: a store that was put back to an older
/// state gives the sequence numbers it has lost to other messages and soon reaches the same totals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelDigest {
    /// Sequence number and totals.
    pub flow: Flow,
    /// CRC32C, chained from message to message. Each end computes it from its journal, so neither records nor frames carry it;
    /// the cost is a few nanoseconds per message. Protects against accidents, not against forgery.
    pub checksum: u32,
}

impl ChannelDigest {
    /// Counts one more message.
    pub fn pass(&mut self, seq: Seq, message: &Message) {
        self.flow.pass(seq, &message.body);
        self.checksum = message.checksum(self.checksum);
    }
}

impl std::fmt::Display for ChannelDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Flow {
            sequence,
            transfers,
            amount,
        } = self.flow;
        let checksum = self.checksum;
        write!(
            f,
            "{sequence} (amount {amount} in {transfers} transfers, checksum {checksum:08x})"
        )
    }
}

/// A landmark is kept for the first unacknowledged message, and one every this many messages after it.
const LANDMARK_EVERY: u64 = 1024;

/// The position of a message in the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landmark {
    /// The digest of what had been sent before the message.
    pub before: ChannelDigest,
    /// The turn that sent the message.
    pub position: Lsn,
}

impl Landmark {
    /// The sequence number of the message.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.before.flow.sequence.next()
    }
}

/// The sending end of a channel. The journal holds the messages; landmarks say where to start reading.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// The totals of what was sent.
    pub sent: Flow,
    /// The newest sequence number the receiver has made durable.
    pub acknowledged: Seq,
    /// The checksum over all sent messages, as in [`ChannelDigest`].
    pub checksum: u32,
    /// The positions of some messages that may still be read, ascending.
    pub landmarks: VecDeque<Landmark>,
}

impl Outgoing {
    /// Counts a message that was sent in the turn at `position`.
    pub fn send(&mut self, seq: Seq, message: &Message, position: Lsn) {
        let before = self.digest();
        let due = self
            .landmarks
            .back()
            .is_none_or(|last| seq.0 >= last.seq().0 + LANDMARK_EVERY);
        if due {
            self.landmarks.push_back(Landmark { before, position });
        }
        let mut tally = before;
        tally.pass(seq, message);
        self.sent = tally.flow;
        self.checksum = tally.checksum;
    }

    /// The digest of what was sent.
    #[must_use]
    pub fn digest(&self) -> ChannelDigest {
        ChannelDigest {
            flow: self.sent,
            checksum: self.checksum,
        }
    }

    /// Records an acknowledgement and drops the landmarks below it.
    pub fn acknowledge(&mut self, seq: Seq) {
        self.acknowledged = self.acknowledged.max(seq);
        while self
            .landmarks
            .get(1)
            .is_some_and(|next| next.seq().0 <= self.acknowledged.0 + 1)
        {
            self.landmarks.pop_front();
        }
        if self.acknowledged == self.sent.sequence {
            self.landmarks.clear();
        }
    }

    /// Where in the journal to start reading for the message `seq`; `None` if nothing is unacknowledged.
    #[must_use]
    pub fn landmark(&self, seq: Seq) -> Option<&Landmark> {
        let behind = self
            .landmarks
            .partition_point(|landmark| landmark.seq() <= seq);
        self.landmarks.get(behind.saturating_sub(1))
    }

    /// The number of unacknowledged messages.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent.sequence.0 - self.acknowledged.0
    }
}

/// The messages of a channel that were sent and are not acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Their number.
    pub messages: u64,
    /// The sum of the transfers among them, minor units.
    pub amount: i128,
    /// The clock of the turn that sent the oldest one; `None` if there is none.
    pub oldest: Option<Hlc>,
}

/// The receiving end of a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incoming {
    /// The totals of what was delivered.
    pub delivered: Flow,
    /// The checksum over all delivered messages, as in [`ChannelDigest`].
    pub checksum: u32,
    /// The way in which messages arrive on this channel; `None` before the first one.
    pub way: Option<Way>,
}

impl Incoming {
    /// Counts a message that was delivered.
    pub fn deliver(&mut self, seq: Seq, message: &Message) {
        let mut tally = self.digest();
        tally.pass(seq, message);
        self.delivered = tally.flow;
        self.checksum = tally.checksum;
    }

    /// The digest of what was delivered.
    #[must_use]
    pub fn digest(&self) -> ChannelDigest {
        ChannelDigest {
            flow: self.delivered,
            checksum: self.checksum,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::Lamport;
    use crate::process::ids::ProcessId;
    use crate::process::ids::SnapshotId;
    use crate::process::message::Marker;

    #[test]
    fn landmarks_lead_to_every_unacknowledged_message() {
        let body = Body::from(Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: ProcessId::parse("p").expect("a valid id"),
        });
        let message = Message {
            clock: Lamport(1),
            body,
        };
        let mut channel = Outgoing::default();
        for seq in 1..=5000 {
            channel.send(Seq(seq), &message, Lsn(seq * 2));
        }
        channel.acknowledge(Seq(2000));
        for seq in 2001..=5000 {
            let landmark = channel.landmark(Seq(seq)).expect("it is unacknowledged");
            let start = landmark.position;
            assert!(start <= Lsn(seq * 2), "reading from {start} misses {seq}");
            assert!(
                start.0 + 2 * LANDMARK_EVERY >= seq * 2,
                "{start} is too far back"
            );
        }
        channel.acknowledge(Seq(5000));
        assert_eq!(channel.landmark(Seq(5001)), None);
    }
}
