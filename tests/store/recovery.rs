//! Recovery: the newest whole recorded state and the journal after it give back the process as it was.
//!
//! Without this, a restart could lose or duplicate acknowledged operations wherever the background work lagged behind
//! the journal, and only wrong sums would show it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::teller::{Teller, account, balances, balances_of, images, open, process_id, recover};
use snapledger::process::Process;
use snapledger::process::cell::CellChanges;
use snapledger::process::ids::Lsn;
use snapledger::process::input::{Input, Operation};
use snapledger::process::record::Record;
use snapledger::process::registers::Sealed;
use snapledger::process::reply::Reply;
use snapledger::store::{Arrived, GroupReader, Store, StoreError};
use tempfile::TempDir;

const SEEDS: u64 = 3;
const ROUNDS: u64 = 10;

/// The progress of the background work when the store is dropped.
#[derive(Debug, Clone, Copy)]
enum Background {
    /// Keeps up, more or less.
    Lagging,
    /// Never runs.
    Absent,
}

#[test]
fn a_restart_at_any_turn_gives_the_same_process() {
    for seed in seeds() {
        Life::new(seed, Background::Lagging).live(|_, _| {}).check();
    }
}

#[test]
fn a_restart_needs_no_recorded_state() {
    for seed in seeds() {
        Life::new(seed, Background::Absent).live(|_, _| {}).check();
    }
}

#[test]
fn states_whose_chunks_are_lost_are_passed_over() {
    let mut passed_over = 0;
    for seed in seeds() {
        let mut known = BTreeSet::new();
        let mut life = Life::new(seed, Background::Lagging);
        life.live(|dir, teller| {
            // Some of the chunks written since the last start are lost; rarely, any chunk.
            let any = teller.random.below(4) == 0;
            chunks(dir, |key| {
                let fresh = known.insert(key.to_vec());
                (any || fresh) && teller.random.below(2) == 0
            });
        });
        passed_over += life.passed_over;
    }
    assert!(
        passed_over > 0,
        "no state was ever broken: the test is blind"
    );
}

// Without this, each snapshot of a quiet cluster would leave a state that repeats the one before, for ever.
#[test]
fn states_near_each_other_are_thinned_and_a_restart_needs_none_of_them() {
    const ROUNDS: u64 = 150;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let mut teller = Teller::new(1, recover(&store));
    for _ in 0..ROUNDS {
        for input in [one_deposit(), Input::Checkpoint] {
            teller.turn(&store, input);
        }
        teller.write_oldest(&store);
    }
    let before = balances(&teller.process);
    drop(store);
    images::await_release(dir.path());
    let report = Store::check(dir.path()).expect("it is whole");
    assert!(report.turns >= 2 * ROUNDS, "{report:?}");
    assert!((6..=8).contains(&report.states), "{report:?}");
    assert_eq!(balances(&recover(&open(dir.path()))), before);
}

fn one_deposit() -> Input {
    let operation = Operation::Deposit {
        account: account("a1"),
        amount: 1,
    };
    Input::Operation {
        request: None,
        operation,
    }
}

// One seed from the environment, or the default ones.
fn seeds() -> Vec<u64> {
    match std::env::var("SNAPLEDGER_SEED") {
        Ok(seed) => vec![seed.parse().expect("SNAPLEDGER_SEED is a number")],
        Err(_) => (1..=SEEDS).collect(),
    }
}

/// What is left of a run.
struct Remains {
    dir: TempDir,
    teller: Teller,
}

impl Remains {
    fn check(self) {
        images::await_release(self.dir.path());
        let report = Store::check(self.dir.path()).expect("the store is whole");
        let process = &self.teller.process;
        assert_eq!(report.turns, process.registers().position.0);
        assert_eq!(report.balance_total, process.bank().balance_total());
    }
}

/// One process through many restarts.
struct Life {
    seed: u64,
    background: Background,
    passed_over: usize,
}

impl Life {
    fn new(seed: u64, background: Background) -> Self {
        eprintln!(
            "seed {seed}, background {background:?}; again: SNAPLEDGER_SEED={seed} cargo test --test store recovery"
        );
        Self {
            seed,
            background,
            passed_over: 0,
        }
    }

    // `accident` is applied to the files while no store is open.
    fn live(&mut self, mut accident: impl FnMut(&Path, &mut Teller)) -> Remains {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut store = open(dir.path());
        let mut teller = Teller::new(self.seed, recover(&store));
        for round in 1..=ROUNDS {
            for _ in 0..=teller.random.below(40) {
                teller.random_turns(&store);
                if matches!(self.background, Background::Lagging) {
                    teller.work(&store);
                }
            }
            drop(store);
            accident(dir.path(), &mut teller);
            store = open(dir.path());
            assert_eq!(store.identity().boot, round + 1);
            self.restart(&store, &mut teller);
        }
        while !teller.unwritten.is_empty() {
            teller.write_oldest(&store);
        }
        Remains { dir, teller }
    }

