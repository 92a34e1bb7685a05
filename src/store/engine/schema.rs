//! Every tree and every key of a store. The values are the types of `v1` to `v7`, each in its frame.
//!
//! | tree | key | value |
//! |---|---|---|
//! | journal | position, 8 bytes big-endian | previous entry's hash, then [`crate::store::stored::v1::turn::TurnV1`] |
//! | turns | position of the first turn, 8 bytes big-endian | [`crate::store::stored::v6::TurnsV6`], then old turns, compressed together |
//! | states-2 | position of the cut, 8 bytes big-endian | [`crate::store::stored::v6::StateV6`], compressed; before format 6 [`crate::store::stored::v2::StateV2`] |
//! | chunks | hash, 32 bytes | [`crate::store::stored::v1::part::ChunkV1`], since format 7 as in `crate::store::stored::salted`; compressed as in `crate::store::stored::compression` |
//! | parts | snapshot id, a zero byte | [`crate::store::stored::v7::part::PartV7`]; without closings and start [`crate::store::stored::v1::part::PartV1`] |
//! | history | snapshot id, a zero byte, revision, 4 bytes big-endian | [`crate::store::stored::v1::global::GlobalStateV1`] |
//! | stretches | position of a segment's last turn, 8 bytes big-endian, 0 | [`crate::store::stored::v1::stretch::StretchV1`] |
//! | stretches | the same, number of a bucket, 1 to 16 | [`crate::store::stored::v1::stretch::TouchesV1`] |
//! | index | number of a block, 8 bytes big-endian | [`crate::store::stored::v5::HeadV5`], compressed |
//! | blocks | the same | revisions in their frames, compressed together |
//! | retention | snapshot id, a zero byte | [`crate::store::stored::v7::KeptV7`]; before format 7 [`crate::store::stored::v3::KeptV3`] |
//! | meta | `format`, `boot`, `run`, `states-from`, `parts-from`, `journal-from`, `journal-since`, `turns-packed` | a number each |
//! | meta | `created-dir`, `created-log` | the creation times of these files ([`crate::store::opening::birth`]) |
//! | meta | `unbooked` | an amount, 16 bytes, if the store was made from a snapshot and not all could be booked |
//! | meta | `booked` | the amount that was booked, as the number with the same 64 bits |
//! | meta | `gap-` and the position of the first turn of a gap, decimal | the position of its last turn |
//! | meta | `caught-up-` and the position of the last turn before a gap | the clock value from which answers exist after it |
//! | meta | `run-` and a boot, decimal; `end-` and the same | the run of that boot; the end of the journal at its start |
//! | meta | `agreed-` and a peer | the boot in which the peer last agreed with this store |
//! | meta | `chunk-secret` | 32 random bytes ([`crate::store::chunks::salting`]) |
//! | meta | `salted-from` | the cut from which states are salted; absent until all other processes can read them |
//! | meta | `limits-age`, `limits-count` | the limits of the history that the journal names: microseconds and a count, 0 for none |
//! | meta | `was-behind` | the last turn before the first that was taken from the archive, until the gap behind those is noted |
//! | meta | `restored-to` | the newest turn of a store that was restored to an instant before the end of its archive |
//! | meta | `archived` | [`crate::store::stored::v7::link::ShippedLinkV7`]: the newest segment known to be archived |
//! | meta | `claimed-epoch`, `claimed-boot`, `claimed-run` | the last claim of the archive that this store has made ([`crate::store::archived::claimed`]) |
//! | meta | `owner` | [`crate::store::stored::v1::state::OwnerV1`] |
//!
//! A value is stored under the keys `key ‖ fragment number`, 2 bytes big-endian.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::process::ids::{Lsn, SnapshotId};
use crate::store::error::StoreError;
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;

