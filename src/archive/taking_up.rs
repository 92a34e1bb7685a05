//! Takes the chain of a journal up behind a segment that is missing or cannot be read.

use super::epochs::Windows;
use super::listing::Keys;
use super::{ArchiveError, Objects, journal, links};
use crate::shipping::SegmentIndex;
use crate::shipping::chain::Link;
use crate::shipping::taking_up::TakingUp;

/// The first segment behind this index that is known to count: a link names it, or others prove it ([`TakingUp`]). `None` if there is none.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn take_up(
    process: &Objects,
    broken: SegmentIndex,
) -> Result<Option<Link>, ArchiveError> {
    let named = links::first(process, broken).await?;
    let mut indices = Keys::<SegmentIndex>::from(process, broken.0.saturating_add(1));
    let (mut search, mut windows) = (TakingUp::default(), Windows::of(process));
    while let Some(index) = indices.next().await? {
        let head = match journal::head(process, index).await {
            Ok(head) => head.filter(|head| head.index() == index),
            Err(ArchiveError::Damaged { .. }) => None,
            Err(error) => return Err(error),
        };
        let Some(head) = head else {
            // It is broken here, too.
            search = TakingUp::default();
            continue;
        };
        if named == Some(Link::of(&head)) {
            return Ok(named);
        }
        let window = windows.at(head.epoch()).await?;
        if let Some(link) = search.take(&head, window) {
            return Ok(Some(link));
        }
    }
    Ok(None)
}
