//! `latest` is the newest snapshot wherever an id is read, and never the id of a snapshot. Without this the word could
//! mean the newest snapshot on one route and a snapshot with that id on another.

use serde_json::{Value, json};
use snapledger::process::ids::SnapshotId;
use snapledger::process::start::StartedBy;
use snapledger::proto::chandy_lamport::snapshot_service_client::SnapshotServiceClient;
use snapledger::proto::chandy_lamport::{
    GetGlobalSnapshotRequest, GetSnapshotRequest, InitiateSnapshotRequest, MarkerMessage,
};
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::{
    BalanceAtRequest, BalancesRequest, DiffRequest, GetRequest, VerifyRequest,
};
use tonic::Code;

use crate::asked_from_terminal::{ended, printed};
use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, request};

const IDS: [&str; 2] = ["n1", "n2"];

async fn take(rest: &Rest, id: &str) {
    let body = json!({ "snapshot_id": id });
    let taken = rest.post("/v1/snapshots?wait=10", &body).await;
    assert_eq!(taken.status, 201, "{taken:?}");
}

/// Answers below `…/latest` equal those below the id, but must not be cached.
async fn same(rest: &Rest, latest: &str, own: &str) -> Answer {
    let (shown, expected) = (rest.get(latest).await, rest.get(own).await);
    assert_eq!(shown.status, 200, "{latest}: {shown:?}");
    assert_eq!(shown.body, expected.body, "{latest}");
    assert_eq!(shown.header("etag"), expected.header("etag"), "{latest}");
    assert_eq!(shown.header("cache-control"), "no-store", "{latest}");
    shown
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latest_is_the_newest_snapshot_on_every_route() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    for account in ["alice", "bob", "carol"] {
        cluster.deposit("n1", account, 4711).await;
    }
    take(&rest, "first").await;
    cluster.deposit("n1", "alice", 1).await;
    take(&rest, "s/2").await;
    let of = |id: &str, what: &str| format!("/v1/snapshots/{id}/{what}");
    for what in [
        "balances",
        "balances?process=n1&limit=2",
        "channels",
        "diff/first",
        "export",
        "pin",
        "balances/n1/alice/proof",
    ] {
        let shown = same(&rest, &of("latest", what), &of("s%2F2", what)).await;
        let path = of("s%2F2", what.split('?').next().unwrap_or(what));
        assert_eq!(shown.header("content-location"), path);
    }
    same(
        &rest,
        &of("first", "diff/latest"),
        &of("first", "diff/s%2F2"),
    )
    .await;
    same(
        &rest,
        &of("%6Catest", "diff/latest"),
        &of("s%2F2", "diff/s%2F2"),
    )
    .await;
    let at = "/v1/accounts/alice/balance?snapshot=";
    same(&rest, &format!("{at}latest"), &format!("{at}s/2")).await;
    assert_eq!(rest.get(&of("latest", "events")).await.status, 200);

    // A cursor stays with its snapshot even if a newer one exists.
    let page = rest.get(&of("latest", "balances?limit=2")).await;
    let cursor = page.json()["next_cursor"]
        .as_str()
        .expect("three accounts")
        .to_owned();
    let next = format!("balances?limit=2&cursor={cursor}");
    assert_eq!(rest.get(&of("latest", &next)).await.status, 200);
    take(&rest, "third").await;
    let own = format!(
        "{}?limit=2&cursor={cursor}",
        page.header("content-location")
    );
    assert_eq!(rest.read(&own).await["balances"][0]["account"], "carol");
    let moved = rest.get(&of("latest", &next)).await;
    assert_eq!(
        (moved.status, &moved.json()["field"]),
        (400, &json!("cursor"))
    );
    let pinned = rest
        .send(request("PUT", &of("latest", "pin"), &[], String::new()))
        .await;
    let pinned = pinned.json();
    assert_eq!(pinned["snapshot_id"], "third");
    assert_eq!(pinned["pinned"], true);

    over_grpc(&cluster).await;
    from_a_terminal(&rest).await;
    cluster.stop_all().await;
}

