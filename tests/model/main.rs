//! A model of the marker rules with crash and restart: every interleaving within bounds, checked by stateright. Without
//! it, a rule that breaks only under one order of messages, commits and crashes would be found by luck.
//!
//! The model drives the real `Process`: it receives messages, is committed in turns of any size, loses its open turn
//! and recovers from its journal. Its environment is modelled: channels keep order and may redeliver what was
//! delivered, clients repeat requests, any process crashes at any time. Each step of a process is executed once and
//! cached, so that many global states share few local ones. Not modelled: the handshake, acknowledgements, the
//! collection of parts.
//!
//! Coverage (3 processes, 2 overlapping snapshots from different initiators; each run asserts that it covers no less,
//! and prints its figures; seconds on one core, unoptimized, the last two optimized):
//!
//! | test | channels | transfers | crashes | unique states | depth | seconds |
//! |---|---|---|---|---|---|---|
//! | `any_number_of_crashes` | 6 | 1 | any number, at every step | 126,534 | 29 | 8 |
//! | `two_crashes_and_what_they_hit` | 4 | 1 | 2 that lose something | 26,366 | 27 | 2 |
//! | `in_every_detail` | 4 | 1 | any number; nothing merged | 42,031 | 25 | 5 |
//! | `large`, by its own command | 6 | 2 | any number | 865,674 | 32 | 36 |
//! | `large`, by its own command | 6 | 1 | 2 that lose something | 1,138,793 | 33 | 36 |
//!
//! `fence.rs` is a separate model: writers that race for an archived journal. `clocks.rs` is another: wall clocks that jump, restarts, and messages that wait for the clock.
//!
//! `Detail` in `bounds.rs` documents which states the others merge. Each of the `it_sees_` tests injects one fault into
//! the environment.

mod bounds;
mod clocks;
mod face;
mod fence;
mod graph;
mod local;
mod names;
mod properties;
mod rare;
mod world;

use std::time::Instant;

use bounds::{Bounds, Detail, FULL, Fault, RING_AND_BACK};
use stateright::{Checker, HasDiscoveries, Model};
use world::World;

/// All channels, two snapshots from different initiators, any number of crashes.
const ANY_CRASHES: Bounds = Bounds {
    channels: FULL,
    transfers: &[(0, 1)],
    initiators: &[0, 1],
    others: &[],
    crashes: None,
    detail: Detail::Seen,
    fault: Fault::None,
};

/// The same with crashes counted, so that the states record what they hit.
const TWO_CRASHES: Bounds = Bounds {
    channels: RING_AND_BACK,
    crashes: Some(2),
    ..ANY_CRASHES
};

/// One snapshot that every process may start under the same id.
const SAME_ID: Bounds = Bounds {
    channels: RING_AND_BACK,
    initiators: &[0],
    others: &[(1, 0), (2, 0)],
    ..ANY_CRASHES
};

/// No merging: what [`Detail::Seen`] merges is distinguished here.
const IN_DETAIL: Bounds = Bounds {
    channels: RING_AND_BACK,
    detail: Detail::All,
    ..ANY_CRASHES
};

/// Run by `SNAPLEDGER_MODEL=large cargo test --release --test model large -- --nocapture`: more messages in flight, and
/// all channels where crashes are counted.
const LARGE: [(Bounds, usize); 2] = [
    (
        Bounds {
            transfers: &[(0, 1), (1, 2)],
            ..ANY_CRASHES
        },
        865_674,
    ),
    (
        Bounds {
            channels: FULL,
            ..TWO_CRASHES
        },
        1_138_793,
    ),
];

#[test]
fn any_number_of_crashes() {
    explore(ANY_CRASHES, 126_534);
}

#[test]
fn two_crashes_and_what_they_hit() {
    explore(TWO_CRASHES, 26_366);
}

#[test]
fn one_id_started_by_everyone() {
    explore(SAME_ID, 1_496);
}

#[test]
fn in_every_detail() {
    explore(IN_DETAIL, 42_031);
}

#[test]
fn large() {
    if !is_large() {
        eprintln!("passed over; SNAPLEDGER_MODEL=large explores it");
        return;
    }
    for (bounds, states_min) in LARGE {
        explore(bounds, states_min);
    }
}

// Whether the long explorations are requested.
fn is_large() -> bool {
    std::env::var_os("SNAPLEDGER_MODEL").is_some_and(|size| size == "large")
}

// `states_min`: the minimum number of unique states that must be covered.
fn explore(bounds: Bounds, states_min: usize) {
    let started = Instant::now();
    let checker = World::new(bounds).checker().spawn_bfs().join();
    let (lives, deeds) = checker.model().graph.size();
    eprintln!(
        "{} states of which {} unique, depth {}, made of {lives} lives and {deeds} deeds, {:.1?}\n{:?}",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed(),
        checker.model().rare,
    );
    checker.assert_properties();
    assert!(
        checker.unique_state_count() >= states_min,
        "less is covered than {states_min} states"
    );
}

/// The maximum length of a counterexample.
const COUNTEREXAMPLE_MAX: usize = 24;

fn sees(fault: Fault, property: &'static str) {
    // Others observe what is not durable only if it is released too early.
    let detail = match fault {
        Fault::ReleaseBeforeSync => Detail::All,
        _ => Detail::Seen,
    };
    let bounds = Bounds {
        initiators: &[0],
        fault,
        detail,
        ..ANY_CRASHES
    };
    let sought = HasDiscoveries::AllOf([property].into());
    let checker = World::new(bounds).checker().finish_when(sought);
    let checker = checker
        .target_max_depth(COUNTEREXAMPLE_MAX)
        .spawn_bfs()
        .join();
    let path = checker.discovery(property);
    let actions = path.map(|path| path.into_actions());
    eprintln!("{fault:?}: not always {property}: {actions:?}");
    assert!(actions.is_some(), "the model is blind for {fault:?}");
}

#[test]
fn it_sees_a_release_before_the_sync() {
    sees(Fault::ReleaseBeforeSync, properties::DURABLE);
    sees(Fault::ReleaseBeforeSync, properties::CONSERVED);
}

#[test]
fn it_sees_a_marker_that_overtakes() {
    sees(Fault::MarkersOvertake, properties::EXACT);
    sees(Fault::MarkersOvertake, properties::COMPLETE_CONSERVED);
}

#[test]
fn it_sees_a_repeat_that_counts() {
    sees(Fault::RepeatsCount, properties::IN_ORDER);
    sees(Fault::RepeatsCount, properties::COMPLETE_CONSERVED);
}
