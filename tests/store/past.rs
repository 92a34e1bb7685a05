//! The past: the balance of any account after any turn, its statement, and the figures of the process, compared with a
//! model that remembers everything. Without this, an index that misses a turn would make a balance wrong years later,
//! and nothing in the present would show it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use crate::teller::{Balances, Teller, account, images, open, process_id, recover};
use proptest::prelude::*;
use snapledger::history::statement::{Entry, EntryPlace, Op};
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{Lsn, ProcessId, SnapshotId};
use snapledger::store::{Past, StatementPage, StatementQuery, Store, StoreError};
use tempfile::TempDir;

const ACCOUNTS: [&str; 4] = ["a0", "a1", "a7", "nobody"];

/// What the model remembers of each turn.
struct Moment {
    time: Hlc,
    balances: Balances,
    deposits: i128,
    withdrawals: i128,
}

/// A process through several restarts, and its state at every position.
struct Lived {
    dir: TempDir,
    store: Option<Store>,
    teller: Teller,
    moments: BTreeMap<u64, Moment>,
    /// The cuts of snapshots.
    cuts: BTreeSet<u64>,
    /// Whether the journal is trimmed occasionally.
    trims: bool,
}

fn me() -> ProcessId {
    process_id("p")
}

impl Lived {
    // `touches` fill a segment; `lives` are the numbers of turns between restarts, during each of which the journal may
    // be trimmed.
    fn new(seed: u64, touches: usize, lives: &[usize], trims: bool) -> Self {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        store.account_index().set_touches(touches);
        let mut lived = Self {
            teller: Teller::new(seed, recover(&store)),
            dir,
            store: Some(store),
            moments: BTreeMap::new(),
            cuts: BTreeSet::new(),
            trims,
        };
        for (life, turns) in lives.iter().enumerate() {
            if life > 0 {
                lived.restart(touches);
            }
            for _ in 0..*turns {
                lived.turn();
            }
        }
        lived
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("it is open")
    }

