//! Leases that keep a sweep from deleting chunks that no stored value refers to yet: chunks being written, chunks found
//! here and relied on, and parts under collection. In memory only, since nothing relies on chunks after a crash.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::history::part::Part;
use crate::process::ids::{Hash, SnapshotId};

/// The longest time that retention waits for a reader; longer answers are aborted before.
pub const READING_MAX: Duration = Duration::from_secs(3600);

/// All leases of a store.
#[derive(Debug, Default)]
pub(in crate::store) struct Leases(Mutex<LeaseCounts>);

#[derive(Debug, Default)]
struct LeaseCounts {
    /// The number of writers, including a sweep in progress.
    users: usize,
    /// Every chunk written or found since there was last no writer. Values that refer to them may not be stored yet.
    touched: HashSet<Hash>,
    /// Parts under collection, until a revision with them is published.
    held: BTreeMap<SnapshotId, Vec<Part>>,
    /// The start of each read of a snapshot, by lease number.
    readers: BTreeMap<(SnapshotId, u64), Instant>,
    /// The number of the next lease.
    lease: u64,
    /// Snapshots whose collection has ended while they are still being read.
    leaving: BTreeSet<SnapshotId>,
}

impl LeaseCounts {
    fn is_read(&self, snapshot: &SnapshotId, now: Instant) -> bool {
        let leases = (snapshot.clone(), 0)..=(snapshot.clone(), u64::MAX);
        let mut began = self.readers.range(leases).map(|(_, began)| *began);
        began.any(|began| now.saturating_duration_since(began) < READING_MAX)
    }
}

/// A reader's lease of a snapshot. While it is held, for at most [`READING_MAX`], the snapshot is not deleted and none
/// of its chunks is swept.
#[derive(Debug)]
#[must_use]
pub struct ReadLease {
    of: Arc<Leases>,
    lease: (SnapshotId, u64),
}

impl Drop for ReadLease {
    fn drop(&mut self) {
        let mut counted = self.of.counted();
        counted.readers.remove(&self.lease);
        let (snapshot, _) = &self.lease;
        if counted.leaving.contains(snapshot) && !counted.is_read(snapshot, Instant::now()) {
            counted.leaving.remove(snapshot);
            counted.held.remove(snapshot);
        }
    }
}

/// While this is held, no chunk written or found since it began is swept. Before it is dropped, its owner must store a
/// value that refers to the chunks, or hold their part.
#[derive(Debug)]
#[must_use]
pub struct WriteLease {
    of: Arc<Leases>,
}

impl Drop for WriteLease {
    fn drop(&mut self) {
        let mut counted = self.of.counted();
        counted.users -= 1;
        if counted.users == 0 {
            counted.touched = HashSet::new();
        }
    }
}

impl Leases {
    /// Begins a write or a sweep.
    pub(in crate::store) fn begin(self: &Arc<Self>) -> WriteLease {
        self.counted().users += 1;
        WriteLease {
            of: Arc::clone(self),
        }
    }

    /// Notes that a chunk will be relied on. Call it before checking whether the chunk is stored.
    pub(in crate::store) fn touch(&self, hash: &Hash) {
        self.touch_all(std::slice::from_ref(hash));
    }

    /// As [`touch`](Self::touch), for several chunks.
    pub(super) fn touch_all(&self, hashes: &[Hash]) {
        let mut counted = self.counted();
        if counted.users > 0 {
            counted.touched.extend(hashes);
        }
    }

    /// Calls `remove` with those of these chunks that were not touched. Touching blocks until it returns, so `remove` may lock
    /// nothing that is held while a chunk is touched.
    pub(in crate::store) fn unless_touched<T>(
        &self,
        mut chunks: Vec<Hash>,
        remove: impl FnOnce(Vec<Hash>) -> T,
    ) -> T {
        let counted = self.counted();
        chunks.retain(|hash| !counted.touched.contains(hash));
        remove(chunks)
    }

    /// Holds a part under collection.
    pub(in crate::store) fn hold(&self, part: &Part) {
        let mut counted = self.counted();
        let held = counted.held.entry(part.snapshot.clone()).or_default();
        if !held.contains(part) {
            held.push(part.clone());
        }
        counted.leaving.remove(&part.snapshot);
    }

    /// Ends the collection of a snapshot. Its parts stay held for current readers.
    pub(in crate::store) fn let_go(&self, snapshot: &SnapshotId) {
        let mut counted = self.counted();
        if counted.is_read(snapshot, Instant::now()) {
            counted.leaving.insert(snapshot.clone());
        } else {
            counted.held.remove(snapshot);
        }
    }

    /// Leases a snapshot to a reader.
    pub(in crate::store) fn read(self: &Arc<Self>, snapshot: &SnapshotId) -> ReadLease {
        let mut counted = self.counted();
        counted.lease += 1;
        let lease = (snapshot.clone(), counted.lease);
        counted.readers.insert(lease.clone(), Instant::now());
        ReadLease {
            of: Arc::clone(self),
            lease,
        }
    }

    /// Whether a lease of a snapshot is valid at an instant.
    pub(in crate::store) fn is_read(&self, snapshot: &SnapshotId, now: Instant) -> bool {
        self.counted().is_read(snapshot, now)
    }

    /// All parts under collection.
    pub(in crate::store) fn held(&self) -> Vec<Part> {
        self.counted().held.values().flatten().cloned().collect()
    }

    fn counted(&self) -> MutexGuard<'_, LeaseCounts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a writer that skips an existing chunk loses it to a concurrent sweep.
    #[test]
    fn what_was_touched_stays_until_nobody_writes_or_sweeps() {
        let leases = Arc::new(Leases::default());
        let [one, two] = [Hash([1; 32]), Hash([2; 32])];
        let left = |leases: &Leases| leases.unless_touched(vec![one, two], |left| left);
        leases.touch(&one);
        assert_eq!(left(&leases), [one, two], "nobody writes");
        let writing = leases.begin();
        leases.touch(&one);
        let sweeping = leases.begin();
        drop(writing);
        assert_eq!(left(&leases), [two], "the sweep began while it was written");
        leases.touch(&two);
        assert_eq!(left(&leases), [], "it was found during the sweep");
        drop(sweeping);
        let sweeping = leases.begin();
        assert_eq!(left(&leases), [one, two], "what is needed is named by now");
        drop(sweeping);
    }

    // Without the limit a hanging reader keeps a snapshot forever.
    #[test]
    fn a_lease_holds_while_it_lives_and_not_beyond_its_bound() {
        let leases = Arc::new(Leases::default());
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let (one, other) = (leases.read(&snapshot), leases.read(&snapshot));
        let now = Instant::now();
        drop(one);
        assert!(leases.is_read(&snapshot, now));
        assert!(!leases.is_read(&snapshot, now + READING_MAX));
        drop(other);
        assert!(!leases.is_read(&snapshot, now));
    }

    // Without this a sweep deletes the messages of a snapshot in progress under its reader when it is published.
    #[test]
    fn parts_that_are_read_are_held_until_the_last_reader_has_gone() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (_store, state) = crate::store::fixture::store(dir.path());
        let leases = Arc::new(Leases::default());
        for part in state.parts.values() {
            leases.hold(part);
        }
        let reading = leases.read(&state.snapshot);
        leases.let_go(&state.snapshot);
        assert_eq!(leases.held().len(), state.parts.len());
        drop(reading);
        assert_eq!(leases.held(), []);
    }
}
