//! Objects that never change, read once by a reader that remembers them.

use std::sync::Arc;

use super::object_part::ObjectPart;
use super::{ArchiveError, Objects};

impl Objects {
    /// The same objects, of which segments that were read are remembered.
    #[must_use]
    pub fn remembering(&self) -> Self {
        let mut objects = self.clone();
        objects.remembered = Some(Arc::default());
        objects
    }

    /// At most so many first bytes of an object that never changes. Of one with more bytes it may be only the head.
    pub(super) async fn read_unchanging(
        &self,
        key: &str,
        bytes: u64,
        bytes_max: u64,
    ) -> Result<Option<ObjectPart>, ArchiveError> {
        let Some(remembered) = &self.remembered else {
            return self.read_part(key, bytes, bytes_max).await;
        };
        let at = self.at(key);
        if let Some(known) = remembered.of(&at) {
            return Ok(Some(known));
        }
        let read = self.read_part(key, bytes, bytes_max).await?;
        if let Some(part) = &read {
            remembered.keep(at, part);
        }
        Ok(read)
    }

    /// An object that never changes, if it is remembered and small.
    pub(super) fn remembered(&self, key: &str) -> Option<Vec<u8>> {
        let known = self.remembered.as_ref()?.of(&self.at(key));
        known.filter(ObjectPart::is_whole).map(|known| known.bytes)
    }
}
