//! Compression of stored chunks, used where it makes them smaller. Cells have fixed widths and similar names, so they
//! compress well, which reduces what a snapshot writes on every node. Data that leaves the store is never compressed,
//! and hashes are those of the uncompressed content, so compression is invisible outside of the store.
//!
//! The payload of a compressed chunk is the length of the framed chunk (4 bytes little-endian) and one LZ4 block of it.

use super::frame::{self, Damage, HEADER_BYTES, Kind, VALUE_BYTES_MAX};

/// The length prefix: the uncompressed length, frame included.
const LENGTH_BYTES: usize = 4;

/// LZ4 makes at most 255 bytes out of one.
const EXPANSION_MAX: usize = 255;

/// Compresses, with the length prefix.
pub(in crate::store) fn compress(bytes: &[u8]) -> Vec<u8> {
    lz4_flex::block::compress_prepend_size(bytes)
}

/// Decompresses the result of [`compress`].
pub(in crate::store) fn decompress(packed: &[u8]) -> Result<Vec<u8>, Damage> {
    let Some((length, packed)) = packed.split_first_chunk::<LENGTH_BYTES>() else {
        return Err(Damage::CutOff {
            found: packed.len(),
            expected: LENGTH_BYTES,
        });
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > HEADER_BYTES + VALUE_BYTES_MAX {
        return Err(Damage::Encoding(format!("{length} bytes exceed the limit")));
    }
    // Memory follows the bytes received, not the length that they state.
    if length > EXPANSION_MAX * (1 + packed.len()) {
        let problem = format!("{length} bytes do not come out of {}", packed.len());
        return Err(Damage::Encoding(problem));
    }
    lz4_flex::block::decompress(packed, length).map_err(|error| Damage::Encoding(error.to_string()))
}

/// The stored form of a framed value: compressed with this kind if that is smaller.
pub(in crate::store) fn pack(kind: Kind, framed: Vec<u8>) -> Vec<u8> {
    let packed = compress(&framed);
    if HEADER_BYTES + packed.len() < framed.len() {
        frame::wrap(kind, &packed)
    } else {
        framed
    }
}

/// The framed value, unchecked. Values that did not shrink, and values of older formats, are stored uncompressed.
pub(in crate::store) fn unpack(kind: Kind, stored: Vec<u8>) -> Result<Vec<u8>, Damage> {
    if !frame::is_of(kind, &stored) {
        return Ok(stored);
    }
    decompress(frame::unwrap(kind, &stored)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_packed_comes_back_and_any_flipped_bit_is_seen(
            payload in proptest::collection::vec(0_u8..4, 0..2000),
            place in any::<proptest::sample::Index>(),
            bit in 0u8..8,
        ) {
            let framed = frame::wrap(Kind::Chunk, &payload);
            let mut stored = pack(Kind::PackedChunk, framed.clone());
            prop_assert!(stored.len() <= framed.len());
            prop_assert_eq!(unpack(Kind::PackedChunk, stored.clone()).expect("it is whole"), framed);
            let place = place.index(stored.len());
            stored[place] ^= 1 << bit;
            let read = unpack(Kind::PackedChunk, stored).and_then(|framed| frame::unwrap(Kind::Chunk, &framed).map(<[u8]>::to_vec));
            prop_assert!(read.is_err());
        }
    }

    // With a valid checksum, as only a deliberate writer would produce.
    #[test]
    fn what_was_never_packed_is_damage() {
        let claims = |length: usize| u32::try_from(length).expect("it fits").to_le_bytes();
        let too_long = claims(HEADER_BYTES + VALUE_BYTES_MAX + 1);
        let garbage = [&claims(40)[..], &[0xf0; 12]].concat();
        for payload in [&[][..], &[1, 2, 3], &too_long, &garbage] {
            let stored = frame::wrap(Kind::PackedChunk, payload);
            assert!(unpack(Kind::PackedChunk, stored).is_err(), "{payload:?}");
        }
    }

    #[test]
    fn the_most_compressible_value_comes_back_and_a_longer_claim_is_damage() {
        let framed = frame::wrap(Kind::Chunk, &[0; 1 << 20]);
        let packed = compress(&framed);
        assert_eq!(decompress(&packed).expect("it was just packed"), framed);
        let claimed = u32::try_from(2 * framed.len()).expect("it fits");
        let longer = [&claimed.to_le_bytes(), &packed[LENGTH_BYTES..]].concat();
        let refused = decompress(&longer)
            .expect_err("it is not so long")
            .to_string();
        assert!(refused.contains("do not come out of"), "{refused}");
    }

    // Without this an incompressible chunk takes more space than in earlier formats.
    #[test]
    fn what_does_not_shrink_is_stored_as_it_is() {
        let payload: Vec<u8> = (0..200_u8).collect();
        let framed = frame::wrap(Kind::Chunk, &payload);
        assert_eq!(pack(Kind::PackedChunk, framed.clone()), framed);
    }
}
