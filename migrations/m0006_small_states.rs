//! Format 6: a recorded state is compressed. Its registers name the snapshots that the process still knows, instead of
//! one cell per snapshot ever taken.
//!
//! Old turns of the journal are packed into blocks, in a new tree, while snapshots are published.
//!
//! A turn in which a peer is met whose clock is not followed has a record that says so.
//!
//! Stored data does not change. Older states are read as they are, and their snapshot cells are dropped when runs are
//! merged into a base. Older programs can neither decode the new states nor find packed turns, and refuse the store by
//! its number.

use super::{Migration, StoreError, Trees};

pub(super) const MIGRATION: Migration = Migration {
    to: 6,
    name: "small states",
    run,
    retired: None,
};

fn run(_: &sled::Db, _: &Trees) -> Result<(), StoreError> {
    Ok(())
}
