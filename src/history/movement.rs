//! The movement of one process between two cuts. A channel restarts where the store at its other end was given up, and a
//! journal where the store of the process was lost; the movement is then what is known since. Figures that decreased show such
//! a restart. Figures that have grown beyond the older ones do not, so the process is asked for its journal's totals at both
//! cuts.

use std::collections::{BTreeMap, BTreeSet};

use super::lineage::{Doubt, JournalAtCut, Lineage};
use super::part::RecordedState;
use super::process_totals::ProcessTotals;
use crate::process::channel::Flow;
use crate::process::clock::Hlc;
use crate::process::ids::{Lsn, ProcessId};

/// The figures of one process at one cut, sums in minor units.
#[derive(Debug, Clone, Copy)]
pub struct ProcessFigures<'a> {
    position: Lsn,
    /// The time of the cut; `None` if both cuts are of one journal, so that the position alone gives their order.
    time: Option<Hlc>,
    balance_total: i128,
    deposits: i128,
    withdrawals: i128,
    sent: &'a BTreeMap<ProcessId, Flow>,
    delivered: &'a BTreeMap<ProcessId, Flow>,
}

impl<'a> From<&'a RecordedState> for ProcessFigures<'a> {
    fn from(state: &'a RecordedState) -> Self {
        Self {
            position: state.position,
            time: Some(state.time),
            balance_total: state.balance_total,
            deposits: state.deposits,
            withdrawals: state.withdrawals,
            sent: &state.sent,
            delivered: &state.delivered,
        }
    }
}

impl ProcessFigures<'_> {
    fn is_older_than(&self, other: &Self) -> bool {
        match self.time.zip(other.time) {
            Some((here, there)) if here != there => here < there,
            _ => self.position <= other.position,
        }
    }

    // Whether these figures cannot follow the older ones in one journal.
    fn contradicts(&self, older: &Self) -> bool {
        self.position < older.position
            || self.deposits < older.deposits
            || self.withdrawals < older.withdrawals
    }
}

impl<'a> From<&'a ProcessTotals> for ProcessFigures<'a> {
    fn from(share: &'a ProcessTotals) -> Self {
        Self {
            position: share.position,
            time: None,
            balance_total: share.balance_total,
            deposits: share.deposits,
            withdrawals: share.withdrawals,
            sent: &share.sent,
            delivered: &share.delivered,
        }
    }
}

/// The movement of one process between two cuts, minor units. Negative if the second cut is the older one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Movement {
    /// The sum of all balances at the first cut.
    pub before: i128,
    /// The sum of all balances at the second cut.
    pub after: i128,
    /// The deposits between the cuts.
    pub deposits: i128,
    /// The withdrawals between the cuts.
    pub withdrawals: i128,
    /// The transfers sent, by destination.
    pub sent: BTreeMap<ProcessId, ChannelMovement>,
    /// The transfers delivered, by origin.
    pub received: BTreeMap<ProcessId, ChannelMovement>,
    /// For channels restarted since the older cut: the amount sent on them less the amount delivered, as of the older cut. The
    /// stores at their other ends were given up, and these amounts were booked as deposits or withdrawals. If the journal
    /// itself restarted: the balances of the lost store, negative.
    pub written_off: i128,
    /// Whether the newer cut is of another journal, because the store was lost between the cuts. The movement is then all that
    /// the new journal has; its opening balances are among its deposits.
    pub began_anew: bool,
    /// Why it is unknown whether the journal or a channel restarted between the cuts. The figures may then be the difference of
    /// two unrelated cuts.
    pub doubt: Option<Doubt>,
}

/// The transfers that passed one end of a channel between two cuts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChannelMovement {
    /// The number of transfers.
    pub transfers: i128,
    /// Their sum, minor units.
    pub amount: i128,
    /// Whether the channel restarted between the cuts, because the store at its other end was given up. The figures are then
    /// those since the restart.
    pub began_anew: bool,
}

