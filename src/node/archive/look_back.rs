//! Looks whether the archive still has what was archived. It can go away under a running node, and puts succeed in what takes its
//! place.

use super::watermark::Watermark;
use crate::archive::{ArchiveError, Objects, journal};
use crate::node::error::ArchiveLoss;
use crate::shipping::SegmentIndex;
use crate::shipping::chain::Link;

/// What one look has found.
pub(super) struct LookBack {
    /// The newest archived segment before it.
    newest: Link,
    /// The one that was not there.
    lacks: Option<SegmentIndex>,
}

/// Looks for a segment that must be there. While the archive is lost the newest one must be there, too.
pub(super) async fn look(
    process: Objects,
    watermark: &Watermark,
    newest: Link,
) -> Result<LookBack, ArchiveError> {
    // What was put since the last look may be where the rest is not.
    let (seen, is_lost) = (watermark.seen(), watermark.loss().is_some());
    let lacks = if !journal::has(&process, seen).await? {
        Some(seen.index)
    } else if is_lost && !journal::has(&process, newest).await? {
        Some(newest.index)
    } else {
        None
    };
    Ok(LookBack { newest, lacks })
}

/// What changes with a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Lost(ArchiveLoss),
    IsBack,
}

/// Notes what a look has found.
pub(super) fn note(
    looked: Result<LookBack, ArchiveError>,
    watermark: &Watermark,
) -> Option<Change> {
    let loss = match looked {
        Ok(LookBack { newest, lacks }) => {
            if lacks.is_none() {
                watermark.saw(newest);
            }
            lacks.map(ArchiveLoss::Lacks)
        }
        Err(ArchiveError::Elsewhere { .. }) => Some(ArchiveLoss::Elsewhere),
        Err(ArchiveError::Damaged { .. }) => Some(ArchiveLoss::Lacks(watermark.seen().index)),
        // It does not answer; the next look may be answered.
        Err(_) => return None,
    };
    match (watermark.lost(loss), loss) {
        (None, Some(loss)) => Some(Change::Lost(loss)),
        (Some(_), None) => Some(Change::IsBack),
        (None, None) | (Some(_), Some(_)) => None,
    }
}
