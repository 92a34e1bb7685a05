//! The segments of a process in the archive.

use super::listing::{Keys, Numbered};
use super::object_part::ObjectPart;
use super::objects::SMALL_BYTES_MAX;
use super::read_ahead::AHEAD_BYTES_MAX;
use super::{ArchiveError, Creation, Objects, is_number, stored_link};
use crate::shipping::chain::{Chain, Link};
use crate::shipping::segment::{HEAD_BYTES_MAX, Owner, SEGMENT_BYTES_MAX, Segment, SegmentHead};
use crate::shipping::writer::Event;
use crate::shipping::{JournalPoint, SegmentIndex};

const BOUNDARY: &str = "boundary";
/// The folder of segments.
pub const JOURNAL: &str = "journal";
/// What is read of a segment at first: all of it, if its process was idle.
const START_BYTES: u64 = 256 << 10;

fn key(index: SegmentIndex) -> String {
    format!("{JOURNAL}/{:020}", index.0)
}

/// Creates a segment, unless its index has an object.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn put(process: &Objects, segment: &Segment) -> Result<Event, ArchiveError> {
    let index = segment.head.index();
    match process.create(&key(index), segment.encode()).await? {
        Creation::Created => Ok(Event::Created(index)),
        Creation::Exists => Ok(Event::Exists(index)),
    }
}

/// The head of the segment at an index, if there is one.
///
/// # Errors
/// [`ArchiveError`].
pub async fn head(
    process: &Objects,
    index: SegmentIndex,
) -> Result<Option<SegmentHead>, ArchiveError> {
    let key = key(index);
    let start = match process.remembered {
        // It is read whole later, and most are small.
        Some(_) => start(process, index).await?.map(|part| part.bytes),
        None => process.read_start(&key, HEAD_BYTES_MAX as u64).await?,
    };
    let head = start.map(|start| SegmentHead::decode(&start)).transpose();
    let head = head.map_err(|unreadable| process.damaged(&key, unreadable))?;
    Ok(head.map(|(head, _)| head))
}

/// The segment at an index, if there is one.
///
/// # Errors
/// [`ArchiveError`].
pub async fn segment(
    process: &Objects,
    index: SegmentIndex,
) -> Result<Option<Segment>, ArchiveError> {
    let key = key(index);
    let object = match process.remembered(&key) {
        Some(object) => Some(object),
        None => process.read(&key, SEGMENT_BYTES_MAX).await?,
    };
    match object {
        Some(object) => decode(process, index, &object).map(Some),
        None => Ok(None),
    }
}

// The beginning of the segment at an index, if there is one: all of a small one.
pub(super) async fn start(
    process: &Objects,
    index: SegmentIndex,
) -> Result<Option<ObjectPart>, ArchiveError> {
    let key = key(index);
    process
        .read_unchanging(&key, START_BYTES, SEGMENT_BYTES_MAX)
        .await
}

/// A segment, or none, as far as it is read ahead.
pub(super) enum Begun {
    Read(Option<Segment>),
    /// It is large: it is read when it is its turn.
    Large,
}

// The segment of which this is the beginning.
pub(super) async fn complete(
    process: &Objects,
    index: SegmentIndex,
    start: Option<ObjectPart>,
) -> Result<Begun, ArchiveError> {
    Ok(Begun::Read(match start {
        Some(part) if part.is_whole() => Some(decode(process, index, &part.bytes)?),
        Some(part) if part.size > AHEAD_BYTES_MAX => return Ok(Begun::Large),
        Some(_) => segment(process, index).await?,
        None => None,
    }))
}

fn decode(process: &Objects, index: SegmentIndex, object: &[u8]) -> Result<Segment, ArchiveError> {
    let segment = Segment::decode(object);
    segment.map_err(|unreadable| process.damaged(&key(index), unreadable))
}

impl Numbered for SegmentIndex {
    const PLACE: &'static str = JOURNAL;

    fn named(name: &str) -> Option<Self> {
        is_number(name).then(|| name.parse().ok().map(Self))?
    }

