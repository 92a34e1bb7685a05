//! Recorded states, parts and chunks on a simulated disk, corresponding to `store/states/mod.rs`, `store/chunks/mod.rs` and
//! `Store::{recover, build_part, count}`.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::global::Counted;
use snapledger::history::part::{
    Chunk, Closing, IndexEntry, Part, RecordedChannel, RecordedMessage, RecordedState, Run,
    recorded_messages,
};
use snapledger::history::statement::{Entry, entries};
use snapledger::process::Process;
use snapledger::process::cell::{Cell, CellKey};
use snapledger::process::channel::Flow;
use snapledger::process::ids::{AccountId, Hash, Lsn, ProcessId};
use snapledger::process::recording::{ChannelRecording, Recording};
use snapledger::process::registers::{Registers, Sealed};
use snapledger::process::start::Start;
use snapledger::store::codec::{Secret, StoredState, check_chunk, decode_chunk, encode_chunk};

use crate::disk::Disk;

/// All disks salt their chunks alike, so that the same content is the same chunk everywhere.
const SECRET: [u8; 32] = [7; 32];

impl Disk {
    /// Recovers the process after the newest entry: the newest intact state, with the journal replayed from there. Also returns
    /// whether a damaged state was skipped.
    pub(crate) fn recover(
        &mut self,
        new: impl Fn(Registers) -> Process,
        alter: impl Fn(&mut Registers, &mut Vec<Cell>),
    ) -> Result<(Process, bool), String> {
        let mut passed_over = false;
        let mut found = None;
        for (cut, state) in self.states.iter().rev() {
            match self.cells(&state.value.recorded.runs) {
                Ok(cells) => {
                    found = Some((*cut, state.value.clone(), cells));
                    break;
                }
                Err(_) => passed_over = true,
            }
        }
        let Some((cut, mut state, mut cells)) = found else {
            let mut process = new(Registers::default());
            self.replay(&mut process)?;
            return Ok((process, passed_over));
        };
        alter(&mut state.registers, &mut cells);
        let mut process = new(state.registers);
        for cell in cells {
            process.restore_cell(cell);
        }
        self.newest = Some((cut, state.recorded.runs));
        self.replay(&mut process)?;
        Ok((process, passed_over))
    }

    fn replay(&mut self, process: &mut Process) -> Result<(), String> {
        let from = process.registers().position;
        let mut lacking: Vec<Recording> = Vec::new();
        for turn in self.turns(from.next()) {
            let turn = turn?;
            let stored = process.stored_by(&turn);
            let is_lacking = |one: &&Recording| {
                let (part, deleted) = (&self.parts, &self.deleted);
                let is_stored = part.contains_key(&one.snapshot) || deleted.contains(&one.snapshot);
                (one.cut >= from || self.states.contains_key(&one.cut)) && !is_stored
            };
            lacking.extend(stored.filter(is_lacking).cloned());
            process.replay(&turn);
        }
        // The recovery stores these parts again, each before any later state.
        lacking.sort_by_key(|recording| recording.cut);
        for recording in lacking {
            for sealed in process.take_sealed_until(recording.cut) {
                self.write_state(sealed)?;
            }
            if let Some(part) = self.build_part(process.id(), &recording)? {
                self.put_part(part);
            }
            self.synced(self.stamp());
        }
        Ok(())
    }

    /// The cells of a state, newest run first; an error names a missing chunk.
    pub(crate) fn cells(&self, runs: &[Run]) -> Result<Vec<Cell>, String> {
        let mut known = BTreeSet::new();
        let mut cells = Vec::new();
        for run in runs.iter().rev() {
            for entry in self.index(run)? {
                let Chunk::Cells(more) = self.chunk(&entry.chunk)? else {
                    return Err(format!("chunk {} holds no cells", entry.chunk));
                };
                let news = more.into_iter().filter(|cell| {
                    let CellKey { kind, name } = cell.key();
                    known.insert((kind, name.to_owned()))
                });
                cells.extend(news);
            }
        }
        Ok(cells)
    }

    /// The newest intact state at or before a position of this journal, and its cells; none before the first state.
    pub(crate) fn recorded_until(&self, position: Lsn) -> (Lsn, Vec<Cell>) {
        let states = self.states.range(..=position).rev();
        let mut ours =
            states.filter(|(cut, state)| self.hash_at(**cut) == Some(state.value.recorded.journal));
        let found = ours.find_map(|(cut, state)| {
            let cells = self.cells(&state.value.recorded.runs).ok()?;
            Some((*cut, cells))
        });
        found.unwrap_or_default()
    }

