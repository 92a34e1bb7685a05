//! Compares differences with two full maps, and counts the chunks read. Without this a diff could omit an account whose
//! older balance is in a shared run, or read everything.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proptest::prelude::*;

use super::*;
use crate::history::part::{Chunk, IndexEntry};
use crate::process::cell::CellKey;
use crate::process::clock::Lamport;
use crate::process::ids::{Key, ProcessId};
use crate::process::message::{Stamp, Write};

type Accounts = BTreeMap<AccountId, i64>;

/// Chunks of three cells in memory, and the hashes read.
#[derive(Default)]
struct Counting {
    indexes: HashMap<Hash, Vec<IndexEntry>>,
    cells: HashMap<Hash, Vec<Cell>>,
    read: Mutex<Vec<Hash>>,
}

const CHUNK: usize = 3;

impl ChunkSource for Counting {
    fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
        if let Some(entries) = self.indexes.get(hash) {
            return Ok(Chunk::Index(entries.clone()));
        }
        self.lock().push(*hash);
        Ok(Chunk::Cells(self.cells[hash].clone()))
    }
}

impl Counting {
    fn lock(&self) -> MutexGuard<'_, Vec<Hash>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // The keys after the accounts have names of accounts, but are no accounts.
    fn run(&mut self, accounts: &Accounts) -> Run {
        let mut cells: Vec<Cell> = accounts
            .iter()
            .map(|(account, balance)| account_cell(account, balance))
            .collect();
        cells.push(Cell::Key(Arc::new(Write {
            key: Key::parse("a0001").expect("a valid key"),
            value: Some("x".into()),
            stamp: Stamp {
                clock: Lamport(1),
                process: ProcessId::parse("n1").expect("a valid id"),
            },
        })));
        let mut run = Run {
            cells: cells.len() as u64,
            ..Run::default()
        };
        let mut entries = Vec::new();
        for cells in cells.chunks(CHUNK) {
            let CellKey { kind, name } = cells[0].key();
            let (chunk, name) = (hash(&cells), name.into());
            self.cells.insert(chunk, cells.to_vec());
            entries.push(IndexEntry { kind, name, chunk });
        }
        for entries in entries.chunks(CHUNK) {
            let index = hash(&entries);
            self.indexes.insert(index, entries.to_vec());
            run.index.push(index);
        }
        run
    }

    fn changes(
        &self,
        before: &[Run],
        after: &[Run],
        behind: Option<&AccountId>,
    ) -> Vec<AccountChange> {
        self.lock().clear();
        let changes =
            AccountChanges::new(self, before, after, behind).expect("everything is there");
        changes
            .collect::<Result<_, _>>()
            .expect("everything is there")
    }
}

fn hash(content: &impl std::fmt::Debug) -> Hash {
    Hash(*blake3::hash(format!("{content:?}").as_bytes()).as_bytes())
}

fn account_cell(account: &AccountId, balance: &i64) -> Cell {
    Cell::Account {
        account: account.clone(),
        balance: *balance,
    }
}

fn account(number: u16) -> AccountId {
    AccountId::parse(&format!("a{number:04}")).expect("a valid id")
}

fn naive(before: &Accounts, after: &Accounts, behind: Option<&AccountId>) -> Vec<AccountChange> {
    let names: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let names = names
        .into_iter()
        .filter(|name| behind.is_none_or(|behind| *name > behind));
    names
        .map(|name| AccountChange {
            account: name.clone(),
            before: before.get(name).copied(),
            after: after.get(name).copied(),
        })
        .filter(|change| change.before != change.after)
        .collect()
}

/// Recorded states: the manifest and all accounts of each.
struct Recorded {
    shelf: Counting,
    states: Vec<(Vec<Run>, Accounts)>,
}

impl Recorded {
    fn nothing() -> Self {
        Self {
            shelf: Counting::default(),
            states: vec![(Vec::new(), Accounts::new())],
        }
    }

