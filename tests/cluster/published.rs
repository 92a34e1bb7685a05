//! The four tests of the published interface, literally: a snapshot is started, and its global state is requested in
//! the next call. Without this a client written for that interface would read an empty cluster.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{
    DepositRequest, GetGlobalSnapshotRequest, GetGlobalSnapshotResponse, GetSnapshotRequest,
    InitiateSnapshotRequest, TransferRequest,
};
use tonic::transport::Channel;
use tonic::{Code, Request};

use crate::await_it::until;
use crate::nodes::{Cluster, connection};
use crate::programs::Programs;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
const SEED: i64 = 1000;
const ALL: i64 = 3 * SEED;

type Client = SnapshotServiceClient<Channel>;

async fn seeded() -> Cluster {
    // Long enough that none is partial on a busy machine.
    let cluster = Cluster::planned(&IDS).with_deadline(Duration::from_secs(60));
    let cluster = cluster.started().await;
    cluster.connected().await;
    for id in IDS {
        cluster.deposit(id, "cash", SEED).await;
    }
    cluster
}

fn client(cluster: &Cluster, id: &str) -> Client {
    Client::new(cluster.grpc(id))
}

async fn initiate(client: &mut Client, id: &str) -> String {
    let snapshot_id = id.to_owned();
    let started = client.initiate_snapshot(InitiateSnapshotRequest { snapshot_id });
    let started = started.await.expect("an answer").into_inner();
    assert!(started.success, "{}", started.error);
    started.snapshot_id
}

fn wanted(id: &str) -> GetGlobalSnapshotRequest {
    let snapshot_id = id.to_owned();
    GetGlobalSnapshotRequest { snapshot_id }
}

async fn global(client: &mut Client, id: &str) -> GetGlobalSnapshotResponse {
    let answer = client.get_global_snapshot(wanted(id)).await;
    answer.expect("an answer").into_inner()
}

fn assert_complete(state: &GetGlobalSnapshotResponse) {
    assert!(state.success && state.is_complete, "{}", state.error);
    assert_eq!(
        (state.process_states.len(), state.channel_states.len()),
        (3, 6)
    );
    assert_eq!(state.total_value, ALL);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_is_whole_when_it_is_asked_for_right_after_it_was_started() {
    let mut cluster = seeded().await;
    let mut one = client(&cluster, "n1");
    for _ in 0..10 {
        let id = initiate(&mut one, "").await;
        let state = global(&mut one, &id).await;
        assert_complete(&state);
        assert_eq!((&*state.snapshot_id, &*state.initiator_id), (&*id, "n1"));
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_is_started_amid_transfers_holds_all_the_money() {
    let mut cluster = seeded().await;
    let mut one = client(&cluster, "n1");
    let transfers = |count| {
        let pairs = [("n1", "n2"), ("n2", "n3"), ("n3", "n1")];
        let calls = pairs.map(|(from, to)| {
            let mut bank = cluster.bank(from);
            let request = TransferRequest {
                from_account: "cash".to_owned(),
                to_account: "cash".to_owned(),
                amount: 3,
                to_process: to.to_owned(),
            };
            tokio::spawn(async move {
                for _ in 0..count {
                    let answer = bank.transfer(request.clone()).await.expect("an answer");
                    assert!(answer.into_inner().success);
                }
            })
        });
        async move {
            for call in calls {
                call.await.expect("no transfer was refused");
            }
        }
    };
    for _ in 0..5 {
        let before = transfers(5);
        let id = initiate(&mut one, "").await;
        let after = transfers(5);
        assert_complete(&global(&mut one, &id).await);
        before.await;
        after.await;
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn snapshots_of_all_at_once_are_whole_each_and_wherever_they_are_asked_for() {
    let mut cluster = seeded().await;
    let mut started = Vec::new();
    for from in IDS {
        for (number, at) in IDS.into_iter().enumerate() {
            let (mut from, mut at) = (client(&cluster, from), client(&cluster, at));
            started.push(tokio::spawn(async move {
                let id = initiate(&mut from, "").await;
                // The own part is available before its channels are closed.
                let snapshot_id = id.clone();
                let part = at.get_snapshot(GetSnapshotRequest { snapshot_id });
                let part = part.await.expect("an answer").into_inner();
                assert!(part.found, "{number}: {}", part.error);
                global(&mut at, &id).await
            }));
        }
    }
    for state in started {
        assert_complete(&state.await.expect("it does not panic"));
    }
    cluster.stop_all().await;
}

/// A process that does not answer while its connections stay open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_froze_before_its_marker_is_named_as_missing() {
    let mut programs = Programs::planned(&IDS);
    programs.start().await;
    let clients = IDS.map(|id| connection(programs.grpc(id)));
    for channel in clients.clone() {
        let request = DepositRequest {
            account_id: "cash".to_owned(),
            amount: SEED,
        };
        let answer = BankServiceClient::new(channel).deposit(request).await;
        assert!(answer.expect("an answer").into_inner().success);
    }
    let [one, two, _] = clients;
    let (mut one, mut two) = (Client::new(one), Client::new(two));
    let warm = initiate(&mut one, "").await;
    assert_complete(&global(&mut one, &warm).await);

    programs.freeze("n3");
    // The time is shorter than the check takes, so nothing is started.
    let snapshot_id = "hasty".to_owned();
    let mut request = Request::new(InitiateSnapshotRequest { snapshot_id });
    request.set_timeout(Duration::from_millis(600));
    let refused = one.initiate_snapshot(request).await;
    let refused = refused.expect_err("it is not known yet");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    assert!(refused.message().contains("none was started"), "{refused}");
    // A client does not wait for three unanswered greetings.
    let snapshot_id = "frozen".to_owned();
    let mut request = Request::new(InitiateSnapshotRequest { snapshot_id });
    request.set_timeout(Duration::from_secs(3));
    let started = one.initiate_snapshot(request).await;
    let started = started.expect("within the deadline").into_inner();
    assert!(started.success, "{}", started.error);
    let id = started.snapshot_id;
    for client in [&mut one, &mut two] {
        let state = global(client, &id).await;
        assert!(state.success && !state.is_complete);
        let states = state.process_states.iter();
        let processes: Vec<&str> = states.map(|state| &*state.process_id).collect();
        assert_eq!(processes, ["n1", "n2"]);
        assert_eq!(state.total_value, 2 * SEED);
        assert!(state.error.contains("missing: n3"), "{}", state.error);
    }
    programs.signal("n3", Signal::CONT);
    until("the complete revision", async || {
        let state = global(&mut two, &id).await;
        state.is_complete.then(|| assert_complete(&state))
    })
    .await;
}

/// The wait ends before the deadline of the call; an unknown id is not waited for long.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wait_in_vain_ends_in_time_with_what_there_is() {
    let cluster = Cluster::planned(&["n1", "x1"]).with_other_make("x1");
    let hour = Duration::from_secs(3600);
    let mut cluster = cluster.with_deadline(hour).started().await;
    let mut one = client(&cluster, "n1");
    let id = initiate(&mut one, "").await;
    let mut request = Request::new(wanted(&id));
    request.set_timeout(Duration::from_secs(2));
    let begun = Instant::now();
    let state = one.get_global_snapshot(request).await;
    let state = state.expect("within the deadline").into_inner();
    assert!(begun.elapsed() >= Duration::from_secs(1), "it waited");
    assert!(state.success && !state.is_complete);
    assert!(state.error.contains("in progress"), "{}", state.error);

    let unknown = global(&mut one, "unknown").await;
    assert!(!unknown.success && !unknown.error.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(10));
    cluster.stop_all().await;
}
