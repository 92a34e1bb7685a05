//! The salted form of a chunk, since format 7: its hash covers one leaf per cell, so that a single cell can be shown to be
//! in it while all others stay hidden.
//!
//! The content of the frame: salt (32 bytes), root of the tree (32), number of leaves (4, little-endian), then the
//! encoding of the chunk as before format 7. `‖` joins bytes, `hash` is BLAKE3, `keyed` is BLAKE3 with one of the keys
//! below:
//!
//! - chunk = keyed(chunk, root ‖ number of leaves ‖ body), with body = hash(salt ‖ encoding)
//! - root = the tree of RFC 9162, section 2.1, over the leaves, with keyed(node, left ‖ right); zeros without leaves
//! - leaf of a cell = keyed(cell of its kind, hash(salt 1 ‖ name) ‖ hash(salt 2 ‖ content))
//! - leaf of an index entry = keyed(entry, hash(salt 1 ‖ kind ‖ name) ‖ chunk)
//!
//! The content of an account is its balance, 8 bytes little-endian; that of any other cell is its encoding. A chunk of
//! messages has no leaves. The salts of a leaf, 16 bytes each, are bytes 32 × position and on of the output of
//! keyed(salt, nothing). The salt of a chunk is keyed(secret of the store, encoding).
//!
//! Whoever holds a leaf and its path learns nothing about the other leaves: a guess cannot be checked without its salt.

use super::frame::{self, Damage};
use super::v1::Frozen;
use super::v1::part::{CellV1, ChunkV1};
use crate::history::part::{Chunk, IndexEntry};
use crate::process::cell::{Cell, CellKey};
use crate::process::ids::Hash;

/// The salt of a name or of a content.
pub(in crate::store) type LeafSalt = [u8; 16];

const SALT_BYTES: usize = 32;
const HASH_BYTES: usize = 32;
const COUNT_BYTES: usize = 4;
/// What precedes the encoding.
const HEAD_BYTES: usize = SALT_BYTES + HASH_BYTES + COUNT_BYTES;
/// The salts of a leaf.
const LEAF_SALT_BYTES: usize = 2 * size_of::<LeafSalt>();

const CHUNK: &[u8; 32] = b"snapledger 7: chunk             ";
const NODE: &[u8; 32] = b"snapledger 7: node of the tree  ";
const ENTRY: &[u8; 32] = b"snapledger 7: entry of an index ";
/// By kind of cell.
const CELLS: [&[u8; 32]; 4] = [
    b"snapledger 7: cell, account     ",
    b"snapledger 7: cell, key         ",
    b"snapledger 7: cell, request     ",
    b"snapledger 7: cell, snapshot    ",
];

const NO_CELL: &[u8; 32] = b"snapledger 7: no cell           ";

/// The secret of a store, from which the salts of its chunks are derived. It has no `Debug`.
#[derive(Clone)]
pub struct Secret([u8; 32]);

impl Secret {
    /// A secret of these random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

/// The content of a frame with a salted chunk.
pub(in crate::store) struct SaltedChunk<'a> {
    salt: &'a [u8; SALT_BYTES],
    root: Hash,
    count: u32,
    /// The encoding as before format 7.
    encoded: &'a [u8],
}

impl<'a> SaltedChunk<'a> {
    /// Splits the content; the parts are unchecked.
    pub(in crate::store) fn split(bytes: &'a [u8]) -> Result<Self, Damage> {
        let cut_off = || Damage::CutOff {
            found: bytes.len(),
            expected: HEAD_BYTES,
        };
        let (salt, rest) = bytes.split_first_chunk().ok_or_else(cut_off)?;
        let (root, rest) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let (count, encoded) = rest.split_first_chunk().ok_or_else(cut_off)?;
        Ok(Self {
            salt,
            root: Hash(*root),
            count: u32::from_le_bytes(*count),
            encoded,
        })
    }

    /// The hash by which the chunk is addressed. It covers every byte.
    pub(in crate::store) fn address(&self) -> Hash {
        address(&self.root, self.count, &self.body())
    }

    /// The hash of what no proof shows.
    pub(in crate::store) fn body(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(self.salt).update(self.encoded);
        Hash(*hasher.finalize().as_bytes())
    }

