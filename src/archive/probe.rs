//! The check that a storage keeps its one guarantee: of several creators of an object, one succeeds.

use super::{ArchiveError, Creation, Objects};

/// Creates one object twice, and reads it.
///
/// # Errors
/// [`ArchiveError::NotExclusive`] if the second attempt succeeds or replaces the first; [`ArchiveError::Failed`] if the archive
/// cannot be written or read.
pub async fn probe(objects: &Objects, run: u64) -> Result<(), ArchiveError> {
    let key = format!("probe/{run:016x}");
    let not_exclusive = || ArchiveError::NotExclusive {
        url: objects.url().to_owned(),
    };
    // It may exist: an earlier attempt whose answer was lost has made it.
    objects.create(&key, b"first".to_vec()).await?;
    let second = objects.create(&key, b"second".to_vec()).await?;
    let found = objects.read(&key).await?;
    objects.delete(&key).await?;
    match (second, found.as_deref()) {
        (Creation::Exists, Some(b"first")) => Ok(()),
        _ => Err(not_exclusive()),
    }
}
