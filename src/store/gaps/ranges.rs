//! Gaps of the journal. An older copy that replaces a store lacks the turns made after it was copied, so its journal
//! knows nothing about the time between its last turn and the first turn made on the copy. A gap is a range of
//! positions: for each turn in it, nothing is known from that turn to the next. A noted gap is never removed.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{PoisonError, RwLock};

use crate::process::ids::Lsn;
use crate::store::engine::schema;
use crate::store::error::StoreError;
use crate::store::stored::frame::Kind;

const PREFIX: &str = "gap-";

/// The gaps of a journal: the first and last turn of each.
pub(in crate::store) struct GapRanges(RwLock<BTreeMap<Lsn, Lsn>>);

impl GapRanges {
    pub(in crate::store) fn open(meta: &sled::Tree) -> Result<Self, StoreError> {
        let gaps = schema::numbered(meta, PREFIX)?.into_iter();
        let gaps = gaps.map(|(first, last)| (Lsn(first), Lsn(last)));
        Ok(Self(RwLock::new(gaps.collect())))
    }

    /// All gaps.
    pub(in crate::store) fn all(&self) -> Vec<RangeInclusive<Lsn>> {
        let gaps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        gaps.iter().map(|(first, last)| *first..=*last).collect()
    }

    /// Whether it is unknown what followed this turn until the next one.
    pub(in crate::store) fn is_behind(&self, position: Lsn) -> bool {
        self.holds(&(position..=position))
    }

    /// Whether all these turns are in one gap.
    pub(in crate::store) fn holds(&self, turns: &RangeInclusive<Lsn>) -> bool {
        let gaps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut gaps = gaps.range(..=*turns.start());
        gaps.any(|(_, last)| turns.end() <= last)
    }

    /// Whether a gap ends among these turns.
    pub(in crate::store) fn ends_in(&self, turns: &RangeInclusive<Lsn>) -> bool {
        let gaps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        gaps.values().any(|last| turns.contains(last))
    }

    /// The gaps that overlap these turns.
    pub(in crate::store) fn among(&self, turns: &RangeInclusive<Lsn>) -> Vec<RangeInclusive<Lsn>> {
        let gaps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let gaps = gaps.range(..=*turns.end());
        let gaps = gaps.filter(|(_, last)| turns.start() <= last);
        gaps.map(|(first, last)| *first..=*last).collect()
    }

    /// The last turn of the newest gap before `position`.
    pub(in crate::store) fn newest_before(&self, position: Lsn) -> Option<Lsn> {
        let gaps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        gaps.values()
            .filter(|last| **last < position)
            .max()
            .copied()
    }

    /// The last turn of the newest gap.
    pub(in crate::store) fn newest(&self) -> Option<Lsn> {
        let gaps = self.0.read().unwrap_or_else(PoisonError::into_inner);
        gaps.values().max().copied()
    }

    /// Adds a gap that is durable.
    pub(in crate::store) fn add(&self, turns: &RangeInclusive<Lsn>) {
        let mut gaps = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let last = gaps.entry(*turns.start()).or_default();
        *last = (*last).max(*turns.end());
    }
}

