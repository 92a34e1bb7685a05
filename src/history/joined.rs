//! Processes that joined the cluster after the cut of an audit. They are no part of it, so it stays what it was before they
//! joined.
//!
//! A journal that begins after the cut may also be that of a store that took the place of a lost one, and the lost one may have
//! held money at the cut. So a process has joined later only if every other one answers, none of them knew it at the cut, and
//! none has ever known another store of it.

use std::collections::BTreeMap;

use super::audit::{Absence, Audit};
use super::process_totals::StoreId;
use crate::process::ids::{ChannelId, ProcessId};

impl Audit {
    /// Takes the processes out of [`Audit::later`] if one of them may have been in the cluster at the cut, and returns them: they
    /// are missing. To be called again when others were found to be missing.
    #[must_use]
    pub fn take_back_doubted(&mut self) -> BTreeMap<ProcessId, Absence> {
        if self.is_sure_of_later() {
            return BTreeMap::new();
        }
        let doubted = std::mem::take(&mut self.later).into_keys();
        doubted
            .map(|process| (process, Absence::OtherJournal))
            .collect()
    }

    /// Leaves out the channels of the processes that joined later, but for those into which something was sent that still waits
    /// for them.
    pub fn leave_out_unused_channels(&mut self) {
        let Self {
            shares,
            later,
            channels,
            ..
        } = self;
        let is_sent = |channel: &ChannelId| {
            let from = shares.get(&channel.from);
            from.is_some_and(|from| from.sent.contains_key(&channel.to))
        };
        channels.retain(|channel| {
            let is_of_later = later.contains_key(&channel.from) || later.contains_key(&channel.to);
            !is_of_later || is_sent(channel)
        });
    }

    fn is_sure_of_later(&self) -> bool {
        let answered = || self.shares.keys().chain(self.later.keys());
        let all_told = || answered().all(|process| self.known_now.contains_key(process));
        let is_unknown = |later| {
            let mut shares = self.shares.values();
            !shares
                .any(|share| share.peers.contains_key(later) || share.delivered.contains_key(later))
        };
        let mut later = self.later.iter();
        later.len() == 0
            || self.is_complete()
                && all_told()
                && self.is_cluster()
                && self.later.keys().all(is_unknown)
                && later.all(|(process, store)| self.has_had_only(process, *store))
    }

    // Whether there was a cluster at the cut: the store of each process is named in the journal of another one. That of a single
    // process must be named by one that joined later.
    fn is_cluster(&self) -> bool {
        let mut shares = self.shares.iter();
        match (shares.next(), shares.next()) {
            (None, _) => false,
            (Some(_), Some(_)) => true,
            (Some((process, share)), None) => share.store.is_some_and(|store| {
                let names = |later| {
                    let told = self.known_now.get(later);
                    told.is_some_and(|stores| stores.peers.contains_key(process))
                };
                self.later.keys().any(names) && self.has_had_only(process, store)
            }),
        }
    }

    // Whether no other process knows now that this one has had another store than this.
    fn has_had_only(&self, process: &ProcessId, store: StoreId) -> bool {
        let mut others = self.known_now.iter().filter(|(one, _)| *one != process);
        !others.any(|(_, stores)| stores.have_another(process, store))
    }
}

#[cfg(test)]
mod tests {
    use super::super::audit::Absent;
    use super::super::process_totals::{KnownStore, ProcessTotals, StoresKnown};
    use super::*;
    use crate::process::channel::Flow;
    use crate::process::ids::{Lsn, Seq};

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn known(id: &str, store: u8) -> (ProcessId, KnownStore) {
        let known = KnownStore {
            store: [store; 16],
            is_given_up: false,
        };
        (process(id), known)
    }

    // At the cut a and b knew each other. Now each of them knows c, which has joined with store 3.
    fn joined() -> Audit {
        let share = |store, peer| ProcessTotals {
            position: Lsn(1),
            store: Some([store; 16]),
            peers: [peer].into(),
            ..ProcessTotals::default()
        };
        let now = |peers: [(ProcessId, KnownStore); 2]| StoresKnown {
            peers: peers.into(),
            ..StoresKnown::default()
        };
        let [a, b, c] = ["a", "b", "c"].map(process);
        Audit {
            shares: [
                (a.clone(), share(1, known("b", 2))),
                (b.clone(), share(2, known("a", 1))),
            ]
            .into(),
            later: [(c.clone(), [3; 16])].into(),
            known_now: [
                (a, now([known("b", 2), known("c", 3)])),
                (b, now([known("a", 1), known("c", 3)])),
                (c, now([known("a", 1), known("b", 2)])),
            ]
            .into(),
            ..Audit::default()
        }
    }

