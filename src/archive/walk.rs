//! Walks along the journal in the archive: many requests at once, in order, and in bounded memory.

use super::epochs::Windows;
use super::journal::{Begun, boundary, damaged, head};
use super::listing::Keys;
use super::objects::ObjectPart;
use super::read_ahead::{HEADS_AHEAD, OBJECTS_AHEAD, joined};
use super::{ArchiveError, Objects, ReadAhead, journal, kept, links};
use crate::process::ids::Lsn;
use crate::shipping::SegmentIndex;
use crate::shipping::chain::{Chain, Link};
use crate::shipping::segment::{Segment, SegmentHead};
use crate::shipping::taking_up::{WINDOW_MAX, proves_missing};

/// Reads heads at consecutive indices. The more it has read in order, the more requests it begins ahead.
pub struct HeadReader {
    /// The next index in order, and the first one whose request was not begun.
    next: SegmentIndex,
    begun: SegmentIndex,
    length: usize,
    reads: ReadAhead<Option<SegmentHead>>,
}

impl HeadReader {
    /// Nothing was read yet.
    #[must_use]
    pub fn new() -> Self {
        Self::from(SegmentIndex::default())
    }

    fn from(index: SegmentIndex) -> Self {
        Self {
            next: index,
            begun: index,
            length: 0,
            reads: ReadAhead::new(1),
        }
    }

    /// The head of the segment at an index, if there is one now.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn read(
        &mut self,
        process: &Objects,
        index: SegmentIndex,
    ) -> Result<Option<SegmentHead>, ArchiveError> {
        if index != self.next {
            *self = Self::from(index);
        }
        let begun = &mut self.begun;
        let read = self.reads.next(|| {
            let (process, index) = (process.clone(), *begun);
            *begun = index.next();
            Some(async move { head(&process, index).await })
        });
        let found = read.await?.flatten();
        if found.is_none() {
            // It may have been put since.
            let was_ahead = self.length > 0;
            *self = Self::new();
            return match was_ahead {
                true => head(process, index).await,
                false => Ok(None),
            };
        }
        self.next = index.next();
        self.length += 1;
        self.reads.widen((1 << self.length.min(5)).min(HEADS_AHEAD));
        Ok(found)
    }
}

impl Default for HeadReader {
    fn default() -> Self {
        Self::new()
    }
}

/// The heads of the segments that count, in order.
pub struct Heads {
    process: Objects,
    chain: Chain,
    reader: HeadReader,
}

impl Heads {
    /// A walk along a chain.
    #[must_use]
    pub fn along(process: &Objects, chain: Chain) -> Self {
        Self {
            process: process.clone(),
            chain,
            reader: HeadReader::new(),
        }
    }

    /// How far the walk is.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The next head that counts; `None` at the end.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn next(&mut self) -> Result<Option<SegmentHead>, ArchiveError> {
        loop {
            let index = self.chain.next();
            let Some(head) = self.reader.read(&self.process, index).await? else {
                return Ok(None);
            };
            let counts = self.chain.take(&head);
            if counts.map_err(|broken| damaged(&self.process, index, broken))? {
                return Ok(Some(head));
            }
        }
    }

    /// Walks to the end; returns the last head with turns, if there is one.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn newest(&mut self) -> Result<Option<SegmentHead>, ArchiveError> {
        let mut newest = None;
        while let Some(head) = self.next().await? {
            newest = Some(head).filter(|head| !head.is_fence()).or(newest);
        }
        Ok(newest)
    }
}

/// The objects of the journal from an index on, in order, each read once.
pub struct Reads {
    process: Objects,
    /// The first that was not begun.
    begun: SegmentIndex,
    /// Their first bytes, which are all of a small one.
    starts: ReadAhead<Option<ObjectPart>>,
    whole: ReadAhead<(SegmentIndex, Begun)>,
}

