//! The limits of the history that the journal names: what a person decided last.

use super::Retention;
use crate::store::engine::schema;
use crate::store::engine::schema::{LIMITS_AGE, LIMITS_COUNT};
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

/// The limits of a history; none by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HistoryLimits {
    /// Older snapshots are deleted, in microseconds; `None`: no limit.
    pub max_age_us: Option<u64>,
    /// So many of the newest snapshots are kept; `None`: no limit.
    pub max_count: Option<u64>,
}

impl Retention<'_> {
    /// The limits that the journal names.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known_limits(self) -> Result<HistoryLimits, StoreError> {
        let number = |key| {
            let number = schema::get::<u64>(&self.store.meta, key, Kind::Number)?;
            Ok::<_, StoreError>(number.filter(|number| *number > 0))
        };
        Ok(HistoryLimits {
            max_age_us: number(LIMITS_AGE)?,
            max_count: number(LIMITS_COUNT)?,
        })
    }

    /// Notes durably that the journal names these limits.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_limits(self, limits: HistoryLimits) -> Result<(), StoreError> {
        let (age, count) = (limits.max_age_us, limits.max_count);
        let numbers = [
            (LIMITS_AGE, age.unwrap_or(0)),
            (LIMITS_COUNT, count.unwrap_or(0)),
        ];
        schema::put_numbers(&self.store.meta, numbers)?;
        self.store.sync()
    }
}
