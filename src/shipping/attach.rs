//! The start of a process on its archived journal, without I/O. In this order:
//!
//! 1. The newest claim is compared with this start: another store, or an older copy of the directory, is refused. The claim of a
//!    restore that has set no fence does not matter: nobody runs on it, and its fence would come too late. An archive that lacks
//!    the segment that the store here remembers is another one, or damaged: it is refused as well.
//! 2. From that segment on, the turns that only the archive has are appended here, and the journals are compared. Before the first of
//!    them the store notes that it was behind, so that an early end does not hide that it may lack others. All this without a fence: a
//!    wrong directory must not stop the right process.
//! 3. The epoch behind the compared claim is claimed; the store remembers that claim first. If the epoch is taken, the new claim is
//!    compared. A remembered claim that is not there is made again before a new one: its answer was lost, and it may still come.
//! 4. The writer sets its fence; what earlier writers have shipped before it is appended here.
//! 5. If other processes may depend only on archived turns, the rest of the journal here is shipped, see
//!    [`Waits::holds_start`](super::hold::Waits::holds_start).

use std::cmp::Ordering;

use super::chain::{Chain, Link};
use super::segment::{SegmentHead, WriterId};
pub use super::steps::{Action, Attached, Event, Here, Starting};
pub use super::unfit::Unfit;
use super::unfit::{check, may_be_abandoned};
use super::writer::{self, Walked, Writer};
use super::{Epoch, JournalPoint, SegmentIndex};
use crate::process::ids::Lsn;

/// A start in progress.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attaching {
    starting: Starting,
    stage: Stage,
    /// The boundary behind which the walk began.
    boundary: Link,
    chain: Chain,
    /// The writer, once the epoch is claimed.
    writer: Option<Writer>,
    /// The own fence, once it is set.
    fence: Option<Link>,
    archived: Link,
    was_behind: bool,
    /// A claim that was made by a restore and has no fence.
    abandoned: Option<WriterId>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Stage {
    /// Reads the newest claim, before anything else or before its own claim.
    Claims { is_compared: bool },
    /// Reads who has written last, since this newest claim is not the own one.
    Writers { is_compared: bool, newest: WriterId },
    /// Has the store remember this claim.
    Remembering(WriterId),
    /// Creates this claim.
    Claiming(WriterId),
    /// Reads the boundary.
    Bounding,
    /// Reads the newest link of the archive.
    Linking,
    /// Reads the segment that the store here remembers, or that a link names.
    Recalling(Link),
    /// That segment is not there: has the boundary moved behind it?
    Missing(Link),
    /// Walks along the chain.
    Walking,
    /// Has the store note that it lacks the turns of this segment.
    Noting(Box<SegmentHead>),
    /// Compares the journals at the end of the chain.
    Comparing,
    /// The writer sets its fence.
    Fencing,
    /// Ships the rest of the journal.
    Shipping,
}

impl Attaching {
    /// A start, and its first action.
    #[must_use]
    pub fn begin(starting: Starting) -> (Self, Action) {
        let was_behind = starting.was_behind;
        let new = Self {
            starting,
            stage: Stage::Claims { is_compared: false },
            boundary: Link::default(),
            chain: Chain::behind(Link::default()),
            writer: None,
            fence: None,
            archived: Link::default(),
            was_behind,
            abandoned: None,
        };
        (new, Action::ReadClaim)
    }

    /// The walk along the chain, as far as it is.
    #[must_use]
    pub fn walked(&self) -> &Chain {
        &self.chain
    }

