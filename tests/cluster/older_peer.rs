//! A peer with an older program still gets the requests it knows, and is named where it cannot be compared. Without
//! this a cluster could not be upgraded node by node.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};
use snapledger::node::PeerState;
use snapledger::proto::snapledger::peer_service_client::PeerServiceClient;
use snapledger::proto::snapledger::peer_service_server::{PeerService, PeerServiceServer};
use snapledger::proto::snapledger::{
    AccountAtRequest, Ack, BalanceAtResponse, ChangedAccounts, ChangesSinceRequest, Chunk,
    FetchChunksRequest, FetchPartRequest, FetchRevisionRequest, FindSnapshotRequest, FoundSnapshot,
    Frame, Greeting, ListPinsRequest, ListRevisionsRequest, ListedPin, ListedRevision,
    MessagesAroundAnswer, MessagesAroundRequest, Part, ProcessVitals, Revision, Share,
    ShareAtRequest, VitalsRequest, share_at_request,
};
use snapledger::transport::wire::not_kept;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Empty, Once};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::partial::missing_is;
use crate::stores::remove;

/// Knows its identity and its totals, and nothing else.
struct Older {
    greeting: Greeting,
    share: Share,
    /// Whether it never answers what it knows of a snapshot, instead of reporting an unknown method.
    is_mute: bool,
    /// Whether it can compare with a snapshot; it then reports no changes.
    compares: bool,
    /// How often it was asked for a part, if it says that the snapshot was deleted.
    deleted: Option<Arc<AtomicUsize>>,
}

type Nothing<T> = Empty<Result<T, Status>>;

fn unknown<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("it is not known here"))
}

#[tonic::async_trait]
impl PeerService for Older {
    type ChannelStream = Nothing<Ack>;
    type FetchPartStream = Nothing<Part>;
    type FetchChunksStream = Nothing<Chunk>;
    type ListRevisionsStream = Nothing<ListedRevision>;
    type ListPinsStream = Nothing<ListedPin>;
    type ChangesSinceStream = Once<Result<ChangedAccounts, Status>>;

    async fn channel(
        &self,
        _: Request<Streaming<Frame>>,
    ) -> Result<Response<Self::ChannelStream>, Status> {
        unknown()
    }

    async fn greet(&self, _: Request<Greeting>) -> Result<Response<Greeting>, Status> {
        Ok(Response::new(self.greeting.clone()))
    }

    async fn fetch_part(
        &self,
        _: Request<FetchPartRequest>,
    ) -> Result<Response<Self::FetchPartStream>, Status> {
        match &self.deleted {
            Some(asked) => {
                asked.fetch_add(1, Ordering::Relaxed);
                Err(not_kept("it was deleted"))
            }
            None => unknown(),
        }
    }

    async fn fetch_chunks(
        &self,
        _: Request<FetchChunksRequest>,
    ) -> Result<Response<Self::FetchChunksStream>, Status> {
        unknown()
    }

    async fn fetch_revision(
        &self,
        _: Request<FetchRevisionRequest>,
    ) -> Result<Response<Revision>, Status> {
        unknown()
    }

    async fn find_snapshot(
        &self,
        _: Request<FindSnapshotRequest>,
    ) -> Result<Response<FoundSnapshot>, Status> {
        match self.is_mute {
            true => std::future::pending().await,
            false => unknown(),
        }
    }

    async fn list_revisions(
        &self,
        _: Request<ListRevisionsRequest>,
    ) -> Result<Response<Self::ListRevisionsStream>, Status> {
        unknown()
    }

    async fn share_at(&self, _: Request<ShareAtRequest>) -> Result<Response<Share>, Status> {
        Ok(Response::new(self.share.clone()))
    }

    async fn account_at(
        &self,
        _: Request<AccountAtRequest>,
    ) -> Result<Response<BalanceAtResponse>, Status> {
        unknown()
    }

    async fn list_pins(
        &self,
        _: Request<ListPinsRequest>,
    ) -> Result<Response<Self::ListPinsStream>, Status> {
        unknown()
    }

    async fn messages_around(
        &self,
        _: Request<MessagesAroundRequest>,
    ) -> Result<Response<MessagesAroundAnswer>, Status> {
        unknown()
    }

    async fn vitals(&self, _: Request<VitalsRequest>) -> Result<Response<ProcessVitals>, Status> {
        unknown()
    }