impl Reads {
    /// Reads from an index on.
    #[must_use]
    pub fn from(process: &Objects, index: SegmentIndex) -> Self {
        Self {
            process: process.clone(),
            begun: index,
            starts: ReadAhead::new(HEADS_AHEAD),
            whole: ReadAhead::new(OBJECTS_AHEAD),
        }
    }

    /// The next one that a chain takes, where the reads are; `None` at the first that is missing. Of one that does not count only the
    /// head must be whole.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn counted(&mut self, chain: &mut Chain) -> Result<Option<Segment>, ArchiveError> {
        loop {
            let index = chain.next();
            let (head, segment) = match self.next().await {
                Ok(Some(segment)) => (segment.head.clone(), Ok(segment)),
                Ok(None) => return Ok(None),
                Err(error @ ArchiveError::Damaged { .. }) => match head(&self.process, index).await
                {
                    Ok(Some(head)) => (head, Err(error)),
                    _ => return Err(error),
                },
                Err(error) => return Err(error),
            };
            let mut taken = chain.clone();
            let counts = taken.take(&head);
            let counts = counts.map_err(|broken| damaged(&self.process, index, broken))?;
            if counts {
                let segment = segment?;
                *chain = taken;
                return Ok(Some(segment));
            }
            *chain = taken;
        }
    }

    /// The next object; `None` at the first that is missing. Whether it counts is not judged.
    ///
    /// # Errors
    /// [`ArchiveError`].
    pub async fn next(&mut self) -> Result<Option<Segment>, ArchiveError> {
        let Self {
            process,
            begun,
            starts,
            whole,
        } = self;
        let read = whole.next(|| {
            let index = SegmentIndex(begun.0 - starts.under_way());
            let start = starts.take(|| {
                let (process, index) = (process.clone(), *begun);
                *begun = index.next();
                async move { journal::start(&process, index).await }
            });
            let process = process.clone();
            Some(async move {
                let begun = journal::complete(&process, index, joined(start).await?).await?;
                Ok((index, begun))
            })
        });
        match read.await? {
            Some((_, Begun::Read(read))) => Ok(read),
            Some((index, Begun::Large)) => journal::segment(process, index).await,
            None => Ok(None),
        }
    }
}

/// The segments with turns that count, in order.
pub struct Segments {
    reads: Reads,
    chain: Chain,
}

impl Segments {
    /// A walk along a chain.
    #[must_use]
    pub fn along(process: &Objects, chain: Chain) -> Self {
        let reads = Reads::from(process, chain.next());
        Self { reads, chain }
    }

    /// The next one; `None` at the end.
    ///
    /// # Errors
    /// [`ArchiveError`], also if there are segments behind one that is missing.
    pub async fn next(&mut self) -> Result<Option<Segment>, ArchiveError> {
        while let Some(segment) = self.reads.counted(&mut self.chain).await? {
            if !segment.head.is_fence() {
                return Ok(Some(segment));
            }
        }
        check_end(&self.reads.process, &self.chain).await?;
        Ok(None)
    }
}

/// The newest segment that counts; the default if there is none. A segment that is missing before it is not noticed.
///
/// # Errors
/// [`ArchiveError`].
pub async fn newest_link(process: &Objects) -> Result<Link, ArchiveError> {
    let begin = links::nearest(process, Lsn(u64::MAX)).await?;
    let mut heads = Heads::along(process, Chain::behind(begin.last));
    while heads.next().await?.is_some() {}
    Ok(heads.chain().last())
}

/// Checks that a walk ended at the end of the journal: where a segment is missing in the middle it ends, too.
///
/// # Errors
/// [`ArchiveError::Damaged`]: there are objects that were put only when the missing segment was there. [`ArchiveError::Moved`]: beside a
/// deletion the walk ended where the first deleted segment was.
pub async fn check_end(process: &Objects, chain: &Chain) -> Result<(), ArchiveError> {
    let free = chain.next();
    if boundary(process).await?.index >= free {
        let url = process.url().to_owned();
        return Err(ArchiveError::Moved { url });
    }
    // A writer may have gone on in the meantime.
    match lacks(process, chain).await? && head(process, free).await?.is_none() {
        true => Err(damaged(
            process,
            free,
            "it is missing, and there are later segments",
        )),
        false => Ok(()),
    }
}

