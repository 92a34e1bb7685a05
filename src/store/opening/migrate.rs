//! The steps from one store format to the next, each in one file of `migrations/`. A store of a newer format is refused
//! before anything is touched.

use crate::store::engine::schema::Trees;
use crate::store::error::StoreError;
use crate::store::stored::frame::Damage;

#[path = "../../../migrations/m0001_initial.rs"]
mod m0001_initial;
#[path = "../../../migrations/m0002_channel_checksums.rs"]
mod m0002_channel_checksums;
#[path = "../../../migrations/m0003_the_past.rs"]
mod m0003_the_past;
#[path = "../../../migrations/m0004_packed_chunks.rs"]
mod m0004_packed_chunks;
#[path = "../../../migrations/m0005_answers_that_stay.rs"]
mod m0005_answers_that_stay;
#[path = "../../../migrations/m0006_small_states.rs"]
mod m0006_small_states;
#[path = "../../../migrations/m0007_salted_chunks.rs"]
mod m0007_salted_chunks;

/// A step from the previous format to format `to`. It writes only where the previous format does not look and can be
/// repeated after a crash. The format number is raised, in one batch, when the step is durable.
struct Migration {
    to: u32,
    name: &'static str,
    run: fn(&sled::Db, &Trees) -> Result<(), StoreError>,
    /// A tree that is unused from this format on.
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
    m0007_salted_chunks::MIGRATION,
];

/// The format that this program reads and writes.
#[must_use]
pub fn newest_format() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.to)
}

fn has_tree(db: &sled::Db, name: &str) -> bool {
    db.tree_names().iter().any(|tree| tree == name.as_bytes())
}

/// The format of the store; fails if it is newer than this program.
pub(in crate::store) fn known_format(trees: &Trees) -> Result<u32, StoreError> {
    let (found, known) = (trees.format()?, newest_format());
    if found > known {
        return Err(StoreError::NewerFormat { found, known });
    }
    Ok(found)
}

/// Migrates the store from a format to the newest, making each step durable.
pub(in crate::store) fn migrate(
    db: &sled::Db,
    trees: &Trees,
    found: u32,
    make_durable: impl Fn() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    for step in MIGRATIONS.iter().filter(|step| step.to > found) {
        tracing::debug!(
            to = step.to,
            name = step.name,
            "upgraded the store format by a step"
        );
        (step.run)(db, trees)?;
        make_durable()?;
        trees.set_format(step.to)?;
        make_durable()?;
    }
    // Also covers a crash directly after a step.
    for retired in MIGRATIONS.iter().filter_map(|step| step.retired) {
        if has_tree(db, retired) {
            db.drop_tree(retired)?;
        }
    }
    Ok(())
}
