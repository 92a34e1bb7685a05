//! Deletes the chunks that nothing needs any more: mark, then sweep, while everybody else goes on writing.
//!
//! Why nothing that is needed goes. A chunk is swept if nothing that the mark read names it and nobody has touched it since
//! ([`super::leases`]). Whoever writes a chunk, or finds it here and therefore does not write it, touches it *before* it
//! looks, within a [`super::leases::WriteLease`] that lasts until a state, a part or a revision in the store names the chunk,
//! or its part is held. What such a writer touched is known until no writer and no sweep is under way; so a chunk either
//! was named before the mark began, or it is touched. A batch is deleted under the lock that touching takes: whoever
//! comes later finds the chunk gone, and writes it again.
//!
//! What names a chunk may pass it on while the mark reads: a state to the next state or to a part, a part that is held to a
//! revision. The mark reads in this order, held parts first, so it sees the one or the other. After it has read, and
//! before the first chunk goes, all is made durable: what was seen to be deleted does not come back by a power cut and
//! miss its chunks. Chunks that come back by one are swept the next time.
//!
//! Where something that names chunks cannot be read, none is deleted. The mark reads all the rest nevertheless: what is
//! found to be damaged is taken over from a peer, and a later sweep goes on.

use std::collections::HashSet;

use super::Store;
use super::chunks::Chunks;
use super::error::StoreError;
use super::frame;
use super::leases::WriteLease;
use crate::history::part::{Part, Run};
use crate::process::ids::{Hash, SnapshotId};

/// How many keys are looked at between two looks whether to go on.
const STEP_KEYS: usize = 256;

/// What a sweep has found and done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Swept {
    /// Chunks that something needs.
    pub needed: u64,
    /// Chunks that were deleted.
    pub deleted: u64,
    /// What they took, in bytes.
    pub bytes: u64,
}

/// Every chunk that something needs.
struct Mark<'a> {
    chunks: &'a Chunks,
    needed: HashSet<Hash>,
    /// The first thing that names chunks and cannot be read.
    damaged: Option<StoreError>,
}

impl Mark<'_> {
    // What is damaged is kept for the end.
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

    // What an index names is not known where it cannot be read; then nothing may be swept. Of a part that is still
    // coming it may not be here yet, and what it names is touched when it is looked for.
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

impl Store {
    /// Somebody is about to store chunks, or to count on some that are here, for something that does not name them yet.
    pub fn writing(&self) -> WriteLease {
        self.chunks.leases.begin()
    }

    /// Keeps the chunks of a part while its snapshot is collected; to be called while the [`WriteLease`] lives in which
    /// they came.
    pub fn hold(&self, part: &Part) {
        self.chunks.leases.hold(part);
    }

    /// A snapshot is collected no more: what is published of it names its chunks.
    pub fn let_go(&self, snapshot: &SnapshotId) {
        self.chunks.leases.let_go(snapshot);
    }

    /// Deletes every chunk that neither a state, a part, a revision nor a collection needs; one sweep at a time, and
    /// none during a backup. Stops early, with `None`, once `goes_on` says no, which it then goes on to say.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] where something that names chunks cannot be read; nothing is deleted then.
    pub fn sweep(&self, goes_on: impl Fn() -> bool) -> Result<Option<Swept>, StoreError> {
        let Some(_deleting) = self.standstill.deleting() else {
            return Ok(None);
        };
        let goes_on = || goes_on() && !self.standstill.is_wanted();
        let _sweeping = self.writing();
        let Some(needed) = self.mark(&goes_on)? else {
            return Ok(None);
        };
        self.sync()?;
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
        self.sync()?;
        Ok(Some(swept))
    }

    // `None` where it is not to go on.
    fn mark(&self, goes_on: &impl Fn() -> bool) -> Result<Option<HashSet<Hash>>, StoreError> {
        let mut mark = Mark {
            chunks: &self.chunks,
            needed: HashSet::new(),
            damaged: None,
        };
        let held = self.chunks.leases.held();
        for state in self.states.all().take_while(|_| goes_on()) {
            if let Some(state) = mark.take(state)? {
                let marked = mark.state(&state.recorded.runs);
                mark.take(marked)?;
            }
        }
        for part in self.history.parts().take_while(|_| goes_on()) {
            if let Some(part) = mark.take(part)? {
                let marked = mark.part(&part, false);
                mark.take(marked)?;
            }
        }
        mark.take(self.history.all_listed())?;
        for state in self.history.revisions().take_while(|_| goes_on()) {
            let Some(state) = mark.take(state)? else {
                continue;
            };
            let mut parts = state.parts.values();
            let marked = parts.try_for_each(|part| mark.part(part, false));
            if let Err(error @ StoreError::Damaged { .. }) = &marked {
                self.history.note_damaged_contents(&state, error);
            }
            mark.take(marked)?;
        }
        for part in &held {
            mark.part(part, true)?;
        }
        match mark.damaged {
            // Where it was stopped, something was left out.
            _ if !goes_on() => Ok(None),
            Some(error) => Err(error),
            None => Ok(Some(mark.needed)),
        }
    }

    // Looks at the next keys; says whether there may be more.
    fn sweep_step(
        &self,
        needed: &HashSet<Hash>,
        after: &mut Vec<u8>,
        swept: &mut Swept,
    ) -> Result<bool, StoreError> {
        let tree = &self.chunks.tree;
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
            // A key that is none of ours is left for `store check` to name.
            if let Some(hash) = hash
                && !needed.contains(&hash)
                && unneeded.last() != Some(&hash)
            {
                unneeded.push(hash);
            }
            *after = key.to_vec();
        }
        if !unneeded.is_empty() {
            let leases = &self.chunks.leases;
            let (chunks, bytes) = leases.unless_touched(unneeded, |free| self.remove(&free))?;
            swept.deleted += chunks;
            swept.bytes += bytes;
        }
        Ok(looked == STEP_KEYS)
    }

    // With all their fragments.
    fn remove(&self, chunks: &[Hash]) -> Result<(u64, u64), StoreError> {
        let tree = &self.chunks.tree;
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
        self.chunks.known.forget();
        removed?;
        Ok((chunks.len() as u64, bytes))
    }
}
