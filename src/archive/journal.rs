//! The segments of a process in the archive.

use serde::{Deserialize, Serialize};

use super::{ArchiveError, Creation, Objects};
use crate::process::ids::{Hash, Lsn};
use crate::shipping::chain::{Chain, Link};
use crate::shipping::segment::{HEAD_BYTES_MAX, Segment, SegmentHead};
use crate::shipping::writer::Event;
use crate::shipping::{Epoch, JournalPoint, SegmentIndex};

const BOUNDARY: &str = "boundary";

fn key(index: SegmentIndex) -> String {
    format!("journal/{:020}", index.0)
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

/// The segment with a head.
///
/// # Errors
/// [`ArchiveError`].
pub async fn counted(process: &Objects, head: &SegmentHead) -> Result<Segment, ArchiveError> {
    let key = key(head.index());
    let object = process.read(&key).await?;
    let object = object.ok_or_else(|| process.damaged(&key, "it is gone"))?;
    let segment = Segment::decode(&object);
    let segment = segment.map_err(|unreadable| process.damaged(&key, unreadable))?;
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
    let names = process.list(BOUNDARY).await?;
    let Some(name) = names.last() else {
        return Ok(Link::default());
    };
    let key = format!("{BOUNDARY}/{name}");
    let damaged = || process.damaged(&key, "it is not a boundary");
    let bytes = process.read(&key).await?.ok_or_else(damaged)?;
    let boundary: Boundary = serde_json::from_slice(&bytes).map_err(|_| damaged())?;
    let hash = |text: &str| {
        let mut hash = [0; 32];
        let decoded = hex::decode_to_slice(text, &mut hash);
        decoded.map(|()| Hash(hash)).map_err(|_| damaged())
    };
    Ok(Link {
        index: SegmentIndex(boundary.segment),
        hash: hash(&boundary.hash)?,
        epoch: Epoch(boundary.epoch),
        journal: JournalPoint {
            position: Lsn(boundary.position),
            hash: hash(&boundary.journal)?,
        },
    })
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