    async fn changes_since(
        &self,
        _: Request<ChangesSinceRequest>,
    ) -> Result<Response<Self::ChangesSinceStream>, Status> {
        if !self.compares {
            return unknown();
        }
        let head = ChangedAccounts {
            process: self.share.process.clone(),
            position: self.share.position,
            changes: Vec::new(),
        };
        Ok(Response::new(tokio_stream::once(Ok(head))))
    }
}

// The identity and totals that n2 reports.
async fn older(cluster: &Cluster) -> Older {
    let mut client = PeerServiceClient::new(cluster.grpc("n2"));
    let greeting = client.greet(Greeting::default()).await;
    let now = cluster.handle("n2").present().await.expect("it answers");
    let asked = client.share_at(ShareAtRequest {
        cluster: "tested".to_owned(),
        point: Some(share_at_request::Point::Time(now.0)),
        ..ShareAtRequest::default()
    });
    Older {
        share: asked.await.expect("an answer").into_inner(),
        greeting: greeting.expect("an answer").into_inner(),
        is_mute: false,
        compares: false,
        deleted: None,
    }
}

// Takes the place of n2.
async fn serve(cluster: &mut Cluster, older: Older) -> JoinHandle<()> {
    let members = &cluster.handle("n1").config().members;
    let member = members.iter().find(|one| one.id.as_str() == "n2");
    let address = member.expect("it is planned").grpc.clone();
    if cluster.running().iter().any(|id| id == "n2") {
        cluster.stop("n2").await;
    }
    let listener = until("its port", async || TcpListener::bind(&address).await.ok()).await;
    let serving = Server::builder()
        .add_service(PeerServiceServer::new(older))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { serving.await.expect("it serves until it is dropped") })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_know_the_question_is_named_and_the_others_are_compared() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 100).await;
    cluster.deposit("n2", "b", 50).await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    cluster.deposit("n1", "a", 1).await;
    let older = older(&cluster).await;
    let serving = serve(&mut cluster, older).await;

    let found = until("n2 answers as the older one", async || {
        let at = rest.read("/v1/audit").await["at"].clone();
        let at = at.as_str().expect("an instant");
        let found = rest.read(&format!("/v1/snapshots/{id}/diff?at={at}")).await;
        (found["missing"][0]["reason"] == "unknown_there").then_some(found)
    })
    .await;
    assert_eq!(found["complete"], false);
    assert_eq!(found["missing"][0]["process"], "n2");
    assert_eq!(found["accounts"][0]["after"], 101);
    assert_eq!(found["totals"].as_array().map(Vec::len), Some(1));
    serving.abort();
    cluster.stop_all().await;
}

/// Without this the sums of an answer marked as complete change when the peer is upgraded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_does_not_say_of_its_journal_leaves_a_difference_incomplete() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    cluster.deposit("n1", "a", 100).await;
    cluster.deposit("n2", "b", 50).await;
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    let asked = |at: &str| format!("/v1/snapshots/{id}/diff?at={at}");
    let at = rest.read("/v1/audit").await["at"].clone();
    let at = at.as_str().expect("an instant");
    let known = rest.read(&asked(at)).await;
    assert_eq!(known["complete"], true, "{known:#}");
    assert_eq!(known["totals"][1]["explained"], true, "{known:#}");
    let mut older = older(&cluster).await;
    // It knows its stores, but not when they were given up.
    (older.compares, older.share.given_up) = (true, None);
    let serving = serve(&mut cluster, older).await;

    let found = until("n2 is compared", async || {
        let at = rest.read("/v1/audit").await["at"].clone();
        let at = at.as_str().expect("an instant");
        let found = rest.read(&asked(at)).await;
        found["missing"]
            .as_array()
            .expect("a list")
            .is_empty()
            .then_some(found)
    })
    .await;
    let total = &found["totals"][1];
    let doubt = (&total["explained"], &total["unexplained"]);
    assert_eq!(doubt, (&false.into(), &"unknown_there".into()), "{found:#}");
    assert_eq!(found["complete"], false, "{found:#}");
    serving.abort();
    cluster.stop_all().await;
}

