//! The starts of a store. What a peer knows of it names one of them. Where that start is none of these, the peer has met the
//! store as it went on behind the copy that this one is.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use super::Store;
use super::error::StoreError;
use super::gaps;
use super::schema;
use crate::process::event::Identity;
use crate::process::ids::Lsn;

/// Older starts are forgotten: a peer that was away for so many says nothing.
const STARTS_MAX: usize = 256;

/// What is known of the starts of a store, by their boots.
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

    // The turns behind which nothing is known where a peer knows this store so.
    fn contradicted_by(&self, known: &Identity, own: &Identity) -> Option<RangeInclusive<Lsn>> {
        let is_comparable = known.store == own.store && !known.is_given_up() && known.run != 0;
        let now = self.0.get(&own.boot).filter(|_| is_comparable)?;
        if known.boot > own.boot {
            return Some(now.end..=now.end);
        }
        let then = self.0.get(&known.boot)?;
        (then.run != known.run).then_some(then.end..=now.end)
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

impl Store {
    /// Compares what a peer knows of this store with its starts. Where they contradict, this store is an older copy, and what
    /// followed the copy is not known up to the first turn of this run: that is made durable.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn known_as(&self, known: &Identity) -> Result<(), StoreError> {
        match self.starts.contradicted_by(known, &self.identity) {
            None => Ok(()),
            Some(turns) => self.note_gap(&turns),
        }
    }

    /// Whether that has something to say.
    #[must_use]
    pub fn is_contradicted_by(&self, known: &Identity) -> bool {
        let turns = self.starts.contradicted_by(known, &self.identity);
        turns.is_some_and(|turns| !self.gaps.holds(&turns))
    }

    /// Takes note that this store has lost turns: a channel has shown it.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn has_lost_turns(&self) -> Result<(), StoreError> {
        let now = self.starts.0.get(&self.identity.boot);
        now.map_or(Ok(()), |now| self.note_gap(&(now.end..=now.end)))
    }

    fn note_gap(&self, turns: &RangeInclusive<Lsn>) -> Result<(), StoreError> {
        if self.gaps.holds(turns) {
            return Ok(());
        }
        gaps::note(&self.meta, turns)?;
        self.sync()?;
        self.gaps.add(turns);
        tracing::error!(
            behind = turns.start().0,
            "this store is an older copy of itself: what followed its last turn is not known here"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::process::clock::{Hlc, Lamport};
    use crate::process::event::{Identity, Record, Turn};
    use crate::store::Store;
    use crate::store::fixture::process;

    fn open(dir: &Path) -> Store {
        Store::open(dir, "test", &process("p")).expect("it opens")
    }

    fn commit(store: &Store, at: u64) {
        let turn = Turn {
            position: store.position().next(),
            time: Hlc::at(at),
            clock: Lamport(at),
            records: vec![Record::Reached],
        };
        store.commit(&turn).expect("the disk has room");
    }

    fn known(store: &Store, instants: [u64; 4]) -> [u64; 4] {
        instants.map(|at| store.known_at(Hlc::at(at)).expect("it is whole").0)
    }

    // Without this a directory that was copied and put back would answer for what was done meanwhile, once it was started
    // more often than the original had been.
    #[test]
    fn a_copy_learns_from_a_peer_that_another_start_followed_it() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        commit(&open(dir.path()), 10);
        // What the original was when a peer met it after the copy was made: its second start, as another run.
        let first = Identity {
            boot: 2,
            run: 77,
            ..open(dir.path()).identity()
        };
        let copy = open(dir.path());
        commit(&copy, 40);
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
        copy.known_as(&first).expect("it is written");
        assert!(!copy.is_contradicted_by(&first), "it is known");
        assert_eq!(known(&copy, instants), [0; 4]);
        commit(&copy, 50);
        assert_eq!(known(&copy, [10, 40, 49, 50]), [0, 0, 0, 3]);
        drop(copy);
        let started = open(dir.path());
        assert_eq!(known(&started, [10, 40, 49, 50]), [0, 0, 0, 3]);
        // A channel shows that the newest turns are gone.
        started.has_lost_turns().expect("it is written");
        assert_eq!(known(&started, [10, 40, 50, 60]), [0; 4]);
    }
}
