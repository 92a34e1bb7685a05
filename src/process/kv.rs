//! The key-value application: each write goes over all channels, and the write with the greater stamp wins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::cell::Cell;
use super::ids::Key;
use super::limits::Limits;
use super::message::Write;
use super::refusal::Refusal;

/// The keys of one process. Deletions are kept, so that a late, older write cannot undo them.
#[derive(Debug, Clone, Default)]
pub struct KeyValues {
    writes: BTreeMap<Key, Arc<Write>>,
    /// The size of all keys and values, bytes.
    bytes: u64,
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

    /// Whether a write with a value of this size is within the limits. One that opens no key and enlarges nothing always is.
    ///
    /// # Errors
    /// [`Refusal::TooManyKeys`] or [`Refusal::TooManyValueBytes`].
    pub fn check_room(
        &self,
        key: &Key,
        value_bytes: usize,
        limits: &Limits,
    ) -> Result<(), Refusal> {
        let known = self.writes.get(key);
        if known.is_none() && self.writes.len() as u64 >= limits.keys {
            return Err(Refusal::TooManyKeys(limits.keys));
        }
        let before = known.map_or(0, |known| bytes_of(known));
        let after = (key.as_str().len() + value_bytes) as u64;
        if after > before && self.bytes - before + after > limits.value_bytes {
            return Err(Refusal::TooManyValueBytes(limits.value_bytes));
        }
        Ok(())
    }

    /// Stores a write unless a newer one is stored.
    pub fn write(&mut self, write: &Arc<Write>) {
        if self.is_news(write) {
            self.delta.insert(write.key.clone());
            self.store(Arc::clone(write));
        }
    }

    /// Sets a write from a recorded state; this does not count as a change.
    pub fn restore(&mut self, write: Arc<Write>) {
        self.store(write);
    }

    fn store(&mut self, write: Arc<Write>) {
        self.bytes += bytes_of(&write);
        if let Some(before) = self.writes.insert(write.key.clone(), write) {
            self.bytes -= bytes_of(&before);
        }
    }

    /// Hands over the keys changed since the last call.
    pub fn seal(&mut self) -> Vec<Cell> {
        std::mem::take(&mut self.delta)
            .iter()
            .filter_map(|key| self.writes.get(key).cloned().map(Cell::Key))
            .collect()
    }
}

fn bytes_of(write: &Write) -> u64 {
    let value = write.value.as_deref().map_or(0, str::len);
    (write.key.as_str().len() + value) as u64
}
