//! Recomputes the channel states of this process's parts from the journal: the messages delivered on each channel
//! between the recording of the state and the marker of the channel.

use std::collections::{BTreeMap, BTreeSet};

use super::findings::Findings;
use super::opened_copy::{OpenedCopy, TreeWalk};
use super::packed::was_deleted;
use crate::history::part::{Chunk, Closing, Part, RecordedChannel, RecordedMessage};
use crate::process::Process;
use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};
use crate::process::message::{Body, Message};
use crate::process::record::{Record, Turn};
use crate::process::start::Start;
use crate::store::chunks::Chunks;
use crate::store::engine::schema;
use crate::store::engine::schema::snapshot_key;
use crate::store::error::StoreError;
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::part::RecordedMessageV1;
use crate::store::stored::v7::part::read_part;

/// What the journal says about the parts of this process.
pub(super) struct Recordings {
    /// The first turn kept. Parts recorded before it cannot be compared.
    first: Lsn,
    open: BTreeMap<SnapshotId, MessageCount>,
    /// Ended recordings without a part; the journal must not report them as stored.
    unstored: BTreeSet<SnapshotId>,
    /// Before this turn parts may be missing.
    pub(super) parts_from: Lsn,
    /// Finished recordings that were compared with their part.
    compared: BTreeSet<SnapshotId>,
    /// The number of messages compared.
    pub(super) messages: u64,
}

struct MessageCount {
    initiator: ProcessId,
    start: Option<Start>,
    channels: BTreeMap<ProcessId, Heard>,
}

/// The messages delivered on a channel since the recording began.
struct Heard {
    first: Seq,
    last: Seq,
    transfers: u64,
    amount: i128,
    /// A hash over the encoded messages in order, which needs constant memory.
    messages: blake3::Hasher,
    /// The turn that delivered the marker.
    closed: Option<Closing>,
    /// The store of the sender was lost before its marker arrived.
    is_lost: bool,
}

impl Recordings {
    /// Empty, for a journal that begins with this turn, and parts that are all there from another one on.
    pub(super) fn since(first: Lsn, parts_from: Lsn) -> Self {
        Self {
            parts_from,
            first,
            open: BTreeMap::new(),
            unstored: BTreeSet::new(),
            compared: BTreeSet::new(),
            messages: 0,
        }
    }

    /// Processes a turn before it is applied to the process.
    pub(super) fn turn(
        &mut self,
        opened: &OpenedCopy,
        findings: &mut Findings,
        process: &Process,
        turn: &Turn,
    ) {
        for record in &turn.records {
            match record {
                Record::StateRecorded {
                    snapshot,
                    initiator,
                    channels,
                } => {
                    let heard = |from: &ProcessId| (from.clone(), Heard::begin(process, from));
                    let tally = MessageCount {
                        initiator: initiator.clone(),
                        start: turn.start_of(snapshot),
                        channels: channels.iter().map(heard).collect(),
                    };
                    self.open.insert(snapshot.clone(), tally);
                }
                Record::Delivered {
                    from, seq, message, ..
                } => self.hear(turn, from, *seq, message),
                Record::Forgotten { peer, .. } => {
                    let tallies = self.open.values_mut();
                    let lost = tallies.filter_map(|tally| tally.channels.get_mut(peer));
                    lost.for_each(|heard| heard.is_lost = heard.closed.is_none());
                }
                Record::PartStored { snapshot } => {
                    if self.unstored.remove(snapshot) && turn.position >= self.parts_from {
                        let problem = format!(
                            "it is missing, although journal entry {} states that it is stored",
                            turn.position
                        );
                        findings.add(name(snapshot), problem);
                    }
                }
                Record::Deposited { .. }
                | Record::Withdrawn { .. }
                | Record::Moved { .. }
                | Record::MovedToSuspense { .. }
                | Record::Written(_)
                | Record::Sent { .. }
                | Record::Started { .. }
                | Record::Carried { .. }
                | Record::Acknowledged { .. }
                | Record::RecognizedOnce { .. }
                | Record::Checkpointed
                | Record::Answered { .. }
                | Record::AnswersForgotten { .. }
                | Record::OldestForgotten(_)
                | Record::Decided(_)
                | Record::Recognized { .. }
                | Record::Unfollowed { .. }
                | Record::ClockAdvanced => {}
            }
            self.compare_finished(opened, findings);
        }
    }

    fn hear(&mut self, turn: &Turn, from: &ProcessId, seq: Seq, message: &Message) {
        let mut encoded = None;
        for (snapshot, tally) in &mut self.open {
            let heard = tally
                .channels
                .get_mut(from)
                .filter(|heard| !heard.is_over());
            let Some(heard) = heard else {
                continue;
            };
            match &message.body {
                Body::Marker(marker) if marker.snapshot == *snapshot => {
                    heard.closed = Some(Closing {
                        position: turn.position,
                        time: turn.time,
                    });
                }
                _ => {
                    let bytes = encoded.get_or_insert_with(|| encode(seq, message));
                    heard.take(seq, message, bytes);
                }
            }
        }
    }