    fn past(&self) -> Past<'_> {
        self.store().past()
    }

    fn restart(&mut self, touches: usize) {
        self.store = None;
        let store = open(self.dir.path());
        store.account_index().set_touches(touches);
        self.teller.process = recover(&store);
        self.teller.unwritten = self.teller.process.take_sealed().into();
        self.teller.unstored = self.teller.process.take_finished();
        self.store = Some(store);
        // Occasionally a long range is not indexed yet.
        if self.teller.random.below(2) == 0 {
            self.index();
        }
    }

    fn index(&self) {
        let (index, journal) = (self.store().account_index(), self.store().journal());
        while index.index_some(journal).expect("the journal is whole") {}
        index.write_full().expect("the disk has room");
    }

    fn turn(&mut self) {
        let store = self.store.take().expect("it is open");
        let before = self.teller.process.registers().position.0;
        self.teller.random_turn(&store);
        let known: BTreeSet<u64> = self
            .teller
            .process
            .snapshots()
            .iter()
            .map(|one| one.2.0)
            .collect();
        self.cuts.extend(known);
        let index = store.account_index();
        match self.teller.random.below(10) {
            0 => self.teller.work(&store),
            1 => index.write_full().expect("the disk has room"),
            2 => _ = index.index_some(store.journal()).expect("it is whole"),
            3 if self.trims => self.trim(&store),
            _ => {}
        }
        self.store = Some(store);
        let registers = self.teller.process.registers();
        assert!(registers.position.0 <= before + 1);
        let moment = Moment {
            time: registers.time,
            balances: self.teller.balances.clone(),
            deposits: registers.deposits,
            withdrawals: registers.withdrawals,
        };
        self.moments.insert(registers.position.0, moment);
    }

    // Whatever the requested horizon, everything still needed stays; the trim may stop at any step.
    fn trim(&mut self, store: &Store) {
        for _ in 0..8 {
            self.teller.work(store);
        }
        let turns = self.moments.len() as u64;
        let instant = Hlc::at(1_000_000 + self.teller.random.below(2 * turns + 1) * 500);
        let before = store.past().horizon();
        let steps = Cell::new(self.teller.random.below(4));
        let goes_on = || steps.replace(steps.get().saturating_sub(1)) > 0;
        let trimmed = store.retention().trim(instant, goes_on);
        trimmed.expect("the state is whole");
        if let Some((_, since)) = store.past().horizon().filter(|now| before != Some(*now)) {
            assert!(since <= instant, "more went than was to");
        }
    }

    /// Returns the oldest position that can be queried; 0 if nothing was trimmed.
    fn oldest(&self) -> u64 {
        self.past().horizon().map_or(0, |horizon| horizon.0.0 - 1)
    }

    fn end(&self) -> u64 {
        self.teller.process.registers().position.0
    }

    fn at(&self, position: u64) -> &Moment {
        &self.moments[&position]
    }

    fn check_balances(&self) {
        for position in 0..self.oldest() {
            let found = self.past().balance_at(&me(), &account("a0"), Lsn(position));
            assert!(
                matches!(found, Err(StoreError::BeforeHorizon { .. })),
                "{found:?}"
            );
            let share = self.past().totals_at(Lsn(position));
            assert!(
                matches!(share, Err(StoreError::BeforeHorizon { .. })),
                "{share:?}"
            );
        }
        for position in self.oldest().max(1)..=self.end() {
            let moment = self.at(position);
            for name in ACCOUNTS {
                let found = self.past().balance_at(&me(), &account(name), Lsn(position));
                let expected = moment.balances.get(name).copied();
                assert_eq!(
                    found.expect("it is whole"),
                    expected,
                    "{name} at {position}"
                );
            }
            let share = self.past().totals_at(Lsn(position)).expect("it is whole");
            let total: i128 = moment.balances.values().map(|one| i128::from(*one)).sum();
            let found = (share.balance_total, share.deposits, share.withdrawals);
            assert_eq!(
                found,
                (total, moment.deposits, moment.withdrawals),
                "at {position}"
            );
            assert_eq!(share.position, Lsn(position));
        }
    }

    // From every recorded state to every turn before and after it, starting at some account.
    fn check_changes(&self) {
        for from in 1..=self.end() {
            let Some(state) = self.store().states().at(Lsn(from)).ok().flatten() else {
                continue;
            };
            let nobody = SnapshotId::parse("nobody").expect("a valid id");
            let is_here = self.past().is_recorded_here(&nobody, &state);
            assert_eq!(is_here.expect("it is readable"), from >= self.oldest());
            let before = &self.at(from).balances;
            let kept = self.oldest().max(1)..=self.end();
            let ends = [from, self.end()].into_iter();
            let ends = ends.filter(|end| kept.contains(end));
            for until in kept.clone().step_by(7).chain(ends) {
                let after = &self.at(until).balances;
                let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
                let expected: Vec<_> = names
                    .into_iter()
                    .map(|name| {
                        (
                            name.clone(),
                            before.get(name).copied(),
                            after.get(name).copied(),
                        )
                    })
                    .filter(|(_, before, after)| before != after)
                    .collect();
                let shown = |behind: Option<&str>| -> Vec<_> {
                    let behind = behind.map(account);
                    let found = self
                        .past()
                        .changes_until(&state, Lsn(until), behind.as_ref());
                    let found = found.expect("it is whole").map(|change| {
                        let change = change.expect("it is whole");
                        (change.account.to_string(), change.before, change.after)
                    });
                    found.collect()
                };
                assert_eq!(shown(None), expected, "from {from} until {until}");
                let behind = expected.iter().filter(|(name, ..)| &**name > "a2");
                let behind: Vec<_> = behind.cloned().collect();
                assert_eq!(shown(Some("a2")), behind, "from {from} until {until}");
            }
        }
    }

    fn check_instants(&self) {
        let at = |time| self.past().position_at(time).expect("it is whole");
        for position in self.oldest() + 1..=self.end() {
            let time = self.at(position).time;
            assert_eq!(at(time), Lsn(position));
            assert_eq!(at(Hlc(time.0 - 1)), Lsn(position - 1));
        }
        if let Some((first, since)) = self.past().horizon() {
            assert_eq!(since, self.at(first.0 - 1).time);
            assert_eq!(at(since), Lsn(first.0 - 1));
            match self.past().position_at(Hlc(since.0 - 1)) {
                Err(StoreError::BeforeHorizon { since: told, .. }) => assert_eq!(told, since),
                other => unreachable!("{other:?}"),
            }
        }
        assert_eq!(at(Hlc(u64::MAX)), Lsn(self.end()));
        let beyond = self.past().totals_at(Lsn(self.end() + 1));
        assert!(matches!(beyond, Err(StoreError::Beyond { .. })));
    }

    // Reads all pages in order; turns added between two pages change nothing.
    fn statement(&mut self, name: &str, query: &StatementQuery) -> Vec<StatementPage> {
        let mut query = StatementQuery {
            account: account(name),
            ..query.clone()
        };
        let mut pages = Vec::new();
        loop {
            let page = self.past().statement(&me(), &query).expect("it is whole");
            query.after = page.entries.last().map(|(entry, _)| entry.place);
            let has_more = page.has_more;
            pages.push(page);
            if !has_more {
                return pages;
            }
            if !query.oldest_first && self.teller.random.below(3) == 0 {
                self.turn();
            }
        }
    }

    fn check_statement(&mut self, name: &str, query: &StatementQuery) {
        let end = self.end();
        let pages = self.statement(name, query);
        let mut entries: Vec<_> = pages.iter().flat_map(|page| page.entries.clone()).collect();
        let mut marks: Vec<_> = pages
            .iter()
            .flat_map(|page| page.snapshots.clone())
            .collect();
        for page in &pages[..pages.len() - 1] {
            assert_eq!(page.entries.len(), query.limit);
        }
        if !query.oldest_first {
            entries.reverse();
            marks.reverse();
        }
        let places: Vec<EntryPlace> = entries.iter().map(|(entry, _)| entry.place).collect();
        assert!(places.is_sorted_by(|a, b| a < b), "{places:?}");
        let oldest = self.oldest();
        let is_within = |position: u64| {
            if position <= oldest {
                return false;
            }
            let time = self.at(position).time;
            query.from.is_none_or(|from| time >= from) && query.to.is_none_or(|to| time < to)
        };
        // Every change of the balance is an entry that states it.
        let balance = |position: u64| match position {
            0 => None,
            position => self.at(position).balances.get(name).copied(),
        };
        for position in (1..=end).filter(|position| is_within(*position)) {
            let here: Vec<&(Entry, i64)> = entries
                .iter()
                .filter(|(entry, _)| entry.place.position.0 == position)
                .collect();
            let change: i128 = here.iter().map(|(entry, _)| entry.change()).sum();
            let (before, after) = (balance(position - 1), balance(position));
            let expected = i128::from(after.unwrap_or(0)) - i128::from(before.unwrap_or(0));
            assert_eq!(change, expected, "{name} at {position}");
            if let Some((entry, last)) = here.last() {
                assert_eq!(Some(*last), after, "{name} at {position}");
                assert_eq!(entry.time, self.at(position).time);
                let is_transfer = matches!(entry.op, Op::TransferIn | Op::TransferOut);
                assert_eq!(entry.transfer_id.is_some(), is_transfer);
                assert_eq!(entry.counterparty.is_some(), is_transfer);
            }
        }
        assert!(places.iter().all(|place| is_within(place.position.0)));
        let cuts: Vec<u64> = marks.iter().map(|mark| mark.position.0).collect();
        let recorded = self.cuts.iter().copied().filter(|cut| *cut < end);
        let recorded: Vec<u64> = recorded.filter(|cut| is_within(cut + 1)).collect();
        assert_eq!(cuts, recorded, "every snapshot is on one page");
        for mark in marks {
            assert_eq!(mark.balance, balance(mark.position.0), "{name} in {mark:?}");
        }
    }
}