    /// The content.
    pub(in crate::store) fn decode(&self) -> Result<Chunk, Damage> {
        Ok(frame::decode::<ChunkV1>(self.encoded)?.thaw())
    }

    /// The tree over the decoded content. Its root must be the stated one: only the writer of a chunk, whoever takes it
    /// over, and an audit compare them.
    pub(in crate::store) fn tree(&self, chunk: &Chunk) -> Result<Tree, Damage> {
        let tree = Tree::over(chunk, self.salt);
        if tree.root() != self.root || tree.count() != self.count {
            let problem = "its content does not match the root of its cells".to_owned();
            return Err(Damage::Contradiction(problem));
        }
        Ok(tree)
    }
}

/// The content of a frame with this chunk, and its address.
pub(in crate::store) fn encode(chunk: &Chunk, secret: &Secret) -> (Vec<u8>, Hash) {
    let mut bytes = vec![0; HEAD_BYTES];
    frame::encode_behind(&ChunkV1::freeze(chunk), &mut bytes);
    let salt = *blake3::keyed_hash(&secret.0, &bytes[HEAD_BYTES..]).as_bytes();
    let tree = Tree::over(chunk, &salt);
    bytes[..SALT_BYTES].copy_from_slice(&salt);
    bytes[SALT_BYTES..SALT_BYTES + HASH_BYTES].copy_from_slice(&tree.root().0);
    bytes[SALT_BYTES + HASH_BYTES..HEAD_BYTES].copy_from_slice(&tree.count().to_le_bytes());
    let address = SaltedChunk::split(&bytes).map(|salted| salted.address());
    let address = address.expect("it is longer than its head");
    (bytes, address)
}

/// The address of a chunk with this root, number of leaves, and body.
pub(in crate::store) fn address(root: &Hash, count: u32, body: &Hash) -> Hash {
    let mut bytes = [0; HASH_BYTES + COUNT_BYTES + HASH_BYTES];
    bytes[..HASH_BYTES].copy_from_slice(&root.0);
    bytes[HASH_BYTES..HASH_BYTES + COUNT_BYTES].copy_from_slice(&count.to_le_bytes());
    bytes[HASH_BYTES + COUNT_BYTES..].copy_from_slice(&body.0);
    Hash(*blake3::keyed_hash(CHUNK, &bytes).as_bytes())
}

/// The leaves of a chunk with the salts from which they were made.
pub(in crate::store) struct Tree {
    salts: Vec<u8>,
    /// From the leaves to the root.
    levels: Vec<Vec<Hash>>,
}

impl Tree {
    fn over(chunk: &Chunk, salt: &[u8; SALT_BYTES]) -> Self {
        let count = match chunk {
            Chunk::Cells(cells) => cells.len(),
            Chunk::Index(entries) => entries.len(),
            Chunk::Messages(_) => 0,
        };
        let mut salts = vec![0; count * LEAF_SALT_BYTES];
        let mut hasher = blake3::Hasher::new_keyed(salt);
        hasher.update(&[]).finalize_xof().fill(&mut salts);
        let mut scratch = Vec::new();
        let pairs = salts.chunks_exact(LEAF_SALT_BYTES).map(pair);
        let leaves = match chunk {
            Chunk::Cells(cells) => {
                let leaf = |(cell, salts)| leaf_of_cell(cell, salts, &mut scratch);
                cells.iter().zip(pairs).map(leaf).collect()
            }
            Chunk::Index(entries) => {
                let leaf = |(entry, salts)| leaf_of_entry(entry, salts, &mut scratch);
                entries.iter().zip(pairs).map(leaf).collect()
            }
            Chunk::Messages(_) => Vec::new(),
        };
        let mut levels = vec![leaves];
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            let above = below.chunks(2).map(|pair| match pair {
                [left, right] => node(left, right),
                alone => alone[0],
            });
            levels.push(above.collect());
        }
        Self { salts, levels }
    }

    /// The number of leaves.
    pub(in crate::store) fn count(&self) -> u32 {
        // A chunk has at most 64 KiB.
        self.levels
            .first()
            .map_or(0, Vec::len)
            .try_into()
            .unwrap_or(u32::MAX)
    }

    fn root(&self) -> Hash {
        let top = self.levels.last().and_then(|level| level.first());
        top.copied().unwrap_or_default()
    }

    /// The siblings on the way from a leaf to the root.
    pub(in crate::store) fn path(&self, position: usize) -> Vec<Hash> {
        let mut at = position;
        let mut path = Vec::new();
        for level in &self.levels {
            path.extend(level.get(at ^ 1));
            at /= 2;
        }
        path
    }

    /// The salts of the name and of the content of a leaf.
    pub(in crate::store) fn salts(&self, position: usize) -> [LeafSalt; 2] {
        let at = position * LEAF_SALT_BYTES;
        pair(&self.salts[at..at + LEAF_SALT_BYTES])
    }
}

