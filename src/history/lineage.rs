//! Whether two cuts of one process belong together: what its journal has at each of them, and which stores of others were given
//! up between.

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
            (Ok(older), Ok(newer)) => Self::of_both(older, newer),
            (Err(Doubt::Absent(Absence::OtherJournal)), Ok(_)) => Self::Another,
            (Err(doubt), _) | (_, Err(doubt)) => Self::Unknown(*doubt),
        }
    }

    // A channel begins anew in the turn that gives up the store at its other end, and only then. Which stores were met does not
    // show that: a process that calls another one has met no store, and two stores may have been given up between the cuts.
    fn of_both(older: &ProcessTotals, newer: &ProcessTotals) -> Self {
        let stores = older.store.zip(newer.store);
        let Some(((here, there), given_up)) = stores.zip(newer.given_up.as_ref()) else {
            return Self::Unknown(Doubt::UnknownThere);
        };
        // The process was restarted on another store between its two answers.
        if here != there {
            return Self::Unknown(Doubt::Absent(Absence::NoAnswer));
        }
        // Totals of before the horizon name later turns. Whether there were any by the cut as well was deleted.
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

    // Without this a channel that began anew between the cuts passes for one that did not, and the difference for explained.
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
        // Only the newest turn of each is known, and it is behind the newer cut.
        let before_horizon = anew(&older, &totals(9, 1, Some(10)));
        assert_eq!(before_horizon, Err(Doubt::BeforeHorizon));
        let of_the_older = anew(&totals(3, 1, Some(10)), &totals(9, 1, None));
        assert_eq!(of_the_older, Ok(0));
    }

    // Without this a peer of an older program, or one that was restarted meanwhile, would explain a difference.
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
