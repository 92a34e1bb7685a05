//! Writes block streams, used by exports and backups: a name and a format, then blocks with a kind (1 byte), a length
//! (4 bytes little-endian) and content. The last block ends with the BLAKE3 hash of all bytes before it.

use std::io::{self, Write};

/// Writes blocks and hashes the bytes.
pub(in crate::store) struct Blocks<'a> {
    out: &'a mut dyn Write,
    hasher: blake3::Hasher,
}

impl<'a> Blocks<'a> {
    /// Begins a stream.
    pub(in crate::store) fn begin(
        out: &'a mut dyn Write,
        name: &[u8],
        format: u32,
    ) -> io::Result<Self> {
        let hasher = blake3::Hasher::new();
        let mut blocks = Self { out, hasher };
        blocks.write(name)?;
        blocks.write(&format.to_le_bytes())?;
        Ok(blocks)
    }

    /// Writes a block with the concatenation of `bytes`.
    pub(in crate::store) fn block(&mut self, kind: u8, bytes: &[&[u8]]) -> io::Result<()> {
        let length = bytes.iter().map(|bytes| bytes.len()).sum::<usize>();
        let length = u32::try_from(length).map_err(io::Error::other)?;
        self.write(&[kind])?;
        self.write(&length.to_le_bytes())?;
        bytes.iter().try_for_each(|bytes| self.write(bytes))
    }

    /// Writes the last block, with `bytes` and the hash.
    pub(in crate::store) fn end(mut self, kind: u8, bytes: &[&[u8]]) -> io::Result<()> {
        let hash = *self.hasher.finalize().as_bytes();
        self.block(kind, &[bytes, &[&hash]].concat())?;
        self.out.flush()
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hasher.update(bytes);
        self.out.write_all(bytes)
    }
}
