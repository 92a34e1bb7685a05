//! Format 3: what is asked about the past is final, and a store may begin in the middle of it.
//!
//! Nothing that is stored changes. The journal may hold two records that programs before did not know: `Reached`, by
//! which the clock passes an instant that somebody asked about, and `Carried`, a message of a restored channel.

use super::{Migration, StoreError, Trees};

pub(super) const MIGRATION: Migration = Migration {
    to: 3,
    name: "the past",
    run,
    retired: None,
};

fn run(_: &sled::Db, _: &Trees) -> Result<(), StoreError> {
    Ok(())
}