impl Movement {
    /// The movement between two cuts of one process; the array holds what its journal has at these cuts, in the same order. The
    /// figures come from other processes: sums saturate at 128 bits, and a saturated sum explains nothing.
    #[must_use]
    pub fn between<'a>(
        before: impl Into<ProcessFigures<'a>>,
        after: impl Into<ProcessFigures<'a>>,
        [of_before, of_after]: [&JournalAtCut; 2],
    ) -> Self {
        let (before, after): (ProcessFigures<'_>, ProcessFigures<'_>) =
            (before.into(), after.into());
        match before.is_older_than(&after) {
            true => Self::forwards(before, after, Lineage::of(of_before, of_after)),
            false => Self::forwards(after, before, Lineage::of(of_after, of_before)).inverted(),
        }
    }

    fn forwards(before: ProcessFigures<'_>, after: ProcessFigures<'_>, kinship: Lineage) -> Self {
        if after.contradicts(&before) {
            return Self::of_another_journal(before, after);
        }
        match kinship {
            Lineage::Another => Self::of_another_journal(before, after),
            Lineage::OneJournal(anew) => Self::of_one_journal(before, after, anew),
            Lineage::Unknown(doubt) => Self {
                doubt: Some(doubt),
                ..Self::of_one_journal(before, after, BTreeSet::new())
            },
        }
    }

    fn of_another_journal(before: ProcessFigures<'_>, after: ProcessFigures<'_>) -> Self {
        let (before, nothing) = (before.balance_total, BTreeMap::new());
        let new = ProcessFigures {
            position: Lsn(0),
            balance_total: 0,
            deposits: 0,
            withdrawals: 0,
            sent: &nothing,
            delivered: &nothing,
            ..after
        };
        Self {
            before,
            written_off: before.saturating_neg(),
            began_anew: true,
            ..Self::of_one_journal(new, after, BTreeSet::new())
        }
    }

    // Both directions of a channel restart together: where the figures of one decreased, those of the other may only have
    // grown.
    fn of_one_journal(
        before: ProcessFigures<'_>,
        after: ProcessFigures<'_>,
        mut anew: BTreeSet<ProcessId>,
    ) -> Self {
        anew.extend(gone_back(before.sent, after.sent).cloned());
        anew.extend(gone_back(before.delivered, after.delivered).cloned());
        let (sent, sent_off) = passed(before.sent, after.sent, &anew);
        let (received, received_off) = passed(before.delivered, after.delivered, &anew);
        Self {
            before: before.balance_total,
            after: after.balance_total,
            deposits: after.deposits.saturating_sub(before.deposits),
            withdrawals: after.withdrawals.saturating_sub(before.withdrawals),
            sent,
            received,
            written_off: sent_off.saturating_sub(received_off),
            began_anew: false,
            doubt: None,
        }
    }

    // The same movement from the newer cut to the older.
    fn inverted(self) -> Self {
        let inverted = |channels: &BTreeMap<ProcessId, ChannelMovement>| {
            let channels = channels.iter();
            let channels = channels.map(|(process, passed)| (process.clone(), passed.inverted()));
            channels.collect()
        };
        Self {
            before: self.after,
            after: self.before,
            deposits: self.deposits.saturating_neg(),
            withdrawals: self.withdrawals.saturating_neg(),
            sent: inverted(&self.sent),
            received: inverted(&self.received),
            written_off: self.written_off.saturating_neg(),
            ..self
        }
    }

    /// The amount sent to all other processes.
    #[must_use]
    pub fn transfers_out(&self) -> i128 {
        sum(&self.sent)
    }

    /// The amount received from all other processes.
    #[must_use]
    pub fn transfers_in(&self) -> i128 {
        sum(&self.received)
    }

    /// Whether the movement explains the whole difference of the balances, and both cuts are known to be related.
    #[must_use]
    pub fn is_explained(&self) -> bool {
        self.doubt.is_none() && self.adds_up()
    }

    /// Why the difference counts as unexplained although it adds up.
    #[must_use]
    pub fn unexplained(&self) -> Option<&'static str> {
        let doubt = self.doubt.filter(|_| self.adds_up());
        doubt.map(Doubt::as_str)
    }

    fn adds_up(&self) -> bool {
        let explained = self
            .before
            .checked_add(self.deposits)
            .and_then(|sum| sum.checked_sub(self.withdrawals))
            .and_then(|sum| sum.checked_sub(self.transfers_out()))
            .and_then(|sum| sum.checked_add(self.transfers_in()))
            .and_then(|sum| sum.checked_add(self.written_off));
        explained == Some(self.after)
    }
}

fn sum(channels: &BTreeMap<ProcessId, ChannelMovement>) -> i128 {
    let amounts = channels.values().map(|passed| passed.amount);
    amounts.fold(0, i128::saturating_add)
}

impl ChannelMovement {
    // The movement, and the amount that had passed by the older cut if the channel restarted since.
    fn between(before: Flow, after: Flow, began_anew: bool) -> (Self, i128) {
        let (before, off) = match began_anew {
            true => (Flow::default(), before.amount),
            false => (before, 0),
        };
        let passed = Self {
            transfers: i128::from(after.transfers) - i128::from(before.transfers),
            amount: after.amount.saturating_sub(before.amount),
            began_anew,
        };
        (passed, off)
    }

