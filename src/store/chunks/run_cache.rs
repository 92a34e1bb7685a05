//! A cache of runs that are known to be fully stored. Unchanged data then costs a memory lookup instead of one store
//! lookup per chunk of a state.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::ids::Hash;

/// The most chunks in the cache; 32 bytes each.
const CHUNKS_MAX: usize = 1_000_000;

/// In memory only.
#[derive(Debug, Default)]
pub(in crate::store) struct RunCache(Mutex<CachedRuns>);

#[derive(Debug, Default)]
struct CachedRuns {
    /// By index chunk: the chunks that it names. All of them were found, and nothing was removed since.
    named: HashMap<Hash, Arc<[Hash]>>,
    chunks: usize,
    /// The number of removals so far.
    removals: u64,
}

/// A token for lookups that began after the last removal.
#[derive(Debug, Clone, Copy)]
pub(in crate::store) struct RemovalCount(u64);

impl RunCache {
    /// The chunks that an index chunk names, if all are known to be stored.
    pub(in crate::store) fn named(&self, index: &Hash) -> Option<Arc<[Hash]>> {
        self.found().named.get(index).cloned()
    }

    /// Must be called before the lookups.
    pub(in crate::store) fn since(&self) -> RemovalCount {
        RemovalCount(self.found().removals)
    }

    /// Adds a run that was found completely, unless something was removed meanwhile.
    pub(in crate::store) fn learn(&self, index: Hash, named: Arc<[Hash]>, since: RemovalCount) {
        let mut found = self.found();
        if found.removals != since.0 {
            return;
        }
        if found.chunks + named.len() > CHUNKS_MAX {
            found.named.clear();
            found.chunks = 0;
        }
        found.chunks += named.len();
        if let Some(before) = found.named.insert(index, named) {
            found.chunks -= before.len();
        }
    }

    /// Clears the cache after a removal or when damage is found.
    pub(in crate::store) fn forget(&self) {
        let mut found = self.found();
        found.removals += 1;
        found.named.clear();
        found.chunks = 0;
    }

    fn found(&self) -> MutexGuard<'_, CachedRuns> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a chunk swept during a lookup counts as stored for as long as the node runs.
    #[test]
    fn what_was_found_before_a_removal_is_not_known_after_it() {
        let known = RunCache::default();
        let (index, named) = (Hash([1; 32]), Arc::from([Hash([2; 32])]));
        let before = known.since();
        known.forget();
        known.learn(index, Arc::clone(&named), before);
        assert_eq!(known.named(&index), None);
        known.learn(index, Arc::clone(&named), known.since());
        assert_eq!(known.named(&index), Some(named));
        known.forget();
        assert_eq!(known.named(&index), None);
    }
}
