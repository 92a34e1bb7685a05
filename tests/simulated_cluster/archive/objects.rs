//! The object store, as `archive/` uses it: of several creators of one object, one succeeds. Segments are the bytes of the real
//! codec.

use std::collections::BTreeMap;

use snapledger::process::identity::Identity;
use snapledger::shipping::attach::{Action, Event};
use snapledger::shipping::chain::{Chain, Link};
use snapledger::shipping::segment::{HEAD_BYTES_MAX, Segment, SegmentHead, WriterId};
use snapledger::shipping::writer::{Action as Wanted, Event as Told};
use snapledger::shipping::{Epoch, SegmentIndex};

use crate::world::Checked;

/// The number of segments for one link.
const LINK_EVERY: u64 = 8;

/// The folder of one process.
#[derive(Default)]
pub(crate) struct Folder {
    claims: BTreeMap<Epoch, WriterId>,
    segments: BTreeMap<SegmentIndex, Vec<u8>>,
    links: BTreeMap<SegmentIndex, Link>,
}

impl Folder {
    /// The newest claim.
    pub(crate) fn newest(&self) -> Option<WriterId> {
        self.claims.last_key_value().map(|(_, claim)| *claim)
    }

    /// The claim of a start.
    pub(crate) fn claim_of(&self, identity: Identity) -> Option<WriterId> {
        let mut claims = self.claims.values();
        claims.find(|claim| claim.identity == identity).copied()
    }

    /// Whether nothing was created.
    pub(crate) fn is_empty(&self) -> bool {
        self.claims.is_empty() && self.segments.is_empty()
    }

    /// Executes a request.
    pub(crate) fn execute(&mut self, request: &Action) -> Checked<Event> {
        Ok(match request {
            Action::ReadClaim => Event::Newest(self.newest()),
            Action::Claim(claim) => {
                let is_free = !self.claims.contains_key(&claim.epoch);
                if is_free {
                    self.claims.insert(claim.epoch, *claim);
                }
                Event::Claimed(is_free)
            }
            Action::ReadLink(behind, until) => {
                let links = self.links.range(behind.next()..).rev();
                let mut links = links.map(|(_, link)| *link);
                Event::Linked(links.find(|link| link.journal.position <= *until))
            }
            Action::Read(head) => {
                let bytes = self.segments.get(&head.index());
                let bytes = bytes.ok_or_else(|| format!("segment {} is gone", head.index()))?;
                let segment = Segment::decode(bytes).map_err(|error| error.to_string())?;
                Event::Read(Box::new(segment))
            }
            Action::Ask(Wanted::Look(index)) => {
                Event::Told(Told::Found(*index, self.head(*index)?))
            }
            Action::Ask(Wanted::Put(segment)) => Event::Told(self.put(segment)),
            Action::Ask(Wanted::ReadBoundary) => Event::Told(Told::Boundary(Link::default())),
            other => return Err(format!("{other:?} is no request")),
        })
    }

    fn head(&self, index: SegmentIndex) -> Checked<Option<Box<SegmentHead>>> {
        let Some(bytes) = self.segments.get(&index) else {
            return Ok(None);
        };
        let start = &bytes[..bytes.len().min(HEAD_BYTES_MAX)];
        let (head, _) = SegmentHead::decode(start).map_err(|error| error.to_string())?;
        Ok(Some(Box::new(head)))
    }

    fn put(&mut self, segment: &Segment) -> Told {
        let index = segment.head.index();
        match self.segments.contains_key(&index) {
            true => Told::Exists(index),
            false => {
                self.segments.insert(index, segment.encode());
                Told::Created(index)
            }
        }
    }

    /// Links an acknowledged segment, if that is due.
    pub(crate) fn link(&mut self, link: Link) {
        let before = self.links.last_key_value().map(|(before, _)| *before);
        if link.is_due_behind(before.unwrap_or_default(), LINK_EVERY) {
            self.links.insert(link.index, link);
        }
    }

    /// The segments that count, and the end of the chain.
    pub(crate) fn counting(&self) -> Checked<(Vec<SegmentHead>, Link)> {
        let (mut chain, mut counting) = (Chain::behind(Link::default()), Vec::new());
        while let Some(head) = self.head(chain.next())? {
            if chain.take(&head).map_err(|broken| broken.to_string())? {
                counting.push(*head);
            }
        }
        Ok((counting, chain.last()))
    }

    /// Sabotage: deletes a segment.
    pub(crate) fn delete(&mut self, index: SegmentIndex) {
        self.segments.remove(&index);
    }
}
