//! The relation between two cuts of one process: whether both are in its journal, and which peers' stores were given up between
//! them.

use std::collections::BTreeSet;

use super::audit::Absence;
use super::process_totals::ProcessTotals;
use crate::process::ids::ProcessId;

/// The totals of the journal at a cut, or why they are unknown.
pub type JournalAtCut = Result<ProcessTotals, Doubt>;

/// Why the totals of a journal at a cut are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// The process does not provide them.
    Absent(Absence),
    /// The cut is before the retention horizon; the journal there was deleted.
    BeforeHorizon,
    /// The process runs a version that does not support the query.
    UnknownThere,
}

impl Doubt {
    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent(absence) => absence.as_str(),
            Self::BeforeHorizon => "before_horizon",
            Self::UnknownThere => "unknown_there",
        }
    }
}

// The relation of the two cuts according to the journal.
pub(super) enum Lineage {
    // The journal has both cuts. The channels with these processes were restarted between them.
    OneJournal(BTreeSet<ProcessId>),
    // The journal has only the newer cut.
    Another,
    Unknown(Doubt),
}

impl Lineage {
    pub(super) fn of(older: &JournalAtCut, newer: &JournalAtCut) -> Self {
        match (older, newer) {
            (Ok(older), Ok(newer)) => Self::of_both(older, newer),
            (Err(Doubt::Absent(Absence::OtherJournal)), Ok(_)) => Self::Another,
            (Err(doubt), _) | (_, Err(doubt)) => Self::Unknown(*doubt),
        }
    }

    // A channel restarts only in the turn that gives up the store at its other end. The recognized stores do not show it: a
    // process that makes unary calls recognizes none, and two stores may have been given up between the cuts.
    fn of_both(older: &ProcessTotals, newer: &ProcessTotals) -> Self {
        let stores = older.store.zip(newer.store);
        let Some(((here, there), given_up)) = stores.zip(newer.given_up.as_ref()) else {
            return Self::Unknown(Doubt::UnknownThere);
        };
        // The process was restarted on another store between its two answers.
        if here != there {
            return Self::Unknown(Doubt::Absent(Absence::NoAnswer));
        }
        // At a cut before the horizon, the totals hold the newest turn that gave up each store, which may be after the cut.
        // Whether an earlier one was at or before the cut is no longer known.
        if given_up.values().any(|turn| *turn > newer.position) {
            return Self::Unknown(Doubt::BeforeHorizon);
        }
        let anew = given_up.iter().filter(|(_, turn)| **turn > older.position);
        Self::OneJournal(anew.map(|(peer, _)| peer.clone()).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::process::ids::Lsn;

    fn totals(position: u64, store: u8, given_up: Option<u64>) -> JournalAtCut {
        let peer = ProcessId::parse("b").expect("a valid id");
        let turns = |turn: u64| BTreeMap::from([(peer, Lsn(turn))]);
        Ok(ProcessTotals {
            position: Lsn(position),
            store: Some([store; 16]),
            given_up: Some(given_up.map(turns).unwrap_or_default()),
            ..ProcessTotals::default()
        })
    }

    fn anew(older: &JournalAtCut, newer: &JournalAtCut) -> Result<usize, Doubt> {
        match Lineage::of(older, newer) {
            Lineage::OneJournal(anew) => Ok(anew.len()),
            Lineage::Unknown(doubt) => Err(doubt),
            Lineage::Another => unreachable!("both have a store"),
        }
    }

    // Without this, a channel restarted between the cuts would count as continuous, and the difference as explained.
    #[test]
    fn channels_with_stores_that_were_given_up_between_the_cuts_have_begun_anew() {
        let older = totals(3, 1, None);
        for (turn, expected) in [
            (None, 0),
            (Some(2), 0),
            (Some(3), 0),
            (Some(4), 1),
            (Some(9), 1),
        ] {
            assert_eq!(anew(&older, &totals(9, 1, turn)), Ok(expected), "{turn:?}");
        }
        // Only the newest turn for each store is known, and it is after the newer cut.
        let before_horizon = anew(&older, &totals(9, 1, Some(10)));
        assert_eq!(before_horizon, Err(Doubt::BeforeHorizon));
        let of_the_older = anew(&totals(3, 1, Some(10)), &totals(9, 1, None));
        assert_eq!(of_the_older, Ok(0));
    }

    // Without this, the answers of a peer with an older version, or of one that was restarted in between, would explain a
    // difference.
    #[test]
    fn what_does_not_say_it_and_what_is_of_two_stores_is_in_doubt() {
        let (older, newer) = (totals(3, 1, None), totals(9, 1, None));
        let unsaid = newer.clone().map(|newer| ProcessTotals {
            given_up: None,
            ..newer
        });
        assert_eq!(anew(&older, &unsaid), Err(Doubt::UnknownThere));
        let no_store = older.map(|older| ProcessTotals {
            store: None,
            ..older
        });
        assert_eq!(anew(&no_store, &newer), Err(Doubt::UnknownThere));
        let other = anew(&totals(3, 2, None), &newer);
        assert_eq!(other, Err(Doubt::Absent(Absence::NoAnswer)));
    }
}
