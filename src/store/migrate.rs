//! The steps from one store format to the next. Each is one file in `migrations/`; a newer format than this program
//! knows is refused before anything is touched.

use super::error::StoreError;
use super::frame::Damage;
use super::schema::Trees;

#[path = "../../migrations/m0001_initial.rs"]
mod m0001_initial;

/// One step: brings a store from the format before to format `to`. Must be harmless when it is run again after a
/// crash in its middle; the format number is raised only after it is durable.
struct Migration {
    to: u32,
    name: &'static str,
    run: fn(&Trees) -> Result<(), StoreError>,
}

/// In order, without gaps.
const MIGRATIONS: &[Migration] = &[m0001_initial::MIGRATION];

/// The format that this program reads and writes.
#[must_use]
pub(super) fn newest() -> u32 {
    MIGRATIONS.last().map_or(0, |migration| migration.to)
}

/// Brings the store to the newest format, step by step; `durable` makes each step last before the next begins.
pub(super) fn migrate(
    trees: &Trees,
    durable: impl Fn() -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let found = trees.format()?;
    if found > newest() {
        return Err(StoreError::NewerFormat {
            found,
            known: newest(),
        });
    }
    for step in MIGRATIONS.iter().filter(|step| step.to > found) {
        tracing::debug!(to = step.to, name = step.name, "store format step");
        (step.run)(trees)?;
        durable()?;
        trees.set_format(step.to)?;
        durable()?;
    }
    Ok(())
}
