//! Links: one object for every [`LINK_EVERY`](crate::shipping::chain::LINK_EVERY) segments or so, from which a walk to the newest
//! ones can begin. The shipper writes a link when its segment is acknowledged, so what a link names counts for ever.

use super::journal::{boundary, damaged, head, indices_behind};
use super::objects::SMALL_BYTES_MAX;
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
    read_one(process, keys.rev().filter(suits)).await
}

/// The first link behind a segment; `None` if there is none.
///
/// # Errors
/// [`ArchiveError`].
pub(super) async fn first(
    process: &Objects,
    behind: SegmentIndex,
) -> Result<Option<Link>, ArchiveError> {
    let keys = keys(process).await?.into_iter();
    read_one(process, keys.filter(|key| key.index > behind)).await
}

// The first of these links that is whole.
async fn read_one(
    process: &Objects,
    keys: impl Iterator<Item = LinkKey>,
) -> Result<Option<Link>, ArchiveError> {
    for key in keys {
        // One that is gone was deleted behind a boundary.
        let bytes = match process.read(&key.key(), SMALL_BYTES_MAX).await {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return Ok(None),
            Err(error @ ArchiveError::Damaged { .. }) => {
                pass_over(&error);
                continue;
            }
            Err(error) => return Err(error),
        };
        match decode(&bytes).filter(|link| LinkKey::of(*link) == key) {
            Some(link) => return Ok(Some(link)),
            None => say_damaged(process, key),
        }
    }
    Ok(None)
}

fn say_damaged(process: &Objects, key: LinkKey) {
    pass_over(&process.damaged(&key.key(), "it does not name a segment of the journal"));
}

// A link only saves requests: another one serves as well.
fn pass_over(error: &ArchiveError) {
    tracing::warn!(%error, "another link is used");
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

/// About the newest index of the journal, to show progress: only what is behind the newest link is listed.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn about_newest(process: &Objects) -> Result<SegmentIndex, ArchiveError> {
    let newest = keys(process).await?.pop();
    let linked = newest.map_or(SegmentIndex::default(), |newest| newest.index);
    let behind = indices_behind(process, linked).await?;
    Ok(behind.into_iter().max().unwrap_or(linked))
}

/// Deletes a link.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn delete(process: &Objects, key: LinkKey) -> Result<(), ArchiveError> {
    process.delete(&key.key()).await
}

/// The newest position with a turn up to `until` from which a walk can begin: a link, or the boundary. The segment that the link names
/// was read.
///
/// # Errors
/// [`ArchiveError`], also if a link names a segment that is missing.
pub async fn nearest(process: &Objects, mut until: Lsn) -> Result<Walked, ArchiveError> {
    loop {
        let bound = boundary(process).await?;
        let mut walked = Walked {
            boundary: bound,
            last: bound,
        };
        let Some(link) = newest(process, bound.index, until).await? else {
            return Ok(walked);
        };
        match head(process, link.index).await? {
            Some(head) if Link::of(&head) == link => {
                walked.last = link;
                return Ok(walked);
            }
            Some(_) => {
                say_damaged(process, LinkKey::of(link));
                let Some(before) = link.journal.position.0.checked_sub(1) else {
                    return Ok(walked);
                };
                until = Lsn(before);
            }
            // Unless it was deleted meanwhile.
            None if boundary(process).await? == bound => {
                let reason = "it is missing, and a link names it";
                return Err(damaged(process, link.index, reason));
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::watched::{chain, watched};

    // Without this a restore would list every segment of the journal before it reads the first.
    #[tokio::test]
    async fn the_newest_index_is_found_without_a_list_of_all() {
        let (objects, seen) = watched();
        assert_eq!(
            about_newest(&objects).await.expect("it is in memory"),
            SegmentIndex(0)
        );
        let counting = chain(&objects, 150).await;
        let newest = about_newest(&objects).await;
        assert_eq!(newest.expect("it is in memory"), SegmentIndex(150));
        for linked in [50, 100] {
            let link = Link::of(&counting[linked]);
            put(&objects, link).await.expect("it is in memory");
        }
        seen.take_listed();
        let newest = about_newest(&objects).await;
        assert_eq!(newest.expect("it is in memory"), SegmentIndex(150));
        let listed = seen.take_listed();
        assert!(
            listed < 50,
            "two links, and the segments behind them: {listed}"
        );
    }
}
