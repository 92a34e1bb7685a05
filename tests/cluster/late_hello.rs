//! A hello from an abandoned connection arrives when a newer stream has already delivered more than it states. Without
//! this it would be taken for a restored older store and stop the channel in the other direction.

use std::time::Duration;

use snapledger::proto::snapledger::peer_service_client::PeerServiceClient;
use snapledger::proto::snapledger::{Frame, Greeting, Hello, Tally, frame};
use tokio::time::timeout;

use crate::nodes::Cluster;
use crate::stores::{open, pay};

const SOON: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hello_that_comes_late_contradicts_nothing() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.connected().await;
    for id in ["n1", "n2"] {
        cluster.deposit(id, "a", 100).await;
    }
    let (n1, n2) = (cluster.rest("n1"), cluster.rest("n2"));
    pay(&n1, ("n2", "b"), 5).await;
    n2.balance_is("b", 5).await;
    let mut one = PeerServiceClient::new(cluster.grpc("n1"));
    let greeting = one.greet(Greeting::default()).await.expect("an answer");

    let hello = Hello {
        sender: greeting.into_inner().identity,
        receiver: "n2".to_owned(),
        sent: Some(Tally::default()),
        acknowledged: 0,
        clocks: None,
        known: None,
    };
    let late = Frame {
        body: Some(frame::Body::Hello(hello)),
    };
    let mut two = PeerServiceClient::new(cluster.grpc("n2"));
    let answer = two.channel(tokio_stream::iter([late])).await;
    let mut acks = answer.expect("a stream").into_inner();
    let received = timeout(SOON, acks.message()).await.expect("in time");
    assert_eq!(
        received.expect("a stream"),
        None,
        "neither welcome nor refused"
    );

    for ends in [("n1", "n2"), ("n2", "n1")] {
        open(&n1, ends).await;
        open(&n2, ends).await;
    }
    pay(&n2, ("n1", "b"), 7).await;
    n1.balance_is("b", 7).await;
    cluster.stop_all().await;
}
