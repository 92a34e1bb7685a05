//! An audit: the cluster at one cut, from the totals of its processes: sums, money in flight, and whether they balance. A
//! process without an answer is never silently left out of a sum: the audit is then incomplete and names the process, the
//! reason, and the age of its last known totals.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use super::global::{LeftOut, Totals};
use super::process_totals::{ProcessTotals, StoreId, StoresKnown};
use super::verify::{Check, Verification, conservation, consistent_cut};
use crate::process::channel::Flow;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId, SnapshotId};

/// The totals of the cluster at a cut.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// The last clock value of the cut, if the audit is of an instant.
    pub at: Option<Hlc>,
    /// The channels of the audit.
    pub channels: BTreeSet<ChannelId>,
    /// The known totals of each process. A process without known totals is only in `missing`.
    pub shares: BTreeMap<ProcessId, ProcessTotals>,
    /// The processes without an answer at the cut. If they have totals, these are older than the cut.
    pub missing: BTreeMap<ProcessId, Absent>,
    /// The processes that had not joined the cluster by the cut, and the stores whose journals begin after it
    /// ([`Audit::take_back_doubted`]).
    pub later: BTreeMap<ProcessId, StoreId>,
    /// What each process that answered knows now of the stores of the others, if it says so.
    pub known_now: BTreeMap<ProcessId, StoresKnown>,
}

/// A process whose totals at the cut are unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// The reason.
    pub reason: Absence,
    /// The time and the snapshot of the older totals used instead; `None` if there are none.
    pub known: Option<(Hlc, SnapshotId)>,
}

/// Why the totals of a process are unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absence {
    /// It was never seen, or no other process had recognized it at the cut.
    NeverSeen,
    /// It was seen before and is down.
    Down,
    /// It is up and does not answer.
    NoAnswer,
    /// Its clock has not passed the instant.
    ClockBehind,
    /// It is a foreign process, which answers no queries about its past.
    OtherMake,
    /// Its journal begins after the instant, has a gap there, or is not that of the store that the others knew then: the store
    /// was lost, replaced, or put back from an older copy.
    OtherJournal,
    /// The archive, from which the audit is made, has no journal of it or ends before the instant.
    NotArchived,
}

impl Absence {
    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NeverSeen => "never_seen",
            Self::Down => "down",
            Self::NoAnswer => "no_answer",
            Self::ClockBehind => "clock_behind",
            Self::OtherMake => "other_make",
            Self::OtherJournal => "other_journal",
            Self::NotArchived => "not_archived",
        }
    }
}

/// The flow at both ends of a channel; `None` where an end is unknown at the cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChannelFlow {
    /// The flow at the sender.
    pub sent: Option<Flow>,
    /// The flow at the receiver.
    pub delivered: Option<Flow>,
}

impl ChannelFlow {
    /// What was sent and not delivered: messages, transfers, and their amount in minor units; `None` if an end is unknown.
    #[must_use]
    pub fn in_flight(&self) -> Option<[i128; 3]> {
        let (sent, delivered) = (self.sent?, self.delivered?);
        let less = |sent: u64, delivered: u64| i128::from(sent) - i128::from(delivered);
        Some([
            less(sent.sequence.0, delivered.sequence.0),
            less(sent.transfers, delivered.transfers),
            sent.amount - delivered.amount,
        ])
    }
}

