//! The segments of a process in the archive.

use serde::{Deserialize, Serialize};

use super::{ArchiveError, Creation, Objects};
use crate::process::ids::{Hash, Lsn};
use crate::shipping::chain::{Chain, Link};
use crate::shipping::segment::{HEAD_BYTES_MAX, Owner, Segment, SegmentHead};
use crate::shipping::writer::Event;
use crate::shipping::{Epoch, JournalPoint, SegmentIndex};

const BOUNDARY: &str = "boundary";
const JOURNAL: &str = "journal";
/// The most puts that a writer has in flight: so far behind a free index there may be segments that do not count.
const IN_FLIGHT_MAX: u64 = 64;

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
    let start = process.read_start(&key, HEAD_BYTES_MAX as u64).await?;
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
    let Some(object) = process.read(&key).await? else {
        return Ok(None);
    };
    let segment = Segment::decode(&object);
    segment
        .map(Some)
        .map_err(|unreadable| process.damaged(&key, unreadable))
}

/// Checks that a walk ended at the end of the journal: where a segment is missing in the middle it ends, too.
///
/// # Errors
/// [`ArchiveError::Damaged`]: there are segments behind that cannot have been in flight.
pub async fn check_end(process: &Objects, chain: &Chain) -> Result<(), ArchiveError> {
    let free = chain.next();
    let behind = process
        .list_behind(JOURNAL, &format!("{:020}", free.0))
        .await?;
    let behind = behind
        .iter()
        .filter_map(|name| name.parse().ok())
        .map(SegmentIndex);
    let mut is_hole = false;
    for index in behind.filter(|index| *index > free) {
        // A later writer begins at the first free index.
        let later = async || {
            let head = head(process, index).await?;
            Ok::<_, ArchiveError>(head.is_some_and(|head| head.epoch() > chain.last().epoch))
        };
        is_hole = index.0 > free.0 + IN_FLIGHT_MAX || later().await?;
        if is_hole {
            break;
        }
    }
    // A writer may have gone on in the meantime.
    match is_hole && head(process, free).await?.is_none() {
        true => Err(process.damaged(&key(free), "it is missing, and there are later segments")),
        false => Ok(()),
    }
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

/// The indices of all segments, in order; those before the boundary may be gone.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn indices(process: &Objects) -> Result<Vec<SegmentIndex>, ArchiveError> {
    let names = process.list(JOURNAL).await?;
    let indices = names.iter().filter_map(|name| name.parse().ok());
    Ok(indices.map(SegmentIndex).collect())
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
    let key = key(head.index());
    let segment = segment(process, head.index()).await?;
    let segment = segment.ok_or_else(|| process.damaged(&key, "it is gone"))?;
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

/// The next segment with turns that counts, from a walk along the archive; `None` at its end.
///
/// # Errors
/// [`ArchiveError`].
pub async fn next_segment(
    process: &Objects,
    chain: &mut Chain,
) -> Result<Option<Segment>, ArchiveError> {
    while let Some(head) = next_head(process, chain).await? {
        if !head.is_fence() {
            return counted(process, &head).await.map(Some);
        }
    }
    Ok(None)
}

/// A boundary, as the object says it.
#[derive(Serialize, Deserialize)]
struct Boundary {
    segment: u64,
    hash: String,
    epoch: u64,
    position: u64,
    journal: String,
}

/// The last segment before the kept ones; the default if nothing was deleted.
///
/// # Errors
/// [`ArchiveError`].
pub async fn boundary(process: &Objects) -> Result<Link, ArchiveError> {
    loop {
        let names = process.list(BOUNDARY).await?;
        let Some(name) = names.last() else {
            return Ok(Link::default());
        };
        // One that is gone was deleted behind a greater one.
        if let Some(link) = boundary_at(process, name).await? {
            return Ok(link);
        }
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
    let indices = names.iter().filter_map(|name| name.parse().ok());
    Ok(indices.map(SegmentIndex).collect())
}

/// The boundary behind a segment, if there is one.
///
/// # Errors
/// [`ArchiveError`].
pub async fn boundary_of(
    process: &Objects,
    index: SegmentIndex,
) -> Result<Option<Link>, ArchiveError> {
    boundary_at(process, &format!("{:020}", index.0)).await
}

/// Deletes a boundary behind which a later one is.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn delete_boundary(process: &Objects, index: SegmentIndex) -> Result<(), ArchiveError> {
    process.delete(&format!("{BOUNDARY}/{:020}", index.0)).await
}

/// Deletes a segment before the boundary.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn delete(process: &Objects, index: SegmentIndex) -> Result<(), ArchiveError> {
    process.delete(&key(index)).await
}

async fn boundary_at(process: &Objects, name: &str) -> Result<Option<Link>, ArchiveError> {
    let key = format!("{BOUNDARY}/{name}");
    let Some(bytes) = process.read(&key).await? else {
        return Ok(None);
    };
    let damaged = || process.damaged(&key, "it is not a boundary");
    let boundary: Boundary = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let hash = |text: &str| {
        let mut hash = [0; 32];
        let decoded = hex::decode_to_slice(text, &mut hash);
        decoded.map(|()| Hash(hash)).map_err(|_| damaged())
    };
    Ok(Some(Link {
        index: SegmentIndex(boundary.segment),
        hash: hash(&boundary.hash)?,
        epoch: Epoch(boundary.epoch),
        journal: JournalPoint {
            position: Lsn(boundary.position),
            hash: hash(&boundary.journal)?,
        },
    }))
}

/// Says, durably, that segments up to this one may be gone.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn set_boundary(process: &Objects, link: Link) -> Result<(), ArchiveError> {
    let boundary = Boundary {
        segment: link.index.0,
        hash: link.hash.to_string(),
        epoch: link.epoch.0,
        position: link.journal.position.0,
        journal: link.journal.hash.to_string(),
    };
    let bytes = serde_json::to_vec(&boundary).expect("a plain structure always encodes");
    let key = format!("{BOUNDARY}/{:020}", link.index.0);
    // One that exists says the same: a segment has one hash.
    process.create(&key, bytes).await.map(|_| ())
}