    fn compare_finished(&mut self, opened: &OpenedCopy, findings: &mut Findings) {
        let is_finished = |tally: &MessageCount| tally.channels.values().all(Heard::is_over);
        while let Some(snapshot) = self
            .open
            .iter()
            .find_map(|(snapshot, tally)| is_finished(tally).then(|| snapshot.clone()))
        {
            let tally = self.open.remove(&snapshot).expect("it was just found");
            match opened.own_part(&snapshot) {
                Ok(None) => match was_deleted(&opened.trees.retention, &snapshot) {
                    Ok(true) => {}
                    Ok(false) => _ = self.unstored.insert(snapshot),
                    Err(error) => findings.push(error),
                },
                // The recorded state is unreadable as well, which is reported.
                Err(_) => {
                    self.compared.insert(snapshot);
                }
                Ok(Some(part)) => {
                    self.compare(opened, findings, &tally, &part);
                    self.compared.insert(snapshot);
                }
            }
        }
    }

    fn compare(
        &mut self,
        opened: &OpenedCopy,
        findings: &mut Findings,
        tally: &MessageCount,
        part: &Part,
    ) {
        let mut problems = Vec::new();
        if part.initiator != tally.initiator {
            problems.push(format!("it names {:?} as initiator", part.initiator));
        }
        // A part of an older format states no start.
        if part.start.is_some() && part.start != tally.start {
            problems.push("how it was started differs from the journal".to_owned());
        }
        let recorded = part.channels.iter().map(|channel| &channel.from);
        let closed = tally
            .channels
            .iter()
            .filter(|(_, heard)| heard.closed.is_some());
        let lost = tally.channels.iter().filter(|(_, heard)| heard.is_lost);
        if !recorded.eq(closed.map(|(from, _)| from))
            || !part.open.iter().eq(lost.map(|(from, _)| from))
        {
            problems.push("its channels differ from the ones closed in the journal".to_owned());
        }
        for channel in &part.channels {
            let Some(heard) = tally.channels.get(&channel.from) else {
                continue;
            };
            self.messages += channel.messages();
            match heard.differs(&opened.chunks, channel) {
                Ok(problem) => problems.extend(problem),
                Err(error) => findings.push(error),
            }
        }
        for problem in problems {
            findings.add(name(&part.snapshot), problem);
        }
    }

    /// Checks the parts of recordings that the journal does not report as finished. Returns the number of parts
    /// compared.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn check_rest(
        &self,
        opened: &OpenedCopy,
        findings: &mut Findings,
        is_whole: bool,
    ) -> Result<u64, StoreError> {
        let mut walk = TreeWalk::new(&opened.trees.parts);
        while let Some(stored) = walk.next()? {
            let part = stored.framed.and_then(|framed| read_part(&framed));
            let what = schema::name(Kind::Part, &stored.key);
            let part = part.map_err(|damage| StoreError::damaged(what.clone(), damage));
            let Some(part) = findings.take(part) else {
                continue;
            };
            if snapshot_key(&part.snapshot) != stored.key {
                findings.add(what, format!("it states snapshot {:?}", part.snapshot));
            } else if is_whole
                && part.state.position.next() >= self.first
                && !self.compared.contains(&part.snapshot)
            {
                findings.add(what, "it is not marked finished in the journal");
            }
        }
        Ok(self.compared.len() as u64)
    }
}

impl Heard {
    fn begin(process: &Process, from: &ProcessId) -> Self {
        let incoming = process.registers().incoming.get(from);
        let last = incoming.map_or(Seq(0), |channel| channel.delivered.sequence);
        Self {
            first: last.next(),
            last,
            transfers: 0,
            amount: 0,
            messages: blake3::Hasher::new(),
            closed: None,
            is_lost: false,
        }
    }

    fn is_over(&self) -> bool {
        self.closed.is_some() || self.is_lost
    }

    fn take(&mut self, seq: Seq, message: &Message, encoded: &[u8]) {
        self.last = seq;
        self.messages.update(encoded);
        if let Some(transfer) = message.body.transfer() {
            self.transfers += 1;
            self.amount += i128::from(transfer.amount.units());
        }
    }

    fn differs(
        &self,
        chunks: &Chunks,
        channel: &RecordedChannel,
    ) -> Result<Option<String>, StoreError> {
        let from = &channel.from;
        let number = |seq: Seq| i128::from(seq.0);
        let figures = [
            ("first message", number(channel.first), number(self.first)),
            ("last message", number(channel.last), number(self.last)),
            (
                "transfers",
                i128::from(channel.transfers),
                i128::from(self.transfers),
            ),
            ("amount", channel.amount, self.amount),
        ];
        if let Some((what, found, expected)) = figures.iter().find(|(_, a, b)| a != b) {
            return Ok(Some(format!(
                "{what} of the channel from {from:?} is {found}, expected from the journal: {expected}"
            )));
        }
        // A part of an older format states no closing.
        if channel.closing.is_some() && channel.closing != self.closed {
            return Ok(Some(format!(
                "the turn that closed the channel from {from:?} differs from the journal"
            )));
        }
        let mut stored = blake3::Hasher::new();
        for hash in &channel.chunks {
            if let Chunk::Messages(messages) = chunks.get(hash)? {
                for RecordedMessage { seq, message } in &messages {
                    stored.update(&encode(*seq, message));
                }
            }
        }
        let differs = stored.finalize() != self.messages.finalize();
        Ok(differs.then(|| format!("its messages from {from:?} differ from the journal")))
    }
}

fn encode(seq: Seq, message: &Message) -> Vec<u8> {
    let message = message.clone();
    frame::encode(&RecordedMessageV1::freeze(&RecordedMessage {
        seq,
        message,
    }))
}

fn name(snapshot: &SnapshotId) -> String {
    schema::name(Kind::Part, &snapshot_key(snapshot))
}