/// The trees of a store.
pub(in crate::store) struct Trees {
    pub(in crate::store) journal: sled::Tree,
    /// Blocks of old turns.
    pub(in crate::store) turns: sled::Tree,
    pub(in crate::store) states: sled::Tree,
    pub(in crate::store) chunks: sled::Tree,
    pub(in crate::store) parts: sled::Tree,
    pub(in crate::store) history: sled::Tree,
    pub(in crate::store) stretches: sled::Tree,
    /// The heads of the blocks of old revisions.
    pub(in crate::store) heads: sled::Tree,
    /// The bodies of these blocks.
    pub(in crate::store) bodies: sled::Tree,
    pub(in crate::store) retention: sled::Tree,
    pub(in crate::store) meta: sled::Tree,
}

const FORMAT: &[u8] = b"format";
pub(in crate::store) const BOOT: &[u8] = b"boot";
pub(in crate::store) const RUN: &[u8] = b"run";
/// Before this turn own parts may be missing: the store was restored from an archive, which may have lacked them.
pub(in crate::store) const PARTS_FROM: &[u8] = b"parts-from";
/// Recorded states before this cut were deleted.
pub(in crate::store) const STATES_FROM: &[u8] = b"states-from";
/// The first turn kept, if older ones were deleted.
pub(in crate::store) const JOURNAL_FROM: &[u8] = b"journal-from";
/// The clock value from which answers exist, if older turns were deleted.
pub(in crate::store) const JOURNAL_SINCE: &[u8] = b"journal-since";
/// The turns before this position were packed, or stay individual.
pub(in crate::store) const TURNS_PACKED: &[u8] = b"turns-packed";
/// The amount that could not be booked when the store was made ([`crate::store::restore::rebuild`]).
pub(in crate::store) const UNBOOKED: &[u8] = b"unbooked";
/// The amount booked in addition to the snapshot, as the number with the same bits.
pub(in crate::store) const BOOKED: &[u8] = b"booked";
/// The secret from which the salts of chunks are derived.
pub(in crate::store) const CHUNK_SECRET: &[u8] = b"chunk-secret";
/// The cut from which states are salted.
pub(in crate::store) const SALTED_FROM: &[u8] = b"salted-from";
/// The age limit of the history that the journal names, in microseconds; 0 for none.
pub(in crate::store) const LIMITS_AGE: &[u8] = b"limits-age";
/// The limit of their number that the journal names; 0 for none.
pub(in crate::store) const LIMITS_COUNT: &[u8] = b"limits-count";
/// The decision that the store is the right one, until the journal names it.
pub(in crate::store) const VOUCHED: &[u8] = b"vouched";
/// The newest turn that was restored, if the archive had later ones.
pub(in crate::store) const RESTORED_TO: &[u8] = b"restored-to";
/// Turns behind this one were taken from the archive, and the gap behind them is not noted.
pub(in crate::store) const WAS_BEHIND: &[u8] = b"was-behind";
/// The newest segment of the journal that is known to be archived.
pub(in crate::store) const ARCHIVED: &[u8] = b"archived";
/// The last claim of the archive that this store has made, or was about to make; the beginning of the next three.
pub(in crate::store) const CLAIMED: &[u8] = b"claimed-";
pub(in crate::store) const CLAIMED_EPOCH: &[u8] = b"claimed-epoch";
pub(in crate::store) const CLAIMED_BOOT: &[u8] = b"claimed-boot";
pub(in crate::store) const CLAIMED_RUN: &[u8] = b"claimed-run";
pub(in crate::store) const OWNER: &[u8] = b"owner";

impl Trees {
    pub(in crate::store) fn open(db: &sled::Db) -> Result<Self, StoreError> {
        Ok(Self {
            journal: db.open_tree("journal")?,
            turns: db.open_tree("turns")?,
            states: db.open_tree("states-2")?,
            chunks: db.open_tree("chunks")?,
            parts: db.open_tree("parts")?,
            history: db.open_tree("history")?,
            stretches: db.open_tree("stretches")?,
            heads: db.open_tree("index")?,
            bodies: db.open_tree("blocks")?,
            retention: db.open_tree("retention")?,
            meta: db.open_tree("meta")?,
        })
    }

