//! Background indexing and packing: indexes the turns since the newest stored segment, or after an upgrade the whole journal.
//! Until then statements read the journal.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::watch;

use crate::node::error::NodeError;
use crate::node::health::failures::Failures;
use crate::store::{Store, StoreError};

/// Starts the thread that indexes and packs.
pub(in crate::node) fn start(
    store: &Arc<Store>,
    closing: watch::Receiver<bool>,
    failures: &Failures,
) -> Result<JoinHandle<()>, NodeError> {
    let store = Arc::clone(store);
    failures.thread_behind("index", move || run(&store, &closing))
}

/// Runs until everything is indexed and packed or the node stops.
fn run(store: &Arc<Store>, closing: &watch::Receiver<bool>) -> Result<(), StoreError> {
    let mut stretches = 0_u64;
    while !*closing.borrow() {
        match store.account_index().index_some(store.journal()) {
            Ok(true) => stretches += 1,
            Ok(false) => break,
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                tracing::error!(%error, "the remaining turns are not indexed; statements read the journal instead");
                break;
            }
        }
    }
    if stretches > 0 {
        store.sync()?;
        tracing::info!(stretches, "indexed");
    }
    pack(store, closing)
}

// Packs old revisions. After an upgrade none is packed; at other starts there is little to do.
fn pack(store: &Store, closing: &watch::Receiver<bool>) -> Result<(), StoreError> {
    let mut blocks = 0_u64;
    while !*closing.borrow() {
        match store.history().pack() {
            Ok(true) => blocks += 1,
            Ok(false) => break,
            Err(error) if error.is_fatal() => return Err(error),
            Err(error) => {
                tracing::error!(%error, "cannot pack old revisions of the history");
                break;
            }
        }
    }
    if blocks > 0 {
        store.sync()?;
        tracing::info!(blocks, "packed old revisions of the history");
    }
    Ok(())
}