fn pair(salts: &[u8]) -> [LeafSalt; 2] {
    let mut pair = [LeafSalt::default(); 2];
    let [name, content] = &mut pair;
    let (first, second) = salts.split_at(name.len());
    name.copy_from_slice(first);
    content.copy_from_slice(second);
    pair
}

fn leaf_of_cell(cell: &Cell, [name, content]: [LeafSalt; 2], scratch: &mut Vec<u8>) -> Hash {
    let CellKey { kind, name: id } = cell.key();
    let name = salted(&name, &[id.as_bytes()], scratch);
    leaf(kind, &name, &content_of(cell, &content, scratch))
}

fn leaf_of_entry(entry: &IndexEntry, [name, _]: [LeafSalt; 2], scratch: &mut Vec<u8>) -> Hash {
    entry_leaf(&name_of(entry, &name, scratch), &entry.chunk)
}

/// The hash of the content of a cell.
pub(in crate::store) fn content_of(cell: &Cell, salt: &LeafSalt, scratch: &mut Vec<u8>) -> Hash {
    match cell {
        Cell::Account { balance, .. } => salted(salt, &[&balance.to_le_bytes()], scratch),
        other => salted(salt, &[&frame::encode(&CellV1::freeze(other))], scratch),
    }
}

/// The hash of the name of an index entry.
pub(in crate::store) fn name_of(
    entry: &IndexEntry,
    salt: &LeafSalt,
    scratch: &mut Vec<u8>,
) -> Hash {
    salted(salt, &[&[entry.kind], entry.name.as_bytes()], scratch)
}

/// A hash that hides what is hashed from everyone without the salt.
pub(in crate::store) fn salted(salt: &LeafSalt, pieces: &[&[u8]], scratch: &mut Vec<u8>) -> Hash {
    scratch.clear();
    scratch.extend_from_slice(salt);
    pieces
        .iter()
        .for_each(|piece| scratch.extend_from_slice(piece));
    Hash(*blake3::hash(scratch).as_bytes())
}

/// The leaf of a cell of this kind. Of a kind that does not exist it is one that no chunk has.
pub(in crate::store) fn leaf(kind: u8, name: &Hash, content: &Hash) -> Hash {
    let key = CELLS.get(usize::from(kind)).unwrap_or(&NO_CELL);
    keyed(key, name, content)
}

/// The leaf of an index entry.
pub(in crate::store) fn entry_leaf(name: &Hash, chunk: &Hash) -> Hash {
    keyed(ENTRY, name, chunk)
}

/// The node above two others.
pub(in crate::store) fn node(left: &Hash, right: &Hash) -> Hash {
    keyed(NODE, left, right)
}

fn keyed(key: &[u8; 32], left: &Hash, right: &Hash) -> Hash {
    let mut pair = [0; 2 * HASH_BYTES];
    pair[..HASH_BYTES].copy_from_slice(&left.0);
    pair[HASH_BYTES..].copy_from_slice(&right.0);
    Hash(*blake3::keyed_hash(key, &pair).as_bytes())
}

