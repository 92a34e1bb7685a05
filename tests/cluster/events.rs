//! A snapshot can be watched from any event on, and the history tells its steps forever. Without this clients would
//! have to poll and could miss events; or an idle watcher could delay the stop of a node.

use std::time::Duration;

use serde_json::{Value, json};
use snapledger::proto::snapledger::WatchRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::snapshot_event::Body;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, asked};

#[derive(Debug, Clone, PartialEq)]
struct Event {
    id: String,
    name: String,
    data: Value,
}

async fn watched(rest: &Rest, snapshot: &str, behind: Option<&str>) -> Answer {
    let path = format!("/v1/snapshots/{snapshot}/events");
    let mut headers = vec![("accept", "text/event-stream")];
    headers.extend(behind.map(|id| ("last-event-id", id)));
    rest.send(asked(&path, &headers)).await
}

fn events(answer: &Answer) -> Vec<Event> {
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("content-type"), "text/event-stream");
    let sent = answer.body.split("\n\n");
    let sent = sent.filter(|event| event.contains("event:"));
    let field = |event: &str, name: &str| {
        let mut lines = event.lines();
        let line = lines.find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| unreachable!("{event}")).to_owned()
    };
    sent.map(|event| Event {
        id: field(event, "id"),
        name: field(event, "event"),
        data: serde_json::from_str(&field(event, "data")).expect("each says JSON"),
    })
    .collect()
}

fn named(events: &[Event], name: &str, fields: &[&str]) -> Vec<String> {
    let of_name = events.iter().filter(|event| event.name == name);
    let mut found: Vec<String> = of_name
        .map(|event| {
            let fields = fields.iter().map(|field| event.data[*field].as_str());
            let fields = fields.map(|text| text.expect("it is said"));
            fields.collect::<Vec<_>>().join(">")
        })
        .collect();
    found.sort();
    found
}

