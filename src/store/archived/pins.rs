//! The pins of snapshots as they go to the archive: the newest update of each, in the form in which a store keeps it.

use super::Archived;
use crate::history::pin::Pin;
use crate::process::clock::Hlc;
use crate::process::ids::SnapshotId;
use crate::store::retention::pin::RetentionEntry;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};
use crate::store::stored::v1::Frozen;
use crate::store::stored::v7::{KeptV7, read_kept};

/// The newest update of a pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredPin {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// The stamp of the update.
    pub at: Hlc,
    /// Whether the snapshot is pinned since.
    pub is_pinned: bool,
    /// The stored form, without whether the snapshot was deleted in this store.
    pub stored: Vec<u8>,
}

impl Archived<'_> {
    /// The newest update of each pin.
    #[must_use]
    pub fn pins(self) -> Vec<StoredPin> {
        let pins = self.store.retention().pins().into_iter();
        pins.map(|(snapshot, pin)| StoredPin::of(snapshot, pin))
            .collect()
    }
}

impl StoredPin {
    /// The newest update of the pin of a snapshot.
    #[must_use]
    pub fn of(snapshot: SnapshotId, pin: Pin) -> Self {
        let (at, is_pinned) = (pin.at, pin.pinned);
        let kept = RetentionEntry {
            pin: Some(pin),
            deleted: None,
        };
        let stored = frame::wrap(Kind::Kept7, &frame::encode(&KeptV7::freeze(&kept)));
        Self {
            snapshot,
            at,
            is_pinned,
            stored,
        }
    }
}

/// The update of a pin in its stored form.
///
/// # Errors
/// [`Damage`].
pub fn pin_of_stored(stored: &[u8]) -> Result<Pin, Damage> {
    let no_pin = || Damage::Contradiction("it has no pin".to_owned());
    read_kept(stored)?.pin.ok_or_else(no_pin)
}
