//! The key-value application: each write goes over all channels, and the write with the greater stamp wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cell::Cell;
use super::ids::Key;
use super::message::Write;

/// The keys of one process. Deletions are kept, so that a late, older write cannot undo them.
#[derive(Debug, Clone, Default)]
pub struct KeyValues {
    writes: BTreeMap<Key, Arc<Write>>,
    /// Keys that changed since the last seal.
    delta: BTreeSet<Key>,
}

impl KeyValues {
    /// The value; `None` if the key was never written or is deleted.
    #[must_use]
    pub fn get(&self, key: &Key) -> Option<&str> {
        self.writes.get(key)?.value.as_deref()
    }

    /// Whether this write is newer than the stored one.
    #[must_use]
    pub fn is_news(&self, write: &Write) -> bool {
        self.writes
            .get(&write.key)
            .is_none_or(|known| known.stamp < write.stamp)
    }

    /// Stores a write unless a newer one is stored.
    pub fn write(&mut self, write: &Arc<Write>) {
        if self.is_news(write) {
            self.delta.insert(write.key.clone());
            self.writes.insert(write.key.clone(), Arc::clone(write));
        }
    }

    /// Sets a write from a recorded state; this does not count as a change.
    pub fn restore(&mut self, write: Arc<Write>) {
        self.writes.insert(write.key.clone(), write);
    }

    /// Hands over the keys changed since the last call.
    pub fn seal(&mut self) -> Vec<Cell> {
        std::mem::take(&mut self.delta)
            .iter()
            .filter_map(|key| self.writes.get(key).cloned().map(Cell::Key))
            .collect()
    }
}
