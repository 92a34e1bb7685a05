//! What the archive keeps of a process beside its journal: recorded states, own parts, published revisions, and the chunks that
//! states and parts name. Each is one object, but for chunks, of which a group has as many as it needs.
//!
//! | key | what | body |
//! |---|---|---|
//! | `states/CUT-TIME-EPOCH` | a recorded state | as stored |
//! | `parts/TIME-EPOCH-SNAPSHOT` | the part of this process in a snapshot | as stored |
//! | `chunks/EPOCH/GROUP/PIECE` | chunks of a run, or of the recorded messages of a channel | each as stored, behind its length (4 bytes, little-endian) |
//! | `snapshots/TIME-REVISION-ROOT-SNAPSHOT` | a published revision, below the folder of the cluster | as stored |
//! | `pins/TIME-PINNED-HASH-SNAPSHOT` | an update of a pin (PINNED is 1 or 0), below the folder of the cluster | snapshot id, and what the store keeps of it, each behind its length |
//!
//! The keys contain what retention decides by. A head names its key again, and the groups of chunks that its body needs: those
//! are below the epoch of the head, because a writer names only what it has put itself
//! ([decision 0047](../../docs/decisions/0047-states-share-within-an-epoch.md)).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Epoch;
pub use super::sealed::STORED_BYTES_MAX;
use super::sealed::{self, Seal, Unreadable};
use super::segment::Owner;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, SnapshotId};

/// The most bytes before the body.
pub const HEAD_BYTES_MAX: usize = 64 * 1024;
/// The size at which a piece of a group of chunks is full.
pub const PIECE_BYTES: usize = 8 << 20;
/// The most bytes of a piece: a full one of the smallest chunks, whose lengths need as much again.
const PIECE_OBJECT_BYTES_MAX: u64 = (HEAD_BYTES_MAX + 2 * PIECE_BYTES) as u64;
/// A longer snapshot id is replaced by its hash in keys: file systems limit names to 255 bytes.
const PLAIN_BYTES_MAX: usize = 100;

const SEAL: Seal<HEAD_BYTES_MAX> = Seal {
    magic: b"snapledger archive",
    other: "it is not an object of this archive",
};

/// The folder of recorded states.
pub const STATES: &str = "states";
/// The folder of parts.
pub const PARTS: &str = "parts";
/// The folder of published revisions, below that of the cluster.
pub const SNAPSHOTS: &str = "snapshots";
/// The folder of pins, below that of the cluster.
pub const PINS: &str = "pins";
/// The folder of chunks.
pub const CHUNKS: &str = "chunks";

/// A snapshot id as it is in keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SnapshotName(String);

impl SnapshotName {
    /// The name of a snapshot.
    #[must_use]
    pub fn of(snapshot: &SnapshotId) -> Self {
        let text = snapshot.as_str();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        let is_short = text.len() <= PLAIN_BYTES_MAX;
        Self(match is_short && text.bytes().all(is_plain) {
            true => format!("s-{text}"),
            false => format!("h-{}", blake3::hash(text.as_bytes()).to_hex()),
        })
    }
}

/// The place of a recorded state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StateKey {
    /// The turn after which it was recorded.
    pub cut: Lsn,
    /// The clock at the cut.
    pub time: Hlc,
    /// The epoch of its writer.
    pub epoch: Epoch,
}

/// The place of a part.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartKey {
    /// The time of the recorded state.
    pub time: Hlc,
    /// The epoch of its writer.
    pub epoch: Epoch,
    /// The snapshot.
    pub snapshot: SnapshotName,
}

/// The place of a published revision.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RevisionKey {
    /// The start of the snapshot.
    pub began: Hlc,
    /// The number of the revision.
    pub revision: u32,
    /// The root hash of the revision: two processes may have used one number.
    pub root: Hash,
    /// The snapshot.
    pub snapshot: SnapshotName,
}

