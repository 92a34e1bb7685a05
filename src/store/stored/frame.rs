//! The frame around every stored value (format version, kind, length, CRC32C), and the split of long values over
//! consecutive keys.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::engine::sled_cache;

/// The format of the values that this program writes.
pub(in crate::store) const FORMAT: u8 = 1;
/// Version, kind, length, checksum.
pub(in crate::store) const HEADER_BYTES: usize = 1 + 1 + 4 + 4;
/// Small fragments keep values in sled's log instead of unsynced blob files. Adding a fragment to a page of 16 that is
/// not cached reads the page, and every tenth time rewrites it, so small fragments cost less. Fragments in older stores
/// may be up to 64 KiB.
const FRAGMENT_BYTES_MAX: usize = 4 * 1024;
/// The limit for values that are written in key order: the page is then cached, and larger fragments mean fewer
/// lookups.
const FRAGMENT_IN_ORDER_BYTES_MAX: usize = 8 * 1024;
/// A larger length is damage; no stored value exceeds this.
pub(in crate::store) const VALUE_BYTES_MAX: usize = 255 * 1024 * 1024;
const _: () = assert!(
    (HEADER_BYTES + VALUE_BYTES_MAX).div_ceil(FRAGMENT_BYTES_MAX) <= u16::MAX as usize,
    "every fragment has its number"
);

/// The kind of a stored value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(in crate::store) enum Kind {
    Turn = 1,
    State = 2,
    Chunk = 3,
    Part = 4,
    Global = 5,
    Owner = 6,
    Number = 7,
    Stretch = 8,
    Touches = 9,
    Kept = 10,
    PackedChunk = 11,
    Head = 12,
    Body = 13,
    State6 = 14,
    PackedState = 15,
    Turns = 16,
    Secret = 17,
    SaltedChunk = 18,
    Kept7 = 19,
    Decision = 20,
    Part7 = 21,
    ShippedLink = 22,
}

/// Damage of a stored value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// There are fewer bytes than the header or its length field require.
    #[error("it is cut off: {found} bytes, {expected} expected")]
    CutOff {
        /// The bytes found.
        found: usize,
        /// The bytes expected.
        expected: usize,
    },
    /// The format is not known to this version.
    #[error("its format is {0}; this program knows {FORMAT}")]
    Format(u8),
    /// A value of another kind is stored here.
    #[error("its kind is {found}; {expected} expected")]
    Kind {
        /// The kind found.
        found: u8,
        /// The kind expected.
        expected: u8,
    },
    /// The checksum does not match.
    #[error("its checksum does not match")]
    Checksum,
    /// The bytes are intact but cannot be decoded.
    #[error("it cannot be decoded: {0}")]
    Encoding(String),
    /// The content does not match its hash or its key.
    #[error("{0}")]
    Contradiction(String),
}

fn configuration() -> impl bincode::config::Config {
    bincode::config::standard()
        .with_little_endian()
        .with_fixed_int_encoding()
        .with_limit::<VALUE_BYTES_MAX>()
}

/// The bare encoding, which is the input of hashes.
pub(in crate::store) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(value, configuration())
        .expect("stored types are plain structures, which always encode")
}

/// Appends the bare encoding.
pub(super) fn encode_behind<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, bytes, configuration())
        .expect("stored types are plain structures, which always encode");
}

/// Decodes the bare encoding; every byte must be used.
pub(in crate::store) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Damage> {
    let (value, used) = bincode::serde::decode_from_slice(bytes, configuration())
        .map_err(|error| Damage::Encoding(error.to_string()))?;
    if used != bytes.len() {
        let rest = bytes.len() - used;
        return Err(Damage::Encoding(format!("{rest} bytes too many")));
    }
    Ok(value)
}

/// Decodes from `behind` bytes into the content, using only the first fragment of a value. Unchecked: for searches,
/// whose result is then read completely.
pub(in crate::store) fn peek<T: DeserializeOwned>(
    fragment: &[u8],
    behind: usize,
) -> Result<T, Damage> {
    let bytes = fragment.get(HEADER_BYTES + behind..).unwrap_or_default();
    let (value, _) = bincode::serde::decode_from_slice(bytes, configuration())
        .map_err(|error| Damage::Encoding(error.to_string()))?;
    Ok(value)
}

