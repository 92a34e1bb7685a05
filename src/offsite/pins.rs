//! The pins of snapshots in the archive: one object for each update, which names all that retention decides by in its key.
//! Every process puts what it knows; the update with the greatest rank is valid, as among the processes.

use std::collections::{HashMap, HashSet};

use super::Source;
use crate::archive::{ArchiveError, kept};
use crate::history::pin::Pin;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, SnapshotId};
use crate::shipping::object::{ArchivedObject, PinKey, SnapshotName};
use crate::shipping::segment::Owner;
use crate::store::{StoredPin, pin_of_stored};

/// An update with its key.
pub(super) fn object_of(owner: &Owner, pin: &StoredPin) -> (PinKey, ArchivedObject) {
    let body = [pin.snapshot.as_str().as_bytes(), &pin.stored];
    let key = PinKey {
        at: pin.at,
        is_pinned: pin.is_pinned,
        hash: hash_of(&body),
        snapshot: SnapshotName::of(&pin.snapshot),
    };
    let object = ArchivedObject::piece(owner, &key, &body);
    (key, object)
}

/// The snapshots that are pinned by the newest update. `all` is in the order of the keys.
pub(super) fn pinned(all: &[PinKey]) -> HashSet<SnapshotName> {
    let mut newest: HashMap<&SnapshotName, bool> = HashMap::new();
    // Of two with one stamp the one that pins comes last.
    for key in all {
        newest.insert(&key.snapshot, key.is_pinned);
    }
    let pinned = newest.into_iter().filter(|(_, is_pinned)| *is_pinned);
    pinned.map(|(snapshot, _)| snapshot.clone()).collect()
}

/// The updates before an instant that need not be kept, in the order in which they are deleted: those that a later one
/// replaces, and then the last one of a snapshot if it pins nothing, which is the same as none. `all` is in the order of the
/// keys.
pub(super) fn due(all: &[PinKey], since: Hlc) -> Vec<&PinKey> {
    let mut last: HashMap<&SnapshotName, &PinKey> = HashMap::new();
    let mut due = Vec::new();
    for key in all.iter().filter(|key| key.at < since) {
        due.extend(last.insert(&key.snapshot, key));
    }
    due.extend(last.into_values().filter(|key| !key.is_pinned));
    due
}

/// What was read of the pins.
#[derive(Default)]
pub(super) struct ReadPins {
    pub(super) pins: Vec<(SnapshotId, Pin)>,
    /// What is damaged or missing, a sentence for each.
    pub(super) left_out: Vec<String>,
}

/// Reads the updates, up to an instant if one is given.
pub(super) async fn read(source: &Source, until: Option<Hlc>) -> Result<ReadPins, ArchiveError> {
    let (folder, owner) = (&source.cluster, &source.owner);
    let all = kept::list::<PinKey>(folder).await?;
    let is_wanted = |key: &PinKey| until.is_none_or(|until| key.at <= until);
    let mut reads = kept::Reads::of(folder, owner, all.into_iter().filter(is_wanted));
    let mut read = ReadPins::default();
    while let Some((key, object)) = reads.next().await? {
        let name = key.to_string();
        let pin = match object {
            Ok(Some(object)) => pin_of(&key, &object).map_err(|why| folder.damaged(&name, why)),
            // A later update has replaced it.
            Ok(None) => continue,
            Err(error) => Err(error),
        };
        match pin {
            Ok(pin) => read.pins.push(pin),
            Err(error @ ArchiveError::Damaged { .. }) => read.left_out.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}

// The update in an object, if that is what its key says.
fn pin_of(key: &PinKey, object: &ArchivedObject) -> Result<(SnapshotId, Pin), String> {
    let pieces: Result<Vec<_>, _> = object.chunks().collect();
    let pieces = pieces.map_err(|unreadable| unreadable.to_string())?;
    let [snapshot, stored] = pieces[..] else {
        return Err("its body has other pieces".to_owned());
    };
    let snapshot = std::str::from_utf8(snapshot).map_err(|error| error.to_string())?;
    let snapshot = SnapshotId::parse(snapshot).map_err(|why| why.to_string())?;
    let pin = pin_of_stored(stored).map_err(|damage| damage.to_string())?;
    let found = PinKey {
        at: pin.at,
        is_pinned: pin.pinned,
        hash: hash_of(&[snapshot.as_str().as_bytes(), stored]),
        snapshot: SnapshotName::of(&snapshot),
    };
    match found == *key {
        true => Ok((snapshot, pin)),
        false => Err("it is another update".to_owned()),
    }
}

fn hash_of(body: &[&[u8]; 2]) -> Hash {
    let mut hasher = blake3::Hasher::new();
    for piece in body {
        hasher.update(&(piece.len() as u64).to_le_bytes());
        hasher.update(piece);
    }
    Hash(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(at: u64, is_pinned: bool, snapshot: &str) -> PinKey {
        PinKey {
            at: Hlc(at),
            is_pinned,
            hash: Hash([at.to_le_bytes()[0]; 32]),
            snapshot: SnapshotName::of(&SnapshotId::parse(snapshot).expect("a valid id")),
        }
    }

    // Without this, a pin could be deleted before what replaces it, or with it what it holds.
    #[test]
    fn an_update_is_due_once_a_later_one_before_the_limit_replaces_it() {
        let all = [
            key(1, true, "a"),
            key(2, false, "a"),
            key(3, true, "a"),
            key(4, true, "b"),
            key(5, false, "b"),
            key(6, true, "c"),
            key(9, false, "c"),
        ];
        let due: Vec<u64> = due(&all, Hlc(8)).iter().map(|key| key.at.0).collect();
        assert_eq!(due, [1, 2, 4, 5]);
        let held = pinned(&all);
        assert_eq!(held, HashSet::from([all[0].snapshot.clone()]));
        let held = pinned(&all[..6]);
        assert!(held.contains(&all[5].snapshot), "{held:?}");
    }
}
