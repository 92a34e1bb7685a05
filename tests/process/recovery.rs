//! A process that is replayed, from the beginning or from a recorded state, equals the process before.

use std::collections::BTreeMap;

use snapledger::process::Process;
use snapledger::process::cell::{Cell, CellChanges, CellKey};
use snapledger::process::ids::{Key, Seq};
use snapledger::process::input::{Input, Operation};
use snapledger::process::record::Turn;
use snapledger::process::registers::Sealed;

use super::{
    account, alone, arrived, deposit, full, marker, money, process, request, snapshot, step,
    transfer, withdraw,
};

fn asked(id: &str, operation: Operation) -> Input {
    Input::Operation {
        request: Some(request(id)),
        operation,
    }
}

/// Some of every kind of input, with one snapshot that finishes and one that does not.
fn life() -> Vec<Input> {
    let put = Operation::Put {
        key: Key::parse("k").expect("a valid key"),
        value: Some("v".into()),
    };
    let initiate = Input::Initiate {
        snapshot: snapshot("s1"),
        start: None,
    };
    let acknowledged = Input::Acknowledged {
        to: process("q"),
        seq: Seq(2),
    };
    vec![
        asked("1", deposit("a", 50)),
        asked("2", withdraw("a", 60)),
        asked("3", transfer("a", (None, "b"), 7)),
        asked("4", transfer("b", (Some("q"), "x"), 3)),
        asked("5", put),
        arrived("q", 1, money("c", i64::MAX)),
        arrived("q", 2, money("c", 1)),
        initiate,
        arrived("q", 3, money("a", 4)),
        acknowledged,
        arrived("q", 4, marker("s2", "q")),
        asked("6", withdraw("a", 1)),
        arrived("q", 5, marker("s1", "p")),
        Input::Checkpoint,
        arrived("r", 1, money("a", 8)),
        arrived("r", 2, marker("s1", "p")),
        asked("7", deposit("d", 1)),
    ]
}

fn live() -> (Process, Vec<Turn>) {
    let mut p = alone("p", &full(&["p", "q", "r"]));
    let turns = life().into_iter().map(|input| step(&mut p, input).1);
    let turns = turns.filter(|turn| !turn.records.is_empty()).collect();
    (p, turns)
}

fn assert_equal(one: &mut Process, other: &mut Process) {
    assert_eq!(one.registers(), other.registers());
    for id in ["a", "b", "c", "d", "suspense"] {
        assert_eq!(
            one.bank().balance(&account(id)),
            other.bank().balance(&account(id)),
            "{id}"
        );
    }
    assert_eq!(one.bank().balance_total(), other.bank().balance_total());
    assert_eq!(one.take_finished(), other.take_finished());
    // What is remembered of requests, keys and snapshots shows in the answers to repeated inputs. Only the incarnation
    // that gave a refusal remembers it.
    let refused = asked("2", withdraw("a", 60));
    for input in life().into_iter().filter(|input| *input != refused) {
        assert_eq!(step(one, input.clone()), step(other, input));
    }
}

#[test]
fn replaying_all_turns_gives_the_same_process() {
    let (mut p, turns) = live();
    let mut again = alone("p", &full(&["p", "q", "r"]));
    for turn in &turns {
        again.replay(turn);
    }
    assert_eq!(sorted_seals(&mut p), sorted_seals(&mut again));
    assert_equal(&mut p, &mut again);
}

/// Sorts the cells, which have no defined order.
fn sorted_seals(process: &mut Process) -> Vec<Sealed> {
    let mut seals = process.take_sealed();
    for sealed in &mut seals {
        sealed.cells = CellChanges::of(vec![std::mem::take(&mut sealed.cells).sorted()]);
    }
    seals
}

/// Returns the newest cell of each name, as a store folds the seals up to and including `last`.
fn fold(sealed: &[Sealed]) -> Vec<Cell> {
    let mut newest = BTreeMap::new();
    for cell in sealed
        .iter()
        .flat_map(|sealed| sealed.cells.clone().sorted())
    {
        let CellKey { kind, name } = cell.key();
        newest.insert((kind, name.to_owned()), cell.clone());
    }
    newest.into_values().collect()
}

#[test]
fn a_recorded_state_and_the_turns_since_give_the_same_process() {
    let (_, turns) = live();
    let seals = sorted_seals(&mut live().0);
    assert_eq!(seals.len(), 3, "two snapshots and a checkpoint");
    for (index, sealed) in seals.iter().enumerate() {
        let (mut p, _) = live();
        p.take_sealed();
        let topology = full(&["p", "q", "r"]);
        let mut again = Process::restore(process("p"), topology, 8, sealed.registers.clone());
        for cell in fold(&seals[..=index]) {
            again.restore_cell(cell);
        }
        let since = turns
            .iter()
            .filter(|turn| turn.position > sealed.registers.position);
        for turn in since {
            again.replay(turn);
        }
        // The turn that sealed the state comes after it, so the state is sealed once more; nothing has changed in
        // between.
        let mut expected = seals[index..].to_vec();
        expected[0].cells = CellChanges::of(vec![Vec::new()]);
        assert_eq!(sorted_seals(&mut again), expected);
        assert_equal(&mut p, &mut again);
    }
}

#[test]
fn a_refusal_that_was_remembered_moves_no_money() {
    let (p, _) = live();
    assert_eq!(p.registers().deposits, 51);
    assert_eq!(p.registers().withdrawals, 1);
    let received = i128::from(i64::MAX) + 1 + 4 + 8;
    assert_eq!(p.bank().balance_total(), 51 - 1 - 3 + received);
    assert_eq!(p.bank().balance(&account("suspense")), Some(1));
}
