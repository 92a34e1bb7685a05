//! The two ends of a FIFO channel: what was sent and acknowledged, what was delivered.

use std::collections::VecDeque;

use super::event::Way;
use super::ids::{Lsn, Seq};
use super::message::Body;

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

/// A landmark is kept for the first unacknowledged message and then every so many messages.
const LANDMARK_EVERY: u64 = 1024;

/// The sending end. The journal holds the messages; landmarks say where to start reading for them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Outgoing {
    /// What was sent.
    pub sent: Flow,
    /// The newest sequence number the receiver has made durable.
    pub acknowledged: Seq,
    /// Ascending: the journal position of some messages that may still be needed.
    pub landmarks: VecDeque<(Seq, Lsn)>,
}

impl Outgoing {
    /// Counts a message that was sent in the turn at `position`.
    pub fn send(&mut self, seq: Seq, body: &Body, position: Lsn) {
        self.sent.pass(seq, body);
        let due = self
            .landmarks
            .back()
            .is_none_or(|(last, _)| seq.0 >= last.0 + LANDMARK_EVERY);
        if due {
            self.landmarks.push_back((seq, position));
        }
    }

    /// Takes note of an acknowledgement and forgets the landmarks behind it.
    pub fn acknowledge(&mut self, seq: Seq) {
        self.acknowledged = self.acknowledged.max(seq);
        while self
            .landmarks
            .get(1)
            .is_some_and(|(next, _)| next.0 <= self.acknowledged.0 + 1)
        {
            self.landmarks.pop_front();
        }
        if self.acknowledged == self.sent.sequence {
            self.landmarks.clear();
        }
    }

    /// Where in the journal to start reading for the message `seq`; `None` if nothing is unacknowledged.
    #[must_use]
    pub fn landmark(&self, seq: Seq) -> Option<Lsn> {
        let behind = self.landmarks.partition_point(|(first, _)| *first <= seq);
        self.landmarks
            .get(behind.saturating_sub(1))
            .map(|(_, position)| *position)
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
    /// How messages come over this channel, once one has.
    pub way: Option<Way>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::ProcessId;
    use crate::process::ids::SnapshotId;
    use crate::process::message::Marker;

    #[test]
    fn landmarks_lead_to_every_unacknowledged_message() {
        let body = Body::Marker(Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: ProcessId::parse("p").expect("a valid id"),
        });
        let mut channel = Outgoing::default();
        for seq in 1..=5000 {
            channel.send(Seq(seq), &body, Lsn(seq * 2));
        }
        channel.acknowledge(Seq(2000));
        for seq in 2001..=5000 {
            let start = channel.landmark(Seq(seq)).expect("it is unacknowledged");
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
