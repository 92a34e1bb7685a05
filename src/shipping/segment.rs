//! A segment: consecutive turns of one journal as one object of the archive.
//!
//! | bytes | what |
//! |---|---|
//! | 18 | `snapledger segment` |
//! | 4 | format, little-endian |
//! | 4 | length of the head, little-endian |
//! | | head ([`SegmentHead`], bincode), which contains length and hash of the body |
//! | 32 | BLAKE3 hash of everything before it: the hash of the segment |
//! | | body: per turn the length (4 bytes, little-endian) and the framed journal entry |
//!
//! The first [`HEAD_BYTES_MAX`] bytes are enough to verify a head.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use super::sealed::Unreadable;
use super::sealed::{self, Seal};
use super::{Epoch, JournalPoint, SegmentIndex};
use crate::process::identity::Identity;
use crate::process::ids::{Hash, Lsn};

/// The most bytes before the body.
pub const HEAD_BYTES_MAX: usize = 1024;
/// The most bytes of a segment: one turn of the greatest length. Several turns are far shorter.
pub const SEGMENT_BYTES_MAX: u64 = HEAD_BYTES_MAX as u64 + sealed::PIECE_BYTES_MAX;
const SEAL: Seal<HEAD_BYTES_MAX> = Seal {
    magic: b"snapledger segment",
    other: "it is not a segment of a journal",
};

/// Turns of a journal, as a segment carries them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Turns {
    /// The point before the first turn.
    pub before: JournalPoint,
    /// The point at the last turn; equal to `before` without turns.
    pub after: JournalPoint,
    /// The framed entries, each behind its length.
    pub body: Arc<[u8]>,
}

impl Turns {
    /// No turns, after a point.
    #[must_use]
    pub fn none(at: JournalPoint) -> Self {
        Self {
            before: at,
            after: at,
            body: Arc::default(),
        }
    }

    /// Appends a framed entry to a body.
    pub fn push(body: &mut Vec<u8>, framed: &[u8]) {
        sealed::push(body, framed);
    }
}

/// The process whose journal a chain of segments holds.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    /// The cluster's name.
    pub cluster: String,
    /// The process id.
    pub process: String,
}

/// Who writes a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct WriterId {
    /// The claimed epoch.
    pub epoch: Epoch,
    /// The store and its start.
    pub identity: Identity,
}

/// What identifies a segment, without its turns.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SegmentHead {
    cluster: String,
    process: String,
    index: u64,
    epoch: u64,
    store: [u8; 16],
    boot: u64,
    run: u64,
    previous: [u8; 32],
    before: (u64, [u8; 32]),
    after: (u64, [u8; 32]),
    body_bytes: u64,
    body_hash: [u8; 32],
}

impl SegmentHead {
    /// Its place.
    #[must_use]
    pub fn index(&self) -> SegmentIndex {
        SegmentIndex(self.index)
    }

    /// The epoch of its writer.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.epoch)
    }

    /// Who wrote it.
    #[must_use]
    pub fn writer(&self) -> WriterId {
        WriterId {
            epoch: self.epoch(),
            identity: Identity {
                store: self.store,
                boot: self.boot,
                run: self.run,
            },
        }
    }

    /// Whose journal it belongs to.
    #[must_use]
    pub fn owner(&self) -> Owner {
        Owner {
            cluster: self.cluster.clone(),
            process: self.process.clone(),
        }
    }

    /// The hash of the segment before it.
    #[must_use]
    pub fn previous(&self) -> Hash {
        Hash(self.previous)
    }

    /// The point before its first turn.
    #[must_use]
    pub fn before(&self) -> JournalPoint {
        point(self.before.0, self.before.1)
    }

    /// The point at its last turn.
    #[must_use]
    pub fn after(&self) -> JournalPoint {
        point(self.after.0, self.after.1)
    }

    /// Whether it carries no turns.
    #[must_use]
    pub fn is_fence(&self) -> bool {
        self.before == self.after
    }

    /// The hash that the next segment names.
    #[must_use]
    pub fn hash(&self) -> Hash {
        Hash(*blake3::hash(&SEAL.begin(self)).as_bytes())
    }

    /// Reads a head from the beginning of an object, and the length of what precedes the body.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decode(object: &[u8]) -> Result<(Self, usize), Unreadable> {
        SEAL.open(object)
    }
}

