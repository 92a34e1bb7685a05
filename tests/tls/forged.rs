//! A process with a valid certificate speaks in its own name alone.

use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{ApplicationMessage, MarkerMessage};
use snapledger::proto::snapledger::peer_service_client::PeerServiceClient;
use snapledger::proto::snapledger::{
    Actor, FetchPartRequest, Frame, Greeting, Hello, Identity, ListPinsRequest, ListedPin, Tally,
    frame,
};
use snapledger::tls::client::ClientTls;
use tonic::{Code, Status};

use crate::cluster::Cluster;

fn identity(process: &str) -> Identity {
    Identity {
        cluster: "bank".to_owned(),
        process: process.to_owned(),
        store_uuid: vec![7; 16],
        boot: 1,
        run: 1,
    }
}

// The status of a stream that begins with a hello in the name of a process.
pub(crate) async fn hello(cluster: &Cluster, to: &str, name: &str, client: &ClientTls) -> Status {
    let hello = Hello {
        sender: Some(identity(name)),
        receiver: to.to_owned(),
        sent: Some(Tally::default()),
        ..Hello::default()
    };
    let frame = Frame {
        body: Some(frame::Body::Hello(hello)),
    };
    let mut peer = PeerServiceClient::new(cluster.grpc(to, client));
    match peer.channel(tokio_stream::iter([frame])).await {
        Err(status) => status,
        Ok(answer) => {
            let first = answer.into_inner().message().await;
            first.expect_err("a forged hello is refused")
        }
    }
}

pub(crate) fn message(from: &str) -> ApplicationMessage {
    ApplicationMessage {
        message_id: "m".to_owned(),
        from_process: from.to_owned(),
        to_process: "n3".to_owned(),
        payload: br#"{"transfer_id":"t","from_account":"a","to_account":"b","amount":5}"#.to_vec(),
        message_type: "transfer".to_owned(),
        sender_clock: 1,
    }
}

fn pin(by: &str, time: u64) -> ListPinsRequest {
    let actor = Actor {
        client: "auditor".to_owned(),
        request_id: "forged\u{1b}[31m\n".to_owned(),
        ..Actor::default()
    };
    let word = ListedPin {
        snapshot_id: "s".to_owned(),
        pinned: true,
        time,
        process: by.to_owned(),
        actor: Some(actor),
    };
    ListPinsRequest {
        cluster: "bank".to_owned(),
        word: Some(word),
    }
}

fn assert_refused(status: &Status, claimed: &str) {
    assert_eq!(status.code(), Code::PermissionDenied, "{status}");
    let sentence = status.message();
    assert!(
        sentence.contains("snapledger://bank/process/n2"),
        "{sentence}"
    );
    assert!(sentence.contains(&format!("{claimed:?}")), "{sentence}");
}

#[tokio::test]
async fn another_process_cannot_speak_for_one_whatever_the_call() {
    let cluster = Cluster::up().await;
    let n2 = cluster.certificates.trusting(Some("n2"));
    assert_refused(&hello(&cluster, "n3", "n1", &n2).await, "n1");
    let mut peer = PeerServiceClient::new(cluster.grpc("n3", &n2));
    let greeting = Greeting {
        identity: Some(identity("n1")),
        leaving: true,
        ..Greeting::default()
    };
    let refused = peer.greet(greeting).await.expect_err("a forged greeting");
    assert_refused(&refused, "n1");
    let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n3", &n2));
    let refused = snapshots
        .send_message(message("n1"))
        .await
        .expect_err("a forged message");
    assert_refused(&refused, "n1");
    let marker = MarkerMessage {
        snapshot_id: "s".to_owned(),
        sender_id: "n1".to_owned(),
        initiator_id: "n1".to_owned(),
        logical_clock: 1,
    };
    let refused = snapshots
        .receive_marker(marker)
        .await
        .expect_err("a forged marker");
    assert_refused(&refused, "n1");
    cluster.says("n3", "in the name of process \"n1\"", 0).await;
    // The channel of the real n1 is not affected, and no money came.
    cluster.connected().await;
    let client = cluster.certificates.trusting(None);
    let account = cluster
        .get("n3", "/v1/accounts/b", &client)
        .await
        .expect("it answers");
    assert_eq!(account["status"], 404, "{account}");
}

#[tokio::test]
async fn a_process_tells_its_own_pins_alone() {
    let cluster = Cluster::up().await;
    let n2 = cluster.certificates.trusting(Some("n2"));
    let mut peer = PeerServiceClient::new(cluster.grpc("n3", &n2));
    let refused = peer
        .list_pins(pin("n1", 1 << 12))
        .await
        .expect_err("a forged pin");
    assert_refused(&refused, "n1");
    let all = ListPinsRequest {
        cluster: "bank".to_owned(),
        word: None,
    };
    let listed = peer.list_pins(all).await.expect("anyone of it may ask");
    let first = listed.into_inner().message().await.expect("a list");
    assert_eq!(first, None, "nothing was stored");
    let listed = peer
        .list_pins(pin("n2", 1 << 12))
        .await
        .expect("its own name");
    let first = listed.into_inner().message().await.expect("a list");
    let first = first.expect("the newest pin");
    let actor = first.actor.expect("it is named");
    assert_eq!((&*first.process, &*actor.request_id), ("n2", "forged[31m"));
}

// Each node dates a pin later than all that it knows. Without this, one process could date all later pins of a store.
#[tokio::test]
async fn a_pin_far_ahead_of_the_clock_is_not_received() {
    let cluster = Cluster::up().await;
    let n2 = cluster.certificates.trusting(Some("n2"));
    let mut peer = PeerServiceClient::new(cluster.grpc("n3", &n2));
    let now = jiff::Timestamp::now().as_microsecond().cast_unsigned();
    let in_an_hour = (now + 3_600_000_000) << 12;
    for ahead in [in_an_hour, u64::MAX] {
        let refused = peer.list_pins(pin("n2", ahead)).await;
        let refused = refused.expect_err("its time has not come");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        let sentence = refused.message();
        assert!(sentence.contains("clock.ahead_max"), "{sentence}");
    }
    let listed = peer.list_pins(pin("n2", now << 12)).await;
    let first = listed.expect("it is dated now").into_inner();
    let first = { first }.message().await.expect("a list");
    assert_eq!(first.expect("the newest pin").time, now << 12);
}

#[tokio::test]
async fn neither_a_client_nor_a_process_of_no_cluster_file_is_a_process() {
    let cluster = Cluster::up().await;
    cluster.certificates.client("audit");
    cluster.certificates.node("n9");
    for (name, words) in [
        (Some("audit"), "client/audit"),
        (None, "no certificate"),
        (
            Some("n9"),
            "process/n9, which this node does not have in its cluster",
        ),
    ] {
        let client = cluster.certificates.trusting(name);
        let status = hello(&cluster, "n3", "n1", &client).await;
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        assert!(status.message().contains(words), "{status}");
        let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n3", &client));
        let status = snapshots
            .send_message(message("n1"))
            .await
            .expect_err("no process");
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        let mut peer = PeerServiceClient::new(cluster.grpc("n3", &client));
        let part = FetchPartRequest {
            cluster: "bank".to_owned(),
            ..FetchPartRequest::default()
        };
        let status = peer.fetch_part(part).await.expect_err("no process");
        assert_eq!(status.code(), Code::PermissionDenied, "{status}");
        cluster.says("n3", words, 0).await;
    }
    cluster.connected().await;
}
