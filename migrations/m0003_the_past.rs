//! Format 3: answers about the past are final, and a store may begin in the middle of it.
//!
//! Stored data does not change. The journal may contain two new records: `ClockAdvanced`, which moves the clock past a
//! requested instant, and `Carried`, a message of a restored channel. There is a new tree `stretches` with the account
//! index. A node builds it in the background from the journal, so that the first start after an upgrade takes no longer
//! than others.

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
