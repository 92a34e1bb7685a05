//! Reads bytes as a stored value of each kind, for [`crate::untrusted`].

use super::codec::decode_state;
use super::codec::{self, Entry};
use super::frame::{self, Kind};
use super::v7::part;
use crate::process::ids::Lsn;
use crate::store::history;

/// Reads the bytes as framed values, and as the contents of whole frames.
pub fn read_values(bytes: &[u8]) {
    read_framed(|_| bytes.to_vec());
    if bytes.len() <= frame::VALUE_BYTES_MAX {
        read_framed(|kind| frame::wrap(kind, bytes));
    }
}

fn read_framed(framed: impl Fn(Kind) -> Vec<u8>) {
    let _ = Entry::decode(Lsn(1), &framed(Kind::Turn));
    let _ = history::decode(&framed(Kind::Global));
    for kind in [Kind::State, Kind::State6, Kind::PackedState] {
        let _ = decode_state(framed(kind));
    }
    for kind in [Kind::Chunk, Kind::SaltedChunk] {
        let framed = framed(kind);
        let hash = codec::FramedChunk::of(&framed).map(|chunk| chunk.address());
        let hash = hash.unwrap_or_default();
        let _ = codec::decode_chunk(&hash, &framed);
        let _ = codec::check_chunk(&hash, &framed);
    }
    for kind in [Kind::Part, Kind::Part7] {
        let _ = part::read_part(&framed(kind));
    }
}
