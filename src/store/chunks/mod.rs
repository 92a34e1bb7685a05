//! Chunks: immutable and addressed by the hash of their content, so that unchanged data is stored once.

pub(super) mod batch;
pub(super) mod leases;
pub(super) mod messages;
pub(super) mod run_cache;
pub(super) mod salting;
pub(super) mod source;
pub(super) mod writers;

use std::collections::HashSet;
use std::sync::Arc;

use super::engine::schema::name;
use super::error::StoreError;
use super::stored::codec::{Secret, decode_chunk};
use super::stored::compression;
use super::stored::frame;
use super::stored::frame::{Damage, Kind};
use crate::history::part::{Chunk, IndexEntry, Part, RecordedChannel, RecordedMessage, Run};
use crate::process::ids::{Hash, Lsn, SnapshotId};
use leases::{Leases, WriteLease};
use messages::Messages;
use run_cache::RunCache;
use salting::Salting;

/// The chunks of a store.
pub struct Chunks {
    pub(super) tree: sled::Tree,
    /// The chunks that concurrent writers rely on.
    pub(super) leases: Arc<Leases>,
    /// The runs whose chunks are known to be present.
    pub(super) known: RunCache,
    /// `None` if nothing is written, or nothing salted.
    pub(super) salting: Option<Salting>,
}

impl Chunks {
    pub(super) fn new(tree: sled::Tree, salting: Option<Salting>) -> Self {
        Self {
            tree,
            leases: Arc::default(),
            known: RunCache::default(),
            salting,
        }
    }

    /// The secret for what is recorded at this cut; `None` if it is not salted.
    pub(super) fn secret_at(&self, cut: Lsn) -> Option<&Secret> {
        self.salting.as_ref()?.at(cut)
    }

    /// The secret for what is stored now without a cut.
    pub(super) fn secret_now(&self) -> Option<&Secret> {
        self.salting.as_ref()?.now()
    }

    /// Whether chunks are salted, which begins once all other processes read this format.
    #[must_use]
    pub fn are_salted(&self) -> bool {
        self.secret_now().is_some()
    }

    /// Begins writing chunks, or relying on stored ones, for a value that does not refer to them yet.
    pub fn writing(&self) -> WriteLease {
        self.leases.begin()
    }

    /// Holds the chunks of a part while its snapshot is collected. Call it within the [`WriteLease`] in which they
    /// arrived.
    pub fn hold(&self, part: &Part) {
        self.leases.hold(part);
    }

    /// Ends the collection of a snapshot; its published revision refers to the chunks.
    pub fn let_go(&self, snapshot: &SnapshotId) {
        self.leases.let_go(snapshot);
    }

    /// The recorded messages of a channel in order. Reads from disk, one chunk at a time.
    #[must_use]
    pub fn messages<'a>(&'a self, channel: &'a RecordedChannel) -> Messages<'a> {
        Messages::new(self, channel)
    }

