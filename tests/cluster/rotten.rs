//! Damaged snapshot data on a node: what can be fetched again is fetched, what cannot stays unfinished, and everything
//! else continues. Without this one flipped bit in the past could end a node or its collection for good.

use snapledger::history::global::{Completeness, GlobalState};
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::SnapshotId;
use snapledger::store::Store;

use crate::await_it::until;
use crate::nodes::{Cluster, process};
use crate::rest::Rest;
use crate::retention::deleted;
use crate::snapshots::assert_proven;
use crate::stores::{is_whole, remove, spoil};

pub(crate) fn newest(cluster: &Cluster, at: &str, id: &str) -> GlobalState {
    let snapshot = SnapshotId::parse(id).expect("a valid id");
    let published = cluster.handle(at).store().history().published(&snapshot);
    let published = published.expect("it is whole").expect("it is published");
    published.state
}

/// The part of n2 is here and finished, and is not examined again until the snapshot is whole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_of_another_that_has_rotted_here_is_fetched_again() {
    let channels = [("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1")];
    let cluster = Cluster::planned(&["n1", "n2", "n3"]).with_channels(&channels);
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    cluster.deposit("n1", "a", 1).await;
    cluster.deposit("n2", "b", 2).await;
    cluster.deposit("n3", "c", 4).await;
    cluster.stop("n3").await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "partial").await;
    let partial = newest(&cluster, "n1", &id);
    let part = &partial.parts[&process("n2")];
    assert!(part.is_finished());
    let index = part.state.runs[0].index[0];

    cluster.stop("n1").await;
    spoil(&cluster.store("n1"), "chunks", &index.0);
    cluster.start("n1").await;
    cluster.start("n3").await;
    assert_proven(&rest.snapshot(&id, "complete").await, 7);
    cluster.stop_all().await;
}

/// A node does not need its revisions to run: it starts without one and replicates the exact bytes from a peer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_has_rotted_keeps_nobody_from_starting_and_comes_back_from_a_peer() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 1).await;
    let id = cluster.rest("n1").start_snapshot().await;
    cluster.rest("n1").snapshot(&id, "complete").await;
    let path = format!("/v1/snapshots/{id}");
    let document = cluster.rest("n1").get(&path).await.body;
    let is_here = async |rest: Rest| {
        let what = format!("the same document at {}", rest.address());
        until(&what, async || {
            let answer = rest.get(&path).await;
            (answer.status == 200 && answer.body == document).then_some(())
        })
        .await;
    };
    is_here(cluster.rest("n2")).await;
    for (rotten, other) in [("n2", "n1"), ("n1", "n2")] {
        cluster.stop_all().await;
        spoil(&cluster.store(rotten), "history", id.as_bytes());
        cluster.start(rotten).await;
        cluster.start(other).await;
        is_here(cluster.rest(rotten)).await;
    }
    cluster.stop_all().await;
}

async fn warnings(rest: &Rest) -> String {
    rest.read("/v1/cluster").await["warnings"].to_string()
}

/// Sixty-four old revisions are packed together and damaged together.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_revisions_that_have_rotted_together_come_back_from_a_peer() {
    const SNAPSHOTS: u64 = 129;
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 1).await;
    let [n1, n2] = ["n1", "n2"].map(|id| cluster.rest(id));
    let mut oldest = None;
    for _ in 0..SNAPSHOTS {
        let id = n1.start_snapshot().await;
        n1.snapshot(&id, "complete").await;
        oldest.get_or_insert(id);
    }
    let path = format!("/v1/snapshots/{}", oldest.expect("there is one"));
    let document = n1.get(&path).await.body;
    until("all are at n2", async || {
        let came = cluster.handle("n2").store().history().revisions_arrived();
        (came == SNAPSHOTS).then_some(())
    })
    .await;
    cluster.stop_all().await;
    spoil(&cluster.store("n2"), "blocks", &[]);

    cluster.start("n2").await;
    let answer = n2.get(&path).await;
    assert_eq!(answer.status, 500, "{answer:?}");
    let place = "in the revisions of block 0: its checksum does not match";
    assert!(answer.body.contains(place), "{answer:?}");
    let told = warnings(&n2).await;
    assert!(
        told.contains("64 revisions in this node's history are damaged"),
        "{told}"
    );
    cluster.start("n1").await;
    until("the same document at n2", async || {
        let answer = n2.get(&path).await;
        (answer.status == 200 && answer.body == document).then_some(())
    })
    .await;
    until("all are back", async || {
        let told = warnings(&n2).await;
        (!told.contains("damaged")).then_some(())
    })
    .await;
    cluster.stop_all().await;
    is_whole(&cluster.store("n2")).await;
}