/// The first fragment of a value.
pub(in crate::store) fn first_fragment(
    tree: &sled::Tree,
    key: &[u8],
) -> Result<Option<sled::IVec>, sled::Error> {
    sled_cache::get(tree, &fragment_key(key, 0))
}

/// Adds the frame to an encoded value.
pub(in crate::store) fn wrap(kind: Kind, payload: &[u8]) -> Vec<u8> {
    assert!(
        payload.len() <= VALUE_BYTES_MAX,
        "a longer value could not be read again"
    );
    let length = u32::try_from(payload.len()).expect("it is far shorter than 4 GiB");
    let mut framed = Vec::with_capacity(HEADER_BYTES + payload.len());
    framed.push(FORMAT);
    framed.push(kind as u8);
    framed.extend_from_slice(&length.to_le_bytes());
    framed.extend_from_slice(&[0; 4]);
    framed.extend_from_slice(payload);
    let checksum = checksum(&framed);
    framed[HEADER_BYTES - 4..HEADER_BYTES].copy_from_slice(&checksum.to_le_bytes());
    framed
}

/// Whether the frame states this kind; the frame is unchecked.
pub(in crate::store) fn is_of(kind: Kind, framed: &[u8]) -> bool {
    framed.get(1) == Some(&(kind as u8))
}

/// Removes the frame after checking it.
pub(in crate::store) fn unwrap(kind: Kind, framed: &[u8]) -> Result<&[u8], Damage> {
    let expected = framed_length(framed)?;
    if framed.len() != expected {
        return Err(Damage::CutOff {
            found: framed.len(),
            expected,
        });
    }
    if framed[0] != FORMAT {
        return Err(Damage::Format(framed[0]));
    }
    if framed[1] != kind as u8 {
        return Err(Damage::Kind {
            found: framed[1],
            expected: kind as u8,
        });
    }
    let stored = u32::from_le_bytes([framed[6], framed[7], framed[8], framed[9]]);
    if stored != checksum(framed) {
        return Err(Damage::Checksum);
    }
    Ok(&framed[HEADER_BYTES..])
}

/// The length of a value including its header, from its first fragment.
pub(in crate::store) fn framed_length(first: &[u8]) -> Result<usize, Damage> {
    if first.len() < HEADER_BYTES {
        return Err(Damage::CutOff {
            found: first.len(),
            expected: HEADER_BYTES,
        });
    }
    let length = u32::from_le_bytes([first[2], first[3], first[4], first[5]]) as usize;
    Ok(HEADER_BYTES + length)
}

/// Splits the first of several consecutive framed values from the rest.
pub(in crate::store) fn split_first(framed: &[u8]) -> Result<(&[u8], &[u8]), Damage> {
    let expected = framed_length(framed)?;
    let found = framed.len();
    let split = framed.split_at_checked(expected);
    split.ok_or(Damage::CutOff { found, expected })
}

// Covers version, kind, length and payload, so that every flipped bit is detected.
fn checksum(framed: &[u8]) -> u32 {
    let head = crc32c::crc32c(&framed[..HEADER_BYTES - 4]);
    crc32c::crc32c_append(head, &framed[HEADER_BYTES..])
}

/// Adds a framed value to a batch under the keys `key ‖ fragment number`.
pub(in crate::store) fn insert(batch: &mut sled::Batch, key: &[u8], framed: &[u8]) {
    for (number, fragment) in fragments(framed) {
        batch.insert(fragment_key(key, number), fragment);
    }
}

fn fragments(framed: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let comes_in_order = |kind: &u8| {
        [
            Kind::Turn as u8,
            Kind::Touches as u8,
            Kind::Head as u8,
            Kind::Body as u8,
            Kind::Turns as u8,
        ]
        .contains(kind)
    };
    let bytes_max = match framed.get(1).is_some_and(comes_in_order) {
        true => FRAGMENT_IN_ORDER_BYTES_MAX,
        false => FRAGMENT_BYTES_MAX,
    };
    // The numbers suffice for the longest value, as asserted above and in `wrap`.
    (0..).zip(framed.chunks(bytes_max))
}

fn fragment_key(key: &[u8], number: u16) -> Vec<u8> {
    [key, &number.to_be_bytes()].concat()
}

