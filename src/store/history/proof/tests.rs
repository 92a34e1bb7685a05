//! What proofs prove, and what they show. Without these tests a forged proof could be accepted, or a customer could read
//! the balances of others in his own proof.

use super::*;
use crate::history::part::{Chunk, IndexEntry};
use crate::process::cell::{Cell, CellKey};
use crate::process::clock::Lamport;
use crate::process::ids::{Key, SnapshotId};
use crate::process::message::{Stamp, Write};
use crate::store::chunks::Chunks;
use crate::store::chunks::tests::chunks;
use crate::store::fixture::{self, account, process};
use crate::store::stored::codec::Secret;

fn proven_in(id: &str, is_salted: bool) -> (Proof, Proven) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, state) = match is_salted {
        true => fixture::store(dir.path()),
        false => fixture::plain_store(dir.path()),
    };
    let proof = store
        .history()
        .prove(&state.snapshot, 1, &process("p"), &account(id));
    let proof = proof.expect("all is there").expect("p is in it");
    let proven = proof.of(&process("p"), &account(id)).expect("it holds");
    assert_eq!(proven.published.state, state);
    (proof, proven)
}

#[test]
fn what_is_proven_is_the_newest_balance_or_that_there_was_none() {
    for is_salted in [true, false] {
        let found = |id| {
            let (proof, proven) = proven_in(id, is_salted);
            (proof.runs.len(), proven.balance)
        };
        assert_eq!(found("b"), (1, Some(15)), "the newer run hides 20");
        assert_eq!(found("c"), (1, Some(0)));
        assert_eq!(found("a"), (2, Some(10)));
        assert_eq!(found("z"), (2, None));
        assert_eq!(found("A"), (2, None), "it would stand before all others");
    }
}

#[test]
fn a_proof_shows_the_ids_next_to_the_account_at_most_and_where_it_is_found_nothing() {
    let discloses = |id, is_salted| proven_in(id, is_salted).0.discloses();
    for id in ["b", "c"] {
        assert_eq!(discloses(id, true), Disclosure::Nothing);
    }
    for id in ["a", "z", "A"] {
        assert_eq!(discloses(id, true), Disclosure::NeighbourIds);
    }
    for id in ["a", "b", "z", "A"] {
        assert_eq!(discloses(id, false), Disclosure::WholeChunks);
    }
    // The newer run has b and c; the older one has a.
    let (proof, _) = proven_in("a", true);
    let [RunProof::Absent(newer), RunProof::Found(_)] = &proof.runs[..] else {
        unreachable!("{proof:?}")
    };
    assert_eq!(newer.shown().collect::<Vec<_>>(), [&account("b")]);
    // Behind the last account is a key, whose name is hidden.
    let (proof, _) = proven_in("z", true);
    let [RunProof::Absent(newer), RunProof::Absent(older)] = &proof.runs[..] else {
        unreachable!("{proof:?}")
    };
    assert_eq!(newer.shown().collect::<Vec<_>>(), [&account("c")]);
    assert_eq!(older.shown().collect::<Vec<_>>(), [&account("b")]);
    for absent in [newer, older] {
        let after = absent.after.as_ref().expect("the key");
        assert!(matches!(after.name, NeighbourName::Hidden { kind: 1, .. }));
    }
}

#[test]
fn a_proof_is_of_one_account_of_one_process_and_of_nothing_less() {
    for is_salted in [true, false] {
        let (proof, _) = proven_in("z", is_salted);
        let refused = |proof: &Proof, id: &str, name: &str| {
            let refused = proof.of(&process(id), &account(name));
            refused.expect_err("it proves nothing").to_string()
        };
        let elsewhere = match is_salted {
            true => "does not belong between",
            false => "continues after the run",
        };
        assert!(refused(&proof, "p", "b").contains(elsewhere));
        assert!(refused(&proof, "q", "z").contains("run 1 of 1"));
        assert!(refused(&proof, "r", "z").contains("does not hold process r"));
        // Without the newer run the older one would prove an outdated balance.
        let (newer, _) = proven_in("b", is_salted);
        let mut older = proof.clone();
        older.runs.remove(0);
        assert!(refused(&older, "p", "z").contains("run 1 of 2"));
        let mut cut = newer.clone();
        cut.runs.clear();
        assert!(refused(&cut, "p", "b").contains("it is not in the proof"));
        let mut longer = newer;
        longer.runs.push(proof.runs[1].clone());
        assert!(refused(&longer, "p", "b").contains("continues after the run"));
    }
}