/// Revision numbers depend on the list of members, which may have grown at one node before the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revision_that_is_another_elsewhere_is_told_and_the_rest_is_shared() {
    let ids = ["n1", "n2"];
    let mut cluster = Cluster::up(&ids).await;
    cluster.stop_all().await;
    let published = |name: &str, clock: u64| {
        let snapshot = SnapshotId::parse(name).expect("a valid id");
        let (time, clock) = (Hlc::at(1), Lamport(clock));
        let mut state = GlobalState::begun(snapshot, process("n1"), time, clock);
        state.revision = 1;
        state.completeness = Completeness::Complete;
        state
    };
    let mut other = published("disputed", 1);
    other.completeness = Completeness::Partial {
        missing: Vec::new(),
        open_channels: Vec::new(),
        stopped: Vec::new(),
    };
    for (id, states) in [
        ("n1", vec![published("disputed", 1), published("shared", 1)]),
        ("n2", vec![other.clone()]),
    ] {
        let dir = cluster.store(id);
        is_whole(&dir).await;
        let store = Store::open(&dir, "tested", &process(id)).expect("it opens");
        for state in states {
            store.history().publish(&state).expect("there is room");
        }
    }
    for id in ids {
        cluster.start(id).await;
    }
    let [n1, n2] = ids.map(|id| cluster.rest(id));
    until("n2 has the other one", async || {
        (n2.get("/v1/snapshots/shared").await.status == 200).then_some(())
    })
    .await;
    for (rest, peer) in [(&n1, "n2"), (&n2, "n1")] {
        let sentence = format!("has other contents at {peer} than on this node");
        until(&sentence, async || {
            let told = warnings(rest).await;
            (told.contains("disputed") && told.contains(&sentence)).then_some(())
        })
        .await;
    }
    assert_eq!(newest(&cluster, "n2", "disputed"), other);
    // When one of them is deleted there is nothing to warn of.
    deleted(&cluster, "n1", "disputed").await;
    let told = warnings(&n1).await;
    assert!(!told.contains("disputed"), "{told}");
    cluster.stop_all().await;
}

/// The node continues from a newer state; only the parts that need the older ones are unavailable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_state_that_is_damaged_or_gone_leaves_its_part_open_and_the_node_running() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let rest = cluster.rest("n1");
    cluster.stop("n2").await;
    let mut snapshots = Vec::new();
    for amount in [1, 2, 4] {
        cluster.deposit("n1", "a", amount).await;
        let id = rest.start_snapshot().await;
        rest.snapshot(&id, "partial").await;
        snapshots.push(id);
    }
    let cut = |id: &String| {
        newest(&cluster, "n1", id).parts[&process("n1")]
            .state
            .position
    };
    let cuts: Vec<_> = snapshots.iter().map(cut).collect();

    cluster.stop("n1").await;
    let states = |cut: usize| (cluster.store("n1"), cuts[cut].0.to_be_bytes());
    let (store, damaged) = states(0);
    spoil(&store, "states-2", &damaged);
    let (store, gone) = states(1);
    remove(&store, "states-2", &gone);
    cluster.start("n1").await;
    cluster.start("n2").await;
    rest.snapshot(&snapshots[2], "complete").await;
    // Their markers arrived before that of the last one.
    for id in &snapshots[..2] {
        rest.snapshot(id, "partial").await;
    }
    assert_eq!(cluster.handle("n1").ready(), Ok(()), "the node goes on");
    cluster.deposit("n1", "a", 8).await;
    cluster.stop("n1").await;
    cluster.start("n1").await;
    assert_eq!(rest.balance("a").await, Some(15));
    cluster.stop_all().await;
}
