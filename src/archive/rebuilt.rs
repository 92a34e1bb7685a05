//! What was booked when the store of a process was made again from its peers: one object, which never changes.

use serde::{Deserialize, Serialize};

use super::objects::SMALL_BYTES_MAX;
use super::{ArchiveError, Objects, sealed_json};

const KEY: &str = "rebuilt";

/// The figures, in minor units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RebuiltFigures {
    /// What was booked into the account `suspense`; negative if it was taken from it.
    pub booked: i128,
    /// What could not be booked.
    pub unbooked: i128,
}

/// In decimal digits, since a number of JSON is not exact everywhere.
#[derive(Serialize, Deserialize)]
struct Stored {
    booked: String,
    unbooked: String,
}

/// The figures of a process; `None` if its store was not made again from its peers, or was by an older program.
///
/// # Errors
/// [`ArchiveError`].
pub async fn read(process: &Objects) -> Result<Option<RebuiltFigures>, ArchiveError> {
    let Some(bytes) = process.read(KEY, SMALL_BYTES_MAX).await? else {
        return Ok(None);
    };
    let figures = sealed_json::open::<Stored>(&bytes).ok();
    let figures = figures.and_then(|stored| {
        Some(RebuiltFigures {
            booked: stored.booked.parse().ok()?,
            unbooked: stored.unbooked.parse().ok()?,
        })
    });
    let damaged = || process.damaged(KEY, "it does not say what was booked");
    figures.map(Some).ok_or_else(damaged)
}

/// Puts the figures of a process, unless the archive has them.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn put(process: &Objects, figures: RebuiltFigures) -> Result<(), ArchiveError> {
    let stored = Stored {
        booked: figures.booked.to_string(),
        unbooked: figures.unbooked.to_string(),
    };
    let stored = sealed_json::seal(&stored);
    process.create(KEY, stored).await.map(drop)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use object_store::memory::InMemory;

    use super::*;

    // Without this a store that is restored again would forget what a person has yet to book.
    #[tokio::test]
    async fn the_first_figures_stay_to_the_last_unit() {
        let objects = Objects::over(Arc::new(InMemory::new()), "".into(), "memory:");
        assert_eq!(read(&objects).await.expect("it is in memory"), None);
        let figures = RebuiltFigures {
            booked: i64::MIN.into(),
            unbooked: i128::MAX,
        };
        for booked in [figures.booked, 7] {
            let put = put(&objects, RebuiltFigures { booked, ..figures });
            put.await.expect("it is in memory");
            let found = read(&objects).await.expect("it is in memory");
            assert_eq!(found, Some(figures));
        }
    }
}
