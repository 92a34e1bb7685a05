//! Messages to a process that is not running wait, and arrive exactly once when it starts, also after its stream has
//! broken. Without this a transfer to an absent peer could be lost or doubled.

use serde_json::{Value, json};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;
use crate::snapshots::assert_proven;

async fn send(rest: &Rest, times: i64) {
    let body = json!({"from_account": "a", "to_account": "b", "amount": 1, "to_process": "n2"});
    for _ in 0..times {
        assert_eq!(rest.post("/v1/transfers", &body).await.status, 200);
    }
}

async fn outgoing(rest: &Rest) -> Value {
    let cluster = rest.read("/v1/cluster").await;
    let channels = cluster["channels"].as_array().expect("a list");
    let outgoing = channels.iter().find(|channel| channel["to"] == "n2");
    outgoing.expect("the channel to n2").clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_late_peer_arrives_once_and_the_stream_is_resumed() {
    let mut cluster = Cluster::planned(&["n1", "n2"]);
    cluster.close("n2");
    cluster.start("n1").await;
    cluster.deposit("n1", "a", 100).await;
    let (one, two) = (cluster.rest("n1"), cluster.rest("n2"));
    send(&one, 20).await;
    let waiting = outgoing(&one).await;
    assert_eq!(
        (
            &waiting["sent"],
            &waiting["acknowledged"],
            &waiting["in_flight"]
        ),
        (&json!(20), &json!(0), &json!(20))
    );

    cluster.start("n2").await;
    two.balance_is("b", 20).await;
    for round in 1..=3 {
        cluster.stop("n2").await;
        send(&one, 10).await;
        cluster.start("n2").await;
        two.balance_is("b", 20 + 10 * round).await;
    }
    until("an acknowledgement of everything", async || {
        (outgoing(&one).await["in_flight"] == 0).then_some(())
    })
    .await;
    assert_eq!(two.balance("b").await, Some(50));
    let id = two.start_snapshot().await;
    let snapshot = two.snapshot(&id, "complete").await;
    assert_proven(&snapshot, 100);
    cluster.stop_all().await;
}
