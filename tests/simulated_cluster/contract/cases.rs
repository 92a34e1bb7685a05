//! The statements about turns, states, parts and chunks.

use std::collections::BTreeMap;

use snapledger::process::ids::Lsn;
use snapledger::process::input::Input;
use snapledger::process::registers::Sealed;

use super::host::{Host, account, process_id, snapshot};
use super::peers::PeerPart;
use super::{Crash, Statement, StoreContract};

/// Both ways to crash.
pub(super) const CRASHES: [Crash; 2] = [Crash::Kill, Crash::PowerCut];
/// How often a statement is repeated where the model draws what a power cut loses.
pub(super) const POWER_CUTS: u64 = 8;

/// The statements.
pub(super) fn all<S: StoreContract>() -> Vec<Statement<S>> {
    vec![
        ("a_committed_turn_survives_every_crash", committed_turns),
        ("a_synced_state_survives_every_crash", synced_states),
        ("a_lost_state_is_sealed_again", unsynced_states),
        ("a_state_is_written_once", states_written_once),
        ("a_balance_is_that_of_its_position", balances),
        ("a_part_waits_for_its_state_and_is_exact", parts),
        ("a_stored_part_never_changes", stored_parts),
        ("an_unfinished_part_names_its_open_channels", open_parts),
        ("missing_chunks_are_named_until_adopted", missing_chunks),
        ("chunks_of_a_held_part_are_not_swept", held_parts),
    ]
}

// A process with a state recorded for this snapshot, and the parts of both peers.
pub(super) fn record<S: StoreContract>(host: &mut Host<S>, name: &str) -> [PeerPart; 2] {
    host.deposit("rent", 5);
    host.initiate(name);
    [0, 1].into_iter().for_each(|peer| host.marker(peer, name));
    host.settle();
    host.turn(Input::PartStored {
        snapshot: snapshot(name),
    });
    ["q", "r"].map(|peer| PeerPart::new(&snapshot(name), peer, 3))
}

pub(super) fn adopt_chunks<'a, S: StoreContract>(
    host: &mut Host<S>,
    peers: impl IntoIterator<Item = &'a PeerPart>,
) {
    for peer in peers {
        for (hash, framed) in &peer.chunks {
            assert!(host.store.adopt_chunk(*hash, framed.clone()));
        }
    }
}

fn committed_turns<S: StoreContract>(host: &mut Host<S>) {
    let mut turns = Vec::new();
    for round in 0..6 {
        turns.push(host.deposit("rent", 1 + round));
        let before = host.process.registers().clone();
        host.crash(CRASHES[usize::try_from(round).expect("small") % 2]);
        assert_eq!(*host.process.registers(), before);
        assert_eq!(host.store.turns(), turns);
    }
}

fn synced_states<S: StoreContract>(host: &mut Host<S>) {
    for round in 0..POWER_CUTS {
        host.deposit("rent", 5);
        host.turn(Input::Checkpoint);
        host.write_state();
        host.store.sync();
        let cut = Lsn(host.process.registers().position.0 - 1);
        let state = host.store.state(cut).expect("it is written");
        let accounts = host.store.accounts(&state);
        assert_eq!(accounts[&account("rent")], 5 * (round.cast_signed() + 1));
        host.crash(CRASHES[usize::try_from(round % 2).expect("small")]);
        assert_eq!(host.store.state(cut), Some(state.clone()));
        // The turn behind the cut seals it again.
        assert_eq!(host.unwritten.len(), 1, "a restart begins at the state");
        host.settle();
        assert_eq!(host.store.state(cut), Some(state));
    }
}

fn unsynced_states<S: StoreContract>(host: &mut Host<S>) {
    for _ in 0..POWER_CUTS {
        host.deposit("rent", 5);
        host.turn(Input::Checkpoint);
        let cut = Lsn(host.process.registers().position.0 - 1);
        assert_eq!(host.store.state(cut), None, "it is not written");
        host.write_state();
        let before = host.process.registers().clone();
        host.crash(Crash::PowerCut);
        assert_eq!(*host.process.registers(), before);
        let is_sealed = |sealed: &Sealed| sealed.registers.position == cut;
        assert!(host.unwritten.iter().any(is_sealed), "it is sealed again");
        host.settle();
        let state = host.store.state(cut).expect("it is written again");
        assert_eq!(state.accounts, 1);
        let total = host.store.accounts(&state)[&account("rent")];
        assert_eq!(state.balance_total, i128::from(total));
    }
}

fn states_written_once<S: StoreContract>(host: &mut Host<S>) {
    host.deposit("rent", 5);
    host.turn(Input::Checkpoint);
    host.write_state();
    let cut = Lsn(1);
    let state = host.store.state(cut);
    host.store.sync();
    host.deposit("rent", 5);
    host.crash(Crash::Kill);
    assert_eq!(host.store.state(cut), state);
    host.settle();
    assert_eq!(host.store.state(cut), state, "it is not written again");
}

