//! The diagram of a snapshot shows the recorded channels exactly, however much moves meanwhile, and keeps its cut when the
//! journals are gone. Without this the picture of a snapshot could show another cut than the one that was taken.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use snapledger::proto::snapledger::DiagramRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Rest, asked, request};
use crate::traffic::Traffic;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
/// The snapshots that are compared under load.
const SNAPSHOTS: usize = 15;

/// Channel, sequence number and amount.
pub(crate) type Name = (String, String, u64, Option<i64>);

fn list<'a>(json: &'a Value, field: &str) -> &'a Vec<Value> {
    json[field].as_array().expect("a list")
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

fn name(channel: &Value, message: &Value) -> Name {
    let sequence = message["sequence"].as_u64().expect("a number");
    let amount = message["amount"].as_i64();
    (
        text(&channel["from"]),
        text(&channel["to"]),
        sequence,
        amount,
    )
}

/// The messages that cross the cut of a diagram.
pub(crate) fn crossing(diagram: &Value) -> BTreeSet<Name> {
    let crossing = list(diagram, "messages").iter();
    let crossing = crossing.filter(|message| message["crosses"] == true);
    crossing.map(|message| name(message, message)).collect()
}

/// The messages that the snapshot itself says it has recorded.
pub(crate) async fn recorded(rest: &Rest, id: &str) -> BTreeSet<Name> {
    let channels = rest.read(&format!("/v1/snapshots/{id}/channels")).await;
    let channels = list(&channels, "channels").iter();
    let all = channels.flat_map(|one| {
        list(one, "messages")
            .iter()
            .map(|message| name(one, message))
    });
    all.collect()
}

async fn diagram(rest: &Rest, id: &str, query: &str) -> Value {
    rest.read(&format!("/v1/snapshots/{id}/diagram{query}"))
        .await
}

async fn take(rest: &Rest) -> Value {
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await
}

// The cut: by process, position and time.
fn cut(diagram: &Value) -> BTreeMap<String, (u64, String)> {
    let processes = list(diagram, "processes").iter();
    let cut = processes.map(|one| {
        let position = one["position"].as_u64().expect("a position");
        (text(&one["process"]), (position, text(&one["recorded_at"])))
    });
    cut.collect()
}

fn closings(diagram: &Value) -> BTreeMap<(String, String), (u64, String)> {
    let channels = list(diagram, "channels").iter();
    let closings = channels.map(|one| {
        let position = one["closed_position"].as_u64().expect("a position");
        let ends = (text(&one["from"]), text(&one["to"]));
        (ends, (position, text(&one["closed_at"])))
    });
    closings.collect()
}

// What crosses by the order of turns, of the messages with both ends, is what is marked as crossing.
fn assert_by_turns(diagram: &Value) {
    let cut = cut(diagram);
    let mut both = 0;
    for message in list(diagram, "messages") {
        let at = |field: &str| message[field].as_u64();
        let (Some(sent), Some(delivered)) = (at("sent_position"), at("delivered_position")) else {
            assert_eq!(message["crosses"], false, "it is known whole: {message}");
            continue;
        };
        let is_before = sent <= cut[message["from"].as_str().expect("a text")].0;
        let is_behind = delivered > cut[message["to"].as_str().expect("a text")].0;
        assert_eq!(message["crosses"], is_before && is_behind, "{message}");
        assert!(
            is_before || is_behind,
            "a message against the cut: {message}"
        );
        both += 1;
    }
    assert!(both > 0, "there was traffic: {diagram}");
}

