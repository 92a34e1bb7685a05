//! Unreadable revisions. A node runs without them and replicates them again from a peer that has them.
//!
//! | damaged | consequence |
//! |---|---|
//! | an individually stored revision | It is requested from peers. It keeps no chunks, since they come back with it, and the own part is stored separately. |
//! | the body of a block | The same for each of its revisions. All chunks are kept, since the own parts are stored in the block only. |
//! | the head of a block | It is rebuilt from the body. |
//! | both | The revisions in it are unknown and come back as if they were new. All chunks are kept. |
//!
//! A revision that comes back is stored individually. The damaged block is removed with the last of its listed
//! revisions.

use super::head::{BlockHead, PackedLine};
use super::trees::{HistoryTrees, other_revision};
use super::{Published, decode};
use crate::history::global::GlobalState;
use crate::history::known::RevisionArrival;
use crate::process::ids::SnapshotId;
use crate::store::engine::schema;
use crate::store::engine::schema::revision_key;
use crate::store::error::StoreError;
use crate::store::journal::Journal;
use crate::store::stored::frame;
use crate::store::stored::frame::{Damage, Kind};

/// The unreadable data of a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Unreadable {
    /// The number of listed revisions that are unreadable.
    pub revisions: usize,
    /// The number of blocks whose revisions are unknown.
    pub blocks: usize,
}

