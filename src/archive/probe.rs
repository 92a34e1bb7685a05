//! The check that a storage keeps its one guarantee: of several creators of an object, one succeeds.

use super::objects::SMALL_BYTES_MAX;
use super::{ArchiveError, Creation, Objects};

/// The object stays, so that a node needs no permission to delete.
const KEY: &str = "probe/exclusive";

/// Creates an object, unless an earlier start has, and tries to create it again with other content. May be repeated. It comes
/// after everything that tells whether this is the right archive, and before the first claim.
///
/// # Errors
/// [`ArchiveError::NotExclusive`] if the second attempt succeeds or replaces the first; [`ArchiveError::Failed`] if the archive
/// cannot be written or read.
pub async fn probe(objects: &Objects, run: u64) -> Result<(), ArchiveError> {
    let content = |attempt: &str| format!("{attempt} {run:016x}").into_bytes();
    objects.create(KEY, content("first")).await?;
    let before = objects.read(KEY, SMALL_BYTES_MAX).await?;
    let again = objects.create(KEY, content("second")).await?;
    let after = objects.read(KEY, SMALL_BYTES_MAX).await?;
    match again {
        Creation::Exists if before.is_some() && before == after => Ok(()),
        Creation::Exists | Creation::Created => Err(ArchiveError::NotExclusive {
            url: objects.url().to_owned(),
        }),
    }
}