    /// Takes an event; returns the actions to execute.
    ///
    /// # Errors
    /// [`Unfit`]: the process must not start.
    pub fn on(&mut self, event: Event) -> Result<Vec<Action>, Unfit> {
        match (self.stage.clone(), event) {
            (Stage::Claims { is_compared }, Event::Newest(newest)) => {
                self.claims(is_compared, newest)
            }
            (
                Stage::Writers {
                    is_compared,
                    newest,
                },
                Event::Writer(writer),
            ) => self.written(is_compared, newest, writer),
            (Stage::Remembering(claim), Event::Remembered) => {
                self.starting.claimed = Some(claim);
                Ok(self.claim(claim))
            }
            (Stage::Claiming(claim), Event::Claimed(true))
                if claim.identity == self.starting.identity =>
            {
                Ok(self.claimed(claim))
            }
            (Stage::Claiming(_), Event::Claimed(_)) => {
                self.stage = Stage::Claims { is_compared: true };
                Ok(vec![Action::ReadClaim])
            }
            (
                Stage::Bounding | Stage::Missing(_),
                Event::Told(writer::Event::Boundary(boundary)),
            ) => self.bound(boundary),
            (Stage::Linking, Event::Linked(link)) => Ok(match link {
                Some(link) => self.recall(link),
                None => self.walk(),
            }),
            (Stage::Recalling(known), Event::Told(writer::Event::Found(index, found)))
                if index == known.index =>
            {
                self.recalled(known, found)
            }
            (Stage::Walking, Event::Told(writer::Event::Found(index, found)))
                if index == self.chain.next() =>
            {
                self.found(found)
            }
            (Stage::Noting(head), Event::Noted) => {
                self.was_behind = true;
                self.stage = Stage::Walking;
                Ok(vec![Action::Read(head)])
            }
            (Stage::Walking, Event::Read(segment)) => {
                self.starting.end = segment.head.after().position;
                Ok(vec![Action::Append(segment)])
            }
            (Stage::Walking, Event::Appended) => Ok(self.walk()),
            (Stage::Comparing, Event::Here(here)) => self.compare(here),
            (Stage::Fencing | Stage::Shipping, Event::Told(event)) => self.told(event),
            (Stage::Shipping, Event::Turns(turns)) => {
                let writer = self.writer.as_mut();
                let put = writer.map(|writer| Action::Ask(writer.ship(turns)));
                Ok(put.into_iter().collect())
            }
            _ => Ok(Vec::new()),
        }
    }

    fn claims(
        &mut self,
        is_compared: bool,
        newest: Option<WriterId>,
    ) -> Result<Vec<Action>, Unfit> {
        let Starting {
            identity: here,
            claimed: own,
            ..
        } = self.starting;
        match (newest, self.starting.known) {
            (Some(newest), _) if self.abandoned == Some(newest) => {
                // Its fence may have come meanwhile.
                if self.chain.last().epoch >= newest.epoch {
                    return Err(Unfit::OlderCopy(newest.identity));
                }
            }
            (Some(newest), _) => match check(newest, here, own) {
                Err(Unfit::OlderCopy(_)) if may_be_abandoned(newest, here, own) => {
                    self.stage = Stage::Writers {
                        is_compared,
                        newest,
                    };
                    return Ok(vec![Action::ReadWriter]);
                }
                checked => checked?,
            },
            (None, Some(known)) => return Err(Unfit::Lacking(known)),
            (None, None) => {}
        }
        Ok(self.compared(is_compared, newest))
    }

    // Who has written last, if anyone has. A process that runs has written its fence.
    fn written(
        &mut self,
        is_compared: bool,
        newest: WriterId,
        writer: Option<WriterId>,
    ) -> Result<Vec<Action>, Unfit> {
        let Starting {
            identity, claimed, ..
        } = self.starting;
        let checked = writer.map_or(Ok(()), |writer| check(writer, identity, claimed));
        checked.map_err(|_| Unfit::OlderCopy(newest.identity))?;
        self.abandoned = Some(newest);
        Ok(self.compared(is_compared, Some(newest)))
    }

    // The newest claim is no obstacle.
    fn compared(&mut self, is_compared: bool, newest: Option<WriterId>) -> Vec<Action> {
        if !is_compared {
            return self.read_boundary();
        }
        let Starting {
            identity: here,
            claimed: own,
            ..
        } = self.starting;
        // The claim of an earlier attempt whose answer was lost.
        if let Some(own) = newest.filter(|newest| newest.identity == here) {
            return self.claimed(own);
        }
        let newest = newest.map_or(Epoch::default(), |newest| newest.epoch);
        if let Some(own) = own.filter(|own| own.epoch > newest) {
            return self.claim(own);
        }
        let claim = WriterId {
            epoch: Epoch(newest.0 + 1),
            identity: here,
        };
        self.stage = Stage::Remembering(claim);
        vec![Action::Remember(claim)]
    }