fn point(position: u64, hash: [u8; 32]) -> JournalPoint {
    JournalPoint {
        position: Lsn(position),
        hash: Hash(hash),
    }
}

/// A segment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Segment {
    /// What identifies it.
    pub head: SegmentHead,
    /// Its turns, as in [`Turns::body`].
    pub body: Arc<[u8]>,
}

impl Segment {
    /// A segment of these turns at a place, chained to the segment with hash `previous`.
    #[must_use]
    pub fn new(
        owner: &Owner,
        writer: WriterId,
        index: SegmentIndex,
        previous: Hash,
        turns: &Turns,
    ) -> Self {
        let WriterId { epoch, identity } = writer;
        let tuple = |point: JournalPoint| (point.position.0, point.hash.0);
        let head = SegmentHead {
            cluster: owner.cluster.clone(),
            process: owner.process.clone(),
            index: index.0,
            epoch: epoch.0,
            store: identity.store,
            boot: identity.boot,
            run: identity.run,
            previous: previous.0,
            before: tuple(turns.before),
            after: tuple(turns.after),
            body_bytes: turns.body.len() as u64,
            body_hash: *blake3::hash(&turns.body).as_bytes(),
        };
        let body = Arc::clone(&turns.body);
        Self { head, body }
    }

    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        SEAL.seal(&self.head, &self.body)
    }

    /// Reads an object and verifies all of it but the entries.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decode(object: &[u8]) -> Result<Self, Unreadable> {
        let (head, body) = SegmentHead::decode(object)?;
        let (bytes, hash) = (head.body_bytes, head.body_hash);
        let body = sealed::body(object, body, bytes, hash)?;
        Ok(Self {
            head,
            body: body.into(),
        })
    }

    /// The framed entries, in order.
    pub fn entries(&self) -> impl Iterator<Item = Result<&[u8], Unreadable>> {
        sealed::pieces(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Segment {
        let mut body = Vec::new();
        Turns::push(&mut body, b"first");
        Turns::push(&mut body, b"");
        Turns::push(&mut body, b"third");
        let turns = Turns {
            before: JournalPoint::default(),
            after: JournalPoint {
                position: Lsn(3),
                hash: Hash([7; 32]),
            },
            body: body.into(),
        };
        let owner = Owner {
            cluster: "c".repeat(128),
            process: "p".repeat(128),
        };
        let identity = Identity {
            store: [1; 16],
            boot: 2,
            run: 3,
        };
        let writer = WriterId {
            epoch: Epoch(4),
            identity,
        };
        Segment::new(&owner, writer, SegmentIndex(5), Hash([6; 32]), &turns)
    }

    #[test]
    fn a_segment_reads_back_with_its_entries_and_hash() {
        let segment = segment();
        let object = segment.encode();
        assert_eq!(Segment::decode(&object), Ok(segment.clone()));
        let entries: Result<Vec<&[u8]>, _> = segment.entries().collect();
        assert_eq!(entries, Ok(vec![&b"first"[..], b"", b"third"]));
        let (head, body) = SegmentHead::decode(&object[..HEAD_BYTES_MAX.min(object.len())])
            .expect("it has a head");
        assert_eq!(head, segment.head);
        assert_eq!(&object[body - 32..body], head.hash().0);
    }

    #[test]
    fn no_changed_or_cut_byte_passes() {
        let object = segment().encode();
        for place in 0..object.len() {
            let mut changed = object.clone();
            changed[place] ^= 1;
            assert!(
                Segment::decode(&changed).is_err(),
                "byte {place} was changed"
            );
            assert!(Segment::decode(&object[..place]).is_err(), "cut at {place}");
        }
        let longer = [&object[..], b"x"].concat();
        assert!(Segment::decode(&longer).is_err());
    }
}