fn query(limit: usize, oldest_first: bool, range: (Option<Hlc>, Option<Hlc>)) -> StatementQuery {
    StatementQuery {
        account: account("a0"),
        from: range.0,
        to: range.1,
        after: None,
        oldest_first,
        limit,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_balance_and_statement_is_what_a_model_remembers(
        seed: u64,
        touches in 1..60usize,
        lives in prop::collection::vec(1..120usize, 1..4),
        trims: bool,
        limit in 1..12usize,
        oldest_first: bool,
    ) {
        let mut lived = Lived::new(seed, touches, &lives, trims);
        lived.check_balances();
        lived.check_changes();
        lived.check_instants();
        lived.index();
        lived.check_balances();
        let middle = |lived: &Lived, share: u64| lived.at(1 + lived.end() * share / 4 % lived.end()).time;
        for name in ACCOUNTS {
            lived.check_statement(name, &query(limit, oldest_first, (None, None)));
            let range = (Some(middle(&lived, 1)), Some(middle(&lived, 3)));
            lived.check_statement(name, &query(limit, oldest_first, range));
        }
        lived.store = None;
        let report = Store::check(lived.dir.path()).expect("the store is whole");
        prop_assert!(report.turns >= report.stretches);
    }
}

#[test]
fn one_stretch_of_the_usual_size_and_many_of_one_touch_say_the_same() {
    for touches in [1, 65_536] {
        let mut lived = Lived::new(7, touches, &[150, 150], false);
        lived.index();
        lived.check_balances();
        lived.check_statement("a1", &query(5, false, (None, None)));
        lived.store = None;
        let report = Store::check(lived.dir.path()).expect("the store is whole");
        assert_eq!(report.stretches > 50, touches == 1, "{report:?}");
    }
}

#[test]
fn a_damaged_index_is_named_by_the_check_and_changes_no_answer() {
    let mut lived = Lived::new(3, 9, &[200], false);
    lived.index();
    lived.store = None;
    let keys: Vec<Vec<u8>> = values(&lived, |tree| {
        tree.iter()
            .keys()
            .map(|key| key.expect("it is read").to_vec())
            .collect()
    });
    assert!(keys.len() > 5 * 17, "there are many stretches");
    for (place, key) in keys.iter().enumerate().step_by(23) {
        values(&lived, |tree| {
            let mut value = tree
                .get(key)
                .expect("it is read")
                .expect("it is there")
                .to_vec();
            let last = value.len() - 1 - place % 2;
            value[last] ^= 1 << (place % 8);
            tree.insert(key, value).expect("it is written");
        });
    }
    let named = Store::check(lived.dir.path()).expect_err("it is damaged");
    assert!(
        named.to_string().contains("index of the turns up to"),
        "{named}"
    );
    lived.restart(9);
    lived.check_balances();
    lived.check_statement("a0", &query(4, false, (None, None)));
}

#[test]
fn the_index_of_a_journal_that_went_on_otherwise_is_forgotten() {
    let mut lived = Lived::new(5, 4, &[100], false);
    lived.index();
    let end = lived.end();
    lived.store = None;
    // Removes the newest turns and the durable watermark; the process then continues.
    let cut = end - 30;
    let db = images::engine(lived.dir.path());
    for (tree, width) in [("journal", 8), ("states-2", 8)] {
        let tree = db.open_tree(tree).expect("it is readable");
        let keys: Vec<_> = tree
            .iter()
            .keys()
            .map(|key| key.expect("it is read"))
            .collect();
        for key in keys
            .iter()
            .filter(|key| key[..width] > cut.to_be_bytes()[..])
        {
            tree.remove(key).expect("it can be removed");
        }
    }
    drop(db);
    std::fs::remove_file(lived.dir.path().join("witness")).expect("it is there");
    lived.moments.retain(|position, _| *position <= cut);
    lived.cuts.retain(|at| *at < cut);
    lived.restart(4);
    lived.teller = Teller::new(99, recover(lived.store()));
    for _ in 0..40 {
        lived.turn();
    }
    lived.index();
    lived.check_balances();
    lived.check_statement("a0", &query(3, false, (None, None)));
    lived.store = None;
    let checked = Store::check(lived.dir.path())
        .err()
        .map(|error| error.to_string());
    let of_index = checked.filter(|sentence| sentence.contains("index of the turns"));
    assert_eq!(of_index, None);
}

// Works on the index below the store.
fn values<T>(lived: &Lived, work: impl FnOnce(&sled::Tree) -> T) -> T {
    let db = images::engine(lived.dir.path());
    let worked = work(&db.open_tree("stretches").expect("the tree is there"));
    drop(db);
    images::await_release(lived.dir.path());
    worked
}

#[test]
fn a_store_that_begins_later_answers_from_then_on_and_is_whole() {
    let later = crate::for_seeds(12, |seed| {
        let mut lived = Lived::new(seed, 20, &[160, 160], true);
        let begins_later = lived.oldest() > 0;
        lived.check_balances();
        lived.check_instants();
        lived.index();
        lived.check_balances();
        lived.check_statement("a1", &query(5, true, (None, None)));
        lived.check_statement("a1", &query(5, false, (None, None)));
        let oldest = lived.oldest();
        lived.store = None;
        let report =
            Store::check(lived.dir.path()).unwrap_or_else(|wrong| panic!("seed {seed}: {wrong}"));
        assert_eq!(report.journal_from, oldest + 1);
        usize::from(begins_later)
    });
    assert!(later > 2, "hardly any store began later: {later}");
}
