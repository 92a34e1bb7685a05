//! The archived segment that a store remembers, as [`crate::shipping`] knows it.

use crate::shipping::chain::Link;
use crate::shipping::{Epoch, JournalPoint, SegmentIndex};
use crate::store::{ShippedLink, Store, StoreError};

/// The newest segment that is known to be archived; `None` if nothing was shipped from this store.
///
/// # Errors
/// [`StoreError`].
pub fn recall(store: &Store) -> Result<Option<Link>, StoreError> {
    let shipped = store.archived().shipped()?;
    Ok(shipped.map(|shipped| Link {
        index: SegmentIndex(shipped.segment),
        hash: shipped.hash,
        epoch: Epoch(shipped.epoch),
        journal: JournalPoint {
            position: shipped.position,
            hash: shipped.journal,
        },
    }))
}

/// Remembers a segment that counts; durable with the next turn.
///
/// # Errors
/// [`StoreError`].
pub fn remember(store: &Store, link: Link) -> Result<(), StoreError> {
    store.archived().note_shipped(&ShippedLink {
        segment: link.index.0,
        hash: link.hash,
        epoch: link.epoch.0,
        position: link.journal.position,
        journal: link.journal.hash,
    })
}
