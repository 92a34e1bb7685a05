//! Builds parts of recordings: the written state, and the messages of the closed channels from the journal.

use crate::history::global::Counted;
use crate::history::part::{Closing, Part, RecordedChannel, RecordedState, recorded_messages};
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};
use crate::process::recording::{ChannelRecording, Recording};
use crate::process::start::Start;
use crate::store::Store;
use crate::store::chunks::writers::MessageWriter;
use crate::store::error::StoreError;
use crate::store::stored::codec::Secret;

/// The parts: what a process has recorded for a snapshot.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    pub(in crate::store) store: &'a Store,
}

impl<'a> Parts<'a> {
    /// The stored part of this process for a snapshot.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn get(self, snapshot: &SnapshotId) -> Result<Option<Part>, StoreError> {
        self.store.history.part(snapshot)
    }

    /// The individually stored parts of this process: those that no packed complete revision contains.
    pub fn lone(self) -> impl Iterator<Item = Result<Part, StoreError>> + 'a {
        self.store.history.parts()
    }

    /// Stores the part of this process for a snapshot durably. An existing part is kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put(self, part: &Part) -> Result<(), StoreError> {
        self.put_all(std::slice::from_ref(part))
    }

    /// Stores parts of this process durably. Existing parts are kept.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn put_all(self, parts: &[Part]) -> Result<(), StoreError> {
        for part in parts {
            self.store.history.put_part(part)?;
        }
        self.store.sync()?;
        // A snapshot that was deleted while it was recorded may be back before its part.
        let mut snapshots = parts.iter().map(|part| &part.snapshot);
        snapshots.try_for_each(|snapshot| self.store.retention().end_deletion(snapshot))
    }

    /// The chunks of a part that are missing and whose hashes are known; call it again when these are stored. Damaged
    /// chunks of messages or indexes count as missing; adopting them repairs them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn missing_chunks(self, part: &Part) -> Result<Vec<Hash>, StoreError> {
        let mut missing = Vec::new();
        for run in &part.state.runs {
            missing.append(&mut self.store.chunks.missing(run)?);
        }
        for hash in part.channels.iter().flat_map(|channel| &channel.chunks) {
            if !self.store.chunks.holds(hash)? {
                missing.push(*hash);
            }
        }
        Ok(missing)
    }

    /// Counts the stored contents of a part; `me` is the owner of this journal.
    ///
    /// # Errors
    /// [`StoreError`]: stored contents are damaged.
    pub fn count(self, me: &ProcessId, part: &Part) -> Result<Counted, StoreError> {
        let mut counted = Counted::default();
        for run in &part.state.runs {
            let (named, held) = self.store.chunks.count(run)?;
            counted.chunks_named += named;
            counted.chunks_held += held;
        }
        for channel in &part.channels {
            counted.chunks_named += channel.chunks.len() as u64;
            for recorded in self.store.chunks.messages(channel) {
                counted.messages += 1;
                if let Some(transfer) = recorded?.message.body.transfer() {
                    counted.transfers += 1;
                    counted.amount += i128::from(transfer.amount.units());
                }
            }
            counted.chunks_held += channel.chunks.len() as u64;
        }
        if part.process == *me {
            counted.is_chained = match self.store.journal.hash_up_to(part.state.position) {
                Ok(hash) => Some(hash == part.state.journal),
                // It was read from the journal, which no longer reaches back that far.
                Err(StoreError::BeforeHorizon { .. }) => None,
                Err(error) => return Err(error),
            };
        }
        Ok(counted)
    }

    /// Builds the part of a recording from its written state and the messages of its closed channels in the journal.
    /// `None` while the state is not written.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn build(self, me: &ProcessId, recording: &Recording) -> Result<Option<Part>, StoreError> {
        let parts = self.build_all(me, std::slice::from_ref(recording))?;
        Ok(parts.into_iter().next())
    }

    /// As [`Self::build`] for several recordings in one pass over the journal: recordings that waited for a dead
    /// process finish together when it returns, and each may reach far back. Recordings whose state is not written are
    /// omitted.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn build_all(
        self,
        me: &ProcessId,
        recordings: &[Recording],
    ) -> Result<Vec<Part>, StoreError> {
        let _writing = self.store.chunks.writing();
        let mut drafts = Vec::with_capacity(recordings.len());
        for recording in recordings {
            match self.store.states().at(recording.cut) {
                Ok(Some(state)) => {
                    let secret = self.store.chunks.secret_at(recording.cut);
                    drafts.push(PartDraft::new(recording, state, secret));
                }
                Ok(None) => {}
                // The part was stored meanwhile, and the state has been deleted since.
                Err(StoreError::Damaged { .. }) if self.is_stored(&recording.snapshot) => {}
                Err(error) => return Err(error),
            }
        }
        self.write_messages(&mut drafts)?;
        for draft in &mut drafts {
            self.date_closings(draft)?;
            self.find_start(me, draft)?;
        }
        let finish = |draft: PartDraft<'_>| {
            let finish = |(channel, writer): (RecordedChannel, MessageWriter<'_>)| {
                let chunks = writer.finish(&self.store.chunks)?;
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
                start: draft.start,
            })
        };
        drafts.into_iter().map(finish).collect()
    }

    // Older programs cannot read closings and starts. A store salts its chunks as soon as no process runs one (decision 0042).
    fn date_closings(self, draft: &mut PartDraft<'_>) -> Result<(), StoreError> {
        if !draft.is_salted {
            return Ok(());
        }
        for (channel, _) in &mut draft.channels {
            let closed = draft.recording.channels.get(&channel.from);
            let Some((_, position)) = closed.and_then(|closed| closed.closed) else {
                continue;
            };
            channel.closing = match self.store.journal.time(position) {
                Ok(time) => Some(Closing { position, time }),
                Err(error) if error.is_fatal() => return Err(error),
                // Without messages to read the part needs no turn of the journal.
                Err(_) => None,
            };
        }
        Ok(())
    }

    fn find_start(self, me: &ProcessId, draft: &mut PartDraft<'_>) -> Result<(), StoreError> {
        let recording = draft.recording;
        if !draft.is_salted || recording.initiator != *me {
            return Ok(());
        }
        draft.start = match self.store.journal.turns(recording.cut.next()).next() {
            Some(Ok(turn)) => turn.start_of(&recording.snapshot),
            Some(Err(error)) if error.is_fatal() => return Err(error),
            // As for closings.
            Some(Err(_)) | None => None,
        };
        Ok(())
    }

    fn is_stored(self, snapshot: &SnapshotId) -> bool {
        matches!(self.get(snapshot), Ok(Some(_)))
    }

    // One pass for all channels, with one chunk per channel in memory.
    fn write_messages(self, drafts: &mut [PartDraft<'_>]) -> Result<(), StoreError> {
        let filled = drafts
            .iter()
            .filter(|draft| draft.end > draft.recording.cut);
        let ends = filled.map(|draft| (draft.recording.cut, draft.end));
        let Some((first, last)) = ends.reduce(|one, next| (one.0.min(next.0), one.1.max(next.1)))
        else {
            return Ok(());
        };
        let mut turns = self.store.journal().turns(first.next());
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
                    writer.push(&self.store.chunks, messages)?;
                }
            }
        }
        Ok(())
    }
}

/// A part under construction.
struct PartDraft<'a> {
    recording: &'a Recording,
    state: RecordedState,
    /// Each closed channel with the writer of its messages.
    channels: Vec<(RecordedChannel, MessageWriter<'a>)>,
    /// Whether the contents are salted.
    is_salted: bool,
    start: Option<Start>,
    /// A turn at or after the delivery of the last recorded message; the cut if there are none.
    end: Lsn,
}

impl<'a> PartDraft<'a> {
    fn new(recording: &'a Recording, state: RecordedState, secret: Option<&'a Secret>) -> Self {
        let closed = |(from, channel): (&ProcessId, &ChannelRecording)| {
            let (closed, position) = channel.closed?;
            let recorded = RecordedChannel {
                from: from.clone(),
                first: channel.opened.sequence.next(),
                last: closed.sequence,
                transfers: closed.transfers - channel.opened.transfers,
                amount: closed.amount - channel.opened.amount,
                chunks: Vec::new(),
                closing: None,
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
            is_salted: secret.is_some(),
            start: None,
            channels: channels
                .map(|(channel, _)| (channel, MessageWriter::new(secret)))
                .collect(),
            end: end.unwrap_or(recording.cut),
        }
    }
}
