//! Format 4: chunks are compressed where that makes them smaller.
//!
//! Stored data does not change: older chunks are read as they are and disappear when runs are merged into new ones.
//! Older programs would take a compressed chunk for damage and refuse the store by its number.

use super::{Migration, StoreError, Trees};

pub(super) const MIGRATION: Migration = Migration {
    to: 4,
    name: "packed chunks",
    run,
    retired: None,
};

fn run(_: &sled::Db, _: &Trees) -> Result<(), StoreError> {
    Ok(())
}
