//! The part of a foreign process as it reports it. There is no journal to verify the report.

use std::collections::BTreeMap;

use super::part::{Part, RecordedState};
use crate::process::channel::Flow;
use crate::process::clock::Lamport;
use crate::process::ids::{AccountId, Hash, Key, Lsn, ProcessId, SnapshotId};
use crate::process::message::{Message, Write};

/// The journal hash of a state that has no journal.
pub const NO_JOURNAL: Hash = Hash([0xff; 32]);

/// The report of a foreign process on a snapshot that it has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedState {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// The reporting process.
    pub process: ProcessId,
    /// Its Lamport clock at the recording.
    pub clock: Lamport,
    /// The recorded balances, minor units.
    pub accounts: BTreeMap<AccountId, i64>,
    /// The recorded key-values.
    pub keys: BTreeMap<Key, Write>,
    /// The recorded messages, by origin. A channel without an entry was empty.
    pub channels: BTreeMap<ProcessId, Vec<Message>>,
    /// Whether the markers of all its channels have arrived.
    pub is_finished: bool,
    /// Figures beyond the published messages, if it reports any.
    pub figures: Option<ReportedFigures>,
}

/// The figures that the certificate needs beyond balances and messages; sums in minor units. Only transfers are counted: the
/// sequence number of each flow is 0.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReportedFigures {
    /// All deposits up to the recording.
    pub deposits: i128,
    /// All withdrawals up to the recording.
    pub withdrawals: i128,
    /// Per destination, the flow sent up to the recording.
    pub sent: BTreeMap<ProcessId, Flow>,
    /// Per origin, the flow delivered up to the recording.
    pub delivered: BTreeMap<ProcessId, Flow>,
}

impl ReportedFigures {
    /// Whether there are figures for each of these channels; otherwise they are not comparable.
    #[must_use]
    pub fn cover<'a>(
        &self,
        mut incoming: impl Iterator<Item = &'a ProcessId>,
        mut outgoing: impl Iterator<Item = &'a ProcessId>,
    ) -> bool {
        incoming.all(|from| self.delivered.contains_key(from))
            && outgoing.all(|to| self.sent.contains_key(to))
    }
}

impl Part {
    /// This part as a newer report of the known one; the known one if more of its channels are closed. The contents of a report
    /// are final, and so is the time of its first report. `None` if the two differ: a foreign process changed its report, or
    /// the store that recorded the known part was lost and its successor recorded the snapshot again.
    #[must_use]
    pub fn told_again(mut self, known: &Self) -> Option<Self> {
        if self.state.has_journal() {
            let is_same = self.state.cut() == known.state.cut();
            return is_same.then(|| self.as_published(known));
        }
        let (time, new_bytes) = (known.state.time, known.state.new_bytes);
        (self.state.time, self.state.new_bytes) = (time, new_bytes);
        (self.state == known.state).then_some(self)
    }
}

impl RecordedState {
    /// The place of the recording: the position, and the hash that identifies the journal.
    #[must_use]
    pub fn cut(&self) -> (Lsn, Hash) {
        (self.position, self.journal)
    }

    /// Whether the state is backed by a journal. Otherwise it is the report of a foreign process.
    #[must_use]
    pub fn has_journal(&self) -> bool {
        self.journal != NO_JOURNAL
    }

    /// Whether the state has deposits, withdrawals and channel flows. For a foreign process these are optional. Every process
    /// has an incoming channel, so `delivered` is not empty if they are present.
    #[must_use]
    pub fn has_figures(&self) -> bool {
        self.has_journal() || !self.delivered.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::super::global::{Completeness, GlobalState};
    use super::super::part::RecordedChannel;
    use super::super::verify::verify;
    use super::*;
    use crate::process::clock::Hlc;
    use crate::process::ids::{Lsn, Seq};

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn money(transfers: u64, amount: i128) -> Flow {
        Flow {
            sequence: Seq(0),
            transfers,
            amount,
        }
    }

    // The part of one of two processes, with this total balance and this amount recorded from the other.
    fn part(id: &str, other: &str, balance_total: i128, recorded: i128) -> Part {
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        Part {
            process: process(id),
            initiator: process("n"),
            state: RecordedState {
                position: Lsn(9),
                time: Hlc(9),
                clock: Lamport(9),
                accounts: 1,
                balance_total,
                deposits: 100,
                journal: Hash([1; 32]),
                ..RecordedState::default()
            },
            channels: vec![RecordedChannel {
                from: process(other),
                first: Seq(1),
                last: Seq(1),
                transfers: 1,
                amount: recorded,
                chunks: Vec::new(),
                closing: None,
            }],
            open: Vec::new(),
            start: None,
            snapshot,
        }
    }

    // n has sent 10 and 20, x has sent 5. 10 is delivered, the rest is in flight.
    fn both(figures: Option<ReportedFigures>, recorded: i128) -> GlobalState {
        let mut n = part("n", "x", 70, 5);
        n.state.sent.insert(
            process("x"),
            Flow {
                sequence: Seq(2),
                ..money(2, 30)
            },
        );
        n.state.delivered.insert(process("x"), Flow::default());
        let mut x = part("x", "n", 105, recorded);
        x.state.journal = NO_JOURNAL;
        let figures = figures.unwrap_or_default();
        x.state.deposits = figures.deposits;
        (x.state.sent, x.state.delivered) = (figures.sent, figures.delivered);
        let state = GlobalState::begun(n.snapshot.clone(), process("n"), Hlc(9), Lamport(9));
        GlobalState {
            parts: BTreeMap::from([(process("n"), n), (process("x"), x)]),
            completeness: Completeness::Complete,
            ..state
        }
    }

    fn figures() -> ReportedFigures {
        ReportedFigures {
            deposits: 100,
            withdrawals: 0,
            sent: BTreeMap::from([(process("n"), money(1, 5))]),
            delivered: BTreeMap::from([(process("n"), money(1, 10))]),
        }
    }

    // Without this, unreported figures could be certified, or a foreign process could lose money unnoticed.
    #[test]
    fn what_is_stated_is_compared_and_what_is_not_stated_is_not_certified() {
        let proven = verify(&both(Some(figures()), 20));
        assert_eq!(
            (proven.conserved, proven.consistent_cut),
            (Some(true), Some(true))
        );
        assert_eq!(proven.checks.len(), 5, "two of each channel, and the sums");

        let unstated = both(None, 20);
        assert_eq!(unstated.unstated().collect::<Vec<_>>(), [&process("x")]);
        let unproven = verify(&unstated);
        assert_eq!((unproven.conserved, unproven.consistent_cut), (None, None));

        let lost = verify(&both(Some(figures()), 19));
        assert_eq!(
            lost.conserved,
            Some(false),
            "it has recorded less than was on its way"
        );
        let mut early = figures();
        early.delivered.insert(process("n"), money(3, 40));
        let early = verify(&both(Some(early), 20));
        assert_eq!(
            early.consistent_cut,
            Some(false),
            "it has delivered what was not sent"
        );
    }

    #[test]
    fn a_part_that_is_told_again_stays_as_it_was_told_first() {
        let mut first = part("x", "n", 105, 20);
        first.state.journal = NO_JOURNAL;
        let mut again = first.clone();
        (again.state.time, again.state.new_bytes) = (Hlc(99), 7);
        assert_eq!(again.clone().told_again(&first), Some(first.clone()));
        again.state.balance_total = 106;
        assert_eq!(again.told_again(&first), None);
    }
}