    /// All trees.
    pub(in crate::store) fn all(&self) -> [&sled::Tree; 11] {
        let Self {
            journal,
            turns,
            states,
            chunks,
            parts,
            history,
            stretches,
            heads,
            bodies,
            retention,
            meta,
        } = self;
        [
            journal, states, chunks, parts, history, stretches, retention, meta, heads, bodies,
            turns,
        ]
    }

    /// Whether a store of this format may lack the tree: the index is rebuilt from the journal; the others exist since
    /// the first pin, deletion or packing.
    pub(in crate::store) fn may_be_absent(&self, tree: &sled::Tree) -> bool {
        let Self {
            journal: _,
            states: _,
            chunks: _,
            parts: _,
            history: _,
            meta: _,
            turns,
            stretches,
            heads,
            bodies,
            retention,
        } = self;
        let late = [turns, stretches, heads, bodies, retention];
        late.iter().any(|late| late.name() == tree.name())
    }

    pub(in crate::store) fn format(&self) -> Result<u32, StoreError> {
        let format: Option<u64> = get(&self.meta, FORMAT, Kind::Number)?;
        Ok(format.map_or(0, |format| u32::try_from(format).unwrap_or(u32::MAX)))
    }

    pub(in crate::store) fn set_format(&self, format: u32) -> Result<(), StoreError> {
        put(&self.meta, FORMAT, Kind::Number, &u64::from(format))
    }
}

/// The key of a position.
pub(in crate::store) fn position_key(position: Lsn) -> [u8; 8] {
    position.0.to_be_bytes()
}

/// The position of a key.
pub(in crate::store) fn position_of(key: &[u8]) -> Option<Lsn> {
    Some(Lsn(u64::from_be_bytes(key.try_into().ok()?)))
}

/// The key of a value of the segment that ends at a position: 0 is its head, 1 and up are its buckets.
pub(in crate::store) fn stretch_key(last: Lsn, value: u8) -> [u8; 9] {
    let mut key = [value; 9];
    key[..8].copy_from_slice(&position_key(last));
    key
}

/// The last position of the segment, and the number of its value, of a key.
pub(in crate::store) fn stretch_of(key: &[u8]) -> Option<(Lsn, u8)> {
    let (value, last) = key.split_last()?;
    Some((position_of(last)?, *value))
}

/// The key of a snapshot. Ids contain no zero byte, so no key is a prefix of another.
pub(in crate::store) fn snapshot_key(snapshot: &SnapshotId) -> Vec<u8> {
    [snapshot.as_str().as_bytes(), &[0]].concat()
}

/// The snapshot of a key.
pub(in crate::store) fn snapshot_of(key: &[u8]) -> Option<SnapshotId> {
    let name = std::str::from_utf8(key.strip_suffix(&[0])?).ok()?;
    SnapshotId::parse(name).ok()
}

/// The snapshot and revision of a key.
pub(in crate::store) fn revision_of(key: &[u8]) -> Option<(SnapshotId, u32)> {
    let (snapshot, revision) = key.split_last_chunk()?;
    Some((snapshot_of(snapshot)?, u32::from_be_bytes(*revision)))
}

/// The key of a revision of a snapshot.
pub(in crate::store) fn revision_key(snapshot: &SnapshotId, revision: u32) -> Vec<u8> {
    [&snapshot_key(snapshot)[..], &revision.to_be_bytes()].concat()
}

/// The keys of the values of a tree, without fragment numbers. Reads the values as well, since sled stores them
/// together.
pub(in crate::store) fn keys(
    tree: &sled::Tree,
) -> impl DoubleEndedIterator<Item = Result<Vec<u8>, StoreError>> + use<> {
    tree.iter().keys().filter_map(|key| match key {
        Ok(key) => match frame::split_key(&key) {
            Some((key, 0)) => Some(Ok(key.to_vec())),
            _ => None,
        },
        Err(error) => Some(Err(error.into())),
    })
}