    fn number(&self) -> u64 {
        self.0
    }
}

/// The first index behind an archived segment, up to another one, that has no object; `None` if all have, but those before the boundary.
///
/// # Errors
/// [`ArchiveError`].
pub async fn first_missing(
    process: &Objects,
    behind: SegmentIndex,
    until: SegmentIndex,
) -> Result<Option<SegmentIndex>, ArchiveError> {
    // In a directory a list costs more the longer the journal is.
    let mut listed = (!process.is_directory()).then(|| Keys::from(process, behind.next().0));
    let (mut index, mut ahead) = (behind.next(), None);
    while index <= until {
        if let Some(listed) = &mut listed {
            while ahead.is_none_or(|ahead: SegmentIndex| ahead < index) {
                ahead = listed.next().await?;
                if ahead.is_none() {
                    break;
                }
            }
        }
        // A list may be older than the object.
        if ahead != Some(index) && !process.has(&key(index)).await? {
            let boundary = boundary(process).await?.index;
            if boundary < index {
                return Ok(Some(index));
            }
            index = boundary;
        }
        index = index.next();
    }
    Ok(None)
}

/// Checks whose journal a segment belongs to.
///
/// # Errors
/// [`ArchiveError::Damaged`].
pub fn check_owner(
    process: &Objects,
    head: &SegmentHead,
    owner: &Owner,
) -> Result<(), ArchiveError> {
    let found = head.owner();
    match found == *owner {
        true => Ok(()),
        false => {
            let Owner {
                cluster,
                process: of,
            } = found;
            let reason = format!("it belongs to process {of} of cluster {cluster}");
            Err(process.damaged(&key(head.index()), reason))
        }
    }
}

/// The error for a segment that contradicts the journal.
#[must_use]
pub fn damaged(
    process: &Objects,
    index: SegmentIndex,
    reason: impl std::fmt::Display,
) -> ArchiveError {
    process.damaged(&key(index), reason)
}

/// The segment with a head.
///
/// # Errors
/// [`ArchiveError`].
pub async fn counted(process: &Objects, head: &SegmentHead) -> Result<Segment, ArchiveError> {
    with_head(process, head, segment(process, head.index()).await?)
}

// The segment that was read where one with this head was.
pub(super) fn with_head(
    process: &Objects,
    head: &SegmentHead,
    found: Option<Segment>,
) -> Result<Segment, ArchiveError> {
    let key = key(head.index());
    let segment = found.ok_or_else(|| process.damaged(&key, "it is gone"))?;
    match segment.head == *head {
        true => Ok(segment),
        false => Err(process.damaged(&key, "it was replaced")),
    }
}

/// The head of the next segment that counts, from a walk along the archive; `None` at its end.
///
/// # Errors
/// [`ArchiveError`].
pub async fn next_head(
    process: &Objects,
    chain: &mut Chain,
) -> Result<Option<SegmentHead>, ArchiveError> {
    loop {
        let index = chain.next();
        let Some(head) = head(process, index).await? else {
            return Ok(None);
        };
        let counts = chain.take(&head);
        if counts.map_err(|broken| process.damaged(&key(index), broken))? {
            return Ok(Some(head));
        }
    }
}

/// The last segment before the kept ones; the default if nothing was deleted.
///
/// # Errors
/// [`ArchiveError`].
pub async fn boundary(process: &Objects) -> Result<Link, ArchiveError> {
    loop {
        let names = process.list(BOUNDARY).await?;
        let Some(index) = boundary_indices(&names).next_back() else {
            return Ok(Link::default());
        };
        // One that is gone was deleted behind a greater one.
        if let Some(link) = boundary_of(process, index).await? {
            return Ok(link);
        }
    }
}

/// Whether the archive has a segment that it had. One that was deleted because of its age is before the boundary.
///
/// # Errors
/// [`ArchiveError`].
pub async fn has(process: &Objects, link: Link) -> Result<bool, ArchiveError> {
    match head(process, link.index).await? {
        Some(head) => Ok(head.hash() == link.hash),
        None => Ok(boundary(process).await?.index >= link.index),
    }
}

