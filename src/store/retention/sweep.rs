//! Deletes unreferenced chunks: mark, then sweep, concurrently with writers.
//!
//! Safety: a chunk is swept if nothing that the mark has read refers to it and it has not been touched since
//! ([`crate::store::chunks::leases`]). A writer that stores a chunk, or finds it stored and skips it, touches it *before* the
//! lookup, within a [`crate::store::chunks::leases::WriteLease`] that lasts until a stored state, part or revision refers to
//! the chunk or its part is held. Touched chunks are remembered until there is neither a writer nor a sweep. So a needed chunk
//! was either referenced before the mark began, or is touched. A batch is deleted under the lock that touching takes: a later
//! writer finds the chunk missing and writes it again.
//!
//! A reference may move while the mark reads: from a state to the next state or to a part, or from a held part to a
//! revision. The mark reads in this order, held parts first, so it sees one or the other. After the mark and before the
//! first deletion everything is made durable, so that a power failure cannot restore a value that was seen as deleted
//! and now lacks its chunks. Chunks restored by a power failure are swept the next time.
//!
//! If a value that refers to chunks is unreadable, no chunk is deleted. The mark still reads everything else: damaged
//! values are replicated again from a peer, and a later sweep continues.

use std::collections::HashSet;

use super::Retention;
use crate::history::part::{Part, Run};
use crate::process::ids::Hash;
use crate::store::chunks::Chunks;
use crate::store::error::StoreError;
use crate::store::stored::frame;

/// The keys examined between two checks whether to continue.
const STEP_KEYS: usize = 256;

/// The result of a sweep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Chunks that are referenced.
    pub needed: u64,
    /// Chunks that were deleted.
    pub deleted: u64,
    /// Bytes that the deleted chunks took.
    pub bytes: u64,
}

/// The set of referenced chunks.
struct Mark<'a> {
    chunks: &'a Chunks,
    needed: HashSet<Hash>,
    /// The first unreadable value that refers to chunks.
    damaged: Option<StoreError>,
}

impl Mark<'_> {
    // Keeps the first damage for the end.
    fn take<T>(&mut self, read: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(error @ StoreError::Damaged { .. }) => {
                self.damaged.get_or_insert(error);
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn state(&mut self, runs: &[Run]) -> Result<(), StoreError> {
        runs.iter().try_for_each(|run| self.run(run, false))
    }

    fn part(&mut self, part: &Part, may_lack: bool) -> Result<(), StoreError> {
        for run in &part.state.runs {
            self.run(run, may_lack)?;
        }
        let messages = part.channels.iter().flat_map(|channel| &channel.chunks);
        self.needed.extend(messages);
        Ok(())
    }

    // If an index chunk is unreadable, the chunks it names are unknown and nothing may be swept. The index of a part
    // still being fetched may be absent; the chunks it names are touched when they are looked up.
    fn run(&mut self, run: &Run, may_lack: bool) -> Result<(), StoreError> {
        for hash in &run.index {
            if !self.needed.insert(*hash) {
                continue;
            }
            match self.chunks.index(hash) {
                Ok(lines) => self.needed.extend(lines.iter().map(|line| line.chunk)),
                Err(StoreError::Damaged { .. }) if may_lack => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

impl Retention<'_> {
    /// Deletes every chunk that no state, part, revision or collection needs. There is one sweep at a time, and none
    /// during a backup. Stops early with `None` when `goes_on` returns false; it must then keep returning false.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if a value that refers to chunks is unreadable; nothing is deleted then.
    pub fn sweep(self, goes_on: impl Fn() -> bool) -> Result<Option<Swept>, StoreError> {
        let Some(_deleting) = self.store.standstill.deleting() else {
            return Ok(None);
        };
        let goes_on = || goes_on() && !self.store.standstill.is_wanted();
        let _sweeping = self.store.chunks().writing();
        let Some(needed) = self.mark(&goes_on)? else {
            return Ok(None);
        };
        self.store.sync()?;
        let mut swept = Swept {
            needed: needed.len() as u64,
            ..Swept::default()
        };
        let mut after = Vec::new();
        loop {
            if !goes_on() {
                return Ok(None);
            }
            let more = self.sweep_step(&needed, &mut after, &mut swept)?;
            if !more {
                break;
            }
        }
        self.store.sync()?;
        Ok(Some(swept))
    }

    // `None` if it was stopped.
    fn mark(self, goes_on: &impl Fn() -> bool) -> Result<Option<HashSet<Hash>>, StoreError> {
        let mut mark = Mark {
            chunks: &self.store.chunks,
            needed: HashSet::new(),
            damaged: None,
        };
        let held = self.store.chunks.leases.held();
        for state in self.store.states.all().take_while(|_| goes_on()) {
            if let Some(state) = mark.take(state)? {
                let marked = mark.state(&state.recorded.runs);
                mark.take(marked)?;
            }
        }
        for part in self.store.history.parts().take_while(|_| goes_on()) {
            if let Some(part) = mark.take(part)? {
                let marked = mark.part(&part, false);
                mark.take(marked)?;
            }
        }
        mark.take(self.store.history.all_listed())?;
        for state in self.store.history.revisions().take_while(|_| goes_on()) {
            let Some(state) = mark.take(state)? else {
                continue;
            };
            let mut parts = state.parts.values();
            let marked = parts.try_for_each(|part| mark.part(part, false));
            if let Err(error @ StoreError::Damaged { .. }) = &marked {
                self.store.history.note_damaged_contents(&state, error);
            }
            mark.take(marked)?;
        }
        for part in &held {
            mark.part(part, true)?;
        }
        match mark.damaged {
            // A stopped mark is incomplete.
            _ if !goes_on() => Ok(None),
            Some(error) => Err(error),
            None => Ok(Some(mark.needed)),
        }
    }

    // Examines the next keys; returns whether there may be more.
    fn sweep_step(
        self,
        needed: &HashSet<Hash>,
        after: &mut Vec<u8>,
        swept: &mut Swept,
    ) -> Result<bool, StoreError> {
        let tree = &self.store.chunks.tree;
        let behind = (
            std::ops::Bound::Excluded(after.clone()),
            std::ops::Bound::Unbounded,
        );
        let mut looked = 0;
        let mut unneeded: Vec<Hash> = Vec::new();
        for key in tree.range::<Vec<u8>, _>(behind).keys().take(STEP_KEYS) {
            let key = key?;
            looked += 1;
            let hash = frame::split_key(&key).and_then(|(hash, _)| hash.try_into().ok().map(Hash));
            // A foreign key is left for `store check` to report.
            if let Some(hash) = hash
                && !needed.contains(&hash)
                && unneeded.last() != Some(&hash)
            {
                unneeded.push(hash);
            }
            *after = key.to_vec();
        }
        if !unneeded.is_empty() {
            let leases = &self.store.chunks.leases;
            let (chunks, bytes) = leases.unless_touched(unneeded, |free| self.remove(&free))?;
            swept.deleted += chunks;
            swept.bytes += bytes;
        }
        Ok(looked == STEP_KEYS)
    }

    // With all of their fragments.
    fn remove(self, chunks: &[Hash]) -> Result<(u64, u64), StoreError> {
        let tree = &self.store.chunks.tree;
        let mut batch = sled::Batch::default();
        let mut bytes = 0;
        for hash in chunks {
            for pair in tree.scan_prefix(hash.0) {
                let (key, fragment) = pair?;
                bytes += fragment.len() as u64;
                batch.remove(key);
            }
        }
        let removed = tree.apply_batch(batch);
        self.store.chunks.known.forget();
        removed?;
        Ok((chunks.len() as u64, bytes))
    }
}
