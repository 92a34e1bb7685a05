//! What is stored, byte by byte: the frozen types of every format, their encoding, compression and frame.

pub mod codec;
pub(super) mod compression;
pub(super) mod frame;
pub(super) mod salted;
pub(super) mod state;
pub(super) mod stream;
pub(super) mod untrusted;
pub(super) mod v1;
pub(super) mod v2;
pub(super) mod v3;
pub(super) mod v5;
pub(super) mod v6;
pub(super) mod v7;
