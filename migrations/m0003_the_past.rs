//! Format 3: what is asked about the past is final, and a store may begin in the middle of it.
//!
//! Nothing that is stored changes. The journal may hold two records that programs before did not know: `ClockAdvanced`, by
//! which the clock passes an instant that somebody asked about, and `Carried`, a message of a restored channel. And there
//! is a tree `stretches`, the index of which turns touch an account. A node makes it in the background from the journal,
//! so that a start after an upgrade takes no longer than any other.

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
