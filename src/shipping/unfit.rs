//! Why a process cannot start on its archive.

use super::SegmentIndex;
use super::chain::{Broken, Link};
use super::segment::WriterId;
use super::writer::Superseded;
use crate::process::identity::Identity;
use crate::process::ids::Lsn;

/// Why a process cannot start on its archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Another store has written to the archive.
    #[error("another store has written to the archive")]
    OtherStore(Identity),
    /// A later start of the same store, from another directory, has written to the archive.
    #[error("start {} has written to the archive", .0.boot)]
    OlderCopy(Identity),
    /// The newest claim is older than the last one of this store, which was made in another archive.
    #[error("start {} has written to the archive, and this store to another one since", .0.boot)]
    OtherArchive(Identity),
    /// The journals differ at the end of the archived one.
    #[error("the journals differ at turn {0}")]
    Differs(Lsn),
    /// Turns between the two journals are in neither.
    #[error("the archive ends at turn {archived}, and the journal here begins at turn {first}")]
    Trimmed {
        /// The newest archived turn.
        archived: Lsn,
        /// The first turn here.
        first: Lsn,
    },
    /// A later start has fenced this one off.
    #[error("another start has taken over the journal")]
    Superseded(Superseded),
    /// The segments of the archive contradict each other.
    #[error(transparent)]
    Broken(#[from] Broken),
    /// What was shipped from here is not in the archive.
    #[error("the archive lacks segment {}, up to turn {}", .0.index, .0.journal.position)]
    Lacking(Link),
    /// The archive has later segments than one that is missing.
    #[error("segment {0} is missing in the archive, which has later ones")]
    Hole(SegmentIndex),
}

// Whether a claim may be that of a restore that has ended before its fence: it is ahead of all starts of the directories before it. A
// process runs, and a restored store is used, only once its fence is set. A restore whose fence comes later finds a later writer and
// stops. The claim of an ordinary start is never passed over: the directory that it was made from may have run on turns that were not
// archived, so one that does not know it may be an older copy.
pub(super) fn may_be_abandoned(newest: WriterId, here: Identity, own: Option<WriterId>) -> bool {
    let lost = own.map_or(here.boot.saturating_sub(1), |own| own.identity.boot);
    let lost = Identity { boot: lost, ..here };
    newest.identity.is_ahead_of_copies_of(lost)
}

// Compares the newest claim with this start, and with the last claim that its directory knows to be its own. A directory that does
// not know the newest claim is an older copy, however often it was started; the boots alone are compared if it knows of no claim,
// because it never had an archive or an operator has vouched for it.
pub(super) fn check(newest: WriterId, here: Identity, own: Option<WriterId>) -> Result<(), Unfit> {
    let there = newest.identity;
    if there.store != here.store {
        return Err(Unfit::OtherStore(there));
    }
    let is_known = match own {
        Some(own) if newest.epoch >= own.epoch => newest == own,
        _ => there.boot < here.boot || there == here,
    };
    // In one archive the claims of later epochs are those of later starts.
    let is_elsewhere =
        own.is_some_and(|own| newest.epoch >= own.epoch && there.boot < own.identity.boot);
    match (is_known, is_elsewhere) {
        (true, _) => Ok(()),
        (false, true) => Err(Unfit::OtherArchive(there)),
        (false, false) => Err(Unfit::OlderCopy(there)),
    }
}
