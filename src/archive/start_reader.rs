//! Reads the journal of a process for its start: heads, and whole segments from the first one on that the journal here lacks. A
//! whole segment is read once, and others are read ahead of it.

use super::walk::{HeadReader, Reads};
use super::{ArchiveError, Objects, journal};
use crate::shipping::SegmentIndex;
use crate::shipping::segment::{Segment, SegmentHead};

/// The reader of one start.
#[derive(Default)]
pub struct StartReader {
    heads: HeadReader,
    /// Once a segment was wanted whole. A journal that lacks one lacks what is behind it, too.
    whole: Option<Whole>,
}

/// Segments that are read whole.
struct Whole {
    reads: Reads,
    /// The place of the next one.
    next: SegmentIndex,
    /// The newest one, until it is wanted.
    newest: Option<Segment>,
}

impl StartReader {
    /// The head of the segment at an index, if there is one now.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn head(
        &mut self,
        process: &Objects,
        index: SegmentIndex,
    ) -> Result<Option<SegmentHead>, ArchiveError> {
        if let Some(whole) = self.whole.as_mut().filter(|whole| whole.next == index) {
            match whole.next().await {
                Ok(Some(head)) => return Ok(Some(head)),
                // One may have been put since; of one that does not count the body does not matter.
                Ok(None) | Err(ArchiveError::Damaged { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.whole = None;
        self.heads.read(process, index).await
    }

    /// The segment with a head that was read last.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn segment(
        &mut self,
        process: &Objects,
        head: &SegmentHead,
    ) -> Result<Segment, ArchiveError> {
        let is_read = self.whole.as_ref().is_some_and(Whole::has_newest);
        if !is_read {
            self.heads = HeadReader::new();
            let index = head.index();
            let mut whole = Whole {
                reads: Reads::from(process, index),
                next: index,
                newest: None,
            };
            whole.next().await?;
            self.whole = Some(whole);
        }
        let newest = self.whole.as_mut().and_then(|whole| whole.newest.take());
        journal::with_head(process, head, newest)
    }
}

impl Whole {
    fn has_newest(&self) -> bool {
        self.newest.is_some()
    }

    async fn next(&mut self) -> Result<Option<SegmentHead>, ArchiveError> {
        self.newest = self.reads.next().await?;
        self.next = self.next.next();
        Ok(self.newest.as_ref().map(|segment| segment.head.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::watched::{chain, watched};
    use crate::shipping::chain::{Chain, Link};

    const COUNT: u64 = 150;
    /// The journal here has this turn, and not the next.
    const HERE: u64 = 20;

    // Walks as a start does: heads first, then whole segments, to the end or as far as so many heads.
    async fn walk(
        process: &Objects,
        reader: &mut StartReader,
        chain: &mut Chain,
        most: usize,
    ) -> Vec<SegmentHead> {
        let mut counting = Vec::new();
        while counting.len() < most {
            let head = reader.head(process, chain.next()).await;
            let Some(head) = head.expect("it is whole") else {
                break;
            };
            if !chain.take(&head).expect("it is a chain") {
                continue;
            }
            if head.after().position.0 > HERE {
                let segment = reader.segment(process, &head).await;
                assert_eq!(segment.expect("it is whole").head, head);
            }
            counting.push(head);
        }
        counting
    }

    // Without this a start from an old backup would wait for two requests, one after the other, for each segment.
    #[tokio::test]
    async fn what_a_journal_lacks_is_read_once_and_ahead() {
        let (objects, seen) = watched();
        let counting = chain(&objects, COUNT).await;
        seen.take_reads();
        let (mut reader, mut chain) = (StartReader::default(), Chain::behind(Link::default()));
        let here = usize::try_from(HERE).expect("few");
        let mut walked = walk(&objects, &mut reader, &mut chain, here).await;
        // The first that is lacking ends the reading of heads ahead.
        walked.append(&mut walk(&objects, &mut reader, &mut chain, 1).await);
        seen.take_together();
        walked.append(&mut walk(&objects, &mut reader, &mut chain, usize::MAX).await);
        assert_eq!(walked, counting);
        // Each large segment is waited for.
        let together = seen.take_together();
        assert!(together > 4, "{together}");
        // Of a large segment the beginning is read first. Some heads, and what is behind the end, are asked for in vain.
        let needed = usize::try_from(COUNT + COUNT / 10).expect("few");
        let reads = seen.take_reads();
        assert!(reads < needed + 3 * 32 + 2, "{reads}");
    }

    // Without this a start would take an index for free at which a segment has landed meanwhile.
    #[tokio::test]
    async fn a_segment_that_was_put_after_its_place_was_read_ahead_is_found() {
        let (objects, _) = watched();
        let counting = chain(&objects, COUNT).await;
        let last = counting.last().expect("there are some").index();
        let newest = journal::segment(&objects, last).await.expect("it is whole");
        let newest = newest.expect("it is there");
        journal::delete(&objects, last).await.expect("it is there");
        let (mut reader, mut chain) = (StartReader::default(), Chain::behind(Link::default()));
        let before = counting.len() - 2;
        let mut walked = walk(&objects, &mut reader, &mut chain, before).await;
        let put = journal::put(&objects, &newest).await;
        put.expect("it is in memory");
        walked.append(&mut walk(&objects, &mut reader, &mut chain, usize::MAX).await);
        assert_eq!(walked, counting);
    }
}
