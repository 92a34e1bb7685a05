//! A model of the marker rules with crash and restart: every interleaving within bounds, checked by stateright. Without
//! it a rule that breaks only under one order of messages, commits and crashes is found by luck.
//!
//! The model drives the real `Process`: it takes messages, is committed in turns of any size, loses its open turn, comes
//! back from its journal. The world around it is the model's: channels keep order and may deliver again what was
//! delivered, clients ask again, anyone crashes at any time.

mod bounds;
mod face;
mod graph;
mod local;
mod names;
mod properties;
mod rare;
mod world;

use std::thread;
use std::time::Instant;

use bounds::{Bounds, Detail, FULL, Fault, RING_AND_BACK};
use stateright::{Checker, HasDiscoveries, Model};
use world::World;

/// All channels, two snapshots from different initiators, any number of crashes.
const ANY_CRASHES: Bounds = Bounds {
    channels: FULL,
    transfers: &[(0, 1)],
    initiators: &[0, 1],
    crashes: None,
    detail: Detail::Seen,
    fault: Fault::None,
};

/// The same with crashes counted, so that it is known afterwards what they hit.
const TWO_CRASHES: Bounds = Bounds {
    channels: RING_AND_BACK,
    crashes: Some(2),
    ..ANY_CRASHES
};

/// Nothing left out: what [`Detail::Seen`] does not tell apart is told apart here.
const IN_DETAIL: Bounds = Bounds {
    channels: RING_AND_BACK,
    detail: Detail::All,
    ..ANY_CRASHES
};

/// For a command of its own: `SNAPLEDGER_MODEL=large cargo test --release --test model large -- --nocapture`.
const LARGE: Bounds = Bounds {
    transfers: &[(0, 1), (1, 2)],
    crashes: Some(2),
    ..ANY_CRASHES
};

#[test]
fn any_number_of_crashes() {
    explore(ANY_CRASHES);
}

#[test]
fn two_crashes_and_what_they_hit() {
    explore(TWO_CRASHES);
}

#[test]
fn in_every_detail() {
    explore(IN_DETAIL);
}

#[test]
fn large() {
    if std::env::var_os("SNAPLEDGER_MODEL").is_none_or(|size| size != "large") {
        eprintln!("passed over; SNAPLEDGER_MODEL=large explores it");
        return;
    }
    explore(LARGE);
}

fn explore(bounds: Bounds) {
    let started = Instant::now();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let checker = World::new(bounds)
        .checker()
        .threads(threads)
        .spawn_bfs()
        .join();
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
}

/// No counterexample is longer.
const COUNTEREXAMPLE_MAX: usize = 24;

fn sees(fault: Fault, property: &'static str) {
    // What is not durable is seen by others if it leaves too early.
    let detail = match fault {
        Fault::ReleaseBeforeSync => Detail::All,
        _ => Detail::Seen,
    };
    let bounds = Bounds {
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
