//! The limits of messages over gRPC, in bytes.

/// The largest request in bytes.
pub(super) const REQUEST_BYTES_MAX: usize = 4 << 20;
/// The largest batch of operations in bytes.
pub(in crate::api) const BATCH_BYTES_MAX: usize = 16 << 20;
/// The largest answer in bytes, which is the default limit of clients.
pub(in crate::api) const ANSWER_BYTES_MAX: usize = 4 << 20;
