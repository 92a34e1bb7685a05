//! Format 4: chunks are packed where that makes them shorter.
//!
//! Nothing that is stored changes: chunks of before are read as they lie there, and go when runs are merged into new ones. A
//! program before this one would take a packed chunk for damage, and refuses the store by its number.

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