impl HistoryTrees {
    /// Stores the exact bytes of a revision that another process published, unless it is here and intact. `is_own`: this store
    /// has recorded the part of this process in it. The caller makes it durable.
    pub(in crate::store) fn adopt(
        &self,
        state: &GlobalState,
        stored: &[u8],
        is_own: bool,
    ) -> Result<(), StoreError> {
        let _placing = self.placing();
        match self.stored_at(&state.snapshot, state.revision) {
            Ok(Some(here)) if here == stored => {
                self.index().note_whole(&state.snapshot, state.revision);
                return Ok(());
            }
            // Ranges of revision numbers depend on the list of members; if the cluster has grown, two assemblers may
            // have used the same number.
            Ok(Some(_)) => return Err(other_revision(state)),
            // A damaged revision contradicts nothing.
            Ok(None) | Err(StoreError::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
        self.put_own_part_of(state)?;
        self.keep_own_part(state, is_own)?;
        let key = revision_key(&state.snapshot, state.revision);
        Ok(frame::replace_all(&self.globals, &[(key, stored)])?)
    }

    // Stores the own part individually again if it was in a damaged block.
    pub(super) fn put_own_part_of(&self, state: &GlobalState) -> Result<(), StoreError> {
        let lay_in = self.index().revision_with_own(&state.snapshot);
        let own = state.parts.get(&self.me);
        let Some(part) = own.filter(|_| lay_in == Some(state.revision)) else {
            return Ok(());
        };
        match self.lone_part(&state.snapshot) {
            Ok(Some(_)) => Ok(()),
            Ok(None) | Err(StoreError::Damaged { .. }) => self.put_lone_part(part),
            Err(error) => Err(error),
        }
    }

    /// Whether a revision of another history must be replicated: it is absent or unreadable here.
    pub(in crate::store) fn lacks(&self, other: &RevisionArrival) -> bool {
        let index = self.index();
        !index.has(&other.snapshot, other.revision)
            || index.is_damaged(&other.snapshot, other.revision)
    }

    // Notes damage to a revision if reading it failed.
    pub(super) fn noted<T>(
        &self,
        snapshot: &SnapshotId,
        revision: u32,
        read: Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let Err(error @ StoreError::Damaged { .. }) = &read else {
            return read;
        };
        let block = {
            let mut index = self.index();
            if !index.note_damage(snapshot, revision) {
                return read;
            }
            index.block_of(snapshot, revision)
        };
        tracing::error!(%error, "it will be replicated from a peer that has it");
        if let Some(block) = block.filter(|block| !self.blocks.is_whole(*block)) {
            self.index().note_damaged_block(block);
        }
        read
    }

    /// Notes that the contents of a listed revision are unreadable.
    pub(in crate::store) fn note_damaged_contents(&self, state: &GlobalState, error: &StoreError) {
        if self.index().note_damage(&state.snapshot, state.revision) {
            let GlobalState {
                snapshot, revision, ..
            } = state;
            tracing::error!(%snapshot, revision, %error, "its contents will be fetched again from a peer");
        }
    }

    /// Rebuilds a damaged head of a block from its revisions.
    pub(super) fn rebuild_head(
        &self,
        block: u32,
        journal: &Journal,
        why: StoreError,
    ) -> Result<BlockHead, StoreError> {
        let body = match self.blocks.body(block) {
            Ok(body) => body,
            // If the body is damaged as well, the damage of the head is reported.
            Err(StoreError::Damaged { .. }) => return Err(why),
            Err(error) => return Err(error),
        };
        let mut head = BlockHead::default();
        let mut rest = &body[..];
        while !rest.is_empty() {
            let revision = frame::split_first(rest)
                .and_then(|(stored, behind)| Ok((decode(stored)?, stored.len(), behind)));
            let Ok((Published { state, .. }, bytes, behind)) = revision else {
                return Err(why);
            };
            let is_own_part = self.held_own_part(&state, journal);
            head.lines.push(PackedLine::of(state, bytes, is_own_part));
            rest = behind;
        }
        self.blocks.put_head(block, &head)?;
        tracing::warn!(error = %why, block, revisions = head.lines.len(), "rebuilt from the revisions");
        Ok(head)
    }

    // Whether the packed revision holds the only copy of the own part. Only a complete revision can. A part recorded by
    // an earlier store of this process does not count: its cut is of another journal.
    fn held_own_part(&self, state: &GlobalState, journal: &Journal) -> bool {
        let own = state.parts.get(&self.me);
        let Some(own) = own.filter(|_| state.is_complete()) else {
            return false;
        };
        !journal.contradicts(&own.state)
            && (matches!(self.lone_part(&state.snapshot), Ok(None)) || self.replaces_part(state))
    }

    /// Fails if the revisions of some block are unknown.
    ///
    /// # Errors
    /// [`StoreError::Damaged`].
    pub(in crate::store) fn all_listed(&self) -> Result<(), StoreError> {
        let Some(block) = self.unlisted.first() else {
            return Ok(());
        };
        let problem =
            "neither the revisions nor the list of them can be read; restore the store from a backup"
                .to_owned();
        let what = schema::name(Kind::Body, &u64::from(*block).to_be_bytes());
        Err(StoreError::damaged(what, Damage::Contradiction(problem)))
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::tests::{listed, published};
    use super::*;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::Lsn;
    use crate::process::record::{Record, Turn};
    use crate::store::Store;
    use crate::store::engine::schema::Trees;
    use crate::store::fixture::{self, process};

    /// A store of 128 revisions of which the older half is packed. The two oldest have contents: the part of this
    /// process in the first is of an earlier store, that in the second is its own.
    struct Sample {
        dir: tempfile::TempDir,
        states: Vec<(GlobalState, Vec<u8>)>,
    }

    impl Sample {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let (store, first) = fixture::store(dir.path());
            let second = Self::recorded_here(&store, &first);
            let mut states = vec![first, second];
            for start in 2_000..2_126 {
                states.push(published(&store, &format!("t{start}"), start));
            }
            assert_eq!(store.history.blocks.heads().count(), 1);
            let stored = |state: GlobalState| {
                let stored = store.history().stored_revision(&state.snapshot, None);
                let stored = stored.expect("it can be read").expect("it is there");
                (state, stored)
            };
            let states = states.into_iter().map(stored).collect();
            // An unreferenced chunk.
            let unneeded = store.chunks.write_run(
                std::iter::once(Ok(crate::process::cell::Cell::Account {
                    account: fixture::account("unneeded"),
                    balance: 1,
                })),
                None,
            );
            unneeded.expect("there is room");
            store.sync().expect("there is room");
            drop(store);
            Self { dir, states }
        }

        fn recorded_here(store: &Store, first: &GlobalState) -> GlobalState {
            let turn = Turn {
                position: Lsn(1),
                time: Hlc::at(1_500),
                clock: Lamport(1),
                records: vec![Record::ClockAdvanced],
            };
            store.commit(&turn).expect("there is room");
            let mut state = first.clone();
            state.snapshot = SnapshotId::parse("own").expect("a valid id");
            state.initiated_at = turn.time;
            let part = state.parts.get_mut(&process("p"));
            let part = part.expect("it has its state");
            part.snapshot = state.snapshot.clone();
            part.state.position = turn.position;
            part.state.journal = store.journal.head().hash;
            store.history.put_part(part).expect("there is room");
            store.history().publish(&state).expect("there is room");
            state
        }

        fn path(&self) -> &Path {
            self.dir.path()
        }

        fn open(&self) -> Store {
            Store::open(self.path(), "test", &process("p")).expect("it opens")
        }

        /// Flips a bit of each value.
        fn spoil(&self, of: fn(&Trees) -> &sled::Tree) {
            let store = self.open();
            let trees = Trees::open(&store.engine.db).expect("they are there");
            let tree = of(&trees);
            for pair in tree.iter() {
                let (key, value) = pair.expect("it is readable");
                let mut value = value.to_vec();
                *value.last_mut().expect("no value is empty") ^= 1;
                tree.insert(key, value).expect("there is room");
            }
            store.sync().expect("there is room");
        }

        fn are_whole(&self, store: &Store) {
            for (state, stored) in &self.states {
                let found = store.history().stored_revision(&state.snapshot, None);
                assert_eq!(found.expect("it is whole").as_ref(), Some(stored));
            }
            assert_eq!(listed(store).len(), self.states.len());
            for ((state, _), is_own) in self.states.iter().zip([false, true]) {
                let part = store.parts().get(&state.snapshot).expect("it is whole");
                let own = state.parts.get(&process("p")).filter(|_| is_own);
                assert_eq!(part.as_ref(), own);
            }
            assert_eq!(store.history().unreadable(), Unreadable::default());
        }

        // The unreferenced chunk is swept.
        fn is_swept(&self, store: &Store) {
            let swept = store.retention().sweep(|| true).expect("all can be read");
            assert!(swept.expect("it has come to its end").deleted > 0);
            self.are_whole(store);
        }
    }

    fn adopt(store: &Store, state: &GlobalState, stored: &[u8]) {
        assert!(store.history().lacks_revision(&RevisionArrival::of(state)));
        let adopted = store.history().adopt_revision(state, stored);
        adopted.expect("what is damaged contradicts nothing");
        store.pack().expect("there is room");
        assert!(!store.history().lacks_revision(&RevisionArrival::of(state)));
    }

    // Without this the node loses 64 revisions for good, and space is never reclaimed.
    #[test]
    fn revisions_of_a_damaged_block_come_back_and_sweeping_goes_on() {
        let sample = Sample::new();
        sample.spoil(|trees| &trees.bodies);
        let store = sample.open();
        let chunks = store.chunks.tree.len();
        let swept = store.retention().sweep(|| true);
        let error = swept.expect_err("it is not known what the block needs");
        let place = "revision 1 of snapshot \"s\", in the revisions of block 0";
        assert!(error.to_string().contains(place), "{error}");
        assert_eq!(store.chunks.tree.len(), chunks);
        assert_eq!(listed(&store).len(), 128);
        assert_eq!(
            (
                store.history().unreadable().revisions,
                store.history().damage_found()
            ),
            (64, 64)
        );
        for one in &sample.states[..10] {
            adopt(&store, &one.0, &one.1);
        }
        drop(store);

        let store = sample.open();
        let (state, _) = &sample.states[9];
        let found = store
            .history()
            .published(&state.snapshot)
            .expect("it is whole");
        assert_eq!(found.map(|found| found.state).as_ref(), Some(state));
        assert_eq!(store.history().unreadable().revisions, 54);
        store
            .retention()
            .sweep(|| true)
            .expect_err("some are not back");
        for one in &sample.states[10..64] {
            adopt(&store, &one.0, &one.1);
        }
        sample.is_swept(&store);
        let blocks = || {
            store
                .history
                .blocks
                .heads()
                .map(|head| head.expect("it is whole"))
        };
        assert_eq!(blocks().map(|(block, _)| block).collect::<Vec<_>>(), [1]);
        drop(store);
        sample.are_whole(&sample.open());
    }

    // Without this one damaged block keeps all chunks forever if no peer has its revisions.
    #[test]
    fn sweeping_goes_on_once_what_is_damaged_is_deleted() {
        let sample = Sample::new();
        sample.spoil(|trees| &trees.bodies);
        let store = sample.open();
        store
            .retention()
            .sweep(|| true)
            .expect_err("it is not known what the block needs");
        let damaged = sample.states[..64].iter();
        let damaged: Vec<_> = damaged.map(|(state, _)| state.snapshot.clone()).collect();
        let deleted = store.retention().delete(&damaged);
        assert_eq!(deleted.expect("there is room"), damaged);
        let swept = store.retention().sweep(|| true).expect("all can be read");
        assert!(swept.expect("it has come to its end").deleted > 1);
        assert_eq!(store.history().unreadable(), Unreadable::default());
    }

    // Without this its revisions are no longer listed, and their chunks are swept silently.
    #[test]
    fn a_damaged_head_is_made_again_from_its_revisions() {
        let sample = Sample::new();
        sample.spoil(|trees| &trees.heads);
        let store = sample.open();
        sample.are_whole(&store);
        sample.is_swept(&store);
        drop(store);
        sample.are_whole(&sample.open());
    }

    // Without this the chunks of unknown revisions are swept.
    #[test]
    fn where_head_and_body_are_damaged_all_chunks_stay_and_the_loss_is_told() {
        let sample = Sample::new();
        sample.spoil(|trees| &trees.bodies);
        sample.spoil(|trees| &trees.heads);
        let store = sample.open();
        assert_eq!(listed(&store).len(), 64);
        assert_eq!(store.history().unreadable().blocks, 1);
        let swept = store.retention().sweep(|| true);
        let error = swept.expect_err("it is not known what the block needs");
        assert!(error.to_string().contains("block 0"), "{error}");
        let (state, stored) = &sample.states[0];
        adopt(&store, state, stored);
        assert_eq!(listed(&store).len(), 65);
    }
}
