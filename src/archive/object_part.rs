//! What was read of an object.

/// Bytes of an object.
#[derive(Clone)]
pub(super) struct ObjectPart {
    pub(super) bytes: Vec<u8>,
    /// The size of the whole object.
    pub(super) size: u64,
}

impl ObjectPart {
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() as u64 == self.size
    }
}
