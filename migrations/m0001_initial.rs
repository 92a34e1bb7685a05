//! Format 1: the first. A fresh store gets its owner, and from then on belongs to one process of one cluster.

use super::{Damage, Migration, StoreError, Trees};

pub(super) const MIGRATION: Migration = Migration {
    to: 1,
    name: "initial",
    run,
    retired: None,
};

// The trees of format 1 are made by opening them; nothing else is to be carried over.
fn run(_: &sled::Db, trees: &Trees) -> Result<(), StoreError> {
    if trees.journal.is_empty() {
        return Ok(());
    }
    let damage = Damage::Contradiction("it is missing, and there are turns".to_owned());
    Err(StoreError::damaged("meta value \"format\"", damage))
}
