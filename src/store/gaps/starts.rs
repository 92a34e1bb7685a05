//! The starts of a store. A peer remembers one start of this store. If that start is not one of its own, the peer has
//! met another copy of the store, and this one continues from an older state.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::{Gaps, ranges};
use crate::process::identity::Identity;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::engine::schema;
use crate::store::engine::schema::{BOOT, RUN};
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

/// Older starts are forgotten. A peer that was away for more starts than this cannot be compared.
const STARTS_MAX: usize = 256;

/// The starts of a store by boot number.
pub(in crate::store) struct Starts(BTreeMap<u64, Start>);

struct Start {
    run: u64,
    /// The end of the journal at the start.
    end: Lsn,
}

impl Starts {
    pub(in crate::store) fn open(meta: &sled::Tree) -> Result<Self, StoreError> {
        let mut ends = schema::numbered(meta, "end-")?;
        let runs = schema::numbered(meta, "run-")?.into_iter();
        let starts = runs.filter_map(|(boot, run)| {
            let end = Lsn(ends.remove(&boot)?);
            Some((boot, Start { run, end }))
        });
        Ok(Self(starts.collect()))
    }

    /// Counts a start; it becomes durable with what is written next.
    pub(in crate::store) fn count(
        &mut self,
        meta: &sled::Tree,
        identity: &Identity,
        end: Lsn,
    ) -> Result<(), StoreError> {
        let Identity { boot, run, .. } = *identity;
        if self.0.contains_key(&boot) {
            return Ok(());
        }
        schema::put_numbers(meta, [(BOOT, boot), (RUN, run)])?;
        note(meta, identity, end)?;
        self.0.insert(boot, Start { run, end });
        Ok(())
    }

    // If the identity known to a peer contradicts these starts: the end of the journal at the first start that the
    // other copy has certainly not made.
    fn contradicted_by(&self, known: &Identity, own: &Identity) -> Option<Lsn> {
        let is_comparable = known.store == own.store && !known.is_given_up() && known.run != 0;
        let now = self.0.get(&own.boot).filter(|_| is_comparable)?;
        if known.boot > own.boot {
            return Some(now.end);
        }
        let then = self.0.get(&known.boot)?;
        (then.run != known.run).then_some(then.end)
    }

    // The end of the journal at the first start after this boot; of the oldest known start if there was none.
    fn end_of(&self, agreed: Option<u64>) -> Option<Lsn> {
        let first = agreed.map_or(0, |boot| boot.saturating_add(1));
        self.0.range(first..).next().map(|(_, start)| start.end)
    }
}

// Records a start and removes old ones.
fn note(meta: &sled::Tree, identity: &Identity, end: Lsn) -> Result<(), StoreError> {
    let key = |what: &str, boot: u64| format!("{what}-{boot}");
    let Identity { boot, run, .. } = *identity;
    let [run_key, end_key] = [key("run", boot), key("end", boot)];
    let numbers = [(run_key.as_bytes(), run), (end_key.as_bytes(), end.0)];
    schema::put_numbers(meta, numbers)?;
    let known = schema::numbered(meta, "run-")?.into_keys();
    for old in known.rev().skip(STARTS_MAX) {
        for what in ["run", "end"] {
            // Includes the number of the single fragment, since the key alone is a prefix of others.
            let fragment = [key(what, old).as_bytes(), &[0, 0]].concat();
            schema::remove_all(meta, &fragment)?;
        }
    }
    Ok(())
}

// The boot in which a peer last agreed with this store.
fn agreed_key(peer: &ProcessId) -> String {
    format!("agreed-{peer}")
}

