//! Whether two cuts of one process belong together: what its journal has at each of them, and which stores it knew then.

use std::collections::BTreeSet;

use super::audit::Absence;
use super::process_totals::ProcessTotals;
use crate::process::ids::ProcessId;

/// What the journal of the process has at a cut, or why that is not known.
pub type JournalAtCut = Result<ProcessTotals, Doubt>;

/// Why it is not known what the journal of a process has at a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The process does not say it.
    Absent(Absence),
    /// Its journal begins later: what was before was deleted.
    BeforeHorizon,
    /// Its program is older than the question.
    UnknownThere,
}

impl Doubt {
    /// Its stable name on the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent(absence) => absence.as_str(),
            Self::BeforeHorizon => "before_horizon",
            Self::UnknownThere => "unknown_there",
        }
    }
}

// What the journal says of the two cuts.
pub(super) enum Lineage {
    // It has both. The channels with these processes have begun anew between.
    OneJournal(BTreeSet<ProcessId>),
    // It has the newer alone.
    Another,
    Unknown(Doubt),
}

impl Lineage {
    pub(super) fn of(older: &JournalAtCut, newer: &JournalAtCut) -> Self {
        match (older, newer) {
            (Ok(older), Ok(newer)) if older.store.is_some() && newer.store.is_some() => {
                let met = older.peers.keys();
                let anew = met.filter(|peer| is_given_up_between(peer, older, newer));
                Self::OneJournal(anew.cloned().collect())
            }
            (Ok(_), Ok(_)) => Self::Unknown(Doubt::UnknownThere),
            (Err(Doubt::Absent(Absence::OtherJournal)), Ok(_)) => Self::Another,
            (Err(doubt), _) | (_, Err(doubt)) => Self::Unknown(*doubt),
        }
    }
}

// Once a store is given up, any other may be met; nothing begins anew by that.
fn is_given_up_between(peer: &ProcessId, older: &ProcessTotals, newer: &ProcessTotals) -> bool {
    let Some(before) = older.peers.get(peer) else {
        return false;
    };
    let Some(after) = newer.peers.get(peer) else {
        return true;
    };
    match before.is_given_up {
        true => after.is_given_up && before.store != after.store,
        false => after.is_given_up || before.store != after.store,
    }
}