async fn over_grpc(cluster: &Cluster) {
    let latest = || "latest".to_owned();
    let mut history = HistoryServiceClient::new(cluster.grpc("n1"));
    let asked = GetRequest {
        snapshot_id: latest(),
        ..GetRequest::default()
    };
    let got = history.get(asked).await.expect("an answer").into_inner();
    assert_eq!(got.snapshot_id, "third");
    let asked = VerifyRequest {
        snapshot_id: latest(),
        ..VerifyRequest::default()
    };
    let verified = history.verify(asked).await.expect("an answer");
    assert_eq!(verified.into_inner().conserved, Some(true));
    let asked = BalanceAtRequest {
        account: "alice".to_owned(),
        snapshot_id: latest(),
        ..BalanceAtRequest::default()
    };
    let balance = history.balance_at(asked).await.expect("an answer");
    assert_eq!(balance.into_inner().snapshot_id, "third");
    let asked = BalancesRequest {
        snapshot_id: latest(),
        ..BalancesRequest::default()
    };
    let mut balances = history
        .balances(asked)
        .await
        .expect("an answer")
        .into_inner();
    assert!(balances.message().await.expect("a stream").is_some());
    let asked = DiffRequest {
        from_snapshot_id: latest(),
        to_snapshot_id: latest(),
        ..DiffRequest::default()
    };
    let mut nothing = history.diff(asked).await.expect("an answer").into_inner();
    while let Some(message) = nothing.message().await.expect("a stream") {
        assert!(!format!("{message:?}").contains("alice"), "{message:?}");
    }
    let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n1"));
    let asked = GetGlobalSnapshotRequest {
        snapshot_id: latest(),
    };
    let global = snapshots
        .get_global_snapshot(asked)
        .await
        .expect("an answer");
    assert_eq!(global.into_inner().snapshot_id, "third");
    let asked = GetSnapshotRequest {
        snapshot_id: latest(),
    };
    let own = snapshots.get_snapshot(asked).await.expect("an answer");
    assert_eq!(own.into_inner().snapshot_id, "third");
}

async fn from_a_terminal(rest: &Rest) {
    for what in [
        &["snapshot", "show", "latest"][..],
        &["snapshot", "diff", "first", "latest"],
        &["snapshot", "watch", "latest"],
        &["snapshot", "verify", "latest"],
        &["snapshot", "pin", "latest"],
        &["snapshot", "unpin", "latest"],
        &["account", "balance", "alice", "--snapshot", "latest"],
    ] {
        printed(rest, what).await;
    }
    let dir = tempfile::tempdir().expect("a temporary directory");
    let out = dir.path().join("newest");
    let export = [
        "snapshot",
        "export",
        "latest",
        "--out",
        out.to_str().expect("text"),
    ];
    assert!(printed(rest, &export).await.contains("snapshot third"));
    let (code, _, stderr) = ended(rest, &["snapshot", "take", "--id", "latest"]).await;
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("choose another id"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_snapshot_is_taken_as_latest_and_one_of_before_is_still_read() {
    let mut cluster = Cluster::planned(&["n1", "n2", "x"])
        .with_other_make("x")
        .started()
        .await;
    let rest = cluster.rest("n1");
    let nothing = rest.get("/v1/snapshots/latest/balances").await;
    assert_eq!(nothing.problem(), "unknown-snapshot");
    let mut snapshots = SnapshotServiceClient::new(cluster.grpc("n1"));
    for id in ["latest", "id:latest"] {
        let refused = rest
            .post("/v1/snapshots", &json!({ "snapshot_id": id }))
            .await;
        assert_eq!(
            (refused.status, &refused.json()["field"]),
            (400, &json!("snapshot_id"))
        );
        let asked = InitiateSnapshotRequest {
            snapshot_id: id.to_owned(),
        };
        let refused = snapshots.initiate_snapshot(asked).await.expect_err("no id");
        assert_eq!(refused.code(), Code::InvalidArgument);
        let marker = MarkerMessage {
            snapshot_id: id.to_owned(),
            sender_id: "x".to_owned(),
            logical_clock: 1,
            initiator_id: "x".to_owned(),
        };
        let refused = snapshots.receive_marker(marker).await.expect_err("no id");
        assert_eq!(refused.code(), Code::InvalidArgument);
    }
    // As an earlier version would have done.
    let old = SnapshotId::parse("latest").expect("a valid id");
    let begun = cluster
        .handle("n1")
        .initiate(Some(old), StartedBy::Request, None, None)
        .await;
    assert!(begun.expect("the node runs").is_ok());
    rest.snapshot("id:latest", "partial").await;
    let newer = rest.start_snapshot().await;
    rest.snapshot(&newer, "partial").await;
    let named = |shown: &Value| shown["snapshot_id"].clone();
    assert_eq!(named(&rest.read("/v1/snapshots/latest").await), newer);
    assert_eq!(named(&rest.read("/v1/snapshots/id:latest").await), "latest");
    assert_eq!(
        named(&rest.read("/v1/snapshots/id%3Alatest/pin").await),
        "latest"
    );
    let shown = printed(&rest, &["snapshot", "show", "id:latest"]).await;
    assert!(
        shown.contains("latest") && shown.contains("partial"),
        "{shown}"
    );
    cluster.stop_all().await;
}
