//! A process in another language takes part through unary calls: its messages and markers are processed in order and
//! once, and a snapshot that lacks its state says so. Without this the published interface would be unusable for other
//! programs.

use serde_json::{Value, json};
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{ApplicationMessage, MarkerMessage, MarkerResponse};
use tonic::Code;
use tonic::transport::Channel;

use crate::asked_from_terminal::ended;
use crate::await_it::until;
use crate::nodes::Cluster;
use crate::partial::missing_is;
use crate::rest::Rest;

type Client = SnapshotServiceClient<Channel>;

fn transfer(from: &str, to: &str, message_id: &str) -> ApplicationMessage {
    let payload = json!({
        "transfer_id": message_id, "from_account": "far", "to_account": "near", "amount": 25
    });
    ApplicationMessage {
        message_id: message_id.to_owned(),
        from_process: from.to_owned(),
        to_process: to.to_owned(),
        payload: payload.to_string().into_bytes(),
        message_type: "transfer".to_owned(),
        sender_clock: 9,
    }
}

fn marker(snapshot: &str, sender: &str) -> MarkerMessage {
    MarkerMessage {
        snapshot_id: snapshot.to_owned(),
        sender_id: sender.to_owned(),
        logical_clock: 10,
        initiator_id: "n1".to_owned(),
    }
}

async fn mark(client: &mut Client, marker: MarkerMessage) -> MarkerResponse {
    let answer = client.receive_marker(marker).await;
    answer.expect("an answer").into_inner()
}

async fn with_other_make() -> Cluster {
    let cluster = Cluster::planned(&["n1", "n2", "x1"]).with_other_make("x1");
    let cluster = cluster.started().await;
    cluster.connected().await;
    cluster
}