    fn claim(&mut self, claim: WriterId) -> Vec<Action> {
        self.stage = Stage::Claiming(claim);
        vec![Action::Claim(claim)]
    }

    fn claimed(&mut self, claim: WriterId) -> Vec<Action> {
        let Starting { owner, window, .. } = &self.starting;
        let walked = Walked {
            boundary: self.boundary,
            last: self.chain.last(),
        };
        let (writer, first) = Writer::continuing(owner.clone(), claim, *window, walked);
        self.writer = Some(writer);
        self.stage = Stage::Fencing;
        vec![Action::Ask(first)]
    }

    fn read_boundary(&mut self) -> Vec<Action> {
        self.stage = Stage::Bounding;
        vec![Action::Ask(writer::Action::ReadBoundary)]
    }

    fn bound(&mut self, boundary: Link) -> Result<Vec<Action>, Unfit> {
        let last = self.chain.last();
        // The boundary is written before anything is deleted, so the second walk ends only behind a newer one.
        if self.fence.is_some() && boundary.index <= last.index {
            return Err(Unfit::Differs(last.journal.position));
        }
        self.walk_behind(boundary);
        if self.fence.is_some() {
            return Ok(self.walk());
        }
        if let Stage::Missing(link) = self.stage
            && boundary.index < link.index
        {
            return Err(self.lacking(link));
        }
        let Some(known) = self.starting.known else {
            return Ok(self.link());
        };
        match boundary.index.cmp(&known.index) {
            // It was deleted.
            Ordering::Greater => Ok(self.link()),
            Ordering::Equal if boundary == known => Ok(self.walk()),
            Ordering::Equal => Err(Unfit::Lacking(known)),
            Ordering::Less => Ok(self.recall(known)),
        }
    }

    fn lacking(&self, link: Link) -> Unfit {
        match self.starting.known == Some(link) {
            true => Unfit::Lacking(link),
            false => Unfit::Hole(link.index),
        }
    }

    fn link(&mut self) -> Vec<Action> {
        self.stage = Stage::Linking;
        vec![Action::ReadLink(self.boundary.index, self.starting.end)]
    }

    fn recall(&mut self, link: Link) -> Vec<Action> {
        self.stage = Stage::Recalling(link);
        vec![Action::Ask(writer::Action::Look(link.index))]
    }

    // The walk begins behind the segment that is known to count, unless the journal here ends before it.
    fn recalled(
        &mut self,
        known: Link,
        found: Option<Box<SegmentHead>>,
    ) -> Result<Vec<Action>, Unfit> {
        match found.map(|head| Link::of(&head)) {
            Some(link) if link == known => {
                if known.journal.position > self.starting.end {
                    return Ok(self.link());
                }
                self.chain = Chain::behind(known);
                Ok(self.walk())
            }
            Some(_) if self.starting.known == Some(known) => Err(Unfit::Lacking(known)),
            // The link is damaged: the one before it serves as well.
            Some(_) => {
                let before = Lsn(known.journal.position.0.saturating_sub(1));
                self.stage = Stage::Linking;
                Ok(vec![Action::ReadLink(self.boundary.index, before)])
            }
            None => {
                self.stage = Stage::Missing(known);
                Ok(vec![Action::Ask(writer::Action::ReadBoundary)])
            }
        }
    }

    fn walk_behind(&mut self, boundary: Link) {
        self.boundary = boundary;
        self.chain = Chain::behind(boundary);
    }

    fn walk(&mut self) -> Vec<Action> {
        let last = self.chain.last();
        // A later writer's segments may follow the own fence; they are not for this process.
        if self.fence.is_some_and(|fence| last.index >= fence.index) {
            return self.end_walk();
        }
        self.stage = Stage::Walking;
        let look = writer::Action::Look(self.chain.next());
        vec![Action::Ask(look)]
    }