/// The root of a tree of `count` leaves with this leaf at `position`; `None` if the path does not fit.
pub(in crate::store) fn root_of(
    leaf: Hash,
    position: u32,
    count: u32,
    path: &[Hash],
) -> Option<Hash> {
    let (mut at, mut last) = (position, count.checked_sub(1)?);
    if at > last {
        return None;
    }
    let mut path = path.iter();
    let mut hash = leaf;
    while last > 0 {
        if at % 2 == 1 {
            hash = node(path.next()?, &hash);
        } else if at < last {
            hash = node(&hash, path.next()?);
        }
        (at, last) = (at / 2, last / 2);
    }
    path.next().is_none().then_some(hash)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::process::ids::AccountId;
    use crate::store::stored::codec::{FramedChunk, audit_chunk, decode_chunk, encode_chunk};

    fn accounts(balances: &[i64]) -> Chunk {
        let cell = |(number, balance): (usize, &i64)| Cell::Account {
            account: AccountId::parse(&format!("a{number:04}")).expect("a valid id"),
            balance: *balance,
        };
        Chunk::Cells(balances.iter().enumerate().map(cell).collect())
    }

    proptest! {
        #[test]
        fn every_leaf_leads_to_the_hash_of_its_chunk_and_to_nothing_else(
            balances in proptest::collection::vec(any::<i64>(), 1..70),
            at in any::<proptest::sample::Index>(),
        ) {
            let chunk = accounts(&balances);
            let (framed, hash) = encode_chunk(&chunk, Some(&Secret::new([3; 32])));
            prop_assert_eq!(decode_chunk(&hash, &framed).expect("it was just written"), chunk.clone());
            let FramedChunk::Salted(salted) = FramedChunk::of(&framed).expect("it is whole") else {
                unreachable!("it was written with a secret")
            };
            let tree = salted.tree(&chunk).expect("it is whole");
            let position = at.index(balances.len());
            let number = u32::try_from(position).expect("it is small");
            let Chunk::Cells(cells) = &chunk else { unreachable!() };
            let leaf = leaf_of_cell(&cells[position], tree.salts(position), &mut Vec::new());
            let path = tree.path(position);
            let root = root_of(leaf, number, tree.count(), &path).expect("it fits");
            prop_assert_eq!(address(&root, tree.count(), &salted.body()), hash);
            for (position, count) in [(number + 1, tree.count()), (number, tree.count() + 1)] {
                let root = root_of(leaf, position, count, &path);
                prop_assert!(root.is_none_or(|root| address(&root, count, &salted.body()) != hash));
            }
        }

        #[test]
        fn any_flipped_bit_of_a_content_is_seen(
            balances in proptest::collection::vec(any::<i64>(), 0..9),
            place in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let (mut bytes, hash) = encode(&accounts(&balances), &Secret::new([3; 32]));
            let place = place.index(bytes.len());
            bytes[place] ^= 1 << bit;
            prop_assert_ne!(SaltedChunk::split(&bytes).expect("it is long enough").address(), hash);
        }
    }

    // Without this, a peer could supply a chunk whose proofs say something else than its content.
    #[test]
    fn a_root_that_does_not_belong_to_the_content_is_seen_by_an_audit() {
        let secret = Secret::new([3; 32]);
        let (mut bytes, _) = encode(&accounts(&[1, 2]), &secret);
        let (other, _) = encode(&accounts(&[1, 3]), &secret);
        bytes[SALT_BYTES..HEAD_BYTES].copy_from_slice(&other[SALT_BYTES..HEAD_BYTES]);
        let hash = SaltedChunk::split(&bytes).expect("it is whole").address();
        let framed = frame::wrap(frame::Kind::SaltedChunk, &bytes);
        assert!(decode_chunk(&hash, &framed).is_ok(), "its address is right");
        let audited = audit_chunk(&hash, &framed).expect_err("its root is not");
        assert!(audited.to_string().contains("root of its cells"));
    }

    // Without this, equal balances of two customers, or of two snapshots, would be seen from outside.
    #[test]
    fn nothing_is_hashed_without_a_salt_and_the_same_content_is_the_same_chunk() {
        let equal = accounts(&[5, 5]);
        let [one, same] = [(); 2].map(|()| encode(&equal, &Secret::new([3; 32])));
        assert_eq!(one, same);
        assert_ne!(one.1, encode(&equal, &Secret::new([4; 32])).1);
        let salted = SaltedChunk::split(&one.0).expect("it is whole");
        let tree = salted.tree(&equal).expect("it is whole");
        let salts: std::collections::HashSet<_> = (0..2).flat_map(|at| tree.salts(at)).collect();
        assert_eq!(salts.len(), 4, "each is used once");
    }
}
