//! What a store remembers of its journal and its archive, as [`crate::shipping`] and [`crate::archive`] know it: the archived segment,
//! its last claim, the gaps, and what was booked when it was made again.

use crate::archive::rebuilt::RebuiltFigures;
use crate::archive::{ArchiveError, Objects, gaps};
use crate::history::process_totals::Rebooked;
use crate::process::identity::Identity;
use crate::shipping::chain::Link;
use crate::shipping::gaps::NotedGaps;
use crate::shipping::segment::WriterId;
use crate::shipping::{Epoch, JournalPoint, SegmentIndex};
use crate::store::{KnownGaps, OwnClaim, ShippedLink, Store, StoreError};

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

/// The last claim that a store has made, or was about to make; `None` if it never had an archive, or if an operator has vouched for it
/// since.
///
/// # Errors
/// [`StoreError`].
pub fn recall_claim(store: &Store) -> Result<Option<WriterId>, StoreError> {
    let claimed = store.archived().claimed()?;
    Ok(claimed.map(|OwnClaim { epoch, boot, run }| WriterId {
        epoch: Epoch(epoch),
        identity: Identity {
            store: store.identity().store,
            boot,
            run,
        },
    }))
}

/// Remembers, durably, a claim that a store is about to make.
///
/// # Errors
/// [`StoreError`].
pub fn remember_claim(store: &Store, claim: WriterId) -> Result<(), StoreError> {
    let Identity { boot, run, .. } = claim.identity;
    let epoch = claim.epoch.0;
    store.archived().note_claimed(OwnClaim { epoch, boot, run })
}

/// The gaps of a journal.
#[must_use]
pub fn gaps_of(store: &Store) -> NotedGaps {
    let KnownGaps { ranges, caught_up } = store.gaps().known();
    let mut noted = NotedGaps::default();
    for turns in ranges {
        noted.note(*turns.start(), *turns.end());
    }
    for (gap, since) in caught_up {
        noted.note_answers(gap, since);
    }
    noted
}

/// Puts what a store knows of its gaps and the archive does not. Before the turns behind a gap are shipped, so that nothing answers
/// as if there were none.
///
/// # Errors
/// [`ArchiveError::Failed`].
pub async fn ship_gaps(process: &Objects, store: &Store) -> Result<(), ArchiveError> {
    let here = gaps_of(store);
    match here == NotedGaps::default() {
        true => Ok(()),
        false => gaps::put(process, &here.without(&gaps::read(process).await?)).await,
    }
}

/// Notes the gaps of the journal from which a store was filled.
///
/// # Errors
/// [`StoreError`].
pub fn take_gaps(store: &Store, noted: &NotedGaps) -> Result<(), StoreError> {
    store.gaps().take_over(&KnownGaps {
        ranges: noted.ranges().map(|(first, last)| first..=last).collect(),
        caught_up: noted.answers().collect(),
    })
}

/// What was booked when a store was made again from its peers; `None` if nothing was to be booked.
///
/// # Errors
/// [`StoreError`].
pub fn rebuilt_figures(store: &Store) -> Result<Option<RebuiltFigures>, StoreError> {
    let rebooked = store.rebooked()?;
    let Rebooked { booked, unbooked } = rebooked;
    Ok((rebooked != Rebooked::default()).then_some(RebuiltFigures { booked, unbooked }))
}

/// Notes what was booked in the store from which one was filled.
///
/// # Errors
/// [`StoreError`].
pub fn take_rebuilt_figures(store: &Store, figures: RebuiltFigures) -> Result<(), StoreError> {
    let RebuiltFigures { booked, unbooked } = figures;
    store.note_rebooked(Rebooked { booked, unbooked })
}
