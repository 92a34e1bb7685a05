//! Links: one object for every [`LINK_EVERY`](crate::shipping::chain::LINK_EVERY) segments or so, from which a walk to the newest
//! ones can begin. The shipper writes a link when its segment is acknowledged, so what a link names counts for ever.

use super::journal::{boundary, damaged, head};
use super::listing::{Keys, Numbered, last};
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

    fn key(self) -> String {
        format!("{FOLDER}/{:020}-{:020}", self.index.0, self.position.0)
    }
}

impl Numbered for LinkKey {
    const PLACE: &'static str = FOLDER;

    fn named(name: &str) -> Option<Self> {
        let (index, position) = name.split_once('-')?;
        Some(Self {
            index: SegmentIndex(index.parse().ok()?),
            position: Lsn(position.parse().ok()?),
        })
    }

    fn number(&self) -> u64 {
        self.index.0
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

/// The newest link behind a segment, with a turn up to `until`; `None` if there is none.
///
/// # Errors
/// [`ArchiveError`].
pub async fn newest(
    process: &Objects,
    behind: SegmentIndex,
    mut until: Lsn,
) -> Result<Option<Link>, ArchiveError> {
    let first = behind.0.saturating_add(1);
    loop {
        let suits = |key: &LinkKey| key.position <= until;
        let Some(key) = last(process, first, suits).await? else {
            return Ok(None);
        };
        match read(process, key).await? {
            Stored::Damaged => {}
            Stored::Whole(link) => return Ok(Some(link)),
            Stored::Gone => return Ok(None),
        }
        let Some(before) = key.position.0.checked_sub(1) else {
            return Ok(None);
        };
        until = Lsn(before);
    }
}

/// The first link behind a segment; `None` if there is none.
///
/// # Errors
/// [`ArchiveError`].
pub(super) async fn first(
    process: &Objects,
    behind: SegmentIndex,
) -> Result<Option<Link>, ArchiveError> {
    let mut keys = Keys::from(process, behind.0.saturating_add(1));
    while let Some(key) = keys.next().await? {
        match read(process, key).await? {
            Stored::Damaged => {}
            Stored::Whole(link) => return Ok(Some(link)),
            Stored::Gone => return Ok(None),
        }
    }
    Ok(None)
}

/// Whether a link names the segment at an index, or one behind it.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub(super) async fn is_any_from(
    process: &Objects,
    index: SegmentIndex,
) -> Result<bool, ArchiveError> {
    let first = Keys::<LinkKey>::from(process, index.0).next().await?;
    Ok(first.is_some())
}

/// A link that was listed.
enum Stored {
    Whole(Link),
    Damaged,
    /// It was deleted behind a boundary.
    Gone,
}

async fn read(process: &Objects, key: LinkKey) -> Result<Stored, ArchiveError> {
    let bytes = match process.read(&key.key(), SMALL_BYTES_MAX).await {
        Ok(Some(bytes)) => bytes,
        Ok(None) => return Ok(Stored::Gone),
        Err(error @ ArchiveError::Damaged { .. }) => {
            pass_over(&error);
            return Ok(Stored::Damaged);
        }
        Err(error) => return Err(error),
    };
    let link = decode(&bytes).filter(|link| LinkKey::of(*link) == key);
    if link.is_none() {
        say_damaged(process, key);
    }
    Ok(link.map_or(Stored::Damaged, Stored::Whole))
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
    let (mut keys, mut until) = (Keys::<LinkKey>::from(process, 0), Vec::new());
    while let Some(key) = keys.next().await?.filter(|key| key.index <= last) {
        until.push(key);
    }
    Ok(until)
}

/// About the newest index of the journal, to show progress: only what is behind the newest link is listed.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn about_newest(process: &Objects) -> Result<SegmentIndex, ArchiveError> {
    let newest = last(process, 0, |_: &LinkKey| true).await?;
    let linked = newest.map_or(SegmentIndex::default(), |newest| newest.index);
    let behind = last(process, linked.0, |_: &SegmentIndex| true).await?;
    Ok(behind.unwrap_or(linked))
}

/// As [`about_newest`], where a list costs less than the requests ahead that it saves: a directory is read whole for each.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn end_to_read(process: &Objects) -> Result<Option<SegmentIndex>, ArchiveError> {
    match process.is_directory() {
        true => Ok(None),
        false => about_newest(process).await.map(Some),
    }
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
    use crate::archive::listing::PAGE_NAMES;
    use crate::archive::watched::{chain, watched};
    use crate::process::ids::Hash;
    use crate::shipping::{Epoch, JournalPoint};

    // Without this a restore would list every segment of the journal before it reads the first, and a link to the newest ones would be
    // found in a list of all.
    #[tokio::test]
    async fn the_newest_index_and_link_are_found_without_a_list_of_all() {
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
            listed < 50 + 4,
            "two links, and the segments behind them: {listed}"
        );
    }

    // Without this a restore or an audit would wait for thousands of lists, one after the other.
    #[tokio::test]
    async fn a_link_is_found_among_many_with_few_names() {
        let (objects, seen) = watched();
        let many = 40_000;
        let link = |one: u64| {
            let position = Lsn(3 * one);
            let hash = Hash([7; 32]);
            Link {
                index: SegmentIndex(1_000 * one),
                hash,
                epoch: Epoch(1),
                journal: JournalPoint { position, hash },
            }
        };
        for one in 1..=many {
            put(&objects, link(one)).await.expect("it is in memory");
        }
        seen.take_listed();
        let found = async |behind, until| {
            let found = newest(&objects, SegmentIndex(behind), Lsn(until)).await;
            found.expect("it is in memory")
        };
        assert_eq!(found(0, u64::MAX).await, Some(link(many)));
        assert_eq!(found(0, 3 * 12_345 + 2).await, Some(link(12_345)));
        assert_eq!(found(0, 2).await, None);
        assert_eq!(found(1_000 * many, u64::MAX).await, None);
        assert_eq!(found(1_000 * many - 1, u64::MAX).await, Some(link(many)));
        let next = first(&objects, SegmentIndex(1_000)).await;
        assert_eq!(next.expect("it is in memory"), Some(link(2)));
        let before = until(&objects, SegmentIndex(2_999)).await;
        assert_eq!(before.expect("it is in memory").len(), 2);
        let listed = seen.take_listed();
        assert!(listed < 40 * PAGE_NAMES, "{listed} names");
        // A damaged one is passed over.
        let key = LinkKey::of(link(many));
        delete(&objects, key).await.expect("it is there");
        let damaged = objects.create(&key.key(), b"{}".to_vec()).await;
        damaged.expect("it is in memory");
        assert_eq!(found(0, u64::MAX).await, Some(link(many - 1)));
    }
}