/// The turn behind which the archived journal begins; the default if that is with turn 1, or if there is none.
///
/// # Errors
/// [`ArchiveError`].
pub async fn begins_behind(process: &Objects) -> Result<JournalPoint, ArchiveError> {
    let boundary = boundary(process).await?;
    if boundary.index != SegmentIndex::default() {
        return Ok(boundary.journal);
    }
    let first = next_head(process, &mut Chain::behind(boundary)).await?;
    Ok(first.map_or(JournalPoint::default(), |first| first.before()))
}

/// The segments behind which boundaries are, in order; the last one is valid. Before it there are those whose segments are not
/// all deleted.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn boundaries(process: &Objects) -> Result<Vec<SegmentIndex>, ArchiveError> {
    let names = process.list(BOUNDARY).await?;
    Ok(boundary_indices(&names).collect())
}

fn boundary_key(index: SegmentIndex) -> String {
    format!("{BOUNDARY}/{:020}", index.0)
}

// The segments that boundaries are named after, in order. Other files, also copies under shorter numbers, are passed over.
fn boundary_indices(names: &[String]) -> impl DoubleEndedIterator<Item = SegmentIndex> {
    names.iter().filter_map(|name| {
        let index = SegmentIndex(name.parse().ok()?);
        (*name == format!("{:020}", index.0)).then_some(index)
    })
}

/// The boundary behind a segment, if there is one.
///
/// # Errors
/// [`ArchiveError`], also if what is there is another one.
pub async fn boundary_of(
    process: &Objects,
    index: SegmentIndex,
) -> Result<Option<Link>, ArchiveError> {
    let key = boundary_key(index);
    let Some(bytes) = process.read(&key, SMALL_BYTES_MAX).await? else {
        return Ok(None);
    };
    let link = stored_link::decode(&bytes).filter(|link| link.index == index);
    let damaged = || process.damaged(&key, "it is not the boundary that its name says");
    link.map(Some).ok_or_else(damaged)
}

/// Deletes a boundary behind which a later one is.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn delete_boundary(process: &Objects, index: SegmentIndex) -> Result<(), ArchiveError> {
    process.delete(&boundary_key(index)).await
}

/// Deletes a segment before the boundary.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn delete(process: &Objects, index: SegmentIndex) -> Result<(), ArchiveError> {
    process.delete(&key(index)).await
}

/// Says, durably, that segments up to this one may be gone.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn set_boundary(process: &Objects, link: Link) -> Result<(), ArchiveError> {
    let key = boundary_key(link.index);
    // One that exists says the same: a segment has one hash.
    process
        .create(&key, stored_link::encode(link))
        .await
        .map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::watched::watched;

    fn link(index: u64) -> Link {
        Link {
            index: SegmentIndex(index),
            ..Link::default()
        }
    }

    // Without this, a copy that somebody leaves in the folder moves the beginning of the journal.
    #[tokio::test]
    async fn only_a_boundary_under_its_own_name_counts() {
        let (objects, _) = watched();
        for index in [3, 5] {
            let set = set_boundary(&objects, link(index)).await;
            set.expect("it is in memory");
        }
        let copy = stored_link::encode(link(7));
        for name in ["7", "9.bak", "99999"] {
            let key = format!("{BOUNDARY}/{name}");
            let created = objects.create(&key, copy.clone()).await;
            created.expect("it is in memory");
        }
        assert_eq!(boundary(&objects).await.ok(), Some(link(5)));
        let indices = boundaries(&objects).await.expect("it is in memory");
        assert_eq!(indices, [3, 5].map(SegmentIndex));

        let key = boundary_key(SegmentIndex(8));
        let created = objects.create(&key, copy).await;
        created.expect("it is in memory");
        let refused = boundary(&objects).await;
        let said = refused.expect_err("it is another one").to_string();
        assert!(said.contains(&key), "{said}");
    }
}