// The process is a member and answers no questions; a client is told so, with what to request instead.
async fn its_accounts_are_its_own(rest: &Rest) {
    let account = "/v1/processes/x1/accounts/a";
    for path in ["", "/balance", "/balance?at=now", "/history"] {
        let answer = rest.get(&format!("{account}{path}")).await;
        let problem = (answer.status, answer.problem());
        assert_eq!((problem.0, &*problem.1), (409, "other-make"), "{answer:?}");
        assert!(
            answer.body.contains("is hosted by another program"),
            "{answer:?}"
        );
    }
    let paid = ["account", "deposit", "a", "1", "--process", "x1"];
    let (code, _, stderr) = ended(rest, &paid).await;
    assert_eq!(code, Some(1), "{stderr}");
    assert!(
        stderr.contains("process \"x1\" is hosted by another program"),
        "{stderr}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_of_another_make_is_applied_once_and_recorded_where_it_belongs() {
    let mut cluster = with_other_make().await;
    let rest = cluster.rest("n1");
    let mut one = Client::new(cluster.grpc("n1"));
    for _ in 0..2 {
        let sent = one.send_message(transfer("x1", "n1", "m1")).await;
        let sent = sent.expect("an answer").into_inner();
        assert!(sent.success, "{}", sent.error);
        assert_eq!(rest.balance("near").await, Some(25), "a repeat is harmless");
    }
    let mut other = transfer("x1", "n1", "m1");
    other.payload = String::from_utf8(other.payload)
        .expect("JSON")
        .replace("25", "999")
        .into();
    let answer = one
        .send_message(other)
        .await
        .expect("an answer")
        .into_inner();
    assert!(
        !answer.success && answer.error.contains("message_id"),
        "{answer:?}"
    );
    assert_eq!(
        rest.balance("near").await,
        Some(25),
        "other content is no repeat"
    );

    let id = rest.start_snapshot().await;
    // After the recording and before the marker: it belongs to the channel.
    one.send_message(transfer("x1", "n1", "m2"))
        .await
        .expect("an answer");
    for to in ["n1", "n2"] {
        let mut client = Client::new(cluster.grpc(to));
        let marked = mark(&mut client, marker(&id, "x1")).await;
        assert!(marked.success && marked.process_id == to);
    }
    let again = mark(&mut one, marker(&id, "x1")).await;
    assert!(again.success, "a repeat is harmless");
    its_accounts_are_its_own(&rest).await;

    let partial = rest.snapshot(&id, "partial").await;
    missing_is(&partial, "x1", "recording");
    let channels = partial["channels"].as_array().expect("a list").iter();
    let mut own = channels.filter(|channel| channel["from"] == "x1" && channel["to"] == "n1");
    let own = own.next().expect("the channel is closed");
    assert_eq!((&own["messages"], &own["amount"]), (&json!(1), &json!(25)));
    assert_eq!(rest.balance("near").await, Some(50));
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_of_another_make_is_the_first_and_money_before_it_is_in_the_state() {
    let mut cluster = with_other_make().await;
    let mut two = Client::new(cluster.grpc("n2"));
    two.send_message(transfer("x1", "n2", "m1"))
        .await
        .expect("an answer");
    let first = mark(&mut two, marker("s", "x1")).await;
    assert!(first.success && first.first_marker);
    let again = mark(&mut two, marker("s", "x1")).await;
    assert!(again.success, "a repeat is harmless");
    let stranger = MarkerMessage {
        initiator_id: "n9".to_owned(),
        ..marker("t", "x1")
    };
    assert!(!mark(&mut two, stranger).await.success);
    cluster.stop_all().await;
}

/// Its marker may name any process as the initiator; that process then collects at once, not after its next start.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_another_make_starts_in_a_nodes_name_is_collected_there() {
    let mut cluster = with_other_make().await;
    for (to, snapshot) in [("n1", "told-first"), ("n2", "told-through-n2")] {
        let mut client = Client::new(cluster.grpc(to));
        let marked = mark(&mut client, marker(snapshot, "x1")).await;
        assert!(marked.success && marked.first_marker);
        let rest = cluster.rest("n1");
        until(&format!("{snapshot} is collected"), async || {
            let answer = rest.get(&format!("/v1/snapshots/{snapshot}")).await;
            (answer.status == 200).then_some(())
        })
        .await;
        let partial = rest.snapshot(snapshot, "partial").await;
        missing_is(&partial, "x1", "recording");
        assert_eq!(partial["initiator"], "n1");
        // n1 did not start it itself.
        assert_eq!(partial["started_by"], Value::Null);
        assert_eq!(partial["deadline"], Value::Null);
    }
    cluster.stop_all().await;
}

/// A snapshot that it starts in its own name is assembled by the first node that receives a marker of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_another_make_is_assembled_by_the_first_node_behind_it() {
    let mut cluster = with_other_make().await;
    let mut two = Client::new(cluster.grpc("n2"));
    let own = MarkerMessage {
        initiator_id: "x1".to_owned(),
        ..marker("own", "x1")
    };
    assert!(mark(&mut two, own).await.first_marker);
    for id in ["n1", "n2"] {
        let rest = cluster.rest(id);
        until("it is in the history of both", async || {
            let answer = rest.get("/v1/snapshots/own").await;
            (answer.status == 200).then_some(())
        })
        .await;
    }
    let partial = cluster.rest("n2").snapshot("own", "partial").await;
    missing_is(&partial, "x1", "recording");
    assert_eq!(partial["initiator"], "x1");
    assert_eq!(partial["started_by"], Value::Null);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_has_a_stream_or_no_place_here_cannot_call() {
    let mut cluster = with_other_make().await;
    let mut one = Client::new(cluster.grpc("n1"));
    let native = one.send_message(transfer("n2", "n1", "m")).await;
    let status = native.expect_err("a stream is open");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
    let native = one.receive_marker(marker("s", "n2")).await;
    let status = native.expect_err("a stream is open");
    assert_eq!(status.code(), Code::FailedPrecondition, "{status}");

    for (from, to) in [("n9", "n1"), ("x1", "n2"), ("n1", "n1")] {
        let sent = one.send_message(transfer(from, to, "m")).await;
        let sent = sent.expect("an answer").into_inner();
        assert!(!sent.success && !sent.error.is_empty(), "{from} to {to}");
    }
    let odd = ApplicationMessage {
        payload: b"{".to_vec(),
        ..transfer("x1", "n1", "odd")
    };
    let sent = one.send_message(odd).await.expect("an answer").into_inner();
    assert!(!sent.success && sent.error.contains("payload"));
    assert_eq!(cluster.rest("n1").balance("near").await, None);
    cluster.stop_all().await;
}

/// One call before its first stream would exclude a native node forever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_calls_in_the_name_of_a_node_that_is_still_to_come() {
    let mut cluster = Cluster::planned(&["n1", "n2"]);
    cluster.start("n1").await;
    let mut one = Client::new(cluster.grpc("n1"));
    let refused = one.send_message(transfer("n2", "n1", "m")).await;
    let refused = refused.expect_err("it is to open a stream");
    let marked = one.receive_marker(marker("s", "n2")).await;
    let marked = marked.expect_err("it is to open a stream");
    for status in [refused, marked] {
        assert_eq!(status.code(), Code::FailedPrecondition, "{status}");
        let sentence = status.message();
        assert!(sentence.contains("transport = \"unary\""), "{sentence}");
        assert!(sentence.contains("cluster.toml"), "{sentence}");
    }
    cluster.start("n2").await;
    cluster.connected().await;
    cluster.stop_all().await;
}

/// Without a cluster file the transport is unspecified: a process that has opened no stream may call.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_cluster_file_whoever_has_opened_no_stream_may_call() {
    let mut cluster = Cluster::planned(&["n1", "n2"]).with_peers_unsaid();
    cluster.start("n1").await;
    let mut one = Client::new(cluster.grpc("n1"));
    let sent = one.send_message(transfer("n2", "n1", "m")).await;
    assert!(sent.expect("an answer").into_inner().success);
    assert_eq!(cluster.rest("n1").balance("near").await, Some(25));
    cluster.stop_all().await;
}