/// The place of an update of a pin. In its order a later update of one snapshot follows an earlier one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PinKey {
    /// The stamp of the update.
    pub at: Hlc,
    /// Whether the snapshot is pinned since.
    pub is_pinned: bool,
    /// The hash of the body: two processes may have used one stamp.
    pub hash: Hash,
    /// The snapshot.
    pub snapshot: SnapshotName,
}

/// The place of a piece of a group of chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PieceKey {
    /// The epoch of its writer.
    pub epoch: Epoch,
    /// The group.
    pub group: Hash,
    /// The number of the piece, from 0.
    pub piece: u32,
}

/// A place of an object.
pub trait ObjectKey: Sized + Ord + fmt::Display {
    /// The folder.
    const FOLDER: &'static str;
    /// The most bytes of such an object.
    const BYTES_MAX: u64 = HEAD_BYTES_MAX as u64 + STORED_BYTES_MAX;
    /// Whether the folder is below that of the cluster, and not below that of a process.
    const IS_OF_CLUSTER: bool = false;
    /// Reads a name below the folder; `None` if it is not of such an object.
    fn parse(name: &str) -> Option<Self>;
}

impl ObjectKey for StateKey {
    const FOLDER: &'static str = STATES;

    fn parse(name: &str) -> Option<Self> {
        let [cut, time, epoch] = split(name)?;
        Some(Self {
            cut: Lsn(cut.parse().ok()?),
            time: Hlc(time.parse().ok()?),
            epoch: Epoch(epoch.parse().ok()?),
        })
    }
}

impl ObjectKey for PartKey {
    const FOLDER: &'static str = PARTS;

    fn parse(name: &str) -> Option<Self> {
        let [time, epoch, snapshot] = split(name)?;
        Some(Self {
            time: Hlc(time.parse().ok()?),
            epoch: Epoch(epoch.parse().ok()?),
            snapshot: SnapshotName(snapshot.to_owned()),
        })
    }
}

impl ObjectKey for RevisionKey {
    const FOLDER: &'static str = SNAPSHOTS;
    const IS_OF_CLUSTER: bool = true;

    fn parse(name: &str) -> Option<Self> {
        let [began, revision, root, snapshot] = split(name)?;
        Some(Self {
            began: Hlc(began.parse().ok()?),
            revision: revision.parse().ok()?,
            root: hash(root)?,
            snapshot: SnapshotName(snapshot.to_owned()),
        })
    }
}

impl ObjectKey for PinKey {
    const FOLDER: &'static str = PINS;
    const BYTES_MAX: u64 = (2 * HEAD_BYTES_MAX) as u64;
    const IS_OF_CLUSTER: bool = true;

    fn parse(name: &str) -> Option<Self> {
        let [at, pinned, update, snapshot] = split(name)?;
        Some(Self {
            at: Hlc(at.parse().ok()?),
            is_pinned: match pinned {
                "0" => false,
                "1" => true,
                _ => return None,
            },
            hash: hash(update)?,
            snapshot: SnapshotName(snapshot.to_owned()),
        })
    }
}

impl ObjectKey for PieceKey {
    const FOLDER: &'static str = CHUNKS;
    const BYTES_MAX: u64 = PIECE_OBJECT_BYTES_MAX;

    fn parse(name: &str) -> Option<Self> {
        let mut parts = name.split('/');
        let (epoch, group, piece) = (parts.next()?, parts.next()?, parts.next()?);
        Some(Self {
            epoch: Epoch(epoch.parse().ok()?),
            group: hash(group)?,
            piece: piece.parse().ok().filter(|_| parts.next().is_none())?,
        })
    }
}

// The last part may contain the separator.
fn split<const N: usize>(name: &str) -> Option<[&str; N]> {
    let parts: Vec<&str> = name.splitn(N, '-').collect();
    parts.try_into().ok()
}

fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    Some(Hash(hash))
}

impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cut, time, epoch } = self;
        write!(f, "{STATES}/{:020}-{:020}-{:010}", cut.0, time.0, epoch.0)
    }
}

