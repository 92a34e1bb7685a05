//! The steps from one store format to the next. Each is one file in `migrations/`; a newer format than this program
//! knows is refused before anything is touched.

use super::error::StoreError;
use super::frame::Damage;
use super::schema::Trees;

#[path = "../../migrations/m0001_initial.rs"]
mod m0001_initial;
#[path = "../../migrations/m0002_channel_checksums.rs"]
mod m0002_channel_checksums;
#[path = "../../migrations/m0003_the_past.rs"]
mod m0003_the_past;
#[path = "../../migrations/m0004_packed_chunks.rs"]
mod m0004_packed_chunks;
#[path = "../../migrations/m0005_answers_that_stay.rs"]
mod m0005_answers_that_stay;
#[path = "../../migrations/m0006_small_states.rs"]
mod m0006_small_states;

/// One step: brings a store from the format before to format `to`. Writes only where the format before does not look,
/// and is harmless when it is run again after a crash in its middle; the format number is raised only after it is
/// durable, in one batch.
struct Migration {
    to: u32,
    name: &'static str,
    run: fn(&sled::Db, &Trees) -> Result<(), StoreError>,
    /// A tree that this format does not look at any more.
    retired: Option<&'static str>,
}

/// In order, without gaps.
const MIGRATIONS: &[Migration] = &[
    m0001_initial::MIGRATION,
    m0002_channel_checksums::MIGRATION,
    m0003_the_past::MIGRATION,
    m0004_packed_chunks::MIGRATION,
    m0005_answers_that_stay::MIGRATION,
    m0006_small_states::MIGRATION,
];

/// The format that this program reads and writes.
#[must_use]
pub fn newest_format() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.to)
}

fn has_tree(db: &sled::Db, name: &str) -> bool {
    db.tree_names().iter().any(|tree| tree == name.as_bytes())
}

/// Whether this program knows the format of the store; which it is.
pub(super) fn known_format(trees: &Trees) -> Result<u32, StoreError> {
    let (found, known) = (trees.format()?, newest_format());
    if found > known {
        return Err(StoreError::NewerFormat { found, known });
    }
    Ok(found)
}

/// Brings the store from a format to the newest, step by step, each of them made durable.
pub(super) fn migrate(
    db: &sled::Db,
    trees: &Trees,
    found: u32,
    make_durable: impl Fn() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for step in MIGRATIONS.iter().filter(|step| step.to > found) {
        tracing::debug!(to = step.to, name = step.name, "store format step");
        (step.run)(db, trees)?;
        make_durable()?;
        trees.set_format(step.to)?;
        make_durable()?;
    }
    // Also what a crash right after the step has left.
    for retired in MIGRATIONS.iter().filter_map(|step| step.retired) {
        if has_tree(db, retired) {
            db.drop_tree(retired)?;
        }
    }
    Ok(())
}
