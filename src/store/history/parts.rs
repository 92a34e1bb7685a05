//! Builds parts of recordings: the written state, and the messages of the closed channels from the journal.

use crate::history::part::{Part, RecordedChannel, RecordedState, recorded_messages};
use crate::process::ids::{Lsn, ProcessId, SnapshotId};
use crate::process::recording::{ChannelRecording, Recording};
use crate::store::Store;
use crate::store::chunks::writers::MessageWriter;
use crate::store::error::StoreError;

/// A part under construction.
struct PartDraft<'a> {
    recording: &'a Recording,
    state: RecordedState,
    /// Each closed channel with the writer of its messages.
    channels: Vec<(RecordedChannel, MessageWriter)>,
    /// A turn at or after the delivery of the last recorded message; the cut if there are none.
    end: Lsn,
}

impl<'a> PartDraft<'a> {
    fn new(recording: &'a Recording, state: RecordedState) -> Self {
        let closed = |(from, channel): (&ProcessId, &ChannelRecording)| {
            let (closed, position) = channel.closed?;
            let recorded = RecordedChannel {
                from: from.clone(),
                first: channel.opened.sequence.next(),
                last: closed.sequence,
                transfers: closed.transfers - channel.opened.transfers,
                amount: closed.amount - channel.opened.amount,
                chunks: Vec::new(),
            };
            Some((recorded, position))
        };
        let closed: Vec<_> = recording.channels.iter().filter_map(closed).collect();
        let filled = closed.iter().filter(|(channel, _)| channel.messages() > 0);
        let end = filled.map(|(_, position)| *position).max();
        let channels = closed.into_iter();
        Self {
            recording,
            state,
            channels: channels
                .map(|(channel, _)| (channel, MessageWriter::default()))
                .collect(),
            end: end.unwrap_or(recording.cut),
        }
    }
}

impl Store {
    /// Builds the part of a recording from its written state and the messages of its closed channels in the journal.
    /// `None` while the state is not written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn build_part(
        &self,
        me: &ProcessId,
        recording: &Recording,
    ) -> Result<Option<Part>, StoreError> {
        let parts = self.build_parts(me, std::slice::from_ref(recording))?;
        Ok(parts.into_iter().next())
    }

    /// As [`Store::build_part`] for several recordings in one pass over the journal: recordings that waited for a dead
    /// process finish together when it returns, and each may reach far back. Recordings whose state is not written are
    /// omitted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn build_parts(
        &self,
        me: &ProcessId,
        recordings: &[Recording],
    ) -> Result<Vec<Part>, StoreError> {
        let _writing = self.chunks.writing();
        let mut drafts = Vec::with_capacity(recordings.len());
        for recording in recordings {
            match self.state(recording.cut) {
                Ok(Some(state)) => drafts.push(PartDraft::new(recording, state)),
                Ok(None) => {}
                // The part was stored meanwhile, and the state has been deleted since.
                Err(StoreError::Damaged { .. }) if self.has_part(&recording.snapshot) => {}
                Err(error) => return Err(error),
            }
        }
        self.write_messages(&mut drafts)?;
        let finish = |draft: PartDraft<'_>| {
            let finish = |(channel, writer): (RecordedChannel, MessageWriter)| {
                let chunks = writer.finish(&self.chunks)?;
                Ok(RecordedChannel { chunks, ..channel })
            };
            let channels = draft.channels.into_iter().map(finish);
            Ok(Part {
                snapshot: draft.recording.snapshot.clone(),
                process: me.clone(),
                initiator: draft.recording.initiator.clone(),
                state: draft.state,
                channels: channels.collect::<Result<_, StoreError>>()?,
                open: draft.recording.open().cloned().collect(),
            })
        };
        drafts.into_iter().map(finish).collect()
    }

    fn has_part(&self, snapshot: &SnapshotId) -> bool {
        matches!(self.part(snapshot), Ok(Some(_)))
    }

    // One pass for all channels, with one chunk per channel in memory.
    fn write_messages(&self, drafts: &mut [PartDraft<'_>]) -> Result<(), StoreError> {
        let filled = drafts
            .iter()
            .filter(|draft| draft.end > draft.recording.cut);
        let ends = filled.map(|draft| (draft.recording.cut, draft.end));
        let Some((first, last)) = ends.reduce(|one, next| (one.0.min(next.0), one.1.max(next.1)))
        else {
            return Ok(());
        };
        let mut turns = self.turns(first.next());
        for _ in first.0..last.0 {
            let Some(turn) = turns.next().transpose()? else {
                break;
            };
            let within = |draft: &&mut PartDraft<'_>| {
                (draft.recording.cut.next()..=draft.end).contains(&turn.position)
            };
            for draft in drafts.iter_mut().filter(within) {
                for (channel, writer) in &mut draft.channels {
                    let messages = recorded_messages(draft.recording, &channel.from, [&turn]);
                    writer.push(&self.chunks, messages)?;
                }
            }
        }
        Ok(())
    }
}
