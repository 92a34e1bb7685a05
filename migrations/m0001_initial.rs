//! Format 1, the first. A new store gets its owner and belongs to one process of one cluster from then on.

use super::{Damage, Migration, StoreError, Trees};

pub(super) const MIGRATION: Migration = Migration {
    to: 1,
    name: "initial",
    run,
    retired: None,
};

// The trees of format 1 are created by opening them; there is nothing to convert.
fn run(_: &sled::Db, trees: &Trees) -> Result<(), StoreError> {
    if trees.journal.is_empty() {
        return Ok(());
    }
    let damage = Damage::Contradiction("it is missing, and there are turns".to_owned());
    Err(StoreError::damaged("meta value \"format\"", damage))
}