/// Notes that it is unknown what followed each of these turns; 0 stands for the time before the first one. The caller makes it
/// durable.
pub(in crate::store) fn note(
    meta: &sled::Tree,
    turns: &RangeInclusive<Lsn>,
) -> Result<(), StoreError> {
    let key = format!("{PREFIX}{}", turns.start());
    let known = schema::get::<u64>(meta, key.as_bytes(), Kind::Number)?;
    let last = known.unwrap_or_default().max(turns.end().0);
    schema::put(meta, key.as_bytes(), Kind::Number, &last)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::process::clock::Hlc;
    use crate::process::decision::Actor;
    use crate::store::Store;
    use crate::store::fixture::{open, pass, process};

    fn known_at(store: &Store, at: u64) -> u64 {
        let known = store.past().known_at(Hlc::at(at)).expect("it is whole");
        known.unwrap_or_default().0
    }

    // The position it gives for these instants; 0 if unknown.
    fn known(store: &Store, instants: [u64; 5]) -> [u64; 5] {
        instants.map(|at| known_at(store, at))
    }

    // Without this a copy answers for the time after it was made as if nothing had happened.
    #[test]
    fn a_store_that_was_put_back_knows_nothing_from_its_last_turn_to_its_next_start() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        for at in [10, 20] {
            pass(&store, at);
        }
        let mut bytes = Vec::new();
        store.back_up(&mut bytes).expect("it is whole");
        pass(&store, 30);
        assert_eq!(known(&store, [10, 20, 25, 30, 40]), [1, 2, 2, 3, 3]);
        assert!(!store.gaps().is_at_end());

        let copy = tempfile::tempdir().expect("a temporary directory");
        Store::restore_backup(copy.path(), &mut &*bytes, &|_| {}).expect("it is whole");
        let put_back = open(copy.path());
        assert!(put_back.gaps().is_at_end());
        assert_eq!(known(&put_back, [10, 19, 20, 25, 40]), [1, 1, 0, 0, 0]);
        pass(&put_back, 50);
        assert!(!put_back.gaps().is_at_end());
        assert_eq!(known(&put_back, [19, 20, 49, 50, 60]), [1, 0, 0, 3, 3]);
        let since = put_back.past().known_since().expect("it is whole");
        assert_eq!(since, Some(Hlc::at(50)));
        drop(put_back);
        let started = open(copy.path());
        let again = known(&started, [19, 20, 49, 50, 60]);
        assert_eq!(again, [1, 0, 0, 3, 3], "it stays so");
        // A second gap that no turn has ended yet must not hide the first.
        started
            .gaps()
            .has_lost_turns(&process("q"))
            .expect("it is written");
        let since = started.past().known_since().expect("it is whole");
        assert_eq!(since, Some(Hlc::at(50)));
    }

    // Without this an operator's `vouch`, or the loss of the watermark file, passes for complete knowledge.
    #[test]
    fn nor_does_one_that_an_operator_vouches_for_or_that_has_no_witness() {
        for put_back in [
            |dir: &Path| _ = Store::vouch(dir, Actor::default()).expect("a good store"),
            |dir: &Path| std::fs::remove_file(dir.join("witness")).expect("it is there"),
        ] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            pass(&open(dir.path()), 10);
            assert!(
                !open(dir.path()).gaps().is_at_end(),
                "a start leaves no gap"
            );
            put_back(dir.path());
            let store = open(dir.path());
            assert_eq!(known(&store, [9, 10, 11, 12, 13]), [0; 5]);
            pass(&store, 12);
            assert_eq!(known(&store, [9, 10, 11, 12, 13]), [0, 0, 0, 2, 2]);
        }
    }

    // Without this a directory copied from a running node and put back answers for the time since, unless a peer has
    // seen more.
    #[test]
    fn nor_does_a_copy_of_its_files_but_a_directory_that_was_renamed_does() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let original = dir.path().join("original");
        let running = open(&original);
        pass(&running, 10);
        let [copy, renamed] = ["copy", "renamed"].map(|name| dir.path().join(name));
        std::fs::create_dir(&copy).expect("it is new");
        for name in ["conf", "db", "witness"] {
            std::fs::copy(original.join(name), copy.join(name)).expect("there is room");
        }
        pass(&running, 20);
        drop(running);
        std::fs::rename(&original, &renamed).expect("it is closed");
        let renamed = open(&renamed);
        assert!(!renamed.gaps().is_at_end());
        assert_eq!(known(&renamed, [9, 10, 11, 20, 25]), [0, 1, 1, 2, 2]);

        let put_back = open(&copy);
        pass(&put_back, 30);
        assert_eq!(known(&put_back, [9, 10, 20, 29, 30]), [0, 0, 0, 0, 2]);
        drop(put_back);
        let started = open(&copy);
        assert!(!started.gaps().is_at_end(), "it is no copy of itself");
        assert_eq!(known(&started, [10, 29, 30, 31, 40]), [0, 0, 2, 2, 2]);
    }

    // Without this a process whose first turns were lost would count as one that joined the cluster after them.
    #[test]
    fn a_copy_that_was_made_before_the_first_turn_does_not_know_when_its_process_began() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        let mut bytes = Vec::new();
        store.back_up(&mut bytes).expect("it is whole");
        pass(&store, 10);
        let begins_after = |store: &Store, at| {
            let begins = store.past().begins_after(Hlc::at(at));
            begins.expect("it is whole")
        };
        assert!(begins_after(&store, 9) && !begins_after(&store, 10));
        let copy = tempfile::tempdir().expect("a temporary directory");
        Store::restore_backup(copy.path(), &mut &*bytes, &|_| {}).expect("it is whole");
        let put_back = open(copy.path());
        pass(&put_back, 50);
        assert!(!begins_after(&put_back, 9));
        assert!(put_back.gaps().are_any());
    }
}
