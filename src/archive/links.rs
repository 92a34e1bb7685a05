//! Links: one object for every [`LINK_EVERY`](crate::shipping::chain::LINK_EVERY) segments or so, from which a walk to the newest
//! ones can begin. The shipper writes a link when its segment is acknowledged, so what a link names counts for ever.

use super::journal::{boundary, damaged, head};
use super::stored_link::{decode, encode};
use super::{ArchiveError, Objects};
use crate::process::ids::Lsn;
use crate::shipping::SegmentIndex;
use crate::shipping::chain::Link;
use crate::shipping::writer::Walked;

const FOLDER: &str = "links";

/// The place of a link: the segment and its last turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LinkKey {
    index: SegmentIndex,
    position: Lsn,
}

impl LinkKey {
    fn of(link: Link) -> Self {
        Self {
            index: link.index,
            position: link.journal.position,
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let (index, position) = name.split_once('-')?;
        Some(Self {
            index: SegmentIndex(index.parse().ok()?),
            position: Lsn(position.parse().ok()?),
        })
    }

    fn key(self) -> String {
        format!("{FOLDER}/{:020}-{:020}", self.index.0, self.position.0)
    }
}

/// Says, durably, that a segment counts.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn put(process: &Objects, link: Link) -> Result<(), ArchiveError> {
    // One that exists says the same: a segment has one hash.
    let key = LinkKey::of(link).key();
    process.create(&key, encode(link)).await.map(|_| ())
}

async fn keys(process: &Objects) -> Result<Vec<LinkKey>, ArchiveError> {
    let names = process.list(FOLDER).await?;
    Ok(names
        .iter()
        .filter_map(|name| LinkKey::parse(name))
        .collect())
}

/// The newest link behind a segment, with a turn up to `until`; `None` if there is none.
///
/// # Errors
/// [`ArchiveError`].
pub async fn newest(
    process: &Objects,
    behind: SegmentIndex,
    until: Lsn,
) -> Result<Option<Link>, ArchiveError> {
    let keys = keys(process).await?.into_iter();
    let suits = |key: &LinkKey| key.index > behind && key.position <= until;
    let Some(key) = keys.rev().find(suits) else {
        return Ok(None);
    };
    // One that is gone was deleted behind a boundary.
    let Some(bytes) = process.read(&key.key()).await? else {
        return Ok(None);
    };
    let link = decode(&bytes).filter(|link| LinkKey::of(*link) == key);
    let damaged = || process.damaged(&key.key(), "it is not a link");
    link.map(Some).ok_or_else(damaged)
}

/// The links up to a segment.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn until(process: &Objects, last: SegmentIndex) -> Result<Vec<LinkKey>, ArchiveError> {
    let mut keys = keys(process).await?;
    keys.retain(|key| key.index <= last);
    Ok(keys)
}

/// Deletes a link.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn delete(process: &Objects, key: LinkKey) -> Result<(), ArchiveError> {
    process.delete(&key.key()).await
}

/// Where a walk can begin that is to reach turns behind `until`: the newest link up to there, or the boundary. What the link names
/// was read.
///
/// # Errors
/// [`ArchiveError`], also if a link names a segment that is missing.
pub async fn nearest(process: &Objects, until: Lsn) -> Result<Walked, ArchiveError> {
    loop {
        let bound = boundary(process).await?;
        let Some(link) = newest(process, bound.index, until).await? else {
            return Ok(Walked {
                boundary: bound,
                last: bound,
            });
        };
        let reason = match head(process, link.index).await? {
            Some(head) if Link::of(&head) == link => {
                return Ok(Walked {
                    boundary: bound,
                    last: link,
                });
            }
            Some(_) => "a link names another segment",
            None => "it is missing, and a link names it",
        };
        // Unless it was deleted meanwhile.
        if boundary(process).await? == bound {
            return Err(damaged(process, link.index, reason));
        }
    }
}
