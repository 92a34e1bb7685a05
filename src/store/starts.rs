//! The starts of a store. What a peer knows of this store names one of its starts. Where it names a start that this store did
//! not make, the peer has met another life of the store, and this one goes on from an older copy.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Store;
use super::error::StoreError;
use super::frame::Kind;
use super::gaps;
use super::schema;
use crate::process::event::Identity;
use crate::process::ids::{Lsn, ProcessId};

/// Older starts are forgotten: what a peer says that was away for so many is compared with none.
const STARTS_MAX: usize = 256;

/// The starts of a store, by their boots.
pub(super) struct Starts(BTreeMap<u64, Start>);

struct Start {
    run: u64,
    /// Where the journal ended.
    end: Lsn,
}

impl Starts {
    pub(super) fn open(meta: &sled::Tree) -> Result<Self, StoreError> {
        let mut ends = schema::numbered(meta, "end-")?;
        let runs = schema::numbered(meta, "run-")?.into_iter();
        let starts = runs.filter_map(|(boot, run)| {
            let end = Lsn(ends.remove(&boot)?);
            Some((boot, Start { run, end }))
        });
        Ok(Self(starts.collect()))
    }

    // The end of the journal at the first start that another life of this store has certainly not made, where a peer knows the
    // store so.
    fn contradicted_by(&self, known: &Identity, own: &Identity) -> Option<Lsn> {
        let is_comparable = known.store == own.store && !known.is_given_up() && known.run != 0;
        let now = self.0.get(&own.boot).filter(|_| is_comparable)?;
        if known.boot > own.boot {
            return Some(now.end);
        }
        let then = self.0.get(&known.boot)?;
        (then.run != known.run).then_some(then.end)
    }

    // Where the journal ended when the first run after this one began; of the oldest run that is known, if it was none.
    fn end_of(&self, agreed: Option<u64>) -> Option<Lsn> {
        let first = agreed.map_or(0, |boot| boot.saturating_add(1));
        self.0.range(first..).next().map(|(_, start)| start.end)
    }
}

/// Notes a start, and forgets those of long ago. The caller makes it durable.
pub(super) fn note(meta: &sled::Tree, identity: &Identity, end: Lsn) -> Result<(), StoreError> {
    let key = |what: &str, boot: u64| format!("{what}-{boot}");
    let Identity { boot, run, .. } = *identity;
    let [run_key, end_key] = [key("run", boot), key("end", boot)];
    let numbers = [(run_key.as_bytes(), run), (end_key.as_bytes(), end.0)];
    schema::put_numbers(meta, numbers)?;
    let known = schema::numbered(meta, "run-")?.into_keys();
    for old in known.rev().skip(STARTS_MAX) {
        for what in ["run", "end"] {
            // With the number of its one fragment, or it would be the beginning of others.
            let fragment = [key(what, old).as_bytes(), &[0, 0]].concat();
            schema::remove_all(meta, &fragment)?;
        }
    }
    Ok(())
}

// The run in which a peer has last agreed with this store.
fn agreed_key(peer: &ProcessId) -> String {
    format!("agreed-{peer}")
}

