//! A snapshot under concurrent transfers is complete, conserved and a consistent cut, and every route reports the same.
//! Without this the sums could agree in the core and not in what is collected, stored or shown.

use serde_json::{Value, json};
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{
    GetGlobalSnapshotRequest, GetGlobalSnapshotResponse, GetSnapshotRequest,
    InitiateSnapshotRequest,
};

use crate::nodes::Cluster;
use crate::rest::{Rest, posted};
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 3] = ["n1", "n2", "n3"];

pub(crate) fn assert_proven(snapshot: &Value, total: i64) {
    assert_eq!(snapshot["status"], "complete", "{snapshot}");
    let verification = &snapshot["verification"];
    assert_eq!(verification["conserved"], true, "{snapshot}");
    assert_eq!(verification["consistent_cut"], true, "{snapshot}");
    let checks = verification["checks"].as_array().expect("checks are shown");
    assert!(checks.iter().all(|check| check["holds"] == true));
    let totals = &snapshot["totals"];
    let figure = |name: &str| totals[name].as_i64().expect("an integer");
    assert_eq!(figure("balances") + figure("in_flight"), total);
    assert_eq!(figure("deposits") - figure("withdrawals"), total);
}

fn sum<'a>(values: impl IntoIterator<Item = &'a Value>, field: &str) -> i64 {
    let figures = values.into_iter().map(|value| value[field].as_i64());
    figures.map(|figure| figure.expect("an integer")).sum()
}

fn list<'a>(json: &'a Value, field: &str) -> &'a Vec<Value> {
    json[field].as_array().expect("a list")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_under_transfers_is_proven_and_every_route_agrees() {
    let mut cluster = Cluster::up(&IDS).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let rest = cluster.rest("n2");
    let id = rest.start_snapshot().await;
    let snapshot = rest.snapshot(&id, "complete").await;
    traffic.stop().await;

    assert_proven(&snapshot, 3 * SEED);
    assert_eq!(snapshot["initiator"], "n2");
    assert_eq!(list(&snapshot, "processes").len(), 3);
    assert_eq!(list(&snapshot, "channels").len(), 6);
    assert_eq!(snapshot["missing"], json!([]));
    assert_eq!(snapshot["open_channels"], json!([]));

    balances_agree(&rest, &snapshot).await;
    channels_agree(&rest, &snapshot).await;
    grpc_agrees(&cluster, &snapshot).await;
    cluster.stop_all().await;
}

async fn balances_agree(rest: &Rest, snapshot: &Value) {
    let id = snapshot["snapshot_id"].as_str().expect("an id");
    let path = format!("/v1/snapshots/{id}/balances");
    let shown = rest.read(&path).await;
    assert_eq!(
        sum(list(&shown, "balances"), "balance"),
        snapshot["totals"]["balances"].as_i64().expect("an integer")
    );
    for process in list(snapshot, "processes") {
        let name = process["process"].as_str().expect("a name");
        let own = rest.read(&format!("{path}?process={name}")).await;
        assert_eq!(list(&own, "balances").len(), 1);
        assert_eq!(own["balances"][0]["balance"], process["balance_total"]);
    }
    let csv = crate::rest::asked(&path, &[("accept", "text/csv")]);
    let csv = rest.send(csv).await.body;
    assert_eq!(csv.lines().next(), Some("process,account,balance"));
    assert_eq!(csv.lines().count(), 4, "{csv}");
}

async fn channels_agree(rest: &Rest, snapshot: &Value) {
    let id = snapshot["snapshot_id"].as_str().expect("an id");
    let shown = rest.read(&format!("/v1/snapshots/{id}/channels")).await;
    let channels = list(&shown, "channels");
    assert_eq!(channels.len(), 6);
    for (shown, summed) in channels.iter().zip(list(snapshot, "channels")) {
        assert_eq!(
            (&shown["from"], &shown["to"]),
            (&summed["from"], &summed["to"])
        );
        let messages = list(shown, "messages");
        assert_eq!(json!(messages.len()), summed["messages"]);
        assert_eq!(json!(sum(messages, "amount")), summed["amount"]);
        let sequences = messages.iter().map(|one| one["sequence"].as_u64());
        let sequences: Vec<_> = sequences
            .map(|sequence| sequence.expect("a number"))
            .collect();
        assert!(sequences.windows(2).all(|pair| pair[0] + 1 == pair[1]));
    }
    let in_flight = &snapshot["totals"]["in_flight"];
    assert_eq!(json!(sum(list(snapshot, "channels"), "amount")), *in_flight);
}

async fn grpc_agrees(cluster: &Cluster, snapshot: &Value) {
    let id = snapshot["snapshot_id"].as_str().expect("an id").to_owned();
    let global = global(cluster, "n2", &id).await;
    assert!(global.success && global.is_complete, "{}", global.error);
    assert_eq!(global.total_value, 3 * SEED);
    assert_eq!((&*global.initiator_id, &*global.error), ("n2", ""));
    assert_eq!(
        (global.process_states.len(), global.channel_states.len()),
        (3, 6)
    );
    let balances = global.process_states.iter();
    let balances: i64 = balances.map(|state| state.account_balances["cash"]).sum();
    assert_eq!(json!(balances), snapshot["totals"]["balances"]);

    for name in IDS {
        let request = GetSnapshotRequest {
            snapshot_id: id.clone(),
        };
        let mut client = SnapshotServiceClient::new(cluster.grpc(name));
        let part = client.get_snapshot(request).await.expect("an answer");
        let part = part.into_inner();
        assert!(part.found && part.recording_complete);
        assert_eq!(part.local_state.expect("a state").process_id, name);
    }
}

pub(crate) async fn global(cluster: &Cluster, at: &str, id: &str) -> GetGlobalSnapshotResponse {
    let snapshot_id = id.to_owned();
    let mut client = SnapshotServiceClient::new(cluster.grpc(at));
    let request = GetGlobalSnapshotRequest { snapshot_id };
    let answer = client.get_global_snapshot(request).await;
    answer.expect("an answer").into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_asked_for_twice_is_the_same_one() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    let id = "a/b ü";
    let ask = || posted("/v1/snapshots", &json!({"snapshot_id": id}), &[]);
    let first = rest.send(ask()).await;
    assert_eq!(
        (first.status, &first.json()["status"]),
        (202, &json!("in_progress"))
    );
    assert_eq!(first.json()["snapshot_id"], id);
    let location = first.header("location").to_owned();
    assert_eq!(location, "/v1/snapshots/a%2Fb%20%C3%BC");

    rest.snapshot("a%2Fb%20%C3%BC", "complete").await;
    let second = rest.send(ask()).await;
    assert_eq!(
        (second.status, &second.json()["status"]),
        (200, &json!("complete"))
    );
    assert_eq!(second.body, rest.get(&location).await.body);

    let mut client = SnapshotServiceClient::new(cluster.grpc("n1"));
    let request = InitiateSnapshotRequest {
        snapshot_id: id.to_owned(),
    };
    let third = client.initiate_snapshot(request).await.expect("an answer");
    let third = third.into_inner();
    assert!(third.success && third.snapshot_id == id, "{}", third.error);
    assert_eq!(
        third.initiated_at,
        global(&cluster, "n1", id).await.initiated_at
    );
    cluster.stop_all().await;
}