#[test]
fn whole_chunks_beyond_those_that_lead_to_the_account_are_refused() {
    let (mut newer, _) = proven_in("b", false);
    let (other, _) = proven_in("z", false);
    let (RunProof::Whole(padded), RunProof::Whole(older)) = (&mut newer.runs[0], &other.runs[1])
    else {
        unreachable!("both are whole")
    };
    padded.index.push(older.index[0].clone());
    let refused = newer.of(&process("p"), &account("b"));
    let refused = refused.expect_err("it shows too much").to_string();
    assert!(refused.contains("it has 3 chunks, of which 2 lead"));
}

#[test]
fn a_flipped_bit_in_whole_chunks_is_seen() {
    let (proof, proven) = proven_in("z", false);
    let sections = 1 + 2 * proof.runs.len();
    for section in 0..sections {
        let length = bytes(&mut proof.clone(), section).len();
        for place in 0..length {
            let mut changed = proof.clone();
            bytes(&mut changed, section)[place] ^= 1 << (place % 8);
            let found = changed.of(&process("p"), &account("z"));
            assert!(found.is_err(), "byte {place} of section {section}");
        }
    }
    assert_eq!(proven.balance, None);
}

fn bytes(proof: &mut Proof, section: usize) -> &mut Vec<u8> {
    let Some(run) = section.checked_sub(1) else {
        return &mut proof.revision;
    };
    let RunProof::Whole(whole) = &mut proof.runs[run / 2] else {
        unreachable!("it is whole")
    };
    match run % 2 {
        0 => &mut whole.index[0],
        _ => whole.cells.as_mut().expect("it has one"),
    }
}

/// The accounts of the run below: every second number, with as many units.
const ACCOUNTS: i64 = 31;

fn named(number: i64) -> AccountId {
    account(&format!("a{number:03}"))
}

// A run of small chunks: of three cells, and of two entries. It ends with two keys, of which the first shares its chunk
// with an account.
fn run_of_small_chunks(chunks: &Chunks) -> Run {
    let secret = Secret::new([9; 32]);
    let put = |chunk: Chunk| chunks.put(&chunk, Some(&secret)).expect("there is room").0;
    let accounts = (1..=ACCOUNTS).map(|number| Cell::Account {
        account: named(2 * number),
        balance: 2 * number,
    });
    let keys = ["k", "l"].map(|key| {
        let stamp = Stamp {
            clock: Lamport(2),
            process: process("p"),
        };
        Cell::Key(std::sync::Arc::new(Write {
            key: Key::parse(key).expect("a valid key"),
            value: None,
            stamp,
        }))
    });
    let cells: Vec<Cell> = accounts.chain(keys).collect();
    let entries = cells.chunks(3).map(|cells| {
        let CellKey { kind, name } = cells[0].key();
        IndexEntry {
            kind,
            name: name.into(),
            chunk: put(Chunk::Cells(cells.to_vec())),
        }
    });
    let entries: Vec<_> = entries.collect();
    let index = entries.chunks(2);
    Run {
        cells: cells.len() as u64,
        bytes: 0,
        index: index.map(|few| put(Chunk::Index(few.to_vec()))).collect(),
    }
}

