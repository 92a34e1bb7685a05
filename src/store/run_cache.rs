//! Which runs are known to be here as a whole. What did not change since the snapshot before costs a look into memory:
//! nobody asks the store for every chunk of a state, of which there are as many as it is large.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::process::ids::Hash;

/// Chunks that are remembered to be here, at most; 32 bytes each.
const CHUNKS_MAX: usize = 1_000_000;

/// What was found here, in memory alone.
#[derive(Debug, Default)]
pub(super) struct RunCache(Mutex<CachedRuns>);

#[derive(Debug, Default)]
struct CachedRuns {
    /// By index chunk: what it names. All of it was here, and nothing was removed since.
    named: HashMap<Hash, Arc<[Hash]>>,
    chunks: usize,
    /// How often anything was removed.
    removals: u64,
}

/// That what is looked at now was looked at since the last removal.
#[derive(Debug, Clone, Copy)]
pub(super) struct RemovalCount(u64);

impl RunCache {
    /// What an index chunk names, if all of it is known to be here.
    pub(super) fn named(&self, index: &Hash) -> Option<Arc<[Hash]>> {
        self.found().named.get(index).cloned()
    }

    /// To be called before anyone looks.
    pub(super) fn since(&self) -> RemovalCount {
        RemovalCount(self.found().removals)
    }

    /// All of this was found, unless something was removed in between.
    pub(super) fn learn(&self, index: Hash, named: Arc<[Hash]>, since: RemovalCount) {
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

    /// Something was removed, or found to be damaged: everything is looked for again.
    pub(super) fn forget(&self) {
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

    // Without this a chunk that is swept while somebody looks is taken to be here for as long as the node runs.
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