async fn assert_shown(rest: &Rest, snapshot: &Value) -> usize {
    let id = text(&snapshot["snapshot_id"]);
    let found = diagram(rest, &id, "").await;
    assert_eq!(found["revision"], snapshot["revision"]);
    let crossing = crossing(&found);
    assert_eq!(crossing, recorded(rest, &id).await, "{id}");
    assert_by_turns(&found);
    assert!(
        list(&found, "processes")
            .iter()
            .all(|one| one["journal"] == "whole")
    );
    for channel in list(snapshot, "channels") {
        let shown = list(&found, "channels")
            .iter()
            .find(|one| one["from"] == channel["from"] && one["to"] == channel["to"]);
        let shown = shown.expect("every channel is shown");
        assert_eq!(shown["messages"], channel["messages"]);
        assert_eq!(shown["amount"], channel["amount"]);
    }
    let cut = cut(&found);
    for ((_, to), (position, time)) in closings(&found) {
        assert!(
            position > cut[&to].0 && time >= cut[&to].1,
            "closed behind the cut"
        );
    }
    for process in list(snapshot, "processes") {
        let place = &cut[process["process"].as_str().expect("a text")];
        assert_eq!(
            place.0,
            process["journal_position"].as_u64().expect("a position")
        );
        assert_eq!(json!(place.1), process["recorded_at"]);
    }
    crossing.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crossing_messages_of_every_diagram_are_the_recorded_channels() {
    let mut cluster = Cluster::up(&IDS).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let mut crossed = 0;
    for number in 0..SNAPSHOTS {
        let rest = cluster.rest(IDS[number % 3]);
        let snapshot = take(&rest).await;
        crossed += assert_shown(&rest, &snapshot).await;
    }
    assert!(
        crossed > 0,
        "with six senders something is always in flight"
    );
    let rest = cluster.rest("n1");
    let newest = take(&rest).await;
    let id = text(&newest["snapshot_id"]);
    traffic.stop().await;

    let wide = "?before=200ms&after=200ms";
    let all = diagram(&rest, &id, &format!("{wide}&limit=10000")).await;
    let few = diagram(&rest, &id, &format!("{wide}&limit=5")).await;
    assert_eq!(list(&few, "messages").len(), 5);
    assert_eq!(few["truncated"], true);
    assert!(crossing(&all).len() >= crossing(&few).len());
    let shown = crossing(&all).len().min(5);
    assert_eq!(crossing(&few).len(), shown, "those that cross come first");

    let mut history = HistoryServiceClient::new(cluster.grpc("n3"));
    let request = DiagramRequest {
        snapshot_id: id.clone(),
        ..DiagramRequest::default()
    };
    until("the snapshot at n3", async || {
        let answer = history.diagram(request.clone()).await.ok()?.into_inner();
        let crossing = answer.messages.iter().filter(|message| message.crosses);
        let crossing: BTreeSet<Name> = crossing
            .map(|one| (one.from.clone(), one.to.clone(), one.sequence, one.amount))
            .collect();
        (answer.status == "complete").then(|| assert_eq!(crossing, self::crossing(&all)))
    })
    .await;
    for (query, field) in [
        ("limit=0", "limit"),
        ("before=2h", "before"),
        ("after=5", "after"),
    ] {
        let refused = rest
            .get(&format!("/v1/snapshots/{id}/diagram?{query}"))
            .await;
        assert_eq!(
            (refused.status, &refused.json()["field"]),
            (400, &json!(field))
        );
    }
    cluster.stop_all().await;
}

// The events of a snapshot, by name.
async fn steps(rest: &Rest, id: &str) -> Vec<(String, Value)> {
    let path = format!("/v1/snapshots/{id}/events");
    let answer = rest
        .send(asked(&path, &[("accept", "text/event-stream")]))
        .await;
    let field = |event: &str, name: &str| {
        let line = event.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::to_owned)
    };
    let events = answer.body.split("\n\n");
    let steps = events.filter_map(|event| {
        let data = serde_json::from_str(&field(event, "data: ")?).expect("JSON");
        Some((field(event, "event: ")?, data))
    });
    steps.collect()
}

// The steps of a finished snapshot tell the cut that the diagram shows.
async fn assert_told(rest: &Rest, id: &str, diagram: &Value) {
    let steps = steps(rest, id).await;
    let named = |name: &'static str| steps.iter().filter(move |(one, _)| one == name);
    let recorded: BTreeMap<String, String> = named("recorded")
        .map(|(_, data)| (text(&data["process"]), text(&data["recorded_at"])))
        .collect();
    let cut = cut(diagram)
        .into_iter()
        .map(|(process, (_, at))| (process, at));
    assert_eq!(recorded, cut.collect(), "{steps:#?}");
    let closed: BTreeMap<(String, String), String> = named("closed")
        .map(|(_, data)| {
            (
                (text(&data["from"]), text(&data["to"])),
                text(&data["closed_at"]),
            )
        })
        .collect();
    let closings = closings(diagram)
        .into_iter()
        .map(|(ends, (_, at))| (ends, at));
    assert_eq!(closed, closings.collect(), "{steps:#?}");
    assert_eq!(steps.first().map(|(name, _)| &**name), Some("begun"));
    assert_eq!(steps.last().map(|(name, _)| &**name), Some("published"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_old_snapshot_keeps_its_cut_when_the_journals_are_gone() {
    let cluster = Cluster::planned(&IDS).with_max_count(1);
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let n1 = cluster.rest("n1");
    let kept = until("a snapshot with money in flight", async || {
        let snapshot = take(&n1).await;
        let in_flight = snapshot["totals"]["in_flight"].as_i64() > Some(0);
        let path = format!("/v1/snapshots/{}/pin", text(&snapshot["snapshot_id"]));
        let pinned = n1.send(request("PUT", &path, &[], String::new())).await;
        (in_flight && pinned.status == 200).then_some(snapshot)
    })
    .await;
    let id = text(&kept["snapshot_id"]);
    let whole = diagram(&n1, &id, "").await;
    assert_told(&n1, &id, &whole).await;
    // What was deleted goes with the next snapshots.
    let gone = until("journals that begin later", async || {
        take(&n1).await;
        let found = diagram(&n1, &id, "").await;
        let mut processes = list(&found, "processes").iter();
        processes
            .all(|one| one["journal"] == "gone")
            .then_some(found)
    })
    .await;
    traffic.stop().await;
    assert_eq!(cut(&gone), cut(&whole));
    assert_eq!(closings(&gone), closings(&whole));
    assert_eq!(
        gone["messages"].as_array().map(Vec::len),
        Some(crossing(&whole).len())
    );
    assert_eq!(crossing(&gone), crossing(&whole));
    assert!(
        list(&gone, "messages")
            .iter()
            .all(|one| one["sent_at"].is_null())
    );

    // A node that did not assemble it says the same, also after a restart, and a process that does not answer is named.
    cluster.stop_all().await;
    cluster.start("n2").await;
    let n2 = cluster.rest("n2");
    let alone = diagram(&n2, &id, "").await;
    assert_eq!(
        (cut(&alone), closings(&alone)),
        (cut(&whole), closings(&whole))
    );
    assert_eq!(crossing(&alone), crossing(&whole));
    let processes = list(&alone, "processes");
    let journals: Vec<_> = processes.iter().map(|one| text(&one["journal"])).collect();
    assert_eq!(journals, ["unreachable", "gone", "unreachable"]);
    assert_told(&n2, &id, &whole).await;
    cluster.stop_all().await;
}