    /// The balance of an account after the turn at a position: from the newest intact state and the turns after it.
    pub(crate) fn balance_at(
        &self,
        me: &ProcessId,
        account: &AccountId,
        position: Lsn,
    ) -> Result<Option<i128>, String> {
        let (cut, recorded) = self.recorded_until(position);
        let mut balance = recorded.iter().find_map(|cell| match cell {
            Cell::Account {
                account: one,
                balance,
            } if one == account => Some(i128::from(*balance)),
            _ => None,
        });
        for turn in self.turns(cut.next()) {
            let turn = turn?;
            if turn.position > position {
                break;
            }
            let changes = entries(me, &turn, account);
            let changes = changes.iter().map(Entry::change);
            balance = changes.fold(balance, |held, change| Some(held.unwrap_or(0) + change));
        }
        Ok(balance)
    }

    fn index(&self, run: &Run) -> Result<Vec<IndexEntry>, String> {
        let mut entries = Vec::new();
        for hash in &run.index {
            match self.chunk(hash)? {
                Chunk::Index(more) => entries.extend(more),
                _ => return Err(format!("chunk {hash} is no index")),
            }
        }
        Ok(entries)
    }

    fn chunk(&self, hash: &Hash) -> Result<Chunk, String> {
        let stored = self
            .framed_chunk(hash)
            .ok_or_else(|| format!("chunk {hash} is missing"))?;
        decode_chunk(hash, &stored).map_err(|error| error.to_string())
    }

    /// A chunk in its frame.
    pub(crate) fn framed_chunk(&self, hash: &Hash) -> Option<Vec<u8>> {
        self.chunks.get(hash).map(|chunk| chunk.value.clone())
    }

    /// Stores a chunk of another process.
    pub(crate) fn adopt_chunk(&mut self, hash: Hash, stored: Vec<u8>) -> Result<(), String> {
        check_chunk(&hash, &stored).map_err(|error| error.to_string())?;
        if !self.chunks.contains_key(&hash) {
            let written = self.written(stored);
            self.chunks.insert(hash, written);
        }
        Ok(())
    }

    fn put_chunk(&mut self, chunk: &Chunk) -> Hash {
        let (stored, hash) = encode_chunk(chunk, Some(&Secret::new(SECRET)));
        if !self.chunks.contains_key(&hash) {
            let written = self.written(stored);
            self.chunks.insert(hash, written);
        }
        hash
    }

    fn write_run(&mut self, cells: Vec<Cell>) -> Option<Run> {
        let (kind, name) = cells
            .first()
            .map(|cell| (cell.key().kind, cell.key().name.into()))?;
        let count = cells.len() as u64;
        let chunk = self.put_chunk(&Chunk::Cells(cells));
        let index = self.put_chunk(&Chunk::Index(vec![IndexEntry { kind, name, chunk }]));
        Some(Run {
            cells: count,
            bytes: 0,
            index: vec![index],
        })
    }

    /// Writes a sealed state on top of the newest one; durable after the next sync.
    pub(crate) fn write_state(&mut self, sealed: Sealed) -> Result<(), String> {
        let cut = sealed.registers.position;
        if self.state(cut).is_some() {
            return Ok(());
        }
        let journal = self
            .hash_at(cut)
            .ok_or_else(|| format!("no entry at the cut {cut}"))?;
        let mut runs = self.newest.take().map(|(_, runs)| runs).unwrap_or_default();
        runs.extend(self.write_run(sealed.cells.sorted()));
        let registers = sealed.registers;
        let recorded = RecordedState {
            position: cut,
            time: sealed.time,
            clock: registers.clock,
            accounts: sealed.accounts,
            balance_total: sealed.balance_total,
            deposits: registers.deposits,
            withdrawals: registers.withdrawals,
            sent: flows(&registers.outgoing, |channel| channel.sent),
            delivered: flows(&registers.incoming, |channel| channel.delivered),
            journal,
            runs: runs.clone(),
            state_bytes: 0,
            new_bytes: 0,
        };
        let state = self.written(StoredState {
            registers,
            recorded,
        });
        self.states.insert(cut, state);
        self.newest = Some((cut, runs));
        Ok(())
    }

    /// The state at a cut, unless an earlier life left it and this life has skipped it.
    pub(crate) fn state(&self, cut: Lsn) -> Option<&StoredState> {
        let newest = self
            .newest
            .as_ref()
            .is_some_and(|(newest, _)| cut <= *newest);
        newest.then(|| self.states.get(&cut).map(|state| &state.value))?
    }