/// Writes a framed value under the keys `key ‖ fragment number`, atomically.
pub(in crate::store) fn put(
    tree: &sled::Tree,
    key: &[u8],
    framed: &[u8],
) -> Result<(), sled::Error> {
    put_all(tree, &[(key, framed)])
}

/// Writes several framed values atomically.
pub(in crate::store) fn put_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    tree: &sled::Tree,
    values: &[(K, V)],
) -> Result<(), sled::Error> {
    apply(tree, sled::Batch::default(), values)
}

/// As [`put_all`], but first removes existing values under these keys, which may have more fragments.
pub(in crate::store) fn replace_all<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    tree: &sled::Tree,
    values: &[(K, V)],
) -> Result<(), sled::Error> {
    let mut batch = sled::Batch::default();
    for (key, _) in values {
        for stored in tree.scan_prefix(key.as_ref()).keys() {
            batch.remove(stored?);
        }
    }
    apply(tree, batch, values)
}

fn apply<K: AsRef<[u8]>, V: AsRef<[u8]>>(
    tree: &sled::Tree,
    mut batch: sled::Batch,
    values: &[(K, V)],
) -> Result<(), sled::Error> {
    for (key, framed) in values {
        insert(&mut batch, key.as_ref(), framed.as_ref());
    }
    tree.apply_batch(batch)?;
    for (key, framed) in values {
        for (number, fragment) in fragments(framed.as_ref()) {
            let key = fragment_key(key.as_ref(), number);
            // The last fragment counts in full, since it occupies one of the sixteen slots of a page.
            let bytes = if number > 0 {
                FRAGMENT_BYTES_MAX
            } else {
                fragment.len()
            };
            sled_cache::account(tree, &key, bytes)?;
        }
    }
    Ok(())
}

/// Whether a value or its first fragment is stored under the key.
pub(in crate::store) fn contains(tree: &sled::Tree, key: &[u8]) -> Result<bool, sled::Error> {
    Ok(sled_cache::get(tree, &fragment_key(key, 0))?.is_some())
}

/// Reads a framed value from the keys `key ‖ fragment number`; `None` if there is none.
pub(in crate::store) fn get(tree: &sled::Tree, key: &[u8]) -> Result<Option<Vec<u8>>, sled::Error> {
    Ok(lay_together(tree, key)?.map(|found| found.framed))
}

/// A framed value with its extent.
pub(in crate::store) struct FramedValue {
    pub(in crate::store) framed: Vec<u8>,
    /// The last of its keys.
    pub(in crate::store) end: Vec<u8>,
}

/// As [`get`], with the last key of the value.
pub(in crate::store) fn lay_together(
    tree: &sled::Tree,
    key: &[u8],
) -> Result<Option<FramedValue>, sled::Error> {
    let mut end = fragment_key(key, 0);
    let Some(first) = sled_cache::get(tree, &end)? else {
        return Ok(None);
    };
    let mut framed = first.to_vec();
    let expected = framed_length(&framed).unwrap_or(framed.len());
    for number in 1.. {
        if framed.len() >= expected {
            break;
        }
        let next = fragment_key(key, number);
        let Some(fragment) = sled_cache::get(tree, &next)? else {
            break;
        };
        framed.extend_from_slice(&fragment);
        end = next;
    }
    Ok(Some(FramedValue { framed, end }))
}

/// Splits a stored key into the key of the value and the fragment number.
pub(in crate::store) fn split_key(stored: &[u8]) -> Option<(&[u8], u16)> {
    let (key, number) = stored.split_last_chunk::<2>()?;
    Some((key, u16::from_be_bytes(*number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_wrapped_comes_back_and_any_flipped_bit_is_seen(
            payload in proptest::collection::vec(any::<u8>(), 0..300),
            place in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let mut framed = wrap(Kind::Chunk, &payload);
            prop_assert_eq!(unwrap(Kind::Chunk, &framed).expect("it is whole"), &payload[..]);
            let place = place.index(framed.len());
            framed[place] ^= 1 << bit;
            prop_assert!(unwrap(Kind::Chunk, &framed).is_err());
        }

        #[test]
        fn random_bytes_never_decode_into_more_than_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let decoded: Result<Vec<Vec<u64>>, _> = decode(&bytes);
            if let Ok(value) = decoded {
                prop_assert_eq!(encode(&value), bytes);
            }
        }
    }
}