fn balances<S: StoreContract>(host: &mut Host<S>) {
    let mut expected = vec![None];
    for round in 1..10 {
        host.deposit("rent", 1);
        expected.push(Some(i128::from(round)));
        if round % 3 == 0 {
            host.turn(Input::Checkpoint);
            expected.push(Some(i128::from(round)));
            host.settle();
        }
    }
    for crash in CRASHES {
        for (position, balance) in (0..).map(Lsn).zip(&expected) {
            assert_eq!(host.store.balance_at(&account("rent"), position), *balance);
        }
        host.crash(crash);
    }
}

fn parts<S: StoreContract>(host: &mut Host<S>) {
    host.transfer(0, "rent", 3);
    host.initiate("s");
    host.transfer(0, "rent", 4);
    host.transfer(1, "food", 5);
    host.marker(0, "s");
    host.transfer(0, "rent", 6);
    host.marker(1, "s");
    let recording = host.finished[0].clone();
    assert_eq!(
        host.store.build_part(&recording),
        None,
        "its state is not written"
    );
    host.write_state();
    let part = host
        .store
        .build_part(&recording)
        .expect("its state is written");
    assert!(part.is_finished());
    assert_eq!(part.state.position, Lsn(1));
    assert_eq!(part.state.balance_total, 3);
    let accounts = host.store.accounts(&part.state);
    assert_eq!(accounts, BTreeMap::from([(account("rent"), 3)]));
    let recorded = part.channels.iter().map(|channel| {
        let messages = host.store.messages(channel);
        let messages = messages.iter().map(|one| one.seq.0).collect::<Vec<_>>();
        (channel.from.clone(), channel.amount, messages)
    });
    let recorded: Vec<_> = recorded.collect();
    assert_eq!(
        recorded,
        [(process_id("q"), 4, vec![2]), (process_id("r"), 5, vec![1])]
    );
    let counted = host.store.count(&part);
    assert_eq!(
        (counted.messages, counted.transfers, counted.amount),
        (2, 2, 9)
    );
    assert_eq!(counted.chunks_held, counted.chunks_named);
    assert_eq!(counted.is_chained, Some(true));
    assert_eq!(host.store.missing_chunks(&part), []);
}

fn stored_parts<S: StoreContract>(host: &mut Host<S>) {
    record(host, "s");
    let part = host.store.part(&snapshot("s")).expect("it is stored");
    let mut other = part.clone();
    other.state.balance_total += 1;
    host.store.put_part(&other);
    for crash in CRASHES {
        assert_eq!(host.store.part(&snapshot("s")).as_ref(), Some(&part));
        host.crash(crash);
        assert!(host.finished.is_empty(), "the part is stored");
    }
}

fn open_parts<S: StoreContract>(host: &mut Host<S>) {
    host.deposit("rent", 5);
    host.initiate("s");
    host.transfer(0, "rent", 4);
    host.marker(0, "s");
    for crash in CRASHES {
        host.settle();
        let recording = host.process.registers().recordings[&snapshot("s")].clone();
        let part = host
            .store
            .build_part(&recording)
            .expect("its state is written");
        assert_eq!(part.open, [process_id("r")]);
        assert_eq!(part.channels.len(), 1);
        assert_eq!(host.store.messages(&part.channels[0]).len(), 1);
        assert_eq!(host.store.part(&snapshot("s")), None, "it is not finished");
        host.crash(crash);
    }
}

fn missing_chunks<S: StoreContract>(host: &mut Host<S>) {
    let peer = PeerPart::new(&snapshot("s"), "q", 3);
    let missing = |host: &Host<S>| {
        let mut missing = host.store.missing_chunks(&peer.part);
        missing.sort_unstable();
        missing
    };
    let mut first = [peer.index, peer.messages];
    first.sort_unstable();
    assert_eq!(missing(host), first, "what the index names is unknown");
    let wrong = peer.chunks[&peer.cells].clone();
    assert!(
        !host.store.adopt_chunk(peer.index, wrong),
        "its hash is another"
    );
    assert_eq!(missing(host), first);
    for hash in first {
        assert!(host.store.adopt_chunk(hash, peer.chunks[&hash].clone()));
    }
    assert_eq!(missing(host), [peer.cells]);
    let cells = peer.chunks[&peer.cells].clone();
    assert!(host.store.adopt_chunk(peer.cells, cells.clone()));
    host.store.hold(&peer.part);
    assert_eq!(missing(host), []);
    assert_eq!(host.store.framed_chunk(&peer.cells), cells, "byte for byte");
    let counted = host.store.count(&peer.part);
    assert_eq!((counted.chunks_named, counted.chunks_held), (3, 3));
    assert_eq!((counted.messages, counted.is_chained), (1, None));
    host.store.sync();
    for crash in CRASHES {
        host.crash(crash);
        assert_eq!(missing(host), []);
    }
}

fn held_parts<S: StoreContract>(host: &mut Host<S>) {
    let peers = ["q", "r"].map(|peer| PeerPart::new(&snapshot("s"), peer, 3));
    adopt_chunks(host, &peers);
    peers.iter().for_each(|peer| host.store.hold(&peer.part));
    host.store.tidy();
    for peer in &peers {
        assert_eq!(host.store.missing_chunks(&peer.part), []);
    }
}