    fn restart(&mut self, store: &Store, teller: &mut Teller) {
        let mut recovered = recover(store);
        assert_same(&mut recovered, teller);
        let sealed = recovered.take_sealed();
        let finished = recovered.take_finished();
        let again = by_cut(&sealed);
        let first = sealed.first().map(|sealed| sealed.registers.position);
        for lost in &teller.unwritten {
            let cut = lost.registers.position;
            let written = store.states().at(cut);
            let is_thinned = matches!(written, Err(StoreError::Damaged { .. }));
            if first >= Some(cut) && (is_thinned || written.expect("it is readable").is_some()) {
                // It was written in an earlier life and has become whole again because chunks that it shares with
                // others were rewritten; or it was not kept at the time because it was near another one.
                continue;
            }
            assert_eq!(again.get(&cut), by_cut([lost]).get(&cut), "sealed at {cut}");
        }
        let mut expected = std::mem::take(&mut teller.unstored);
        expected.append(&mut teller.unconfirmed);
        expected.sort_by(|a, b| a.snapshot.cmp(&b.snapshot));
        let mut found = finished.clone();
        found.sort_by(|a, b| a.snapshot.cmp(&b.snapshot));
        assert_eq!(found, expected, "finished recordings");
        // The first is the restored state, sealed again where the journal continues from it.
        for passed_over in sealed.iter().skip(1) {
            let cut = passed_over.registers.position;
            assert_eq!(store.states().at(cut).expect("it is readable"), None);
        }
        self.passed_over += sealed.len().saturating_sub(teller.unwritten.len() + 1);
        teller.whole_from = first.unwrap_or(teller.whole_from);
        teller.unwritten = sealed.into();
        teller.unstored = finished;
        teller.process = recovered;
    }
}

fn assert_same(recovered: &mut Process, teller: &Teller) {
    let live = &teller.process;
    assert_eq!(recovered.registers(), live.registers());
    assert_eq!(balances(recovered), teller.balances);
    assert_eq!(recovered.bank().len(), live.bank().len());
    assert_eq!(
        recovered.bank().balance_total(),
        live.bank().balance_total()
    );
    recovered.begin_turn(0, live.registers().time);
    // Only one incarnation of a process remembers a refusal: it has changed nothing.
    let done = teller.answers.iter();
    let done = done.filter(|(_, _, answer)| answer.outcome.is_ok());
    for (request, operation, answer) in done {
        let reply = recovered.step(Input::Operation {
            request: Some(request.clone()),
            operation: operation.clone(),
        });
        assert_eq!(reply, Reply::Operation(answer.clone()), "{request}");
    }
    let turn = recovered.end_turn();
    assert_eq!(turn.records, [], "what was answered is not done again");
}

// Sealed states in comparable form: their cells have no defined order.
fn by_cut<'a>(sealed: impl IntoIterator<Item = &'a Sealed>) -> BTreeMap<Lsn, Sealed> {
    let ordered = |sealed: &Sealed| {
        let mut sealed = sealed.clone();
        sealed.cells = CellChanges::of(vec![sealed.cells.sorted()]);
        (sealed.registers.position, sealed)
    };
    sealed.into_iter().map(ordered).collect()
}

// Removes chunks from a closed store.
fn chunks(dir: &Path, mut is_lost: impl FnMut(&[u8]) -> bool) {
    let db = crate::teller::images::engine(dir);
    let tree = db.open_tree("chunks").expect("the tree is there");
    for key in tree.iter().keys() {
        let key = key.expect("it is readable");
        if is_lost(&key) {
            tree.remove(&key).expect("it can be removed");
        }
    }
}

#[test]
fn runs_are_merged_and_a_state_stays_the_whole_truth() {
    const SNAPSHOTS: u64 = 250;
    const ACCOUNTS_TOUCHED: u64 = 4;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let mut teller = Teller::new(1, recover(&store));
    let mut truth = BTreeMap::new();
    deposit(&mut teller, &store, (0..2000, &mut truth));
    let mut new_bytes = 0;
    let mut runs_seen = BTreeSet::new();
    for _ in 0..SNAPSHOTS {
        let first = teller.random.below(2000 - ACCOUNTS_TOUCHED);
        deposit(
            &mut teller,
            &store,
            (first..first + ACCOUNTS_TOUCHED, &mut truth),
        );
        teller.turn(&store, Input::Checkpoint);
        let sealed = teller.unwritten.pop_front().expect("it was sealed");
        let state = store.states().write(sealed).expect("the disk has room");
        let cells = store
            .states()
            .cells(&state.runs, None)
            .expect("it is whole");
        assert_eq!(
            balances_of(cells.map(|cell| cell.expect("it is whole"))),
            truth
        );
        assert_eq!(
            state.runs.iter().map(|run| run.bytes).sum::<u64>(),
            state.state_bytes
        );
        runs_seen.insert(state.runs.len());
        new_bytes += state.new_bytes;
    }
    let most = *runs_seen.last().expect("states were written");
    assert!(most > 3, "{most} runs at most: nothing was left to merge");
    assert!(most <= 16, "{most} runs in one state");
    let per_snapshot = new_bytes / SNAPSHOTS;
    assert!(
        per_snapshot < 900,
        "{per_snapshot} bytes per snapshot of {ACCOUNTS_TOUCHED} accounts"
    );
}

