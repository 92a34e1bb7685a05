//! What a sweep must leave alone although nothing that is stored names it yet: chunks that somebody writes, or finds here
//! and counts on, and parts that are being collected. In memory alone: after a crash nobody counts on anything.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::history::part::Part;
use crate::process::ids::{Hash, SnapshotId};

/// Who counts on what.
#[derive(Debug, Default)]
pub(super) struct Leases(Mutex<Counted>);

#[derive(Debug, Default)]
struct Counted {
    /// How many write, a sweep that is under way included.
    users: usize,
    /// Every chunk that was written or found here since nobody wrote: what they wrote may not be named yet.
    touched: HashSet<Hash>,
    /// Parts that are being collected, until a revision with them is published.
    held: BTreeMap<SnapshotId, Vec<Part>>,
}

/// As long as this lives, no chunk that was written or found since is swept. Whoever has one names its chunks in the
/// store before it ends, or holds their part.
#[derive(Debug)]
#[must_use]
pub struct Writing {
    of: Arc<Leases>,
}

impl Drop for Writing {
    fn drop(&mut self) {
        let mut counted = self.of.counted();
        counted.users -= 1;
        if counted.users == 0 {
            counted.touched = HashSet::new();
        }
    }
}

impl Leases {
    /// Somebody begins to write, or to sweep.
    pub(super) fn begin(self: &Arc<Self>) -> Writing {
        self.counted().users += 1;
        Writing {
            of: Arc::clone(self),
        }
    }

    /// Takes note that somebody is about to count on a chunk; called before anyone looks whether it is here.
    pub(super) fn touch(&self, hash: &Hash) {
        self.touch_all(std::slice::from_ref(hash));
    }

    /// The same of several.
    pub(super) fn touch_all(&self, hashes: &[Hash]) {
        let mut counted = self.counted();
        if counted.users > 0 {
            counted.touched.extend(hashes);
        }
    }

    /// Calls `remove` with those of these chunks that nobody counts on; nobody begins to until it has returned.
    pub(super) fn unless_touched<T>(
        &self,
        mut chunks: Vec<Hash>,
        remove: impl FnOnce(Vec<Hash>) -> T,
    ) -> T {
        let counted = self.counted();
        chunks.retain(|hash| !counted.touched.contains(hash));
        remove(chunks)
    }

    /// A part is being collected.
    pub(super) fn hold(&self, part: &Part) {
        let mut counted = self.counted();
        let held = counted.held.entry(part.snapshot.clone()).or_default();
        if !held.contains(part) {
            held.push(part.clone());
        }
    }

    /// A snapshot is not collected any more.
    pub(super) fn let_go(&self, snapshot: &SnapshotId) {
        self.counted().held.remove(snapshot);
    }

    /// Every part that is being collected.
    pub(super) fn held(&self) -> Vec<Part> {
        self.counted().held.values().flatten().cloned().collect()
    }

    fn counted(&self) -> MutexGuard<'_, Counted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a writer that skips a chunk because it is here would lose it to a sweep that began before or after.
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
}
