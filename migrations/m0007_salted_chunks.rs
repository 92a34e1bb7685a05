//! Format 7: chunks are salted, so that a proof of one balance shows no other balance.
//!
//! The store gets a secret, from which the salts of its chunks are derived. A new store salts from its first state on. A
//! store of an older format begins when all other processes can read salted chunks.
//!
//! The journal and the pins name the person who decided something about the history.
//!
//! Stored data does not change: older chunks are read as they are, and the first salted state leaves none of them in the
//! states that follow. Older programs cannot read salted chunks, and refuse the store by its number.

use super::{Migration, StoreError, Trees};
use crate::store::chunks::salting;

pub(super) const MIGRATION: Migration = Migration {
    to: 7,
    name: "salted chunks",
    run,
    retired: None,
};

fn run(_: &sled::Db, trees: &Trees) -> Result<(), StoreError> {
    let is_new = trees.journal.is_empty() && trees.states.is_empty();
    salting::prepare(&trees.meta, is_new)
}