impl fmt::Display for PartKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (time, epoch, snapshot) = (self.time.0, self.epoch.0, &self.snapshot.0);
        write!(f, "{PARTS}/{time:020}-{epoch:010}-{snapshot}")
    }
}

impl fmt::Display for RevisionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { revision, root, .. } = self;
        let (began, snapshot) = (self.began.0, &self.snapshot.0);
        write!(
            f,
            "{SNAPSHOTS}/{began:020}-{revision:010}-{root}-{snapshot}"
        )
    }
}

impl fmt::Display for PinKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, hash, .. } = self;
        let (pinned, snapshot) = (u8::from(self.is_pinned), &self.snapshot.0);
        write!(f, "{PINS}/{:020}-{pinned}-{hash}-{snapshot}", at.0)
    }
}

impl fmt::Display for PieceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { group, piece, .. } = self;
        write!(f, "{CHUNKS}/{:010}/{group}/{piece:05}", self.epoch.0)
    }
}

/// A group of chunks that lies below the epoch of the object that names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct GroupRef {
    /// What identifies it.
    pub group: Hash,
    /// The number of its pieces.
    pub pieces: u32,
}

/// What identifies an object, without its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHead {
    cluster: String,
    /// Empty for what belongs to the cluster.
    process: String,
    key: String,
    groups: Vec<GroupRef>,
    body_bytes: u64,
    body_hash: [u8; 32],
}

impl ObjectHead {
    /// The groups of chunks that the body needs.
    #[must_use]
    pub fn groups(&self) -> &[GroupRef] {
        &self.groups
    }

    /// Checks that the object is the one that should be under this key.
    ///
    /// # Errors
    /// [`Unreadable::Damaged`].
    pub fn is(&self, owner: &Owner, key: &impl ObjectKey) -> Result<(), Unreadable> {
        let is_process = self.process == owner.process || self.process.is_empty();
        match self.cluster == owner.cluster && is_process && self.key == key.to_string() {
            true => Ok(()),
            false => Err(Unreadable::Damaged("it belongs under another key")),
        }
    }

    /// Reads a head from the beginning of an object, and the length of what precedes the body.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decode(object: &[u8]) -> Result<(Self, usize), Unreadable> {
        SEAL.open(object)
    }
}

/// An object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArchivedObject {
    /// What identifies it.
    pub head: ObjectHead,
    /// What the store has, or the chunks of a piece.
    pub body: Vec<u8>,
}

impl ArchivedObject {
    /// An object under a key; `None` if it names too many groups.
    #[must_use]
    pub fn new<K: ObjectKey>(
        owner: &Owner,
        key: &K,
        groups: Vec<GroupRef>,
        body: Vec<u8>,
    ) -> Option<Self> {
        let key = key.to_string();
        let process = match K::IS_OF_CLUSTER {
            true => String::new(),
            false => owner.process.clone(),
        };
        let head = ObjectHead {
            cluster: owner.cluster.clone(),
            process,
            key,
            groups,
            body_bytes: body.len() as u64,
            body_hash: *blake3::hash(&body).as_bytes(),
        };
        SEAL.fits(&head).then_some(Self { head, body })
    }

    /// A piece of a group of chunks, or something else of which the body consists of pieces.
    ///
    /// # Panics
    /// If the names of the owner are longer than those of processes and clusters can be.
    #[must_use]
    pub fn piece<C: AsRef<[u8]>>(owner: &Owner, key: &impl ObjectKey, chunks: &[C]) -> Self {
        let mut body = Vec::new();
        for chunk in chunks {
            sealed::push(&mut body, chunk.as_ref());
        }
        Self::new(owner, key, Vec::new(), body).expect("without groups a head is short")
    }