// All instants are from one clock, that of the assembler.
fn assert_in_order(events: &[Event]) {
    let told = events.iter().map(|event| match &*event.name {
        "published" => event.data["finished_at"].as_str(),
        _ => event.data["at"].as_str(),
    });
    assert!(told.is_sorted(), "{events:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_step_is_told_once_and_a_watcher_goes_on_where_it_was() {
    let cluster = Cluster::planned(&["n1", "n2", "n3"]);
    let mut cluster = cluster
        .with_deadline(Duration::from_secs(60))
        .started()
        .await;
    cluster.connected().await;
    let rest = cluster.rest("n1");
    cluster.stop("n3").await;
    let id = rest.start_snapshot().await;
    let partial = events(&watched(&rest, &id, None).await);
    assert_eq!(partial[0].name, "begun");
    assert_eq!(partial[0].data["initiator"], "n1");
    let last = partial.last().expect("there are some").clone();
    assert_eq!(
        (&*last.name, &last.data["status"]),
        ("published", &json!("partial"))
    );
    assert_eq!(named(&partial, "recorded", &["process"]), ["n1", "n2"]);
    assert_eq!(
        named(&partial, "closed", &["from", "to"]),
        ["n1>n2", "n2>n1"]
    );
    // By now n3 is known to be down, so the available parts are published at once.
    let next = rest.start_snapshot().await;
    for told in [&partial, &events(&watched(&rest, &next, None).await)] {
        assert_in_order(told);
    }
    let third = events(&watched(&rest, &id, Some(&partial[2].id)).await);
    assert_eq!(third, partial[3..]);

    let (later, ()) = tokio::join!(watched(&rest, &id, Some(&last.id)), cluster.start("n3"));
    let later = events(&later);
    let whole = [partial, later.clone()].concat();
    let all = ["n1", "n2", "n3"];
    assert_eq!(named(&whole, "recorded", &["process"]), all);
    assert_eq!(named(&whole, "collected", &["process"]), all);
    assert_eq!(named(&whole, "closed", &["from", "to"]).len(), 6);
    let end = later.last().expect("there are some");
    assert_eq!(
        (&*end.name, &end.data["status"]),
        ("published", &json!("complete"))
    );
    assert_eq!(end.data["verification"]["conserved"], true);
    assert_in_order(&later);

    history_tells(&cluster, &id, [&last, end]).await;
    let seen = watched(&rest, &id, Some(&end.id)).await;
    assert_eq!((seen.status, &*seen.body), (204, ""));
    cluster.stop_all().await;
}

// When the collection is over, the history tells the steps of the newest revision, with the times of the processes. `ends` are the
// publications of the partial and of the complete revision.
async fn history_tells(cluster: &Cluster, id: &str, ends: [&Event; 2]) {
    let [partial, end] = ends;
    let rest = cluster.rest("n1");
    let told = until("the history alone", async || {
        let told = events(&watched(&rest, id, None).await);
        let is_of_history = told.iter().all(|event| event.id.starts_with("revision-"));
        (is_of_history && told.last() == Some(end)).then_some(told)
    })
    .await;
    assert_eq!(named(&told, "recorded", &["process"]), ["n1", "n2", "n3"]);
    let closed = named(&told, "closed", &["from", "to", "closed_at"]);
    assert_eq!(closed.len(), 6);
    assert_in_order(&told);
    let behind = events(&watched(&rest, id, Some(&told[4].id)).await);
    assert_eq!(behind, told[5..]);
    let elsewhere = until("the revision at n2", async || {
        let told = events(&watched(&cluster.rest("n2"), id, None).await);
        (told.last() == Some(end)).then_some(told)
    });
    assert_eq!(elsewhere.await, told, "every node tells the same");
    // Behind an earlier revision, only what is new is told.
    let news = events(&watched(&rest, id, Some(&partial.id)).await);
    assert_eq!(named(&news, "recorded", &["process"]), ["n3"]);
    assert_eq!(news.last(), Some(end));
}

async fn more(watching: &mut TcpStream) -> String {
    let mut bytes = [0; 4096];
    let read = timeout(Duration::from_secs(60), watching.read(&mut bytes)).await;
    let length = read.expect("in time").expect("a connection in order");
    assert_ne!(length, 0, "the answer has an end of its own");
    String::from_utf8_lossy(&bytes[..length]).into_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_does_not_keep_a_node_from_stopping() {
    let cluster = Cluster::planned(&["n1", "n2", "x1"]).with_other_make("x1");
    let mut cluster = cluster
        .with_deadline(Duration::from_secs(3600))
        .started()
        .await;
    cluster.connected().await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let request = WatchRequest {
        snapshot_id: id.clone(),
        last_event_id: String::new(),
    };
    let stream = client.watch(request).await.expect("an answer");
    let mut stream = stream.into_inner();
    let mut recorded = 0;
    // Both parts wait for x1 and are shown as they are meanwhile.
    while recorded < 2 {
        let event = stream.message().await.expect("a stream").expect("an event");
        recorded += usize::from(matches!(event.body, Some(Body::Recorded(_))));
    }
    let unknown = watched(&cluster.rest("n2"), "unknown", None).await;
    assert_eq!(
        (unknown.status, &*unknown.problem()),
        (404, "unknown-snapshot")
    );
    let plain = rest.get(&format!("/v1/snapshots/{id}/events?from=1")).await;
    assert_eq!(plain.status, 400);

    let mut watching = TcpStream::connect(rest.address()).await.expect("it serves");
    let host = rest.address();
    let request = format!("GET /v1/snapshots/{id}/events HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let asked = watching.write_all(request.as_bytes()).await;
    asked.expect("it listens");
    let mut told = String::new();
    while !told.contains("event: recorded") {
        told += &more(&mut watching).await;
    }
    let stopped = timeout(Duration::from_secs(4), cluster.stop("n1")).await;
    stopped.expect("the node stops before it loses patience with anyone");
    while stream.message().await.expect("a stream in order").is_some() {}
    while !told.ends_with("0\r\n\r\n") {
        told += &more(&mut watching).await;
    }
    assert!(!told.contains("event: published"), "{told}");
    cluster.stop_all().await;
}