fn deposit(
    teller: &mut Teller,
    store: &Store,
    (numbers, truth): (std::ops::Range<u64>, &mut BTreeMap<String, i64>),
) {
    for number in numbers {
        let name = format!("many-{number:04}");
        let amount = 1 + teller.random.below(100).cast_signed();
        *truth.entry(name.clone()).or_default() += amount;
        let operation = Operation::Deposit {
            account: account(&name),
            amount,
        };
        let input = Input::Operation {
            request: None,
            operation,
        };
        teller.turn(store, input);
    }
}

/// What a restored store has beside the journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Restored {
    Nothing,
    /// The chunks of all states, as after a first attempt, or from peers.
    Chunks,
    /// The states of the first half.
    States,
}

// Without this a snapshot whose part was lost with a disk stays partial for ever, or has two parts of one process, of which one is
// published and the other one stored: `store check` finds that.
#[test]
fn parts_that_only_the_journal_speaks_of_are_made_again_as_they_were() {
    for restored in [Restored::Nothing, Restored::Chunks, Restored::States] {
        let mut made = 0;
        for seed in 11..14 {
            made += made_again(seed, restored);
        }
        assert!(made > 2, "{made} parts, {restored:?}");
    }
}

// Returns the number of parts that the journal reports as stored and that are made again.
fn made_again(seed: u64, restored: Restored) -> usize {
    let (dir, again) = (directory(), directory());
    let store = open(dir.path());
    let mut teller = Teller::new(seed, recover(&store));
    let identity = Store::successor_of(store.identity());
    let salts = Some(store.salts().expect("they are readable"));
    let me = process_id("p");
    let made = Store::create_archived(again.path(), crate::teller::CLUSTER, &me, identity, salts);
    let made = made.expect("the disk has room");
    let mut from = Lsn(0);
    for turn in 0..600 {
        teller.random_turn(&store);
        teller.work(&store);
        teller.work(&store);
        if turn == 300 && restored == Restored::States {
            give_states(&store, &made, true);
            from = store.archived().newest_state().expect("it has states");
        }
    }
    let mut reported = Vec::new();
    for turn in store.journal().stored_turns(Lsn(1)) {
        let framed = turn.expect("it is whole").framed;
        let turn = made.append_archived(&framed);
        let turn = turn.expect("it follows the one before");
        for record in &turn.records {
            if let Record::PartStored { snapshot } = record {
                reported.push((turn.position, snapshot.clone()));
            }
        }
    }
    if restored == Restored::Chunks {
        give_states(&store, &made, false);
    }
    made.sync_journal().expect("the disk has room");
    drop(made);
    let made = open(again.path());
    let newest = made.archived().newest_state();
    assert_eq!(newest, None, "before the recovery");
    let mut process = recover(&made);
    // Of the recordings that ended before the newest state the archive has the parts.
    reported.retain(|(position, _)| *position > from);
    let mut last = from;
    for (_, snapshot) in &reported {
        let parts = [&made, &store].map(|store| store.parts().get(snapshot));
        let [there, here] = parts.map(|part| part.expect("it is readable"));
        assert_eq!(there, here, "seed {seed}, {restored:?}");
        last = last.max(there.expect("it is made again").state.position);
    }
    // If a later state were durable before a part, a crash between the two would lose the part.
    assert_eq!(made.archived().newest_state().unwrap_or_default(), last);
    // Those that are left are later, or written.
    let left = process.take_sealed();
    assert!(left.iter().all(|sealed| sealed.registers.position >= last));
    reported.len()
}

// Copies the chunks of all states, or the states.
fn give_states(from: &Store, to: &Store, are_whole: bool) {
    let mut cut = None;
    while let Some(next) = from.archived().state_after(cut).expect("it is readable") {
        let state = from.archived().state(next).expect("it is whole");
        let state = state.expect("it is there");
        for group in &state.groups {
            let mut reader = GroupReader::new(group);
            while !reader.is_done() {
                let chunks = from.archived().read(&mut reader, 1 << 20);
                let put = to.archived().put_chunks(chunks.expect("they are whole"));
                put.expect("the disk has room");
            }
        }
        if are_whole {
            let put = to.archived().put_state(next, &state.stored);
            assert_eq!(put.expect("the disk has room"), Arrived::Stored);
        }
        cut = Some(next);
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().expect("a temporary directory")
}