// Whether an object proves that the segment behind a chain is missing. Behind one that is not missing there are few.
async fn lacks(process: &Objects, chain: &Chain) -> Result<bool, ArchiveError> {
    let (free, last) = (chain.next(), chain.last());
    let mut indices = Keys::from(process, free.next().0);
    let mut behind = Vec::new();
    while let Some(index) = indices.next().await? {
        if proves_missing(free, index, WINDOW_MAX) {
            return Ok(true);
        }
        behind.push(index);
    }
    let mut windows = Windows::of(process);
    // The last one is the farthest.
    for index in behind.into_iter().rev() {
        let Some(head) = head(process, index).await? else {
            continue;
        };
        // A later writer begins at the first free index.
        let is_later = head.epoch() > last.epoch;
        if is_later || proves_missing(free, index, windows.at(head.epoch()).await?) {
            return Ok(true);
        }
    }
    // A link names what is acknowledged. A state is put once the archive has the turn that recorded it.
    Ok(links::is_any_from(process, free).await?
        || kept::has_state_from(process, last.journal.position.next()).await?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::epochs;
    use crate::archive::epochs::Terms;
    use crate::archive::read_ahead::AHEAD_BYTES_MAX;
    use crate::archive::watched::{chain, watched};
    use crate::process::clock::Hlc;
    use crate::shipping::object::StateKey;
    use crate::shipping::segment::Turns;
    use crate::shipping::{Epoch, JournalPoint};

    const COUNT: u64 = 150;

    async fn archive() -> (Objects, Vec<SegmentHead>) {
        let (objects, _) = watched();
        let counting = chain(&objects, COUNT).await;
        (objects, counting)
    }

    // Without this, many requests at once would mix the order, or leave out what is large.
    #[tokio::test]
    async fn what_is_read_ahead_comes_in_order_and_whole() {
        let (objects, counting) = archive().await;
        let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
        let mut segments = Segments::along(&objects, Chain::behind(Link::default()));
        for expected in &counting {
            let head = heads.next().await.expect("it is whole");
            assert_eq!(head.as_ref(), Some(expected));
            let segment = segments.next().await.expect("it is whole");
            let segment = segment.expect("it is there");
            assert_eq!(segment.head, *expected);
            assert_eq!(segment.entries().count(), 1);
        }
        assert_eq!(heads.next().await.expect("it is whole"), None);
        assert_eq!(segments.next().await.expect("it is whole"), None);
    }

    // Without this an archive of large objects would fill the memory of its reader, or be read out of order.
    #[tokio::test]
    async fn a_large_segment_is_read_when_it_is_its_turn() {
        let (objects, seen) = watched();
        let mut small = chain(&objects, 1).await;
        let first = small.pop().expect("there is one");
        let (mut body, bytes) = (
            Vec::new(),
            usize::try_from(AHEAD_BYTES_MAX).expect("it is small"),
        );
        Turns::push(&mut body, &vec![7; bytes]);
        let after = JournalPoint {
            position: first.after().position.next(),
            ..first.after()
        };
        let turns = Turns {
            before: first.after(),
            after,
            body: body.into(),
        };
        let (owner, writer) = (first.owner(), first.writer());
        let large = Segment::new(&owner, writer, SegmentIndex(2), first.hash(), &turns);
        let last = Turns::none(after);
        let last = Segment::new(&owner, writer, SegmentIndex(3), large.head.hash(), &last);
        for segment in [&large, &last] {
            let put = journal::put(&objects, segment).await;
            put.expect("it is in memory");
        }
        seen.take_reads();
        let mut reads = Reads::from(&objects, SegmentIndex(1));
        let read = reads.next().await.expect("it is whole");
        assert_eq!(read.map(|read| read.head), Some(first));
        for _ in 0..1_000 {
            tokio::task::yield_now().await;
        }
        let ahead = seen.take_reads();
        let read = reads.next().await.expect("it is whole");
        assert_eq!(read.as_ref(), Some(&large));
        assert_eq!(ahead, HEADS_AHEAD + 3, "the beginning of each");
        let read = reads.next().await.expect("it is whole");
        assert_eq!(read.as_ref(), Some(&last));
        assert_eq!(reads.next().await.expect("it is whole"), None);
    }

    // Without this a restore would end at a hole among the newest segments, and say that all is well.
    #[tokio::test]
    async fn a_hole_is_in_flight_only_within_the_window_of_its_writer() {
        for (window, behind, is_hole) in [
            (Some(4), 3, false),
            (Some(4), 4, true),
            (Some(1), 1, true),
            (None, 63, false),
            (None, 64, true),
        ] {
            let (objects, _) = watched();
            let counting = chain(&objects, COUNT).await;
            if let Some(window) = window {
                let (claim, terms) = (counting[0].writer(), Terms::of_window(window));
                let claimed = epochs::create(&objects, claim, &terms).await;
                assert!(claimed.expect("it is in memory"));
            }
            let hole = SegmentIndex(COUNT - behind);
            let deleted = journal::delete(&objects, hole).await;
            deleted.expect("it is there");
            let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
            heads.newest().await.expect("it is whole up to there");
            let ended = check_end(&objects, heads.chain()).await;
            assert_eq!(ended.is_err(), is_hole, "{window:?}, {behind}: {ended:?}");
        }
    }

    // Without this a start, an audit or a restore would list every link and every state that the process ever had: hours of requests,
    // and their names in memory.
    #[tokio::test]
    async fn the_end_of_a_long_journal_is_found_with_few_names() {
        let (objects, seen) = watched();
        let counting = chain(&objects, COUNT).await;
        let last = Link::of(&counting[counting.len() - 1]);
        let heads = Heads::along(&objects, Chain::behind(last));
        seen.take_listed();
        let mut names = Vec::new();
        for many in [0, 20_000] {
            // What names turns of long ago, as far as names say it.
            for one in 0..many {
                let link = format!("links/{:020}-{:020}", 0, one);
                let (cut, time, epoch) = (Lsn(0), Hlc(one), Epoch(2));
                let state = StateKey { cut, time, epoch }.to_string();
                for key in [link, state] {
                    let put = objects.create(&key, Vec::new()).await;
                    put.expect("it is in memory");
                }
            }
            seen.take_listed();
            let ended = check_end(&objects, heads.chain()).await;
            ended.expect("it is whole");
            names.push(seen.take_listed());
        }
        assert_eq!(names, [0, 0]);
    }

    // Without this a restore would give up turns for a segment that nobody needs, and an audit would end.
    #[tokio::test]
    async fn the_damaged_body_of_a_void_segment_does_not_matter() {
        let (objects, counting) = archive().await;
        let (void, counts) = (SegmentIndex(70), counting[70].index());
        let spoil = async |index| {
            let whole = journal::segment(&objects, index)
                .await
                .expect("it is whole");
            let mut bytes = whole.expect("it is there").encode();
            *bytes.last_mut().expect("it has a body") ^= 1;
            let deleted = journal::delete(&objects, index).await;
            deleted.expect("it is there");
            let key = format!("journal/{:020}", index.0);
            let put = objects.create(&key, bytes).await;
            put.expect("it is in memory");
        };
        let read = async || {
            let mut segments = Segments::along(&objects, Chain::behind(Link::default()));
            let mut read = Vec::new();
            loop {
                match segments.next().await {
                    Ok(Some(segment)) => read.push(segment.head),
                    Ok(None) => return Ok(read),
                    Err(error) => return Err((read.len(), error.to_string())),
                }
            }
        };
        spoil(void).await;
        assert_eq!(read().await, Ok(counting.clone()));
        spoil(counts).await;
        let (whole, error) = read().await.expect_err("it is damaged");
        assert_eq!(whole, 70);
        assert!(error.contains(&format!("{:020}", counts.0)), "{error}");
    }

    // Without this a journal that ends before what was made of it would be taken for whole.
    #[tokio::test]
    async fn a_state_proves_that_the_turn_behind_its_cut_was_archived() {
        let (objects, _) = watched();
        let counting = chain(&objects, COUNT).await;
        let walked = async || {
            let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
            heads.newest().await.expect("it is whole up to there");
            heads.chain().clone()
        };
        let whole = walked().await;
        let cut = Lsn(whole.last().journal.position.0 - 1);
        let (time, epoch) = (Hlc(7), Epoch(2));
        let key = StateKey { cut, time, epoch }.to_string();
        let put = objects.create(&key, Vec::new()).await;
        put.expect("it is in memory");
        check_end(&objects, &whole).await.expect("it is whole");
        for lost in &counting[counting.len() - 2..] {
            let deleted = journal::delete(&objects, lost.index()).await;
            deleted.expect("it is there");
        }
        let ended = check_end(&objects, &walked().await).await;
        ended.expect_err("the last two segments are missing");
    }

    // Without this a walk that begins at a link would end early, or not see that a segment is missing.
    #[tokio::test]
    async fn a_hole_is_found_where_it_is_read_and_a_link_names_what_counts() {
        let (objects, counting) = archive().await;
        let end = Lsn(u64::MAX);
        for linked in [50, 100] {
            let link = Link::of(&counting[linked]);
            links::put(&objects, link).await.expect("it is in memory");
        }
        let hole = counting[70].index();
        journal::delete(&objects, hole).await.expect("it is there");
        let near = links::nearest(&objects, end).await.expect("it is there");
        assert_eq!(near.last, Link::of(&counting[100]));
        let before = counting[100].after().position.0 - 1;
        let near = links::nearest(&objects, Lsn(before)).await;
        let near = near.expect("it is there");
        assert_eq!(near.last, Link::of(&counting[50]));
        let mut segments = Segments::along(&objects, Chain::behind(near.last));
        let error = loop {
            match segments.next().await {
                Ok(Some(segment)) => assert!(segment.head.index() < hole),
                Ok(None) => unreachable!("there are later segments"),
                Err(error) => break error.to_string(),
            }
        };
        let expected = format!("{:020}", hole.0);
        assert!(error.contains(&expected), "{error}");
        assert!(error.contains("missing"), "{error}");

        // One hole within what may be in flight, before a link.
        let (objects, counting) = archive().await;
        let near_end = counting.len() - 5;
        let hole = counting[near_end].index();
        journal::delete(&objects, hole).await.expect("it is there");
        let mut heads = Heads::along(&objects, Chain::behind(Link::default()));
        heads.newest().await.expect("the rest may be in flight");
        let ended = check_end(&objects, heads.chain()).await;
        ended.expect("the rest may be in flight");
        let link = Link::of(&counting[near_end + 2]);
        links::put(&objects, link).await.expect("it is in memory");
        let ended = check_end(&objects, heads.chain()).await;
        ended.expect_err("the link is acknowledged");
        // Also where the missing one is the newest.
        let (newest, _) = archive().await;
        let last = counting.last().expect("there are some");
        let link_to_last = links::put(&newest, Link::of(last));
        link_to_last.await.expect("it is in memory");
        let deleted = journal::delete(&newest, last.index()).await;
        deleted.expect("it is there");
        let mut walked = Heads::along(&newest, Chain::behind(Link::default()));
        walked.newest().await.expect("it is whole up to there");
        let ended = check_end(&newest, walked.chain()).await;
        ended.expect_err("the link names it");

        let linked = link.index;
        journal::delete(&objects, linked)
            .await
            .expect("it is there");
        let error = links::nearest(&objects, end).await.map(|near| near.last);
        let error = error.expect_err("it is missing").to_string();
        assert!(error.contains("a link names it"), "{error}");
    }
}
