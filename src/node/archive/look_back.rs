//! Looks whether the archive still has what was archived. It can go away under a running node, and puts succeed in what takes its
//! place.

use super::watermark::Watermark;
use crate::archive::{ArchiveError, Objects, journal};
use crate::node::error::ArchiveLoss;
use crate::shipping::SegmentIndex;
use crate::shipping::chain::Link;
use crate::shipping::writer::Action;

/// What one look has found.
pub(super) struct LookBack {
    /// The newest archived segment before it.
    newest: Link,
    /// The one that was not there.
    lacks: Option<SegmentIndex>,
}

/// Looks for the segment that was seen last, and for all that were archived since: a storage that goes over to a replica which is behind
/// keeps the old ones and lacks the newest. While the archive is lost the newest one is compared, too.
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
        journal::first_missing(&process, seen.index, newest.index).await?
    };
    Ok(LookBack { newest, lacks })
}

/// Requests that wait until a lost archive is there again.
#[derive(Default)]
pub(super) struct KeptBack(Vec<Action>);

impl KeptBack {
    /// Keeps a request. An idle writer makes the same one again and again.
    pub(super) fn keep(&mut self, request: Action) {
        let is_kept = matches!(request, Action::Look(_)) && self.0.contains(&request);
        if !is_kept {
            self.0.push(request);
        }
    }

    /// All that were kept, in order.
    pub(super) fn take(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.0)
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::watched::{chain, watched};

    const COUNT: u64 = 30;

    // Without this objects that a storage loses between two looks are missed by nobody before the next disaster.
    #[tokio::test]
    async fn each_segment_since_the_last_look_must_be_there() {
        for lost in [None, Some(2), Some(12), Some(13), Some(20), Some(COUNT)] {
            let (objects, _) = watched();
            let counting = chain(&objects, COUNT).await;
            let link = |index| {
                let head = counting.iter().find(|head| head.index().0 == index);
                Link::of(head.expect("it counts"))
            };
            let watermark = Watermark::default();
            watermark.saw(link(12));
            if let Some(lost) = lost {
                let deleted = journal::delete(&objects, SegmentIndex(lost)).await;
                deleted.expect("it is there");
            }
            let looked = look(objects.clone(), &watermark, link(COUNT)).await;
            let noticed = lost.filter(|lost| *lost >= 12);
            let loss = noticed.map(|lost| ArchiveLoss::Lacks(SegmentIndex(lost)));
            assert_eq!(note(looked, &watermark), loss.map(Change::Lost), "{lost:?}");
            assert_eq!(watermark.seen().index.0, loss.map_or(COUNT, |_| 12));
            // What retention has deleted is not lost.
            let boundary = journal::set_boundary(&objects, link(20)).await;
            boundary.expect("it is in memory");
            let looked = look(objects, &watermark, link(COUNT)).await;
            let noticed = loss.filter(|_| lost > Some(20));
            let change = match (loss, noticed) {
                (Some(_), None) => Some(Change::IsBack),
                _ => None,
            };
            assert_eq!(note(looked, &watermark), change, "{lost:?}");
        }
    }

    // Without this an idle process whose archive is away for a day sends some ten thousand requests at once when it is back.
    #[test]
    fn a_look_is_kept_once() {
        let mut kept = KeptBack::default();
        for _ in 0..3 {
            kept.keep(Action::Look(SegmentIndex(7)));
            kept.keep(Action::Look(SegmentIndex(8)));
        }
        let expected = [7, 8].map(|index| Action::Look(SegmentIndex(index)));
        assert_eq!(kept.take(), expected);
        assert_eq!(kept.take(), []);
    }
}
