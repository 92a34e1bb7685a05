//! One stream tells what happens at a node, and a watcher that was away goes on behind the last event it has. Without this a page
//! would ask again and again for everything, or show what is no longer true.

use std::io::BufRead as _;

use serde_json::{Value, json};
use snapledger::proto::snapledger::WatchNodeRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::node_event::Body;
use tokio::sync::mpsc;
use tokio::time::timeout;

use crate::await_it::PATIENCE;
use crate::contract::judge;
use crate::nodes::Cluster;
use crate::rest::{Rest, request};

const CONTENT: &str = "/paths/~1v1~1events/get/responses/200/content/text~1event-stream";

#[derive(Debug)]
struct Event {
    id: Option<String>,
    name: String,
    data: Value,
}

/// The stream of a node; each event is compared with the OpenAPI document.
struct Stream(mpsc::UnboundedReceiver<Event>);

impl Stream {
    fn open(rest: &Rest, seen: Option<&str>) -> Self {
        let agent = ureq::Agent::new_with_defaults();
        let mut request = agent.get(format!("{}/v1/events", rest.base()));
        request = request.header("accept", "text/event-stream");
        if let Some(seen) = seen {
            request = request.header("last-event-id", seen);
        }
        let (events, stream) = mpsc::unbounded_channel();
        tokio::task::spawn_blocking(move || {
            let answer = request.call().expect("an answer");
            let body = std::io::BufReader::new(answer.into_body().into_reader());
            let (mut event, mut fields) = (String::new(), [None, None, None]);
            for line in body.lines() {
                let Ok(line) = line else {
                    return;
                };
                event += &format!("{line}\n");
                for (name, field) in ["id: ", "event: ", "data: "].into_iter().zip(&mut fields) {
                    let found = line.strip_prefix(name).map(str::to_owned);
                    *field = found.or(field.take());
                }
                if line.is_empty()
                    && let [id, Some(name), Some(data)] = std::mem::take(&mut fields)
                {
                    judge(CONTENT, "text/event-stream", &std::mem::take(&mut event))
                        .unwrap_or_else(|why| unreachable!("{name}: {why}"));
                    let data = serde_json::from_str(&data).expect("it was judged");
                    if events.send(Event { id, name, data }).is_err() {
                        return;
                    }
                }
            }
        });
        Self(stream)
    }

    async fn next(&mut self) -> Event {
        let next = timeout(PATIENCE, self.0.recv()).await;
        next.expect("it comes in time").expect("the stream goes on")
    }

    /// The next event of this name with these fields; others are passed over.
    async fn find(&mut self, name: &str, fields: &Value) -> Event {
        loop {
            let event = self.next().await;
            let wanted = fields.as_object().expect("fields").iter();
            let mut fits = wanted.map(|(field, value)| event.data[field] == *value);
            if event.name == name && fits.all(|fits| fits) {
                return event;
            }
        }
    }

    /// The ids and names of all events up to the pin of a snapshot. A channel of a busy machine may have closed and opened.
    async fn until_pinned(&mut self, snapshot: &str) -> Vec<(String, String)> {
        let mut told = Vec::new();
        loop {
            let Event { id, name, data } = self.next().await;
            assert_ne!(name, "reset");
            let is_it = name == "snapshot_pinned"
                && data["pinned"] == true
                && data["snapshot_id"] == snapshot;
            told.extend(id.map(|id| (id, name)));
            if is_it {
                return told;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watcher_sees_what_happens_and_resumes() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let (rest, other) = (cluster.rest("n1"), cluster.rest("n2"));
    let mut stream = Stream::open(&rest, None);
    let reset = stream.find("reset", &json!({})).await;
    let status = stream.find("status", &json!({})).await;
    assert_eq!(status.id, None);
    assert!(status.data["position"].as_u64() > Some(0), "{status:?}");

    let id = other.start_snapshot().await;
    let begun = json!({"snapshot_id": id, "initiator": "n2", "initiated_at": null});
    stream.find("snapshot_begun", &begun).await;
    let published = json!({"snapshot_id": id, "status": "complete", "pinned": false});
    let published = stream.find("snapshot_published", &published).await;
    assert!(published.data["totals"].is_object(), "{published:?}");
    let pin = request(
        "PUT",
        &format!("/v1/snapshots/{id}/pin"),
        &[],
        String::new(),
    );
    assert_eq!(other.send(pin).await.status, 200);
    let told = stream.until_pinned(&id).await;
    cluster.stop("n2").await;
    stream
        .find(
            "channel",
            &json!({"from": "n1", "to": "n2", "state": "closed"}),
        )
        .await;
    stream
        .find("peer", &json!({"process": "n2", "state": "down"}))
        .await;

    let mut resumed = Stream::open(&rest, published.id.as_deref());
    assert_eq!(resumed.until_pinned(&id).await, told);
    let number = reset.id.expect("it has an id");
    let (_, number) = number.split_once('-').expect("run and number");
    let mut of_another_run = Stream::open(&rest, Some(&format!("1-{number}")));
    of_another_run.find("reset", &json!({})).await;
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn grpc_tells_the_same_and_a_stopping_node_ends_the_stream() {
    let mut cluster = Cluster::up(&["n1"]).await;
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let watched = client.watch_node(WatchNodeRequest::default()).await;
    let mut events = watched.expect("a stream").into_inner();
    let mut seen = Vec::new();
    let id = cluster.rest("n1").start_snapshot().await;
    while seen.len() < 3 {
        let event = timeout(PATIENCE, events.message()).await.expect("in time");
        let event = event.expect("no failure").expect("it goes on");
        match event.body.expect("it says what") {
            Body::Status(status) => assert!(event.id.is_empty() && status.at_us > 0),
            Body::Reset(_) => seen.push("reset".to_owned()),
            Body::SnapshotBegun(begun) => {
                assert!(begun.initiated_at.is_some(), "{begun:?}");
                seen.push(format!("begun {}", begun.snapshot_id));
            }
            Body::SnapshotPublished(snapshot) => {
                seen.push(format!("{} {}", snapshot.status, snapshot.snapshot_id));
            }
            _ => {}
        }
    }
    let expected = [
        "reset".to_owned(),
        format!("begun {id}"),
        format!("complete {id}"),
    ];
    assert_eq!(seen, expected);
    cluster.stop("n1").await;
    let rest = timeout(PATIENCE, async {
        while let Ok(Some(_)) = events.message().await {}
    });
    rest.await.expect("the stream ends with its node");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_that_retention_deletes_is_told() {
    let mut cluster = Cluster::planned(&["n1"]).with_max_count(1).started().await;
    let rest = cluster.rest("n1");
    let mut stream = Stream::open(&rest, None);
    stream.find("reset", &json!({})).await;
    let first = rest.start_snapshot().await;
    rest.snapshot(&first, "complete").await;
    rest.start_snapshot().await;
    stream
        .find("snapshot_deleted", &json!({"snapshot_id": first}))
        .await;
    cluster.stop_all().await;
}