/// Without this an id that only this peer knows is used again while the peer is slow.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_is_not_taken_while_a_peer_that_is_up_does_not_say_whether_it_knows_it() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let older = Older {
        is_mute: true,
        ..older(&cluster).await
    };
    let rest = cluster.rest("n1");
    let serving = serve(&mut cluster, older).await;
    // The stopped node announced it, and counted as up for a moment longer.
    until("n2 is up", async || {
        let peers = cluster.handle("n1").peers();
        let n2 = peers.iter().find(|peer| peer.process.as_str() == "n2");
        let n2 = n2.expect("it is planned");
        (n2.state == PeerState::Up && !n2.is_leaving).then_some(())
    })
    .await;
    let wanted = serde_json::json!({"snapshot_id": "given"});
    let refused = rest.post("/v1/snapshots", &wanted).await;
    assert_eq!((refused.status, &*refused.problem()), (503, "not-ready"));
    assert!(refused.body.contains("did not answer"), "{}", refused.body);
    serving.abort();
    cluster.stop_all().await;
}

/// Without this a node asks forever for a part that its process has deleted, and says that the process is down.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_that_a_peer_has_deleted_is_named_and_asked_for_no_more() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let older = Older {
        deleted: Some(Arc::clone(&asked)),
        ..older(&cluster).await
    };
    cluster.stop("n2").await;
    let rest = cluster.rest("n1");
    let wanted = json!({"snapshot_id": "deleted", "deadline": "1s"});
    rest.post("/v1/snapshots", &wanted).await;
    let partial = rest.snapshot("deleted", "partial").await;
    missing_is(&partial, "n2", "down");
    let serving = serve(&mut cluster, older).await;
    let last = until("a revision that says it", async || {
        let shown = rest.read("/v1/snapshots/deleted").await;
        (shown["missing"][0]["reason"] == "not_kept").then_some(shown)
    })
    .await;
    missing_is(&last, "n2", "not_kept");
    assert_eq!(last["status"], "partial");
    assert_eq!(last["revision"], 2);
    let error = last["missing"][0]["error"].as_str().expect("a sentence");
    assert!(error.contains("stays partial"), "{error}");
    let before = asked.load(Ordering::Relaxed);
    assert!(before > 0);
    // A part of another snapshot is asked for, and that of the first is not.
    let wanted = json!({"snapshot_id": "next", "deadline": "1s"});
    rest.post("/v1/snapshots", &wanted).await;
    let next = rest.snapshot("next", "partial").await;
    missing_is(&next, "n2", "not_kept");
    let shown = rest.read("/v1/snapshots/deleted").await;
    assert_eq!(shown, last, "nothing follows");
    assert_eq!(asked.load(Ordering::Relaxed), before + 1);
    // Nor after a restart.
    cluster.stop("n1").await;
    cluster.start("n1").await;
    assert_eq!(rest.read("/v1/snapshots/deleted").await, last);
    serving.abort();
    cluster.stop_all().await;
}

// What a proof out of a new snapshot of n1 shows of other accounts. Only a revision that every peer can read says how it was
// started.
async fn disclosed(cluster: &Cluster, status: &str) -> String {
    let rest = cluster.rest("n1");
    let id = rest.start_snapshot().await;
    let shown = rest.snapshot(&id, status).await;
    let route = format!("/v1/snapshots/{id}/balances/n1/a/proof");
    let proof = rest.read(&route).await;
    let discloses = proof["discloses"].as_str().expect("text").to_owned();
    let said = match &*discloses {
        "nothing" => json!("request"),
        _ => Value::Null,
    };
    assert_eq!(shown["started_by"], said, "{shown}");
    discloses
}

/// Without this, the first node that is upgraded records states that the older ones cannot read.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn states_are_salted_when_the_last_older_peer_is_upgraded() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    for account in ["a", "b"] {
        cluster.deposit("n1", account, 100).await;
    }
    let mut older = older(&cluster).await;
    older.greeting.salted_chunks = false;
    let serving = serve(&mut cluster, older).await;
    // As the store of an older format is after its upgrade.
    cluster.stop("n1").await;
    remove(&cluster.store("n1"), "meta", b"salted-from");
    cluster.start("n1").await;
    let up = || {
        cluster
            .handle("n1")
            .peers()
            .into_iter()
            .any(|peer| peer.state == PeerState::Up)
    };
    until("n2 is up", async || up().then_some(())).await;
    assert_eq!(disclosed(&cluster, "partial").await, "whole_chunks");

    serving.abort();
    // An open connection outlives the server behind it.
    cluster.stop("n1").await;
    cluster.start("n1").await;
    cluster.start("n2").await;
    until("n2 reads salted chunks", async || {
        let disclosed = disclosed(&cluster, "complete").await;
        (disclosed == "nothing").then_some(())
    })
    .await;
    cluster.stop_all().await;
}