    fn end_walk(&mut self) -> Vec<Action> {
        self.stage = Stage::Comparing;
        vec![Action::Compare(self.chain.last().journal)]
    }

    fn found(&mut self, found: Option<Box<SegmentHead>>) -> Result<Vec<Action>, Unfit> {
        let Some(head) = found else {
            let known = self.starting.known.filter(|_| self.fence.is_none());
            let is_behind = |known: &Link| known.index > self.chain.last().index;
            if known
                .filter(is_behind)
                .is_some_and(|known| known.index > self.boundary.index)
            {
                // The known one is there, and the walk does not reach it.
                return Err(Unfit::Hole(self.chain.next()));
            }
            if self.fence.is_none() && self.chain.last() == Link::default() {
                let journal = self.starting.begins;
                self.chain = Chain::behind(Link {
                    journal,
                    ..Link::default()
                });
            }
            return Ok(match self.fence {
                None => self.end_walk(),
                // Before the own fence: what was there is deleted.
                Some(_) => self.read_boundary(),
            });
        };
        let counts = self.chain.take(&head)?;
        let is_lacking = counts && head.after().position > self.starting.end;
        Ok(match is_lacking {
            true if self.was_behind => vec![Action::Read(head)],
            true => {
                self.stage = Stage::Noting(head);
                vec![Action::NoteBehind]
            }
            false => self.walk(),
        })
    }

    fn compare(&mut self, here: Here) -> Result<Vec<Action>, Unfit> {
        let JournalPoint { position, hash } = self.chain.last().journal;
        if position.next() < here.first {
            let (archived, first) = (position, here.first);
            return Err(Unfit::Trimmed { archived, first });
        }
        if here.hash != Some(hash) {
            return Err(Unfit::Differs(position));
        }
        self.starting.end = here.end;
        match self.fence {
            None => {
                self.stage = Stage::Claims { is_compared: true };
                Ok(vec![Action::ReadClaim])
            }
            Some(_) => {
                self.stage = Stage::Shipping;
                Ok(self.ship_rest())
            }
        }
    }

    // An event of the writer.
    fn told(&mut self, event: writer::Event) -> Result<Vec<Action>, Unfit> {
        let Some(writer) = &mut self.writer else {
            return Ok(Vec::new());
        };
        let mut actions = Vec::new();
        for action in writer.on(event) {
            match action {
                writer::Action::Look(_) | writer::Action::Put(_) | writer::Action::ReadBoundary => {
                    actions.push(Action::Ask(action))
                }
                writer::Action::Opened(_) => {}
                writer::Action::Archived(link) => self.archived = link,
                writer::Action::Stop(superseded) => return Err(Unfit::Superseded(superseded)),
                writer::Action::Refuse(broken) => return Err(broken.into()),
            }
        }
        if self.fence.is_none() && self.archived.index > SegmentIndex::default() {
            let boundary = writer.boundary();
            self.fence = Some(self.archived);
            if boundary != self.boundary {
                self.walk_behind(boundary);
            }
            return Ok(self.walk());
        }
        if self.stage == Stage::Shipping && actions.is_empty() {
            actions = self.ship_rest();
        }
        Ok(actions)
    }

    // One segment after the other: a start has little to ship.
    fn ship_rest(&mut self) -> Vec<Action> {
        let Starting { waits, end, .. } = self.starting;
        let archived = self.archived;
        let shipped = self.writer.as_ref().and_then(Writer::shipped);
        if shipped != Some(archived.journal) {
            // What was shipped is not archived yet.
            return Vec::new();
        }
        if waits.holds_start() && archived.journal.position < end {
            return vec![Action::ReadTurns(archived.journal)];
        }
        let attached = self.writer.take().map(|writer| {
            let attached = Attached {
                writer,
                archived,
                was_behind: self.was_behind,
            };
            Action::Attached(Box::new(attached))
        });
        attached.into_iter().collect()
    }
}

#[cfg(test)]
#[path = "attach_tests.rs"]
mod tests;