impl Gaps<'_> {
    /// Notes that a peer agrees with this store in this run. If the peer later meets another copy, that copy was made
    /// no earlier than this run. The note becomes durable with the next turn; if it is lost, more counts as unknown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn agrees_with(self, peer: &ProcessId) -> Result<(), StoreError> {
        let key = agreed_key(peer);
        schema::put(
            &self.store.meta,
            key.as_bytes(),
            Kind::Number,
            &self.store.identity.boot,
        )
    }

    /// Compares a peer's knowledge of this store with its starts. If they contradict, this store is an older copy, and
    /// it is unknown what followed it until the first turn of this run; this is made durable. Returns whether it is
    /// new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known_as(self, peer: &ProcessId, known: &Identity) -> Result<bool, StoreError> {
        match self
            .store
            .starts
            .contradicted_by(known, &self.store.identity)
        {
            None => Ok(false),
            Some(end) => self.lacks(peer, end),
        }
    }

    /// Whether the identity known to a peer contradicts these starts.
    #[must_use]
    pub fn is_contradicted_by(self, known: &Identity) -> bool {
        let contradicted = self
            .store
            .starts
            .contradicted_by(known, &self.store.identity);
        contradicted.is_some()
    }

    /// Notes that this store has lost turns, as a channel with a peer has shown. Returns whether that is new.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_lost_turns(self, peer: &ProcessId) -> Result<bool, StoreError> {
        let now = self.store.starts.0.get(&self.store.identity.boot);
        now.map_or(Ok(false), |now| self.lacks(peer, now.end))
    }

    // Notes a gap, since a peer has seen something that is missing here. It happened after the peer last agreed with
    // this store, and at the latest after this turn. A gap noted since then already explains it.
    fn lacks(self, peer: &ProcessId, at_latest: Lsn) -> Result<bool, StoreError> {
        let agreed = schema::get(&self.store.meta, agreed_key(peer).as_bytes(), Kind::Number)?;
        let Some(now) = self.store.starts.0.get(&self.store.identity.boot) else {
            return Ok(false);
        };
        let first = self.store.starts.end_of(agreed).unwrap_or(at_latest);
        let turns = first.min(at_latest)..=now.end;
        // A store that was empty then has taken the place of the one that the peer knows.
        if now.end == Lsn(0) || self.store.gaps.ends_in(&turns) {
            return Ok(false);
        }
        self.note_gap(&turns)?;
        Ok(true)
    }

    fn note_gap(self, turns: &RangeInclusive<Lsn>) -> Result<(), StoreError> {
        ranges::note(&self.store.meta, turns)?;
        self.store.sync()?;
        self.store.gaps.add(turns);
        tracing::error!(
            after = turns.start().0,
            until = turns.end().0,
            "this store is an older copy: operations after these turns are unknown"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::process::clock::Hlc;
    use crate::process::identity::Identity;
    use crate::store::Store;
    use crate::store::fixture::{open, pass, process};

    fn known(store: &Store, instants: [u64; 4]) -> [u64; 4] {
        instants.map(|at| {
            let known = store.past().known_at(Hlc::at(at)).expect("it is whole");
            known.unwrap_or_default().0
        })
    }

    // Without this a directory that was copied and put back answers for the time in between, once it was started more
    // often than the original.
    #[test]
    fn a_copy_learns_from_a_peer_that_another_start_followed_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        pass(&open(dir.path()), 10);
        // The identity of the original when a peer met it after the copy was made: its second start, as another run.
        let first = Identity {
            boot: 2,
            run: 77,
            ..open(dir.path()).identity()
        };
        let copy = open(dir.path());
        pass(&copy, 40);
        drop(copy);
        let copy = open(dir.path());
        assert_eq!(copy.identity().boot, 4);
        let instants = [9, 10, 39, 40];
        assert_eq!(known(&copy, instants), [0, 1, 1, 2]);

        let store = [7; 16];
        let unsaid = Identity { run: 0, ..first };
        let others = [
            copy.identity(),
            first.given_up(),
            unsaid,
            Identity { store, ..first },
        ];
        for known in others {
            assert!(!copy.gaps().is_contradicted_by(&known), "{known:?}");
        }
        assert_eq!(known(&copy, instants), [0, 1, 1, 2]);
        assert!(copy.gaps().is_contradicted_by(&first));
        let learnt = || {
            copy.gaps()
                .known_as(&process("q"), &first)
                .expect("it is written")
        };
        assert_eq!(
            [learnt(), learnt()],
            [true, false],
            "the second time it is known"
        );
        assert_eq!(known(&copy, instants), [0; 4]);
        copy.gaps()
            .agrees_with(&process("q"))
            .expect("it is written");
        pass(&copy, 50);
        assert_eq!(known(&copy, [10, 40, 49, 50]), [0, 0, 0, 3]);
        drop(copy);
        let started = open(dir.path());
        assert_eq!(known(&started, [10, 40, 49, 50]), [0, 0, 0, 3]);
        // A channel shows that newer turns are missing: once to a peer that has met the copy, once to one that has not.
        let lost = |peer| {
            started
                .gaps()
                .has_lost_turns(&process(peer))
                .expect("it is written")
        };
        assert!(!lost("r"), "the gap explains it");
        assert!(lost("q"));
        assert_eq!(known(&started, [10, 40, 50, 60]), [0; 4]);
    }

    // Without this the missing time counts as known if the peer that shows it returns only after several starts.
    #[test]
    fn what_a_peer_has_seen_may_be_missing_since_it_last_agreed() {
        for (peer, expected) in [("q", [1, 1, 0, 0]), ("r", [0, 0, 0, 0])] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let store = open(dir.path());
            pass(&store, 10);
            drop(store);
            let store = open(dir.path());
            store
                .gaps()
                .agrees_with(&process("q"))
                .expect("it is written");
            pass(&store, 20);
            drop(store);
            // The copy. Its first starts meet no peer that has seen what followed.
            for at in [30, 40] {
                pass(&open(dir.path()), at);
            }
            let copy = open(dir.path());
            let ahead = Identity {
                boot: 9,
                run: 77,
                ..copy.identity()
            };
            assert_eq!(known(&copy, [10, 19, 20, 30]), [1, 1, 2, 3]);
            let learnt = copy.gaps().known_as(&process(peer), &ahead);
            assert!(learnt.expect("it is written"));
            assert_eq!(known(&copy, [10, 19, 20, 30]), expected, "{peer}");
            pass(&copy, 50);
            assert_eq!(known(&copy, [20, 40, 49, 50]), [0, 0, 0, 5], "{peer}");
            assert_eq!(
                copy.past().known_since().expect("it is whole"),
                Some(Hlc::at(50))
            );
        }
    }
}
