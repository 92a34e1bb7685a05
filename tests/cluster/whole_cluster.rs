//! `GET /v1/cluster?scope=all` and `HistoryService.Cluster`: every process tells its own figures, and a process that does not
//! answer is shown as unknown. Without this, an operator would have to ask each node, and a page would show 0 for a dead one.

use serde_json::{Value, json};
use snapledger::proto::snapledger::ClusterRequest;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn all(rest: &Rest) -> Value {
    rest.read("/v1/cluster?scope=all").await
}

fn process(cluster: &Value, id: &str) -> Value {
    let mut processes = cluster["processes"].as_array().expect("a list").iter();
    let found = processes.find(|process| process["process"] == id);
    found.expect("every process is listed").clone()
}

fn channel(cluster: &Value, from: &str, to: &str) -> Value {
    let mut channels = cluster["channels"].as_array().expect("a list").iter();
    let found = channels.find(|channel| channel["from"] == from && channel["to"] == to);
    found.expect("every channel is listed").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_tells_its_own_figures() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n2", "a", 5).await;
    let (asked, own) = (cluster.rest("n1"), cluster.rest("n2"));
    let shown = until("all have answered", async || {
        let shown = all(&asked).await;
        let processes = shown["processes"].as_array().expect("a list");
        let channels = shown["channels"].as_array().expect("a list");
        let told = processes.iter().all(|process| process["ready"] == true);
        let open = channels.iter().all(|channel| channel["state"] == "open");
        (told && open).then_some(shown)
    })
    .await;
    assert_eq!(shown["asked"], "n1");
    assert_eq!(shown["channels"].as_array().expect("a list").len(), 6);
    let n2 = process(&shown, "n2");
    assert_eq!((&n2["state"], &n2["accounts"]), (&json!("up"), &json!(1)));
    assert_eq!(n2["version"], env!("CARGO_PKG_VERSION"));
    assert!(n2["boot"].is_string() && n2["since"].is_string(), "{n2}");
    assert!(n2["store"]["disk_bytes"].as_u64() > Some(0), "{n2}");
    assert!(n2["records"].as_u64() > Some(0), "{n2}");
    let position = own.read("/v1/cluster").await["journal_position"].clone();
    assert!(n2["journal_position"].as_u64() <= position.as_u64());
    let idle = channel(&shown, "n2", "n3");
    assert_eq!(
        (&idle["waiting"], &idle["oldest_at"]),
        (&json!(0), &json!(null))
    );

    let mut client = HistoryServiceClient::new(cluster.grpc("n3"));
    let figures = client.cluster(ClusterRequest {}).await;
    let figures = figures.expect("an answer").into_inner();
    assert_eq!((&*figures.asked, figures.channels.len()), ("n3", 6));
    let told = figures.processes.iter().map(|process| {
        let vitals = process.vitals.as_ref().expect("it has answered");
        (&*process.process, &*process.state, vitals.accounts)
    });
    let expected = [("n1", "up", 0), ("n2", "up", 1), ("n3", "up", 0)];
    assert_eq!(told.collect::<Vec<_>>(), expected);
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dead_process_would_know_is_null_and_what_waits_for_it_is_counted() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n1", "a", 100).await;
    cluster.stop("n3").await;
    let rest = cluster.rest("n1");
    for amount in [7, 8] {
        let body =
            json!({"from_account": "a", "to_account": "b", "amount": amount, "to_process": "n3"});
        assert_eq!(rest.post("/v1/transfers", &body).await.status, 200);
    }
    let shown = until("n3 is down", async || {
        let shown = all(&rest).await;
        (process(&shown, "n3")["state"] == "down").then_some(shown)
    })
    .await;
    let n3 = process(&shown, "n3");
    for unknown in [
        "journal_position",
        "accounts",
        "version",
        "store",
        "ready",
        "warnings",
    ] {
        assert_eq!(n3[unknown], json!(null), "{unknown}");
    }
    assert!(
        n3["since"].is_string() && n3["last_seen"].is_string(),
        "{n3}"
    );
    let waits = channel(&shown, "n1", "n3");
    assert_eq!(waits["waiting_amount"], 15);
    assert_eq!(waits["delivered"], json!(null));
    assert!(
        waits["waiting"].as_u64() >= Some(2) && waits["oldest_at"].is_string(),
        "{waits}"
    );
    let (from, between) = (channel(&shown, "n3", "n1"), channel(&shown, "n2", "n3"));
    assert_eq!(
        (&from["sent"], &from["waiting"]),
        (&json!(null), &json!(null))
    );
    assert!(from["delivered"].is_u64(), "{from}");
    assert_eq!(between["state"], "closed", "{between}");

    let refused = rest.get("/v1/cluster?scope=everything").await;
    assert_eq!(refused.status, 400);
    assert!(refused.body.contains("neither own nor all"), "{refused:?}");
    cluster.stop_all().await;
}