impl Store {
    /// Takes note that a peer agrees with this store in this run. What the peer learns of another life of the store was then
    /// done after the copy was made, which was not before this run. It becomes durable with the next turn: where it is
    /// missing, more is taken for unknown.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn agrees_with(&self, peer: &ProcessId) -> Result<(), StoreError> {
        let key = agreed_key(peer);
        schema::put(
            &self.meta,
            key.as_bytes(),
            Kind::Number,
            &self.identity.boot,
        )
    }

    /// Compares what a peer knows of this store with its starts. Where they contradict, this store is an older copy, and what
    /// followed the copy is not known up to the first turn of this run: that is made durable. Says whether that is news.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known_as(&self, peer: &ProcessId, known: &Identity) -> Result<bool, StoreError> {
        match self.starts.contradicted_by(known, &self.identity) {
            None => Ok(false),
            Some(end) => self.lacks(peer, end),
        }
    }

    /// Whether a peer that knows this store so contradicts its starts.
    #[must_use]
    pub fn is_contradicted_by(&self, known: &Identity) -> bool {
        let contradicted = self.starts.contradicted_by(known, &self.identity);
        contradicted.is_some()
    }

    /// Takes note that this store has lost turns: a channel with a peer has shown it. Says whether that is news.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_lost_turns(&self, peer: &ProcessId) -> Result<bool, StoreError> {
        let now = self.starts.0.get(&self.identity.boot);
        now.map_or(Ok(false), |now| self.lacks(peer, now.end))
    }

    // Something that a peer has seen is missing. It may have been done at any time since the peer agreed with this store, and at
    // the latest behind this turn. A gap since then explains it.
    fn lacks(&self, peer: &ProcessId, at_latest: Lsn) -> Result<bool, StoreError> {
        let agreed = schema::get(&self.meta, agreed_key(peer).as_bytes(), Kind::Number)?;
        let Some(now) = self.starts.0.get(&self.identity.boot) else {
            return Ok(false);
        };
        let first = self.starts.end_of(agreed).unwrap_or(at_latest);
        let turns = first.min(at_latest)..=now.end;
        if now.end == Lsn(0) || self.gaps.ends_in(&turns) {
            return Ok(false);
        }
        self.note_gap(&turns)?;
        Ok(true)
    }

    fn note_gap(&self, turns: &RangeInclusive<Lsn>) -> Result<(), StoreError> {
        gaps::note(&self.meta, turns)?;
        self.sync()?;
        self.gaps.add(turns);
        tracing::error!(
            after = turns.start().0,
            until = turns.end().0,
            "this store is an older copy of itself: it does not know what happened after these turns"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::process::clock::Hlc;
    use crate::process::event::Identity;
    use crate::store::Store;
    use crate::store::fixture::{open, pass, process};

    fn known(store: &Store, instants: [u64; 4]) -> [u64; 4] {
        instants.map(|at| {
            let known = store.known_at(Hlc::at(at)).expect("it is whole");
            known.unwrap_or_default().0
        })
    }

    // Without this a directory that was copied and put back would answer for what was done meanwhile, once it was started
    // more often than the original had been.
    #[test]
    fn a_copy_learns_from_a_peer_that_another_start_followed_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        pass(&open(dir.path()), 10);
        // What the original was when a peer met it after the copy was made: its second start, as another run.
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
            assert!(!copy.is_contradicted_by(&known), "{known:?}");
        }
        assert_eq!(known(&copy, instants), [0, 1, 1, 2]);
        assert!(copy.is_contradicted_by(&first));
        let learnt = || copy.known_as(&process("q"), &first).expect("it is written");
        assert_eq!(
            [learnt(), learnt()],
            [true, false],
            "the second time it is known"
        );
        assert_eq!(known(&copy, instants), [0; 4]);
        copy.agrees_with(&process("q")).expect("it is written");
        pass(&copy, 50);
        assert_eq!(known(&copy, [10, 40, 49, 50]), [0, 0, 0, 3]);
        drop(copy);
        let started = open(dir.path());
        assert_eq!(known(&started, [10, 40, 49, 50]), [0, 0, 0, 3]);
        // A channel shows that newer turns are gone: of a peer that has met the copy, and of one that has not.
        let lost = |peer| {
            started
                .has_lost_turns(&process(peer))
                .expect("it is written")
        };
        assert!(!lost("r"), "the gap explains it");
        assert!(lost("q"));
        assert_eq!(known(&started, [10, 40, 50, 60]), [0; 4]);
    }

    // Without this the time that is missing would pass for known where the peer that shows it comes only after some starts.
    #[test]
    fn what_a_peer_has_seen_may_be_missing_since_it_last_agreed() {
        for (peer, expected) in [("q", [1, 1, 0, 0]), ("r", [0, 0, 0, 0])] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let store = open(dir.path());
            pass(&store, 10);
            drop(store);
            let store = open(dir.path());
            store.agrees_with(&process("q")).expect("it is written");
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
            let learnt = copy.known_as(&process(peer), &ahead);
            assert!(learnt.expect("it is written"));
            assert_eq!(known(&copy, [10, 19, 20, 30]), expected, "{peer}");
            pass(&copy, 50);
            assert_eq!(known(&copy, [20, 40, 49, 50]), [0, 0, 0, 5], "{peer}");
            assert_eq!(copy.known_since().expect("it is whole"), Some(Hlc::at(50)));
        }
    }
}
