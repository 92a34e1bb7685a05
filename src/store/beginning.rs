//! What a process still needs of the turns before the first one of its journal. Retention keeps that, so there is none unless
//! the journal was made again from an archive that had lost some of it.

use std::collections::BTreeMap;
use std::fmt;

use super::Store;
use super::error::StoreError;
use super::states;
use super::stored::frame::Damage;
use super::stored::state::StoredState;
use crate::process::channel::{Flow, Landmark, Outgoing};
use crate::process::ids::{Lsn, ProcessId, Seq, SnapshotId};
use crate::process::record::{Record, Turn};
use crate::process::registers::Registers;

/// Messages of one channel that the receiver has not acknowledged, as far as the sender knows, and that the journal does not
/// have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostMessages {
    /// The receiver.
    pub to: ProcessId,
    /// The first one.
    pub first: Seq,
    /// The last one.
    pub last: Seq,
    /// The number of transfers among them; the most there can be unless `is_exact`.
    pub transfers: u64,
    /// Their sum, minor units; the most it can be unless `is_exact`.
    pub amount: i128,
    /// Whether number and sum are exact.
    pub is_exact: bool,
}

impl fmt::Display for LostMessages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            to,
            first,
            last,
            transfers,
            amount,
            is_exact,
        } = self;
        let most = if *is_exact { "" } else { "at most " };
        write!(
            f,
            "messages {first} to {last} for {to} (transfers: {most}{transfers}, minor units: {most}{amount})"
        )
    }
}

/// What is needed and lost.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LostBeginning {
    /// The messages, by channel.
    pub messages: Vec<LostMessages>,
    /// The snapshots whose own part was not made and cannot be any more.
    pub parts: Vec<SnapshotId>,
}

impl LostBeginning {
    /// What is needed of the turns up to the state `begin`. `newest` is a later one or the same, `turns` follow it.
    ///
    /// # Errors
    /// Those of the turns and of `has_part`.
    pub fn of(
        begin: &StoredState,
        newest: StoredState,
        turns: impl Iterator<Item = Result<Turn, StoreError>>,
        has_part: impl Fn(&SnapshotId) -> Result<bool, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut registers = newest.registers;
        for turn in turns {
            settle(&mut registers, &turn?);
        }
        let mut lost = Self::default();
        let cut = begin.recorded.position;
        for (to, before) in &begin.registers.outgoing {
            let now = registers.outgoing.get(to);
            let now = now.filter(|_| !registers.is_lost_since(to, cut));
            lost.messages
                .extend(now.and_then(|now| lost_on(to, before.sent, now)));
        }
        for recording in registers.recordings.values() {
            let is_wanted = recording.cut < cut && !registers.waits_in_vain(recording);
            if is_wanted && !has_part(&recording.snapshot)? {
                lost.parts.push(recording.snapshot.clone());
            }
        }
        Ok(lost)
    }
}

impl Store {
    /// What is needed of the turns before the first one.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn lost_beginning(&self) -> Result<LostBeginning, StoreError> {
        let Some(begin) = self.first_state()? else {
            return Ok(LostBeginning::default());
        };
        let newest = self.states.newest_written()?;
        let newest = newest.filter(|newest| newest.recorded.position > begin.recorded.position);
        let newest = newest.unwrap_or_else(|| begin.clone());
        let behind = newest.recorded.position.next();
        let turns = self.journal.scan(behind, Some(newest.recorded.journal));
        let turns = turns.map(|entry| entry.map(|entry| entry.turn));
        LostBeginning::of(&begin, newest, turns, |snapshot| self.has_part(snapshot))
    }

    /// Where in the journal the first message of each channel is that was sent in it, if older turns were deleted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn first_messages(
        &self,
        now: &Registers,
    ) -> Result<BTreeMap<ProcessId, Landmark>, StoreError> {
        let begin = match self.first_state() {
            Ok(Some(begin)) => begin,
            // A later state takes its place.
            Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(BTreeMap::new()),
            Err(error) => return Err(error),
        };
        Ok(first_messages(&begin, now))
    }

    // The state that takes the place of the turns before the first one.
    fn first_state(&self) -> Result<Option<StoredState>, StoreError> {
        let first = self.journal.first();
        if first == Lsn(1) {
            return Ok(None);
        }
        let cut = Lsn(first.0 - 1);
        let missing = || states::damaged(cut, Damage::Contradiction("it is missing".to_owned()));
        self.states.get(cut)?.ok_or_else(missing).map(Some)
    }
}

/// Where the first message of each channel is that was sent behind a state.
#[must_use]
pub fn first_messages(begin: &StoredState, now: &Registers) -> BTreeMap<ProcessId, Landmark> {
    let cut = begin.recorded.position;
    let channels = begin.registers.outgoing.iter();
    let same = channels.filter(|(to, _)| !now.is_lost_since(to, cut));
    let first = same.map(|(to, channel)| {
        let (before, position) = (channel.digest(), cut.next());
        (to.clone(), Landmark { before, position })
    });
    first.collect()
}

// What a turn makes of what is needed.
fn settle(registers: &mut Registers, turn: &Turn) {
    for record in &turn.records {
        if let Record::Acknowledged { to, seq } = record
            && let Some(channel) = registers.outgoing.get_mut(to)
        {
            channel.acknowledge(*seq);
        }
        if let Record::Forgotten { peer, .. } = record {
            registers.forgotten.insert(peer.clone(), turn.position);
        }
        if let Record::PartStored { snapshot } = record {
            registers.recordings.remove(snapshot);
        }
    }
}

// The messages up to those that were sent before the first turn.
fn lost_on(to: &ProcessId, before: Flow, now: &Outgoing) -> Option<LostMessages> {
    let (first, last) = (now.acknowledged.next(), before.sequence);
    if first > last {
        return None;
    }
    let from = now.landmarks.front();
    let known = from.map(|landmark| landmark.before.flow);
    let Flow {
        transfers, amount, ..
    } = known.unwrap_or_default();
    Some(LostMessages {
        to: to.clone(),
        first,
        last,
        transfers: before.transfers.saturating_sub(transfers),
        amount: before.amount.saturating_sub(amount),
        is_exact: from.is_some_and(|landmark| landmark.seq() == first),
    })
}
