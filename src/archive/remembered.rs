//! The beginnings of segments, in bounded memory, for a reader that walks along a journal several times: a segment never changes.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use object_store::path::Path;

use super::object_part::ObjectPart;
use crate::shipping::segment::HEAD_BYTES_MAX;

/// The most bytes that are kept; what is read later is read again.
const BYTES_MAX: usize = 64 << 20;
/// About what an entry takes besides the bytes of its object and its key.
const ENTRY_BYTES: usize = 128;

/// What was read.
#[derive(Default)]
pub(super) struct Remembered(Mutex<Starts>);

#[derive(Default)]
struct Starts {
    /// Small objects whole, and the heads of others.
    of: HashMap<Path, ObjectPart>,
    bytes: usize,
}

impl Remembered {
    fn starts(&self) -> MutexGuard<'_, Starts> {
        // What is there is right, whatever happened meanwhile.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an object.
    pub(super) fn of(&self, at: &Path) -> Option<ObjectPart> {
        self.starts().of.get(at).cloned()
    }

    /// Keeps what was read of an object, if there is room.
    pub(super) fn keep(&self, at: Path, part: &ObjectPart) {
        let mut starts = self.starts();
        let bytes = match part.is_whole() {
            true => part.bytes.len(),
            false => part.bytes.len().min(HEAD_BYTES_MAX),
        };
        let taken = ENTRY_BYTES + at.as_ref().len() + bytes;
        if starts.bytes + taken > BYTES_MAX {
            return;
        }
        let kept = ObjectPart {
            bytes: part.bytes[..bytes].to_vec(),
            size: part.size,
        };
        if starts.of.insert(at, kept).is_none() {
            starts.bytes += taken;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this an audit of a large archive would take as much memory as its journals.
    #[test]
    fn what_is_kept_is_bounded_and_of_large_objects_only_the_head() {
        let remembered = Remembered::default();
        let small = ObjectPart {
            bytes: vec![7; 256 << 10],
            size: 256 << 10,
        };
        let large = ObjectPart {
            size: 1 << 30,
            ..small.clone()
        };
        remembered.keep(Path::from("large"), &large);
        let head = remembered.of(&Path::from("large")).expect("it is kept");
        assert_eq!((head.bytes.len(), head.size), (HEAD_BYTES_MAX, 1 << 30));
        let keys: Vec<Path> = (0..300).map(|key| Path::from(key.to_string())).collect();
        for key in &keys {
            remembered.keep(key.clone(), &small);
        }
        let kept = keys.iter().filter(|key| remembered.of(key).is_some());
        let most = BYTES_MAX / small.bytes.len();
        assert_eq!(kept.count(), most - 1, "besides the other one");
    }
}
