//! Whether a store salts its chunks, and the secret from which their salts are derived.
//!
//! The salt of a chunk follows from the secret and its content: the same content gives the same chunk again, also after
//! a crash, and nobody without the secret can guess a content from a hash. The secret is part of a backup, and of no
//! answer, export or proof.

use crate::store::engine::schema;
use crate::store::engine::schema::{CHUNK_SECRET, SALTED_FROM};
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

const SECRET_BYTES: usize = 32;

/// Draws the secret of a store that has none. A new store salts all of its chunks.
pub(in crate::store) fn prepare(meta: &sled::Tree, is_new: bool) -> Result<(), StoreError> {
    if schema::get::<[u8; SECRET_BYTES]>(meta, CHUNK_SECRET, Kind::Secret)?.is_none() {
        schema::put(meta, CHUNK_SECRET, Kind::Secret, &draw())?;
        if is_new {
            schema::put_numbers(meta, [(SALTED_FROM, 0)])?;
        }
    }
    Ok(())
}

// Each UUID has 122 random bits.
fn draw() -> [u8; SECRET_BYTES] {
    let mut hasher = blake3::Hasher::new();
    for _ in 0..4 {
        hasher.update(uuid::Uuid::new_v4().as_bytes());
    }
    *hasher.finalize().as_bytes()
}