    fn inverted(self) -> Self {
        Self {
            transfers: -self.transfers,
            amount: self.amount.saturating_neg(),
            ..self
        }
    }
}

// The figures of a channel never decrease, so a channel with less than before was restarted.
fn gone_back<'a>(
    before: &'a BTreeMap<ProcessId, Flow>,
    after: &BTreeMap<ProcessId, Flow>,
) -> impl Iterator<Item = &'a ProcessId> {
    let gone_back = before.iter().filter(|(process, before)| {
        let after = after.get(process).copied().unwrap_or_default();
        after.sequence < before.sequence
            || after.transfers < before.transfers
            || after.amount < before.amount
    });
    gone_back.map(|(process, _)| process)
}

// The movements by process, and the sum of what is written off. A channel known at only one of the cuts had no messages at the
// other.
fn passed(
    before: &BTreeMap<ProcessId, Flow>,
    after: &BTreeMap<ProcessId, Flow>,
    anew: &BTreeSet<ProcessId>,
) -> (BTreeMap<ProcessId, ChannelMovement>, i128) {
    let processes: BTreeSet<&ProcessId> = before.keys().chain(after.keys()).collect();
    let flow = |flows: &BTreeMap<ProcessId, Flow>, process: &ProcessId| {
        flows.get(process).copied().unwrap_or_default()
    };
    let (mut channels, mut written_off) = (BTreeMap::new(), 0_i128);
    for process in processes {
        let (before, after) = (flow(before, process), flow(after, process));
        let (passed, off) = ChannelMovement::between(before, after, anew.contains(process));
        channels.insert(process.clone(), passed);
        written_off = written_off.saturating_add(off);
    }
    (channels, written_off)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::history::audit::Absence;
    use crate::process::clock::Lamport;
    use crate::process::ids::Seq;

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    // Both states are of one journal in which no store was given up.
    fn between(before: &RecordedState, after: &RecordedState) -> Movement {
        Movement::between(before, after, [&has(before, &[]), &has(after, &[])])
    }

    // The journal's totals at a cut, with the newest turn that gave up each store.
    fn has(state: &RecordedState, given_up: &[(&str, u64)]) -> JournalAtCut {
        let given_up = given_up.iter();
        let given_up = given_up.map(|(peer, turn)| (process(peer), Lsn(*turn)));
        Ok(ProcessTotals {
            store: Some([1; 16]),
            given_up: Some(given_up.collect()),
            ..ProcessTotals::from(state)
        })
    }

    pub(in super::super) fn state(
        balances: i128,
        deposits: i128,
        sent: i128,
        delivered: i128,
    ) -> RecordedState {
        let flow = |amount| {
            let flow = Flow {
                sequence: Seq(1),
                transfers: 1,
                amount,
            };
            BTreeMap::from([(process("b"), flow)])
        };
        RecordedState {
            position: Lsn(1),
            time: Hlc(1),
            clock: Lamport(1),
            accounts: 1,
            balance_total: balances,
            deposits,
            sent: flow(sent),
            delivered: flow(delivered),
            ..RecordedState::default()
        }
    }

    #[test]
    fn what_passed_explains_the_difference_in_both_directions() {
        let (older, mut newer) = (state(100, 100, 10, 10), state(135, 150, 40, 25));
        (newer.position, newer.time) = (Lsn(2), Hlc(2));
        let forward = between(&older, &newer);
        assert_eq!((forward.deposits, forward.transfers_out()), (50, 30));
        assert!(forward.is_explained());
        let backward = between(&newer, &older);
        assert_eq!((backward.deposits, backward.transfers_in()), (-50, -15));
        assert!(backward.is_explained());
        let lost = between(&older, &state(134, 150, 40, 25));
        assert!(!lost.is_explained());
        let absurd = state(i128::MAX, i128::MIN, i128::MAX, i128::MIN);
        assert!(!between(&older, &absurd).is_explained());
    }

    // Without this, a difference across `store forget` shows negative transfers and withdrawals that no client made.
    #[test]
    fn a_channel_that_began_anew_shows_what_has_passed_since_and_what_was_written_off() {
        let later = |mut state: RecordedState| {
            (state.position, state.time) = (Lsn(9), Hlc(9));
            state
        };
        // Before the older cut, 30 was sent and 10 delivered; then 5 more was sent, 25 written off, and 2 sent to the new
        // store.
        let older = state(80, 100, 30, 10);
        let newer = later(RecordedState {
            withdrawals: 25,
            delivered: BTreeMap::new(),
            ..state(73, 100, 2, 0)
        });
        let forward = between(&older, &newer);
        let to_b = ChannelMovement {
            transfers: 1,
            amount: 2,
            began_anew: true,
        };
        assert_eq!(forward.sent[&process("b")], to_b);
        assert!(forward.received[&process("b")].began_anew);
        assert_eq!((forward.transfers_out(), forward.transfers_in()), (2, 0));
        assert_eq!((forward.withdrawals, forward.written_off), (25, 20));
        assert!(forward.is_explained() && !forward.began_anew);
        let backward = between(&newer, &older);
        assert_eq!((backward.transfers_out(), backward.written_off), (-2, -20));
        assert!(backward.is_explained());
    }

    // Without this, a store that replaced a lost one shows negative deposits.
    #[test]
    fn a_store_in_the_place_of_a_lost_one_shows_what_it_knows() {
        let mut older = state(70, 100, 30, 0);
        older.position = Lsn(8);
        let mut newer = state(45, 40, 0, 5);
        (newer.position, newer.time) = (Lsn(3), Hlc(9));
        let forward = between(&older, &newer);
        assert!(forward.is_explained() && forward.began_anew);
        assert_eq!((forward.before, forward.after), (70, 45));
        assert_eq!((forward.deposits, forward.transfers_in()), (40, 5));
        assert_eq!((forward.transfers_out(), forward.written_off), (0, -70));
        let backward = between(&newer, &older);
        assert_eq!((backward.before, backward.deposits), (45, -40));
        assert!(backward.is_explained());
    }

    fn later(mut state: RecordedState) -> RecordedState {
        (state.position, state.time) = (Lsn(9), Hlc(9));
        state
    }

    // Without this, the difference between the lost channel and its successor counts as the movement of one channel.
    #[test]
    fn a_channel_that_has_outgrown_what_it_was_is_told_by_the_turn_that_gave_the_store_up() {
        // Before the older cut, 30 was sent and 10 delivered. Then 20 was written off, 40 sent to the new store and 15
        // delivered from it.
        let older = state(80, 100, 30, 10);
        let newer = later(RecordedState {
            withdrawals: 20,
            ..state(55, 100, 40, 15)
        });
        let known = has(&older, &[("b", 1)]);
        for (given_up, is_anew) in [(2, true), (9, true), (1, false)] {
            let told = has(&newer, &[("b", given_up)]);
            let forward = Movement::between(&older, &newer, [&known, &told]);
            let (sent, received) = (forward.sent[&process("b")], forward.received[&process("b")]);
            assert_eq!([sent.began_anew, received.began_anew], [is_anew; 2]);
            let expected = if is_anew { (40, 15, 20) } else { (10, 5, 0) };
            let figures = (sent.amount, received.amount, forward.written_off);
            assert_eq!(figures, expected);
            let backward = Movement::between(&newer, &older, [&told, &known]);
            assert_eq!(backward.sent[&process("b")].amount, -expected.0);
            assert!(forward.is_explained() && backward.is_explained());
        }
        // The figures of one direction decreased, so the other direction restarted too.
        let newer = later(state(80, 100, 2, 15));
        let back = between(&older, &newer);
        assert_eq!(back.received[&process("b")].amount, 15);
    }

    // Without this, a replacement store with larger figures than the lost one passes for the lost one.
    #[test]
    fn a_journal_that_does_not_have_the_older_cut_is_another_and_where_nothing_tells_that_is_said()
    {
        let older = state(80, 100, 30, 10);
        let newer = later(state(155, 180, 40, 15));
        let other: JournalAtCut = Err(Doubt::Absent(Absence::OtherJournal));
        let anew = Movement::between(&older, &newer, [&other, &has(&newer, &[])]);
        assert!(anew.began_anew && anew.is_explained());
        assert_eq!(
            (anew.deposits, anew.transfers_out(), anew.written_off),
            (180, 40, -80)
        );
        let down: JournalAtCut = Err(Doubt::Absent(Absence::Down));
        for told in [
            [&down, &down],
            [&has(&older, &[]), &down],
            [&other, &other],
            [&has(&older, &[]), &other],
        ] {
            let doubtful = Movement::between(&older, &newer, told);
            assert!(!doubtful.began_anew && !doubtful.is_explained());
            assert!(doubtful.unexplained().is_some());
        }
        // A difference that does not add up needs no other reason.
        let wrong = Movement::between(&older, &later(state(1, 180, 40, 15)), [&down, &down]);
        assert_eq!((wrong.is_explained(), wrong.unexplained()), (false, None));
    }
}
