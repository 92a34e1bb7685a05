//! What is kept of a process beside its journal: states, parts, revisions and chunks.

use super::{ArchiveError, Creation, Objects};
use crate::shipping::object::{ArchivedObject, HEAD_BYTES_MAX, ObjectHead, ObjectKey};
use crate::shipping::segment::Owner;

/// Creates an object, unless there is one under its key. The key says what it is: one that exists is the same, put before an
/// answer was lost, or by another process that has the same revision.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn put(
    folder: &Objects,
    key: &impl ObjectKey,
    object: &ArchivedObject,
) -> Result<Creation, ArchiveError> {
    folder.create(&key.to_string(), object.encode()).await
}

/// The objects of a kind, in the order of their keys. Other files are passed over.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn list<K: ObjectKey>(folder: &Objects) -> Result<Vec<K>, ArchiveError> {
    let names = folder.list(K::FOLDER).await?;
    let mut keys: Vec<K> = names.iter().filter_map(|name| K::parse(name)).collect();
    keys.sort_unstable();
    Ok(keys)
}

/// The object under a key; `None` if there is none.
///
/// # Errors
/// [`ArchiveError`].
pub async fn read(
    folder: &Objects,
    owner: &Owner,
    key: &impl ObjectKey,
) -> Result<Option<ArchivedObject>, ArchiveError> {
    let name = key.to_string();
    let Some(bytes) = folder.read(&name).await? else {
        return Ok(None);
    };
    let object = ArchivedObject::decode(&bytes);
    let object = object.map_err(|unreadable| folder.damaged(&name, unreadable))?;
    let is = object.head.is(owner, key);
    is.map_err(|unreadable| folder.damaged(&name, unreadable))?;
    Ok(Some(object))
}

/// The head of the object under a key; `None` if there is none.
///
/// # Errors
/// [`ArchiveError`].
pub async fn head(
    folder: &Objects,
    owner: &Owner,
    key: &impl ObjectKey,
) -> Result<Option<ObjectHead>, ArchiveError> {
    let name = key.to_string();
    let Some(start) = folder.read_start(&name, HEAD_BYTES_MAX as u64).await? else {
        return Ok(None);
    };
    let head = ObjectHead::decode(&start).and_then(|(head, _)| head.is(owner, key).map(|()| head));
    head.map(Some)
        .map_err(|unreadable| folder.damaged(&name, unreadable))
}