    /// The part of a recording; `None` while its state is not written.
    pub(crate) fn build_part(
        &mut self,
        me: &ProcessId,
        recording: &Recording,
    ) -> Result<Option<Part>, String> {
        let Some(state) = self
            .state(recording.cut)
            .map(|state| state.recorded.clone())
        else {
            return Ok(None);
        };
        let mut channels = Vec::new();
        for (from, channel) in &recording.channels {
            if let Some((closed, position)) = channel.closed {
                let messages = self.recorded(recording, (from, position))?;
                let recorded = self.recorded_channel(from, (channel, closed), messages);
                let closing = self.closing(position);
                channels.push(RecordedChannel {
                    closing,
                    ..recorded
                });
            }
        }
        Ok(Some(Part {
            snapshot: recording.snapshot.clone(),
            process: me.clone(),
            initiator: recording.initiator.clone(),
            state,
            channels,
            open: recording.open().cloned().collect(),
            start: self.start_of(recording)?,
        }))
    }

    fn start_of(&self, recording: &Recording) -> Result<Option<Start>, String> {
        let first = self.turns(recording.cut.next()).next().transpose()?;
        Ok(first.and_then(|turn| turn.start_of(&recording.snapshot)))
    }

    fn recorded(
        &self,
        recording: &Recording,
        (from, end): (&ProcessId, Lsn),
    ) -> Result<Vec<RecordedMessage>, String> {
        let turns = self.turns(recording.cut.next());
        let turns = turns.take_while(|turn| turn.as_ref().is_ok_and(|turn| turn.position <= end));
        let turns = turns.collect::<Result<Vec<_>, _>>()?;
        let mut messages = recorded_messages(recording, from, &turns);
        if self.leaves_out_messages {
            messages.pop();
        }
        Ok(messages)
    }

    fn recorded_channel(
        &mut self,
        from: &ProcessId,
        (channel, closed): (&ChannelRecording, Flow),
        messages: Vec<RecordedMessage>,
    ) -> RecordedChannel {
        let chunks = if messages.is_empty() {
            Vec::new()
        } else {
            vec![self.put_chunk(&Chunk::Messages(messages))]
        };
        RecordedChannel {
            from: from.clone(),
            first: channel.opened.sequence.next(),
            last: closed.sequence,
            transfers: closed.transfers - channel.opened.transfers,
            amount: closed.amount - channel.opened.amount,
            chunks,
            closing: None,
        }
    }

    fn closing(&self, position: Lsn) -> Option<Closing> {
        let turn = self.turns(position).next()?.ok()?;
        let time = turn.time;
        Some(Closing { position, time })
    }

    /// The recorded messages of a channel.
    pub(crate) fn messages(
        &self,
        channel: &RecordedChannel,
    ) -> Result<Vec<RecordedMessage>, String> {
        let mut messages = Vec::new();
        for hash in &channel.chunks {
            match self.chunk(hash)? {
                Chunk::Messages(more) => messages.extend(more),
                _ => return Err(format!("chunk {hash} holds no messages")),
            }
        }
        Ok(messages)
    }

    /// The missing chunks of a part, as far as present index chunks name them.
    pub(crate) fn missing_chunks(&self, part: &Part) -> Result<Vec<Hash>, String> {
        let mut named = Vec::new();
        for run in &part.state.runs {
            named.extend(&run.index);
            if run.index.iter().all(|hash| self.chunks.contains_key(hash)) {
                named.extend(self.index(run)?.iter().map(|entry| entry.chunk));
            }
        }
        named.extend(part.channels.iter().flat_map(|channel| &channel.chunks));
        named.retain(|hash| !self.chunks.contains_key(hash));
        Ok(named)
    }

    /// Counts the stored contents of a part.
    pub(crate) fn count(&self, me: &ProcessId, part: &Part) -> Result<Counted, String> {
        let mut counted = Counted::default();
        for run in &part.state.runs {
            let named = (run.index.len() + self.index(run)?.len()) as u64;
            counted.chunks_named += named;
            counted.chunks_held += named;
        }
        counted.chunks_held -= self.missing_chunks(part)?.len() as u64;
        for channel in &part.channels {
            counted.chunks_named += channel.chunks.len() as u64;
            counted.chunks_held += channel.chunks.len() as u64;
            let messages = self.messages(channel)?;
            counted.messages += messages.len() as u64;
            for transfer in messages
                .iter()
                .filter_map(|one| one.message.body.transfer())
            {
                counted.transfers += 1;
                counted.amount += i128::from(transfer.amount.units());
            }
        }
        if part.process == *me {
            // The journal may not reach back that far.
            let is_before = part.state.position < self.begins().position;
            let hash = self.hash_at(part.state.position);
            counted.is_chained = (!is_before).then_some(hash == Some(part.state.journal));
        }
        Ok(counted)
    }
}

fn flows<C>(
    channels: &BTreeMap<ProcessId, C>,
    flow: impl Fn(&C) -> Flow,
) -> BTreeMap<ProcessId, Flow> {
    let copy = |(process, channel): (&ProcessId, &C)| (process.clone(), flow(channel));
    channels.iter().map(copy).collect()
}
