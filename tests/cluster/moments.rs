//! `kill -9` at chosen moments of a snapshot: before its markers have left, with half of them received, and before it
//! was begun. Without this a crash could move the cut, lose or double the contents of a channel, or change what was
//! published.

use serde_json::{Value, json};
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{ApplicationMessage, GetSnapshotRequest, MarkerMessage};

use crate::await_it::until;
use crate::nodes::connection;
use crate::partial::ends;
use crate::programs::Programs;
use crate::rest::Rest;
use crate::snapshots::assert_proven;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn pay_in(rest: &Rest, amount: i64) {
    let body = json!({"amount": amount});
    let paid = rest.post("/v1/accounts/cash/deposits", &body).await;
    assert_eq!(paid.status, 200, "{paid:?}");
}

async fn send(rest: &Rest, to: &str, amount: i64) {
    let body = json!({
        "from_account": "cash", "to_account": "cash", "amount": amount, "to_process": to
    });
    let sent = rest.post("/v1/transfers", &body).await;
    assert_eq!(sent.status, 200, "{sent:?}");
}

fn of<'a>(snapshot: &'a Value, process: &str) -> &'a Value {
    let processes = snapshot["processes"].as_array().expect("a list");
    let found = processes.iter().find(|one| one["process"] == process);
    found.unwrap_or_else(|| unreachable!("{process} in {snapshot}"))
}

// The messages and the amount of a closed channel.
fn channel(snapshot: &Value, from: &str, to: &str) -> Option<(u64, i64)> {
    let channels = snapshot["channels"].as_array().expect("a list");
    let found = channels
        .iter()
        .find(|one| one["from"] == from && one["to"] == to)?;
    Some((found["messages"].as_u64()?, found["amount"].as_i64()?))
}

/// Fault 13. No process is there to receive a marker, so none has left when the initiator is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_that_had_not_left_leave_after_the_restart_with_the_same_cut() {
    let mut programs = Programs::planned(&IDS);
    programs.start_one("n1").await;
    let rest = programs.rest("n1");
    pay_in(&rest, 100).await;
    send(&rest, "n2", 7).await;
    let id = rest.start_snapshot().await;
    let mut client = SnapshotServiceClient::new(connection(programs.grpc("n1")));
    let request = GetSnapshotRequest {
        snapshot_id: id.clone(),
    };
    let part = client.get_snapshot(request).await.expect("an answer");
    let recorded = part.into_inner().local_state.expect("it is recorded");
    let recorded: Value = serde_json::from_slice(&recorded.state_data).expect("JSON");
    // Sent after the marker, and to be delivered after it.
    send(&rest, "n2", 5).await;
    programs.kill_one("n1");

    programs.start().await;
    let complete = rest.snapshot(&id, "complete").await;
    assert_proven(&complete, 100);
    assert_eq!(
        of(&complete, "n1")["journal_position"],
        recorded["position"]
    );
    assert_eq!(
        of(&complete, "n1")["journal_hash"],
        recorded["journal_hash"]
    );
    assert_eq!(of(&complete, "n1")["balance_total"], 93);
    assert_eq!(of(&complete, "n2")["balance_total"], 7);
    programs.rest("n2").balance_is("cash", 12).await;
}

async fn foreign(programs: &Programs, to: &str, message: &str) {
    let payload = json!({
        "transfer_id": message, "from_account": "far", "to_account": "near", "amount": 25
    });
    let message = ApplicationMessage {
        message_id: message.to_owned(),
        from_process: "x1".to_owned(),
        to_process: to.to_owned(),
        payload: payload.to_string().into_bytes(),
        message_type: "transfer".to_owned(),
        sender_clock: 9,
    };
    let mut client = SnapshotServiceClient::new(connection(programs.grpc(to)));
    let sent = client.send_message(message).await.expect("an answer");
    assert!(sent.into_inner().success);
}

async fn foreign_marker(programs: &Programs, to: &str, snapshot: &str) {
    let marker = MarkerMessage {
        snapshot_id: snapshot.to_owned(),
        sender_id: "x1".to_owned(),
        logical_clock: 10,
        initiator_id: "n1".to_owned(),
    };
    let mut client = SnapshotServiceClient::new(connection(programs.grpc(to)));
    let marked = client.receive_marker(marker).await.expect("an answer");
    assert!(marked.into_inner().success);
}

/// Fault 14. A unary process sends exactly when told, so that the kill falls between its messages.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_of_the_markers_received_the_recording_goes_on_and_channels_are_exact() {
    let mut programs = Programs::planned(&["n1", "n2"]).with_other_make("x1");
    programs.start().await;
    let rest = programs.rest("n1");
    foreign(&programs, "n1", "before").await;
    let id = rest.start_snapshot().await;
    foreign(&programs, "n1", "recorded").await;
    foreign_marker(&programs, "n2", &id).await;
    until("the marker of n2 at n1", async || {
        let cluster = rest.read("/v1/cluster").await;
        let channels = cluster["channels"].as_array().expect("a list");
        let from = |id: &str| channels.iter().find(|one| one["from"] == id);
        let recording = |id| from(id).map(|one| one["recording"] == true);
        (recording("n2") == Some(false) && recording("x1") == Some(true)).then_some(())
    })
    .await;
    programs.kill();
    programs.start().await;

    foreign(&programs, "n1", "recorded too").await;
    // A repeat of what was recorded before the kill changes nothing.
    foreign(&programs, "n1", "recorded").await;
    foreign_marker(&programs, "n1", &id).await;
    foreign(&programs, "n1", "behind").await;
    let path = format!("/v1/snapshots/{id}");
    let partial = until("the channel from x1 is closed", async || {
        let now = rest.read(&path).await;
        let closed = now["status"] == "partial" && channel(&now, "x1", "n1").is_some();
        closed.then_some(now)
    })
    .await;
    assert_eq!(channel(&partial, "x1", "n1"), Some((2, 50)));
    assert_eq!(channel(&partial, "x1", "n2"), Some((0, 0)));
    assert_eq!(of(&partial, "n1")["balance_total"], 25);
    let open = json!([{"from": "n1", "to": "x1"}, {"from": "n2", "to": "x1"}]);
    assert_eq!(ends(&partial["open_channels"]), open);
    rest.balance_is("near", 100).await;
}

/// Fault 15. The published parts of the others do not change when the dead process adds its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_killed_before_the_snapshot_completes_it_and_nothing_published_changes() {
    let mut programs = Programs::planned(&IDS);
    programs.start().await;
    for id in IDS {
        pay_in(&programs.rest(id), 100).await;
    }
    let rest = programs.rest("n1");
    programs.kill_one("n3");
    send(&rest, "n3", 9).await;
    let id = rest.start_snapshot().await;
    let partial = rest.snapshot(&id, "partial").await;
    assert_eq!(partial["missing"][0]["process"], "n3");
    assert_eq!(partial["processes"].as_array().map(Vec::len), Some(2));

    programs.start_one("n3").await;
    let complete = rest.snapshot(&id, "complete").await;
    assert_proven(&complete, 300);
    assert!(complete["revision"].as_u64() > partial["revision"].as_u64());
    for process in ["n1", "n2"] {
        assert_eq!(of(&complete, process), of(&partial, process));
    }
    for shown in partial["channels"].as_array().expect("a list") {
        let (from, to) = (&shown["from"], &shown["to"]);
        let (from, to) = (from.as_str().expect("a name"), to.as_str().expect("a name"));
        assert_eq!(channel(&complete, from, to), channel(&partial, from, to));
    }
}
