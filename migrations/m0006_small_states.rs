//! Format 6: a recorded state is compressed, and names in its registers the snapshots that its process still knows, rather than
//! every snapshot there ever was as a cell.
//!
//! Old turns of the journal are packed into blocks, in a tree of their own, while snapshots are published.
//!
//! A turn in which a peer is met whose clock is not followed says so in a record of its own.
//!
//! Nothing that is stored changes. States of before are read as they lie, and their cells of snapshots are dropped when runs are
//! merged into a base. A program before this one cannot read the new states, would not
//! find packed turns, and refuses the store by its number.

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
