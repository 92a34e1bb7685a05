//! Walks along the journal in the archive: many requests at once, in order, and in bounded memory.

use super::epochs::Windows;
use super::journal::{Begun, boundary, damaged, head};
use super::listing::Keys;
use super::object_part::ObjectPart;
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
    /// The last index of which the read is begun before its turn; `None`: of any.
    ahead_to: Option<SegmentIndex>,
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
            ahead_to: None,
        }
    }

    // The same from another index on.
    fn again_from(&self, index: SegmentIndex) -> Self {
        Self {
            ahead_to: self.ahead_to,
            ..Self::from(index)
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
            *self = self.again_from(index);
        }
        let (begun, ahead_to) = (&mut self.begun, self.ahead_to);
        let read = self.reads.next(|| {
            let (process, this) = (process.clone(), *begun);
            if this != index && is_behind(this, ahead_to) {
                return None;
            }
            *begun = this.next();
            Some(async move { head(&process, this).await })
        });
        let found = read.await?.flatten();
        if found.is_none() {
            // It may have been put since.
            let was_ahead = self.length > 0 && !is_behind(index, self.ahead_to);
            *self = self.again_from(SegmentIndex::default());
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

// Whether an index is behind the last one that there is, as far as that is known.
fn is_behind(index: SegmentIndex, last: Option<SegmentIndex>) -> bool {
    last.is_some_and(|last| index > last)
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

    /// The same, which knows that there were no segments behind this one: requests for others are not made ahead.
    #[must_use]
    pub fn ahead_to(mut self, last: Option<SegmentIndex>) -> Self {
        self.reader.ahead_to = last;
        self
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
    /// The last index of which the read is begun before its turn; `None`: of any.
    ahead_to: Option<SegmentIndex>,
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
            ahead_to: None,
        }
    }

    /// As [`Heads::ahead_to`].
    #[must_use]
    pub fn ahead_to(self, last: Option<SegmentIndex>) -> Self {
        Self {
            ahead_to: last,
            ..self
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
            ahead_to,
        } = self;
        let mut is_needed = whole.is_idle();
        let read = whole.next(|| {
            let index = SegmentIndex(begun.0 - starts.under_way());
            if !std::mem::take(&mut is_needed) && is_behind(index, *ahead_to) {
                return None;
            }
            let start = starts.take(|is_needed| {
                let (process, index) = (process.clone(), *begun);
                if !is_needed && is_behind(index, *ahead_to) {
                    return None;
                }
                *begun = index.next();
                Some(async move { journal::start(&process, index).await })
            })?;
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

    /// As [`Heads::ahead_to`].
    #[must_use]
    pub fn ahead_to(self, last: Option<SegmentIndex>) -> Self {
        let reads = self.reads.ahead_to(last);
        Self { reads, ..self }
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
    let missing = missing_at_end(process, chain).await?;
    let why = "it is missing, and there are later segments";
    missing.map_or(Ok(()), |segment| Err(damaged(process, segment, why)))
}

/// The segment that is missing where a walk ended, unless that is the end of the journal.
///
/// # Errors
/// [`ArchiveError::Moved`]: beside a deletion the walk ended where the first deleted segment was. [`ArchiveError::Failed`],
/// [`ArchiveError::Damaged`].
pub async fn missing_at_end(
    process: &Objects,
    chain: &Chain,
) -> Result<Option<SegmentIndex>, ArchiveError> {
    let free = chain.next();
    if boundary(process).await?.index >= free {
        let url = process.url().to_owned();
        return Err(ArchiveError::Moved { url });
    }
    // A writer may have gone on in the meantime.
    let is_missing = lacks(process, chain).await? && head(process, free).await?.is_none();
    Ok(is_missing.then_some(free))
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
#[path = "walk_tests.rs"]
mod tests;