/// The numbers whose keys are `prefix` and a decimal number.
pub(in crate::store) fn numbered(
    tree: &sled::Tree,
    prefix: &str,
) -> Result<BTreeMap<u64, u64>, StoreError> {
    let mut numbers = BTreeMap::new();
    for key in keys(tree) {
        let key = key?;
        let text = std::str::from_utf8(&key).ok();
        let number = text.and_then(|text| text.strip_prefix(prefix));
        if let Some(number) = number.and_then(|number| number.parse::<u64>().ok()) {
            let value = get::<u64>(tree, &key, Kind::Number)?;
            numbers.extend(value.map(|value| (number, value)));
        }
    }
    Ok(numbers)
}

/// Removes everything with this key prefix atomically.
pub(in crate::store) fn remove_all(tree: &sled::Tree, prefix: &[u8]) -> Result<(), StoreError> {
    let mut batch = sled::Batch::default();
    for key in tree.scan_prefix(prefix).keys() {
        batch.remove(key?);
    }
    tree.apply_batch(batch)?;
    Ok(())
}

/// Encodes, frames and stores some numbers atomically.
pub(in crate::store) fn put_numbers<const N: usize>(
    tree: &sled::Tree,
    numbers: [(&[u8], u64); N],
) -> Result<(), StoreError> {
    let mut batch = sled::Batch::default();
    for (key, number) in numbers {
        let framed = frame::wrap(Kind::Number, &frame::encode(&number));
        frame::insert(&mut batch, key, &framed);
    }
    tree.apply_batch(batch)?;
    Ok(())
}

/// Encodes, frames and stores one value atomically.
pub(in crate::store) fn put<T: Serialize>(
    tree: &sled::Tree,
    key: &[u8],
    kind: Kind,
    value: &T,
) -> Result<(), StoreError> {
    frame::put(tree, key, &frame::wrap(kind, &frame::encode(value)))?;
    Ok(())
}

/// Reads, checks and decodes one value.
pub(in crate::store) fn get<T: DeserializeOwned>(
    tree: &sled::Tree,
    key: &[u8],
    kind: Kind,
) -> Result<Option<T>, StoreError> {
    let Some(framed) = frame::get(tree, key)? else {
        return Ok(None);
    };
    let decoded = frame::unwrap(kind, &framed).and_then(frame::decode);
    decoded
        .map(Some)
        .map_err(|damage| StoreError::damaged(name(kind, key), damage))
}

/// The name of a value in messages.
pub(in crate::store) fn name(kind: Kind, key: &[u8]) -> String {
    match kind {
        Kind::Turn | Kind::State | Kind::State6 | Kind::PackedState => {
            let position = position_of(key).unwrap_or_default();
            let what = if kind == Kind::Turn {
                "journal entry"
            } else {
                "recorded state"
            };
            format!("{what} {position}")
        }
        Kind::Chunk | Kind::PackedChunk | Kind::SaltedChunk => {
            format!("chunk {}", hex::encode(key))
        }
        Kind::Part | Kind::Part7 | Kind::Global => {
            let snapshot = key.split(|byte| *byte == 0).next().unwrap_or_default();
            let what = if kind == Kind::Global {
                "global state of snapshot"
            } else {
                "part of snapshot"
            };
            format!("{what} {:?}", String::from_utf8_lossy(snapshot))
        }
        Kind::Stretch | Kind::Touches => {
            let (last, value) = stretch_of(key).unwrap_or_default();
            match value {
                0 => format!("index of the turns up to {last}"),
                bucket => format!("index of the turns up to {last}, bucket {bucket}"),
            }
        }
        Kind::Kept | Kind::Kept7 => {
            let snapshot = key.split(|byte| *byte == 0).next().unwrap_or_default();
            format!(
                "the retention record of snapshot {:?}",
                String::from_utf8_lossy(snapshot)
            )
        }
        Kind::Head | Kind::Body => {
            let block = position_of(key).unwrap_or_default();
            let what = if kind == Kind::Head {
                "index of the"
            } else {
                "the"
            };
            format!("{what} revisions of block {block}")
        }
        Kind::Turns => {
            let first = position_of(key).unwrap_or_default();
            format!("block of the journal entries from {first} on")
        }
        Kind::Owner | Kind::Number | Kind::Secret | Kind::Decision | Kind::ShippedLink => {
            format!("meta value {:?}", String::from_utf8_lossy(key))
        }
    }
}