#[test]
fn every_account_is_proven_and_every_gap_also_where_chunks_and_indexes_end() {
    let chunks = chunks();
    let run = run_of_small_chunks(&chunks);
    assert_eq!(run.index.len(), 6);
    for number in 1..=2 * ACCOUNTS + 1 {
        let asked = named(number);
        let proof = single_cells::prove(&chunks, &run, &asked).expect("it is whole");
        match proof {
            Ok(found) => {
                assert_eq!(found.look_up(&run, &asked), Ok(number));
                let elsewhere = found.look_up(&run, &named(number + 2));
                elsewhere.expect_err("it is of another account");
                let mut richer = found.clone();
                richer.balance += 1;
                richer.look_up(&run, &asked).expect_err("it is forged");
            }
            Err(absent) => {
                assert_eq!(absent.look_up(&run, &asked), Ok(()));
                assert_eq!(number % 2, 1);
                let others = [number - 1, number + 1, number + 2, number - 2];
                for beside in others
                    .into_iter()
                    .filter(|other| (2..=2 * ACCOUNTS).contains(other))
                {
                    let elsewhere = absent.look_up(&run, &named(beside));
                    elsewhere.expect_err("it is of another gap");
                }
            }
        }
    }
}

// Without this, an account could be hidden by showing the cells on both sides of it as neighbours.
#[test]
fn cells_that_are_not_next_to_each_other_prove_no_absence() {
    let chunks = chunks();
    let run = run_of_small_chunks(&chunks);
    let gap = |number: i64| {
        let proof = single_cells::prove(&chunks, &run, &named(number)).expect("it is whole");
        proof.expect_err("there are even numbers only")
    };
    for number in (3..2 * ACCOUNTS).step_by(2) {
        let (before, after) = (gap(number - 2).before, gap(number).after);
        let hiding = AbsentCell {
            before: before.clone(),
            after: after.clone(),
        };
        let hidden = hiding.look_up(&run, &named(number - 1));
        hidden.expect_err("the account is between them");
        let (none_before, none_after) = (None, None);
        let ends = [(before, none_after), (none_before, after), (None, None)];
        for (before, after) in ends {
            let open = AbsentCell { before, after };
            let hidden = open.look_up(&run, &named(number - 1));
            assert!(hidden.is_err() || open.before.is_none() && number == 1);
        }
    }
    let empty = AbsentCell {
        before: None,
        after: None,
    };
    assert_eq!(empty.look_up(&Run::default(), &named(1)), Ok(()));
}

// Without this, two accounts next to each other would be shown as the same cell, or cells of one run as those of another.
#[test]
fn no_position_and_no_run_stands_for_another() {
    let chunks = chunks();
    let run = run_of_small_chunks(&chunks);
    let found = single_cells::prove(&chunks, &run, &named(20)).expect("it is whole");
    let found = found.expect("it is there");
    let changes: [fn(&mut CellPlace); 8] = [
        |place| place.index += 1,
        |place| place.entry.position ^= 1,
        |place| place.entry.count += 1,
        |place| place.cell.position += 1,
        |place| place.cell.count += 1,
        |place| place.cell.count = 0,
        |place| place.cell.path.clear(),
        |place| place.cell.path.push(place.entry_name),
    ];
    for change in changes {
        let mut moved = found.clone();
        change(&mut moved.place);
        moved.look_up(&run, &named(20)).expect_err("it is moved");
    }
    let mut other = run.clone();
    other.index.reverse();
    found
        .look_up(&other, &named(20))
        .expect_err("of another run");
}

#[test]
fn the_name_of_a_snapshot_does_not_matter_to_its_cells() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (store, state) = fixture::store(dir.path());
    let unknown = SnapshotId::parse("t").expect("a valid id");
    let proof = store
        .history()
        .prove(&unknown, 1, &process("p"), &account("a"));
    assert!(proof.is_err(), "there is no such snapshot");
    let absent = store
        .history()
        .prove(&state.snapshot, 1, &process("r"), &account("a"));
    assert_eq!(absent.expect("it is whole"), None, "r is not in it");
}
