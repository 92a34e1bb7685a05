//! The two ends of a FIFO channel: what was sent and acknowledged, what was delivered.

use std::collections::VecDeque;

use super::ids::{Lsn, Seq};
use super::message::{Body, Message, Way};

/// What passed one end of a channel so far: messages of all kinds, and the money among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Newest sequence number.
    pub sequence: Seq,
    /// How many of the messages were transfers.
    pub transfers: u64,
    /// Their sum in minor units.
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

/// What passed one end of a channel by a sequence number: in figures, and as a checksum over every message in order.
///
/// Two ends whose tallies agree hold the same messages. Numbers alone would not tell: a store that was put back to an
/// older state gives the numbers it has forgotten to other messages, and soon has as many as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelDigest {
    /// Messages of all kinds, and the money among them.
    pub flow: Flow,
    /// CRC32C, each message chained to those before. Follows from the journal at either end, so neither the records
    /// nor the frames carry it, and costs a few nanoseconds a message. Guards against mishaps, not against forgery.
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

/// A landmark is kept for the first unacknowledged message and then every so many messages.
const LANDMARK_EVERY: u64 = 1024;

/// Where in the journal a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Landmark {
    /// What had been sent before the message.
    pub before: ChannelDigest,
    /// The turn that sent it.
    pub position: Lsn,
}

impl Landmark {
    /// The number of the message.
    #[must_use]
    pub fn seq(&self) -> Seq {
        self.before.flow.sequence.next()
    }
}

/// The sending end. The journal holds the messages; landmarks say where to start reading for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// What was sent.
    pub sent: Flow,
    /// The newest sequence number the receiver has made durable.
    pub acknowledged: Seq,
    /// Over all that was sent, as in [`ChannelDigest`].
    pub checksum: u32,
    /// Ascending: where some messages are that may still be needed.
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

    /// What was sent.
    #[must_use]
    pub fn digest(&self) -> ChannelDigest {
        ChannelDigest {
            flow: self.sent,
            checksum: self.checksum,
        }
    }

    /// Takes note of an acknowledgement and forgets the landmarks behind it.
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

    /// How many messages are not acknowledged.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.sent.sequence.0 - self.acknowledged.0
    }
}

/// The receiving end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Incoming {
    /// What was delivered.
    pub delivered: Flow,
    /// Over all that was delivered, as in [`ChannelDigest`].
    pub checksum: u32,
    /// How messages come over this channel, once one has.
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

    /// What was delivered.
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
