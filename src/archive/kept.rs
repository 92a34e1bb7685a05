//! What is kept of a process beside its journal: states, parts, revisions and chunks.

use super::listing::{Keys, Numbered};
use super::read_ahead::{AHEAD_BYTES_MAX, OBJECTS_AHEAD};
use super::{ArchiveError, Creation, Objects, ReadAhead};
use crate::process::ids::Lsn;
use crate::shipping::object::{ArchivedObject, HEAD_BYTES_MAX, ObjectHead, ObjectKey, StateKey};
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
    folder.list_as(K::FOLDER, K::parse).await
}

impl Numbered for StateKey {
    const PLACE: &'static str = <Self as ObjectKey>::FOLDER;

    fn named(name: &str) -> Option<Self> {
        <Self as ObjectKey>::parse(name)
    }

    fn number(&self) -> u64 {
        self.cut.0
    }
}

/// Whether a state is kept whose cut is this turn, or a later one.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn has_state_from(process: &Objects, cut: Lsn) -> Result<bool, ArchiveError> {
    let first = Keys::<StateKey>::from(process, cut.0).next().await?;
    Ok(first.is_some())
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
    let bytes = folder.read(&key.to_string(), bytes_max(key)).await?;
    bytes
        .map(|bytes| decode(folder, owner, key, &bytes))
        .transpose()
}

fn bytes_max<K: ObjectKey>(_: &K) -> u64 {
    K::BYTES_MAX
}

fn decode(
    folder: &Objects,
    owner: &Owner,
    key: &impl ObjectKey,
    bytes: &[u8],
) -> Result<ArchivedObject, ArchiveError> {
    let object = ArchivedObject::decode(bytes);
    let object = object.and_then(|object| object.head.is(owner, key).map(|()| object));
    object.map_err(|unreadable| folder.damaged(&key.to_string(), unreadable))
}

/// What was read under a key: the error of one object must not end the reading of others.
pub type Found = Result<Option<ArchivedObject>, ArchiveError>;

/// Reads objects in the given order, ahead of their use.
pub struct Reads<'a, I: Iterator> {
    folder: &'a Objects,
    owner: &'a Owner,
    keys: I,
    ahead: ReadAhead<(I::Item, Option<Found>)>,
}

impl<'a, K, I> Reads<'a, I>
where
    K: ObjectKey + Send + Sync + 'static,
    I: Iterator<Item = K>,
{
    /// Reads objects of an owner in a folder.
    pub fn of(folder: &'a Objects, owner: &'a Owner, keys: I) -> Self {
        Self {
            folder,
            owner,
            keys,
            ahead: ReadAhead::new(OBJECTS_AHEAD),
        }
    }

    /// The next key, and what is there; `None` at the end.
    ///
    /// # Errors
    /// [`ArchiveError::Failed`]: the read was not executed.
    pub async fn next(&mut self) -> Result<Option<(K, Found)>, ArchiveError> {
        let Self {
            folder,
            owner,
            keys,
            ahead,
        } = self;
        let begun = ahead.next(|| {
            let key = keys.next()?;
            let (folder, owner) = ((*folder).clone(), (*owner).clone());
            Some(async move {
                let begun = begin(&folder, &owner, &key).await.transpose();
                Ok((key, begun))
            })
        });
        Ok(match begun.await? {
            Some((key, Some(found))) => Some((key, found)),
            Some((key, None)) => {
                let found = read(folder, owner, &key).await;
                Some((key, found))
            }
            None => None,
        })
    }
}

// The object under a key, unless it is large; then it is read when it is its turn.
async fn begin(
    folder: &Objects,
    owner: &Owner,
    key: &impl ObjectKey,
) -> Result<Option<Option<ArchivedObject>>, ArchiveError> {
    let name = key.to_string();
    let begun = folder.read_unless_large(&name, AHEAD_BYTES_MAX, bytes_max(key));
    match begun.await? {
        Some(part) if part.is_whole() => {
            decode(folder, owner, key, &part.bytes).map(|object| Some(Some(object)))
        }
        Some(_) => Ok(None),
        None => Ok(Some(None)),
    }
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