    /// The last recorded messages of a channel, at most `count`, in order. Reads only the chunks that hold them.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn newest_messages(
        &self,
        channel: &RecordedChannel,
        count: usize,
    ) -> Result<Vec<RecordedMessage>, StoreError> {
        let mut newest = Vec::new();
        for hash in channel.chunks.iter().rev() {
            if newest.len() >= count {
                break;
            }
            let mut messages = source::messages(self, hash)?;
            messages.append(&mut newest);
            newest = messages;
        }
        let surplus = newest.len().saturating_sub(count);
        newest.drain(..surplus);
        Ok(newest)
    }

    /// Whether the chunk is stored.
    pub(super) fn contains(&self, hash: &Hash) -> Result<bool, StoreError> {
        self.leases.touch(hash);
        Ok(frame::contains(&self.tree, &hash.0)?)
    }

    /// Reads a chunk and checks it against its hash.
    pub(super) fn get(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        let stored = self.stored(hash)?;
        let chunk = unpack(hash, stored).and_then(|framed| decode_chunk(hash, &framed));
        // A missing chunk was never in the cache; a damaged one may have been.
        if chunk.is_err() {
            self.known.forget();
        }
        chunk
    }

    /// A framed, uncompressed chunk for another store to adopt; its content is unchecked.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], also if it is missing.
    pub fn framed(&self, hash: &Hash) -> Result<Vec<u8>, StoreError> {
        let framed = unpack(hash, self.stored(hash)?);
        if framed.is_err() {
            self.known.forget();
        }
        framed
    }

    /// Whether the chunk is salted. Checks nothing else.
    pub(super) fn is_salted(&self, hash: &Hash) -> Result<bool, StoreError> {
        let framed = self.framed(hash)?;
        Ok(frame::is_of(Kind::SaltedChunk, &framed))
    }

    pub(super) fn stored(&self, hash: &Hash) -> Result<Vec<u8>, StoreError> {
        let problem = || Damage::Contradiction("it is missing".to_owned());
        frame::get(&self.tree, &hash.0)?
            .ok_or_else(|| StoreError::damaged(name(Kind::Chunk, &hash.0), problem()))
    }

    /// Whether the chunk is present with this content; a damaged one is not.
    pub(super) fn has(&self, hash: &Hash, framed: &[u8]) -> Result<bool, StoreError> {
        let stored = frame::get(&self.tree, &hash.0)?;
        let here = stored.and_then(|stored| unpack(hash, stored).ok());
        Ok(here.is_some_and(|here| here == framed))
    }

    /// Whether the chunk is present and matches its hash.
    pub(super) fn holds(&self, hash: &Hash) -> Result<bool, StoreError> {
        Ok(self.whole(hash)?.is_some())
    }

    // An unreadable chunk counts as missing, so that a peer can supply it again.
    fn whole(&self, hash: &Hash) -> Result<Option<Chunk>, StoreError> {
        self.leases.touch(hash);
        match self.get(hash) {
            Ok(chunk) => Ok(Some(chunk)),
            Err(StoreError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The chunks of a run that are not present: first index chunks, then, for present index chunks, the chunks they
    /// name. A damaged index chunk counts as missing. Other chunks are only checked for presence, since reading a whole
    /// state is far more work.
    pub(super) fn missing(&self, run: &Run) -> Result<Vec<Hash>, StoreError> {
        let mut missing = Vec::new();
        for hash in &run.index {
            if self.known_whole(hash).is_none() {
                self.look_for(hash, &mut missing)?;
            }
        }
        Ok(missing)
    }

    // The chunks named by an index chunk, if all are known to be present and are now kept for the writer.
    fn known_whole(&self, index: &Hash) -> Option<Arc<[Hash]>> {
        let named = self.known.named(index)?;
        self.leases.touch(index);
        self.leases.touch_all(&named);
        // A sweep may have removed some before they were touched, but not after.
        self.known.named(index)
    }

    fn look_for(&self, index: &Hash, missing: &mut Vec<Hash>) -> Result<(), StoreError> {
        let since = self.known.since();
        let entries = match self.whole(index)? {
            Some(Chunk::Index(entries)) => entries,
            // Fetching it again would not help.
            Some(Chunk::Cells(_) | Chunk::Messages(_)) => return Err(other_content(index)),
            None => {
                missing.push(*index);
                return Ok(());
            }
        };
        let before = missing.len();
        for entry in &entries {
            if !self.contains(&entry.chunk)? {
                missing.push(entry.chunk);
            }
        }
        if missing.len() == before {
            let named = entries.iter().map(|entry| entry.chunk).collect();
            self.known.learn(*index, named, since);
        }
        Ok(())
    }

    /// The number of chunks that a run names, including its index chunks, and how many of them are present.
    pub(super) fn count(&self, run: &Run) -> Result<(u64, u64), StoreError> {
        let (mut named, mut missing) = (0, Vec::new());
        for hash in &run.index {
            if let Some(known) = self.known_whole(hash) {
                named += 1 + known.len() as u64;
            } else {
                named += 1 + self.index(hash)?.len() as u64;
                self.look_for(hash, &mut missing)?;
            }
        }
        Ok((named, named - missing.len() as u64))
    }

    /// The chunks of these runs, including their index chunks.
    pub(super) fn of_runs(&self, runs: &[Run]) -> Result<HashSet<Hash>, StoreError> {
        let mut all = HashSet::new();
        for hash in runs.iter().flat_map(|run| &run.index) {
            all.insert(*hash);
            all.extend(self.index(hash)?.iter().map(|entry| entry.chunk));
        }
        Ok(all)
    }

    /// The entries of an index chunk.
    pub(super) fn index(&self, hash: &Hash) -> Result<Vec<IndexEntry>, StoreError> {
        match self.get(hash)? {
            Chunk::Index(entries) => Ok(entries),
            Chunk::Cells(_) | Chunk::Messages(_) => Err(other_content(hash)),
        }
    }
}

/// The framed value of a stored chunk, decompressed but unchecked.
pub(super) fn unpack(hash: &Hash, stored: Vec<u8>) -> Result<Vec<u8>, StoreError> {
    let unpacked = compression::unpack(Kind::PackedChunk, stored);
    unpacked.map_err(|damage| damaged(hash, damage))
}

/// The error for damage of a chunk.
pub(super) fn damaged(hash: &Hash, damage: Damage) -> StoreError {
    StoreError::damaged(name(Kind::Chunk, &hash.0), damage)
}

pub(super) fn other_content(hash: &Hash) -> StoreError {
    let problem = "its contents do not match its position".to_owned();
    damaged(hash, Damage::Contradiction(problem))
}

#[cfg(test)]
pub(super) mod tests {
    use std::ops::Range;

    use super::*;
    use crate::history::part::{RecordedChannel, RecordedMessage};
    use crate::process::cell::Cell;
    use crate::process::clock::Lamport;
    use crate::process::ids::{AccountId, ProcessId, Seq, SnapshotId};
    use crate::process::message::{Marker, Message};

    impl Chunks {
        /// Flips a bit of a stored chunk.
        pub(in super::super) fn spoil(&self, hash: &Hash) {
            let mut stored = self.stored(hash).expect("it is here");
            *stored.last_mut().expect("it is not empty") ^= 1;
            frame::put(&self.tree, &hash.0, &stored).expect("there is room");
            self.known.forget();
        }
    }

    /// An empty store of chunks.
    pub(in super::super) fn chunks() -> Chunks {
        let db = sled::Config::new().temporary(true).open();
        let tree = db.expect("a new engine").open_tree("chunks");
        Chunks::new(tree.expect("a new tree"), None)
    }

    /// A channel with messages of these numbers, one chunk per range.
    pub(in super::super) fn put_messages(
        chunks: &Chunks,
        ranges: &[Range<u64>],
    ) -> (RecordedChannel, Vec<Hash>) {
        let put = |range: &Range<u64>| {
            let messages = range.clone().map(Seq).map(marker).collect();
            let put = chunks.put(&Chunk::Messages(messages), None);
            put.expect("there is room").0
        };
        let hashes: Vec<Hash> = ranges.iter().map(put).collect();
        let channel = RecordedChannel {
            from: ProcessId::parse("q").expect("a valid id"),
            first: Seq(ranges[0].start),
            last: Seq(ranges[ranges.len() - 1].end - 1),
            transfers: 0,
            amount: 0,
            chunks: hashes.clone(),
            closing: None,
        };
        (channel, hashes)
    }

    fn marker(seq: Seq) -> RecordedMessage {
        let marker = Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: ProcessId::parse("q").expect("a valid id"),
        };
        let message = Message {
            clock: Lamport(1),
            body: marker.into(),
        };
        RecordedMessage { seq, message }
    }

    fn one_account(chunks: &Chunks) -> Run {
        let account = AccountId::parse("a").expect("a valid id");
        let cell = Cell::Account {
            account,
            balance: 1,
        };
        let written = chunks.write_run(std::iter::once(Ok(cell)), None);
        written.expect("there is room").0
    }

    // Without this, a part of another process with a damaged index could never be fetched again.
    #[test]
    fn a_damaged_index_is_missing_until_it_is_taken_over_anew() {
        let chunks = chunks();
        let run = one_account(&chunks);
        let index = run.index[0];
        let good = chunks.framed(&index).expect("it is here");
        assert_eq!(chunks.missing(&run).expect("all is whole"), []);
        chunks.spoil(&index);
        assert!(matches!(
            chunks.count(&run),
            Err(StoreError::Damaged { .. })
        ));
        assert_eq!(chunks.missing(&run).expect("it is named"), [index]);
        chunks
            .adopt([(index, good)])
            .expect("it is what its hash says");
        assert_eq!(chunks.missing(&run).expect("all is whole"), []);
        assert_eq!(chunks.count(&run).expect("all is whole"), (2, 2));
    }

    // Without this, each check for new chunks of a snapshot makes the next one check all old chunks again.
    #[test]
    fn a_run_that_is_not_here_leaves_the_others_known() {
        let chunks = chunks();
        let run = one_account(&chunks);
        assert_eq!(chunks.missing(&run).expect("all is whole"), []);
        let absent = Run {
            index: vec![Hash([7; 32])],
            ..Run::default()
        };
        let missing = chunks.missing(&absent).expect("it is looked for");
        assert_eq!(missing, absent.index);
        assert!(chunks.known.named(&run.index[0]).is_some());
    }

    // Without this, a peer that names messages as an index is asked for them forever.
    #[test]
    fn an_index_that_is_something_else_is_named_and_not_fetched_again() {
        let chunks = chunks();
        let (_, hashes) = put_messages(&chunks, &[1..3, 3..4]);
        let run = Run {
            index: hashes,
            ..Run::default()
        };
        assert!(matches!(
            chunks.missing(&run),
            Err(StoreError::Damaged { .. })
        ));
    }
}
