//! What one outgoing channel may send: the newest released messages from memory, older ones from the journal, where
//! the landmarks of the real channel say to begin. As `node/outbox.rs`.

use std::collections::VecDeque;

use snapledger::process::channel::{ChannelDigest, Outgoing};
use snapledger::process::event::Record;
use snapledger::process::ids::{Lsn, ProcessId, Seq};
use snapledger::process::message::Body;
use snapledger::transport::Envelope;

use crate::disk::Disk;

/// The released messages of one channel.
pub(crate) struct Outbox {
    to: ProcessId,
    pub(crate) channel: Outgoing,
    messages: VecDeque<Envelope>,
}

impl Outbox {
    pub(crate) fn new(to: &ProcessId, channel: Outgoing) -> Self {
        Self {
            to: to.clone(),
            channel,
            messages: VecDeque::new(),
        }
    }

    /// Lets a message out that is durable in the turn at `position`.
    pub(crate) fn push(&mut self, envelope: Envelope, position: Lsn, memory_max: usize) {
        self.channel.send(envelope.seq, &envelope.message, position);
        self.messages.push_back(envelope);
        if self.messages.len() > memory_max {
            self.messages.pop_front();
        }
    }

    /// Sabotage: the newest message, a marker, changes places with those that have not been sent.
    pub(crate) fn overtake(&mut self, sent: Seq) {
        let mut last = self.messages.len().saturating_sub(1);
        while last > 0 && self.messages[last - 1].seq > sent {
            if matches!(self.messages[last - 1].message.body, Body::Marker(_)) {
                return;
            }
            let (before, after) = (self.messages[last - 1].seq, self.messages[last].seq);
            self.messages.swap(last - 1, last);
            (self.messages[last - 1].seq, self.messages[last].seq) = (before, after);
            last -= 1;
        }
    }

    /// Forgets what is durable at the receiver.
    pub(crate) fn acknowledge(&mut self, seq: Seq) {
        self.channel.acknowledge(seq);
        while self
            .messages
            .front()
            .is_some_and(|envelope| envelope.seq <= seq)
        {
            self.messages.pop_front();
        }
    }

    /// The newest message that may be sent.
    pub(crate) fn newest(&self) -> Seq {
        self.channel.sent.sequence
    }

    /// What was sent by `seq`, or in all if that is less: from the landmark before it, over the journal.
    pub(crate) fn sent_by(&self, seq: Seq, disk: &Disk) -> Result<ChannelDigest, String> {
        let landmark = match self.channel.landmark(seq.next()) {
            Some(landmark) if seq < self.newest() => *landmark,
            _ => return Ok(self.channel.digest()),
        };
        let mut tally = landmark.before;
        for turn in disk.turns(landmark.position) {
            for record in turn?.records {
                if tally.flow.sequence >= seq {
                    return Ok(tally);
                }
                if let Record::Sent { to, seq, message } = record
                    && to == self.to
                    && seq == tally.flow.sequence.next()
                {
                    tally.pass(seq, &message);
                }
            }
        }
        Ok(tally)
    }

    /// Some messages right after a sequence number, and whether they came from the journal.
    pub(crate) fn read(
        &self,
        after: Seq,
        disk: &Disk,
        most: usize,
    ) -> Result<(Vec<Envelope>, bool), String> {
        if let Some(first) = self.messages.front()
            && let Some(skip) = after.next().0.checked_sub(first.seq.0)
        {
            let skip = usize::try_from(skip).unwrap_or(usize::MAX);
            let messages = self.messages.iter().skip(skip).take(most);
            return Ok((messages.cloned().collect(), false));
        }
        let mut messages = Vec::new();
        // What lies behind the newest is in turns that are not released yet.
        let wanted = after.next()..=self.newest();
        let landmark = self.channel.landmark(after.next());
        let start = landmark.map_or(Lsn(1), |landmark| landmark.position);
        for turn in disk.turns(start) {
            let turn = turn?;
            if messages.len() >= most {
                break;
            }
            for record in turn.records {
                match record {
                    Record::Sent { to, seq, message } if to == self.to && wanted.contains(&seq) => {
                        messages.push(Envelope {
                            seq,
                            time: turn.time,
                            message,
                        });
                    }
                    _ => {}
                }
            }
        }
        messages.truncate(most);
        Ok((messages, true))
    }
}