    /// Adds a state with these changes; its newest runs from `merged` on are merged into one.
    fn record(&mut self, changed: Accounts, merged: Option<usize>) {
        let (mut runs, mut accounts) = self.states.last().expect("there is one").clone();
        accounts.extend(changed.clone());
        match merged.filter(|first| *first < runs.len()) {
            None => runs.push(self.shelf.run(&changed)),
            Some(first) => {
                let mut own = changed;
                for run in runs.drain(first..).rev() {
                    let of_run = run
                        .index
                        .iter()
                        .flat_map(|index| &self.shelf.indexes[index]);
                    for cell in of_run.flat_map(|entry| &self.shelf.cells[&entry.chunk]) {
                        if let Cell::Account { account, balance } = cell {
                            own.entry(account.clone()).or_insert(*balance);
                        }
                    }
                }
                runs.push(self.shelf.run(&own));
            }
        }
        self.states.push((runs, accounts));
    }

    fn between(&self, from: usize, to: usize) -> Vec<AccountChange> {
        let (before, after) = (&self.states[from].0, &self.states[to].0);
        self.shelf.changes(before, after, None)
    }
}

proptest! {
    #[test]
    fn any_two_states_differ_as_their_full_maps_do(
        batches in prop::collection::vec(
            (prop::collection::btree_map(0u16..60, -3i64..3, 0..12), prop::option::of(0usize..4)),
            1..10,
        ),
        behind in prop::option::of(0u16..60),
    ) {
        let mut recorded = Recorded::nothing();
        for (changed, merged) in batches {
            let changed = changed.into_iter().map(|(number, units)| (account(number), units));
            recorded.record(changed.collect(), merged);
        }
        let behind = behind.map(account);
        for (before, all_before) in &recorded.states {
            for (after, all_after) in &recorded.states {
                let found = recorded.shelf.changes(before, after, behind.as_ref());
                prop_assert_eq!(found, naive(all_before, all_after, behind.as_ref()));
            }
        }
    }
}

// 300 accounts in a base of 100 chunks, and one changed account.
fn one_of_many() -> Recorded {
    let mut recorded = Recorded::nothing();
    recorded.record((0..300).map(|number| (account(number), 1)).collect(), None);
    recorded.record(Accounts::from([(account(150), 2)]), None);
    recorded
}

#[test]
fn of_a_shared_run_only_the_chunk_with_the_older_balance_is_read() {
    let mut recorded = one_of_many();
    assert_eq!(recorded.between(1, 2).len(), 1);
    assert_eq!(
        recorded.shelf.lock().len(),
        2,
        "the new run, and the balance before"
    );
    assert_eq!(recorded.between(2, 2), []);
    assert_eq!(recorded.shelf.lock().len(), 0);
    recorded.record(Accounts::from([(account(150), 3)]), None);
    assert_eq!(recorded.between(2, 3).len(), 1);
    assert_eq!(recorded.shelf.lock().len(), 2);
}

#[test]
fn of_two_bases_the_chunks_that_both_hold_are_not_read() {
    let mut recorded = one_of_many();
    recorded.record(Accounts::from([(account(30), 7)]), Some(0));
    let changed = |changes: Vec<AccountChange>| -> Vec<AccountId> {
        changes.into_iter().map(|change| change.account).collect()
    };
    assert_eq!(changed(recorded.between(1, 3)), [account(30), account(150)]);
    let read = std::mem::take(&mut *recorded.shelf.lock());
    assert_eq!(read.len(), 4, "of each base the two chunks that differ");
    assert_eq!(changed(recorded.between(3, 1)), [account(30), account(150)]);
    recorded.record(Accounts::from([(account(299), 7)]), None);
    assert_eq!(recorded.between(1, 4).len(), 3);
    let read = std::mem::take(&mut *recorded.shelf.lock());
    assert_eq!(
        read.len(),
        6,
        "these, the new run, and the shared chunk below it"
    );
}
