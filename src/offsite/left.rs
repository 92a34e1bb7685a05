//! What a round of retention leaves in the archive. A deletion that was repeated because its answer was late may be executed once more,
//! when the same was put again under the same key: chunks that a newer state needs again, or what was pinned since. What a writer has put
//! is therefore compared with what is there, and put again if it is missing.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::archive::ArchiveError;
use crate::process::ids::{Hash, Lsn};
use crate::shipping::Epoch;
use crate::shipping::object::{ObjectHead, PartKey, PieceKey, RevisionKey, StateKey};

/// What is left of what a writer compares.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Left {
    /// The groups of chunks in its epoch, with the number of their pieces.
    pub groups: HashMap<Hash, u32>,
    /// The cut of the first state of its epoch.
    pub state: Option<Lsn>,
    /// The parts of its process.
    pub parts: Vec<PartKey>,
    /// The revisions of the cluster.
    pub revisions: HashSet<RevisionKey>,
}

impl Left {
    /// Of what was listed, when these groups of an epoch were deleted.
    pub(super) fn of(
        epoch: Epoch,
        pieces: &[PieceKey],
        deleted: &[Hash],
        states: &[StateKey],
    ) -> Self {
        let gone: HashSet<&Hash> = deleted.iter().collect();
        let own = pieces.iter().filter(|key| key.epoch == epoch);
        let mut groups = HashMap::new();
        for key in own.filter(|key| !gone.contains(&key.group)) {
            *groups.entry(key.group).or_default() += 1;
        }
        let own = states.iter().filter(|key| key.epoch == epoch);
        Self {
            groups,
            state: own.map(|key| key.cut).min(),
            ..Self::default()
        }
    }
}

/// The groups that something names.
#[derive(Default)]
pub(super) struct Needed {
    groups: HashSet<(Epoch, Hash)>,
    /// Epochs with something unreadable: none of their groups is deleted.
    unknown: BTreeSet<Epoch>,
}

impl Needed {
    pub(super) fn take(
        &mut self,
        epoch: Epoch,
        head: Result<Option<ObjectHead>, ArchiveError>,
    ) -> Result<(), ArchiveError> {
        match head {
            Ok(Some(head)) => {
                let named = head.groups().iter().map(|one| (epoch, one.group));
                self.groups.extend(named);
            }
            Ok(None) => {}
            Err(error @ ArchiveError::Damaged { .. }) => {
                tracing::warn!(%error, %epoch, "no chunks of its epoch are deleted in the archive");
                self.unknown.insert(epoch);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn needs(&self, key: &PieceKey) -> bool {
        self.unknown.contains(&key.epoch) || self.groups.contains(&(key.epoch, key.group))
    }
}