    /// The bytes of the object.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        SEAL.seal(&self.head, &self.body)
    }

    /// Reads an object and verifies all of it but what the store understands.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decode(object: &[u8]) -> Result<Self, Unreadable> {
        let (head, body) = ObjectHead::decode(object)?;
        let (bytes, hash) = (head.body_bytes, head.body_hash);
        let body = sealed::body(object, body, bytes, hash)?.to_vec();
        Ok(Self { head, body })
    }

    /// The chunks of a piece, in order.
    pub fn chunks(&self) -> impl Iterator<Item = Result<&[u8], Unreadable>> {
        sealed::pieces(&self.body)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            cluster: "c".to_owned(),
            process: "p".to_owned(),
        }
    }

    fn snapshot(name: &str) -> SnapshotName {
        SnapshotName::of(&SnapshotId::parse(name).expect("a valid id"))
    }

    fn reads_back<K: ObjectKey + fmt::Debug>(key: &K) {
        let text = key.to_string();
        let name = text
            .strip_prefix(K::FOLDER)
            .and_then(|name| name.strip_prefix('/'));
        let read = K::parse(name.expect("it is below its folder"));
        assert_eq!(read.as_ref(), Some(key), "{text}");
        let longest = text.split('/').map(str::len).max();
        assert!(longest < Some(256), "{text}");
    }

    #[test]
    fn keys_read_back_and_sort_as_what_they_say() {
        for name in ["daily", "a-b.c_d", "../etc", "🦀", &"a".repeat(128)] {
            let (time, epoch, snapshot) = (Hlc(7), Epoch(3), snapshot(name));
            reads_back(&PartKey {
                time,
                epoch,
                snapshot: snapshot.clone(),
            });
            reads_back(&PinKey {
                at: Hlc(u64::MAX),
                is_pinned: true,
                hash: Hash([9; 32]),
                snapshot: snapshot.clone(),
            });
            reads_back(&RevisionKey {
                began: Hlc(u64::MAX),
                revision: u32::MAX,
                root: Hash([9; 32]),
                snapshot,
            });
        }
        let state = |cut, epoch| StateKey {
            cut: Lsn(cut),
            time: Hlc(1 << 60),
            epoch: Epoch(epoch),
        };
        reads_back(&state(9, 1));
        assert!(state(9, 2) < state(10, 1));
        assert!(state(9, 2).to_string() < state(10, 1).to_string());
        reads_back(&PieceKey {
            epoch: Epoch(1),
            group: Hash([1; 32]),
            piece: 12,
        });
        for odd in ["", "x", "1-2", "-1-2-3", "1/2", "1-2-x"] {
            assert_eq!(StateKey::parse(odd), None, "{odd}");
            assert_eq!(PieceKey::parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn no_changed_or_cut_byte_passes_and_no_other_key() {
        let key = PieceKey {
            epoch: Epoch(1),
            group: Hash([1; 32]),
            piece: 0,
        };
        let piece = ArchivedObject::piece(&owner(), &key, &[&b"one"[..], b"", b"three"]);
        let object = piece.encode();
        let read = ArchivedObject::decode(&object).expect("it is whole");
        assert_eq!(read, piece);
        let chunks: Result<Vec<_>, _> = read.chunks().collect();
        assert_eq!(chunks, Ok(vec![&b"one"[..], b"", b"three"]));
        assert_eq!(read.head.is(&owner(), &key), Ok(()));
        let next = PieceKey { piece: 1, ..key };
        assert!(read.head.is(&owner(), &next).is_err());
        let other = Owner {
            process: "q".to_owned(),
            ..owner()
        };
        assert!(read.head.is(&other, &key).is_err());
        for place in 0..object.len() {
            let mut changed = object.clone();
            changed[place] ^= 1;
            assert!(ArchivedObject::decode(&changed).is_err(), "byte {place}");
            assert!(ArchivedObject::decode(&object[..place]).is_err(), "{place}");
        }
    }

    #[test]
    fn an_object_that_names_too_many_groups_is_not_made() {
        let key = StateKey {
            cut: Lsn(1),
            time: Hlc(1),
            epoch: Epoch(1),
        };
        let group = GroupRef {
            group: Hash([1; 32]),
            pieces: 1,
        };
        let made = |count| ArchivedObject::new(&owner(), &key, vec![group; count], Vec::new());
        assert!(made(1_000).is_some());
        assert!(made(2_000).is_none());
    }
}
