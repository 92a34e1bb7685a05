//! The composition of recorded states: the bytes of accounts and of everything else. Manifests contain only the sum, so
//! the other cells and the index are added up once per run and cached while the node runs.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use super::States;
use super::merge::Cells;
use crate::history::part::{RecordedState, Run};
use crate::process::cell::CellKey;
use crate::process::ids::Hash;
use crate::store::chunks::writers::{encoded_bytes, entry_bytes};
use crate::store::error::StoreError;

/// The most runs in the cache, about 64 bytes each.
const RUNS_MAX: usize = 16_384;
/// The first key after the accounts, as in [`Cell::key`](crate::process::cell::Cell::key).
const BEHIND_ACCOUNTS: CellKey<'static> = CellKey { kind: 1, name: "" };

/// The bytes that are not accounts, including the index, by run.
#[derive(Debug, Default)]
pub(in crate::store) struct Composition(Mutex<HashMap<Hash, u64>>);

impl States<'_> {
    /// The number of bytes of a state that are accounts.
    ///
    /// # Errors
    /// [`StoreError`]: a chunk is missing or damaged.
    pub fn account_bytes(self, state: &RecordedState) -> Result<u64, StoreError> {
        let mut others = 0;
        for run in &state.runs {
            others += self.other_bytes(run)?;
        }
        Ok(state.state_bytes.saturating_sub(others))
    }

    fn other_bytes(self, run: &Run) -> Result<u64, StoreError> {
        let key = key_of(run);
        let known = self
            .store
            .composition
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = known.get(&key) {
            return Ok(*bytes);
        }
        drop(known);
        let mut bytes = 0;
        for index in &run.index {
            let entries = self.store.chunks.index(index)?;
            let entries = entries.iter().map(entry_bytes);
            bytes += entries.sum::<usize>() as u64;
        }
        for cell in Cells::new(
            &self.store.chunks,
            std::slice::from_ref(run),
            Some(BEHIND_ACCOUNTS),
        )? {
            bytes += encoded_bytes(&cell?) as u64;
        }
        let mut known = self
            .store
            .composition
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if known.len() >= RUNS_MAX {
            known.clear();
        }
        known.insert(key, bytes);
        Ok(bytes)
    }
}

// Two runs may share some index chunks, but not all.
fn key_of(run: &Run) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for index in &run.index {
        hasher.update(&index.0);
    }
    Hash(*hasher.finalize().as_bytes())
}