    fn doubted(change: impl FnOnce(&mut Audit)) -> usize {
        let mut audit = joined();
        change(&mut audit);
        audit.take_back_doubted().len()
    }

    // Without this, a process that joins would make all audits before incomplete.
    #[test]
    fn a_process_that_no_other_knew_and_that_has_had_one_store_has_joined_later() {
        assert_eq!(doubted(|_| ()), 0);
        let unmet = |audit: &mut Audit| {
            let stores = audit.known_now.values_mut();
            stores.for_each(|stores| _ = stores.peers.remove(&process("c")));
        };
        assert_eq!(doubted(unmet), 0, "it has met none of them yet");
    }

    // Without this, money that a lost store held at the cut would silently be no part of a complete audit.
    #[test]
    fn a_process_that_may_have_had_another_store_is_missing() {
        let [a, b, c] = ["a", "b", "c"].map(process);
        let knew = |audit: &mut Audit| {
            let share = audit.shares.get_mut(&a).expect("it is there");
            share.peers.extend([known("c", 9)]);
        };
        assert_eq!(doubted(knew), 1, "it was known at the cut");
        let given_up = |audit: &mut Audit| {
            let stores = audit.known_now.get_mut(&b).expect("it is there");
            stores.given_up.insert(c.clone());
        };
        assert_eq!(doubted(given_up), 1, "a store of it was given up since");
        let replaced = |audit: &mut Audit| {
            let stores = audit.known_now.get_mut(&b).expect("it is there");
            stores.peers.extend([known("c", 9)]);
        };
        assert_eq!(doubted(replaced), 1, "b waits for the lost store");
        let older = |audit: &mut Audit| _ = audit.known_now.remove(&b);
        assert_eq!(doubted(older), 1, "the program of b is older");
        let down = |audit: &mut Audit| {
            audit.shares.remove(&b);
            let (reason, known) = (Absence::Down, None);
            audit.missing.insert(b.clone(), Absent { reason, known });
        };
        assert_eq!(doubted(down), 1, "b might have known it");
        assert_eq!(doubted(|audit| audit.shares.clear()), 1, "nobody was there");
    }

    // Without this, a new store of the first process could answer for the time when it was alone.
    #[test]
    fn a_single_process_is_a_cluster_if_one_that_joined_later_knows_its_store() {
        let [a, b, c] = ["a", "b", "c"].map(process);
        let alone = |audit: &mut Audit| {
            audit.shares.remove(&b);
            audit.later.insert(b.clone(), [2; 16]);
            let share = audit.shares.get_mut(&a).expect("it is there");
            share.peers.clear();
        };
        assert_eq!(doubted(alone), 0);
        let unmet = |audit: &mut Audit| {
            alone(audit);
            for one in [&b, &c] {
                let stores = audit.known_now.get_mut(one).expect("it is there");
                stores.peers.remove(&a);
            }
        };
        assert_eq!(doubted(unmet), 2);
        let replaced = |audit: &mut Audit| {
            alone(audit);
            let share = audit.shares.get_mut(&a).expect("it is there");
            share.store = Some([9; 16]);
        };
        assert_eq!(doubted(replaced), 2);
    }

    // Without this, what was sent to a process before its first start would be no part of the money in flight.
    #[test]
    fn what_was_sent_to_a_process_that_joins_later_is_in_flight() {
        let [a, b, c] = ["a", "b", "c"].map(process);
        let channel = |from: &ProcessId, to: &ProcessId| ChannelId {
            from: from.clone(),
            to: to.clone(),
        };
        let mut audit = joined();
        audit.channels = [
            channel(&a, &b),
            channel(&a, &c),
            channel(&b, &c),
            channel(&c, &a),
        ]
        .into();
        let paid = Flow {
            sequence: Seq(1),
            transfers: 1,
            amount: 5,
        };
        let share = audit.shares.get_mut(&a).expect("it is there");
        share.sent.insert(c.clone(), paid);
        audit.leave_out_unused_channels();
        let left: Vec<_> = audit.channels.iter().cloned().collect();
        assert_eq!(left, [channel(&a, &b), channel(&a, &c)]);
        assert_eq!(audit.totals().in_flight, 5);
    }
}
