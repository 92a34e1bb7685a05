//! The state of a channel is that of its stream, and its figures are those of its two ends. Without this an operator
//! would not see that a channel has stopped.

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

async fn states(rest: &Rest) -> Vec<Value> {
    let cluster = rest.read("/v1/cluster").await;
    let channels = cluster["channels"].as_array().expect("a list").iter();
    channels.map(|channel| channel["state"].clone()).collect()
}

async fn peer(rest: &Rest) -> Value {
    rest.read("/v1/cluster").await["peers"][0].clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_channel_is_open_while_its_stream_is() {
    let mut cluster = Cluster::planned(&["n1", "n2"]);
    cluster.close("n2");
    cluster.start("n1").await;
    let rest = cluster.rest("n1");
    assert_eq!(states(&rest).await, ["closed", "closed"]);
    assert_eq!(peer(&rest).await["state"], "never_seen");
    assert_eq!(peer(&rest).await["last_seen"], json!(null));

    cluster.start("n2").await;
    until("open channels", async || {
        (states(&rest).await == ["open", "open"]).then_some(())
    })
    .await;
    until("n2 up", async || {
        (peer(&rest).await["state"] == "up").then_some(())
    })
    .await;
    assert!(peer(&rest).await["last_seen"].is_string());

    cluster.stop("n2").await;
    until("closed channels", async || {
        (states(&rest).await == ["closed", "closed"]).then_some(())
    })
    .await;
    until("n2 down", async || {
        (peer(&rest).await["state"] == "down").then_some(())
    })
    .await;
    assert!(peer(&rest).await["last_seen"].is_string());
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_lost_its_store_is_refused_and_named() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 5).await;
    let rest = cluster.rest("n1");
    let body = json!({"from_account": "a", "to_account": "b", "amount": 5, "to_process": "n2"});
    assert_eq!(rest.post("/v1/transfers", &body).await.status, 200);
    cluster.rest("n2").balance_is("b", 5).await;

    cluster.stop("n2").await;
    cluster.wipe("n2");
    cluster.start("n2").await;
    until("stopped channels", async || {
        (states(&rest).await == ["stopped", "stopped"]).then_some(())
    })
    .await;
    let error = peer(&rest).await["error"].clone();
    let sentence = error.as_str().expect("the peer is refused");
    assert!(sentence.contains("n2"), "{sentence}");
    assert_eq!(
        cluster.rest("n2").balance("b").await,
        None,
        "nothing is sent twice"
    );
    cluster.stop_all().await;
}