impl Audit {
    /// Whether the totals of every process are those at the cut.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.missing.is_empty()
    }

    /// Processes that another process knew at the cut and that have left the cluster since. Their totals at the cut are
    /// missing.
    #[must_use]
    pub fn removed(&self) -> BTreeSet<ProcessId> {
        let known = self.shares.values().flat_map(|share| &share.peers);
        let known = known.filter(|(_, store)| !store.is_given_up);
        let is_here = |process: &ProcessId| {
            self.shares.contains_key(process)
                || self.missing.contains_key(process)
                || self.later.contains_key(process)
        };
        let removed = known.filter(|(process, _)| !is_here(process));
        removed.map(|(process, _)| process.clone()).collect()
    }

    /// Adds the channels between a process and all those whose totals show a message sent to it or delivered from it.
    pub fn add_channels_of(&mut self, removed: &ProcessId) {
        let mut found = Vec::new();
        for (process, share) in &self.shares {
            let (from, to) = (process.clone(), removed.clone());
            let there = ChannelId { from, to };
            let back = there.reversed();
            found.extend(share.sent.contains_key(removed).then_some(there));
            found.extend(share.delivered.contains_key(removed).then_some(back));
        }
        self.channels.extend(found);
    }

    /// The processes whose totals do not count, with the reason: another process had given up their store, knew a different
    /// store, or has received more from them than they have sent; or no process is missing and no other process had recognized
    /// them. So in a complete audit the journal of another process names each store, and a store that replaced it later cannot
    /// answer for it, whatever its clock.
    #[must_use]
    pub fn strangers(&self) -> BTreeMap<ProcessId, Absence> {
        let acquainted = self.acquainted();
        let is_judge = |one: &&ProcessId| acquainted.is_empty() || acquainted.contains(one);
        let is_denied = |process: &ProcessId| {
            let mut judges = self.present().filter(|one| acquainted.contains(one));
            judges.any(|one| self.shares[one].denies(process, &self.shares[process]))
        };
        let strangers = self
            .present()
            .filter(|process| !acquainted.contains(process) || is_denied(process));
        let why = |process: &ProcessId| {
            let mut judges = self.present().filter(is_judge);
            match judges.any(|one| self.shares[one].peers.contains_key(process)) {
                true => Absence::OtherJournal,
                false => Absence::NeverSeen,
            }
        };
        let strangers = strangers.map(|process| (process.clone(), why(process)));
        let counts = |why: Absence| why == Absence::NeverSeen && !self.missing.is_empty();
        let strangers = strangers.filter(|(_, why)| !counts(*why));
        let behind = self
            .behind()
            .map(|process| (process, Absence::OtherJournal));
        strangers.chain(behind).collect()
    }

    /// Whether the totals of a process are sure to count: the audit is complete, or the process and another one with totals had
    /// recognized each other by then. Where totals are missing, nothing else shows that its store has not replaced another.
    #[must_use]
    pub fn vouches_for(&self, process: &ProcessId) -> bool {
        let mut present = self.present();
        let is_present = self.present().any(|one| one == process);
        let mut is_met = || present.any(|one| one != process && self.know_each_other(one, process));
        is_present && (self.is_complete() || is_met())
    }

    // The processes that have sent less than was delivered from them, in messages or money: their store was put back to an
    // older state.
    fn behind(&self) -> impl Iterator<Item = ProcessId> {
        let passed = self.passed().filter(|(_, passed)| {
            let in_flight = passed.in_flight();
            in_flight.is_some_and(|figures| figures.iter().any(|figure| *figure < 0))
        });
        passed.map(|(channel, _)| channel.from.clone())
    }

    // The processes whose totals are those at the cut.
    pub(super) fn present(&self) -> impl Iterator<Item = &ProcessId> {
        let shares = self.shares.keys();
        shares.filter(|process| !self.missing.contains_key(*process))
    }

    // The largest group of processes that knew each other at the cut; empty if several groups are equally large, because then
    // nothing shows which one is the cluster. The older totals of a missing process do not name its store and would connect all
    // groups.
    fn acquainted(&self) -> BTreeSet<&ProcessId> {
        let mut most = BTreeSet::new();
        let mut is_undecided = false;
        let mut left: BTreeSet<&ProcessId> = self.present().collect();
        while let Some(first) = left.pop_first() {
            let mut found = BTreeSet::from([first]);
            let mut frontier = vec![first];
            while let Some(one) = frontier.pop() {
                let others = left.iter().filter(|other| self.know_each_other(one, other));
                let others: Vec<_> = others.copied().collect();
                for other in others {
                    left.remove(other);
                    found.insert(other);
                    frontier.push(other);
                }
            }
            match found.len().cmp(&most.len()) {
                Ordering::Greater => (most, is_undecided) = (found, false),
                Ordering::Equal => is_undecided = true,
                Ordering::Less => {}
            }
        }
        match is_undecided {
            true => BTreeSet::new(),
            false => most,
        }
    }

    fn know_each_other(&self, one: &ProcessId, other: &ProcessId) -> bool {
        let (here, there) = (&self.shares[one], &self.shares[other]);
        here.knows(other, there) && there.knows(one, here)
    }

    /// Every channel with its flow at both ends, ordered by origin, then destination.
    pub fn passed(&self) -> impl Iterator<Item = (&ChannelId, ChannelFlow)> {
        let is_known = |process: &ProcessId| {
            let has_share = self.shares.contains_key(process);
            self.later.contains_key(process) || has_share && !self.missing.contains_key(process)
        };
        let share = |process: &ProcessId| self.shares.get(process);
        self.channels.iter().map(move |channel| {
            let ChannelId { from, to } = channel;
            let sent = share(from).and_then(|share| share.sent.get(to));
            let delivered = share(to).and_then(|share| share.delivered.get(from));
            let flow =
                |end, flow: Option<&Flow>| is_known(end).then(|| flow.copied().unwrap_or_default());
            let passed = ChannelFlow {
                sent: flow(from, sent),
                delivered: flow(to, delivered),
            };
            (channel, passed)
        })
    }

    /// What the sums leave out or hold as of an earlier instant; `None` if they are complete.
    #[must_use]
    pub fn left_out(&self) -> Option<LeftOut<'_>> {
        let missing = self.missing.keys();
        let (earlier, processes) = missing.partition(|process| self.shares.contains_key(*process));
        let unknown = self
            .passed()
            .filter(|(_, passed)| passed.in_flight().is_none());
        (!self.is_complete()).then(|| LeftOut {
            processes,
            earlier,
            channels: unknown.map(|(channel, _)| channel).collect(),
        })
    }

    /// The sums over the known totals. In flight are the channels with both ends known. [`Audit::left_out`] names the rest.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for share in self.shares.values() {
            totals.balances += share.balance_total;
            totals.deposits += share.deposits;
            totals.withdrawals += share.withdrawals;
        }
        let amounts = self.passed().filter_map(|(_, passed)| passed.in_flight());
        totals.in_flight = amounts.map(|[_, _, amount]| amount).sum();
        totals
    }

    /// Compares everything that is comparable.
    #[must_use]
    pub fn verify(&self) -> Verification {
        let both_ends = self.passed().filter_map(|(channel, passed)| {
            Some(consistent_cut(channel, passed.sent?, passed.delivered?))
        });
        let mut checks: Vec<Check> = both_ends.collect();
        let holds = |checks: &[Check]| checks.iter().all(|check| check.holds);
        let compared = (!checks.is_empty()).then(|| holds(&checks));
        let conserved = self.is_complete().then(|| {
            checks.push(conservation(&self.totals()));
            holds(&checks)
        });
        Verification {
            conserved,
            consistent_cut: compared.filter(|holds| self.is_complete() || !holds),
            checks,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::process_totals::KnownStore;
    use super::*;
    use crate::process::ids::{Lsn, Seq};

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn share(store: u8, peers: &[(&str, u8, bool)]) -> ProcessTotals {
        let known = |(id, store, is_given_up): &(&str, u8, bool)| {
            let (store, is_given_up) = ([*store; 16], *is_given_up);
            let known = KnownStore { store, is_given_up };
            (process(id), known)
        };
        ProcessTotals {
            position: Lsn(1),
            store: Some([store; 16]),
            peers: peers.iter().map(known).collect(),
            ..ProcessTotals::default()
        }
    }

    fn strangers(shares: &[(&str, ProcessTotals)]) -> Vec<(String, Absence)> {
        strangers_without(&[], shares)
    }

    // Without this, a store put back from an older copy would answer for the time after the copy was made.
    #[test]
    fn a_share_that_has_sent_less_than_was_delivered_does_not_count() {
        let flow = |number| Flow {
            sequence: Seq(number),
            ..Flow::default()
        };
        let mut a = share(1, &[("b", 2, false)]);
        let mut b = share(2, &[("a", 1, false)]);
        b.delivered.insert(process("a"), flow(3));
        let found = |a: &ProcessTotals| strangers(&[("a", a.clone()), ("b", b.clone())]);
        assert_eq!(found(&a), [("a".to_owned(), Absence::OtherJournal)]);
        a.sent.insert(process("b"), flow(3));
        assert_eq!(found(&a), []);
        // It has sent the same number of messages since, with less money.
        let paid = |amount| Flow { amount, ..flow(3) };
        b.delivered.insert(process("a"), paid(44));
        a.sent.insert(process("b"), paid(2));
        let found = strangers(&[("a", a), ("b", b)]);
        assert_eq!(found, [("a".to_owned(), Absence::OtherJournal)]);
    }

    fn strangers_without(
        down: &[&str],
        shares: &[(&str, ProcessTotals)],
    ) -> Vec<(String, Absence)> {
        let shares = shares.iter().cloned();
        let pair = |from: &str, to: &str| ChannelId {
            from: process(from),
            to: process(to),
        };
        let absent = |id: &&str| {
            let (reason, known) = (Absence::Down, None);
            (process(id), Absent { reason, known })
        };
        let audit = Audit {
            at: None,
            channels: BTreeSet::from([pair("a", "b"), pair("b", "a")]),
            shares: shares.map(|(id, share)| (process(id), share)).collect(),
            missing: down.iter().map(absent).collect(),
            ..Audit::default()
        };
        let strangers = audit.strangers().into_iter();
        strangers.map(|(id, why)| (id.to_string(), why)).collect()
    }

    // Without this, a store that replaced the one of that time would answer for it.
    #[test]
    fn the_share_of_another_store_than_the_one_that_was_known_does_not_count() {
        let [a, b] = [
            share(1, &[("b", 2, false), ("c", 3, false)]),
            share(2, &[("a", 1, false)]),
        ];
        let other = |why| vec![("c".to_owned(), why)];
        let known = share(3, &[("a", 1, false)]);
        let all =
            |c: &ProcessTotals| strangers(&[("a", a.clone()), ("b", b.clone()), ("c", c.clone())]);
        assert_eq!(all(&known), [], "c is known by way of a");
        assert_eq!(all(&share(4, &[])), other(Absence::OtherJournal));

        let given_up = share(1, &[("b", 2, false), ("c", 3, true)]);
        let found = strangers(&[("a", given_up), ("b", b.clone()), ("c", known.clone())]);
        assert_eq!(
            found,
            other(Absence::OtherJournal),
            "it turned up after all"
        );

        let unmet = share(1, &[("b", 2, false)]);
        let found = strangers(&[("a", unmet), ("b", b.clone()), ("c", known)]);
        assert_eq!(found, other(Absence::NeverSeen));
        let older = ProcessTotals {
            store: None,
            ..share(0, &[])
        };
        assert_eq!(all(&older), [], "an older program does not say");
    }

    // Without this, the money of a store that one process has written off would count while another process still knows the
    // store.
    #[test]
    fn a_store_that_one_process_has_given_up_does_not_count_by_way_of_another() {
        let b = share(2, &[("a", 1, false), ("c", 3, false)]);
        let found = |a: ProcessTotals, c: u8| {
            let c = share(c, &[("a", 1, false), ("b", 2, false)]);
            strangers(&[("a", a), ("b", b.clone()), ("c", c)])
        };
        let other = [("c".to_owned(), Absence::OtherJournal)];
        let given_up = share(1, &[("b", 2, false), ("c", 3, true)]);
        assert_eq!(found(given_up, 3), other);
        let replaced = share(1, &[("b", 2, false), ("c", 4, false)]);
        assert_eq!(found(replaced.clone(), 3), other, "it is back");
        assert_eq!(found(replaced, 4), other, "b has not given it up yet");
    }

    // Without this, the order of the ids would decide whose store was the one of that time.
    #[test]
    fn of_two_that_knew_other_stores_neither_counts() {
        let shares = [("a", share(1, &[("b", 2, false)])), ("b", share(4, &[]))];
        let found = strangers(&shares);
        let expected = [
            ("a".to_owned(), Absence::NeverSeen),
            ("b".to_owned(), Absence::OtherJournal),
        ];
        assert_eq!(found, expected);
    }

    // Without this, the totals of a wiped store would count while another process is down.
    #[test]
    fn the_older_share_of_a_process_that_is_down_acquaints_no_others() {
        let older = ProcessTotals {
            store: None,
            ..share(0, &[])
        };
        let shares = [
            ("a", share(1, &[("b", 2, false), ("c", 3, false)])),
            ("b", share(2, &[("a", 1, false), ("c", 3, false)])),
            ("c", share(4, &[])),
            ("d", older),
        ];
        let found = strangers_without(&["d"], &shares);
        assert_eq!(found, [("c".to_owned(), Absence::OtherJournal)]);
    }
}
