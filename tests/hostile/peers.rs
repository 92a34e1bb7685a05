//! Strangers on the port for peers: they take every place there is, and money must move between the processes all the
//! same; and calls of peers that are to hold threads and memory.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use prost::Message as _;
use snapledger::client::{AccountRef, Ledger, Operation, Options};
use snapledger::proto::snapledger::peer_service_client::PeerServiceClient;
use snapledger::proto::snapledger::{FetchChunksRequest, FetchPartRequest};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::interval;
use tonic::transport::Endpoint;

use crate::attack::{Attack, HERE, OTHERS, Target};
use crate::await_it::until;
use crate::cluster::Cluster;
use crate::places::is_open;
use crate::programs::Programs;
use crate::rest::{Rest, asked};
use crate::wire::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Http2, INITIAL_WINDOW, frame, grpc, prefix, socket,
};

const MIB: u64 = 1 << 20;
/// The cluster of the attacked programs.
const CLUSTER: &str = "faults";
const STREAMS: usize = 1024;
/// What a peer asks for in one call.
const CHUNKS: usize = 256;
/// The connections of each of two strangers, together more than a port has places.
const CONNECTIONS: usize = 600;
/// Times that money moves to the node under attack, and back.
const TRANSFERS: i64 = 30;
/// What the strangers may make a node with TLS hold in addition, in a debug build.
const GROWTH_MAX: u64 = 150 * MIB;

pub(crate) fn attacks() -> Vec<Attack> {
    vec![Attack {
        name: "chunks_that_are_not_read",
        bound: "no thread; memory for peers in sum",
        growth_max: 150 * MIB,
        least: Duration::from_secs(3),
        act: |target| Box::pin(chunks(target)),
        ..Attack::ORDINARY
    }]
}

async fn chunks(target: Target) -> String {
    let rest = Rest::new(target.rest);
    let latest = rest.send(asked("/v1/snapshots/latest", &[])).await.json();
    let snapshot_id = latest["snapshot_id"].as_str().expect("an id").to_owned();
    let call = FetchChunksRequest {
        cluster: CLUSTER.to_owned(),
        hashes: vec![index(&target, &snapshot_id).await; CHUNKS],
        snapshot_id,
    };
    let message = call.encode_to_vec();
    let message = [prefix(message.len()), message].concat();
    let head = grpc("/snapledger.v1.PeerService/FetchChunks", &[]);
    let (mut held, mut streams) = (Vec::new(), 0);
    for _ in 0..4 {
        // A small window, so that each answer begins.
        let window = [(INITIAL_WINDOW, 100)];
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &window).await else {
            continue;
        };
        for _ in 0..STREAMS {
            let stream = connection.stream();
            let head = frame(HEADERS, END_HEADERS, stream, &head);
            let call = [head, frame(DATA, END_STREAM, stream, &message)].concat();
            if target.is_over() || !connection.send(&call).await {
                break;
            }
            streams += 1;
        }
        held.push(connection);
    }
    target.end().await;
    format!("{streams} calls for {CHUNKS} chunks each, none read")
}

// The hash of a chunk that the node has.
async fn index(target: &Target, snapshot: &str) -> Vec<u8> {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.grpc));
    let endpoint = endpoint.expect("an address makes a URI");
    let channel = endpoint.connect().await.expect("the node listens");
    let asked = FetchPartRequest {
        snapshot_id: snapshot.to_owned(),
        cluster: CLUSTER.to_owned(),
        as_it_is: true,
    };
    let mut peer = PeerServiceClient::new(channel);
    let parts = peer.fetch_part(asked).await.expect("it is asked by a peer");
    let part = parts.into_inner().message().await.expect("it answers");
    let state = part.and_then(|part| part.state).expect("it is recorded");
    state.runs[0].index[0].clone()
}

/// Connections of strangers that say nothing. As soon as the node closes one, there is another.
struct Strangers {
    stop: Arc<AtomicBool>,
    opened: Arc<AtomicUsize>,
    hosts: JoinSet<()>,
}

impl Strangers {
    async fn come_to(address: SocketAddr) -> Self {
        let mut strangers = Self {
            stop: Arc::default(),
            opened: Arc::default(),
            hosts: JoinSet::new(),
        };
        for from in OTHERS {
            let (stop, opened) = (Arc::clone(&strangers.stop), Arc::clone(&strangers.opened));
            strangers.hosts.spawn(crowd(from, address, stop, opened));
        }
        until("more connections than places", async || {
            (strangers.opened.load(Ordering::Relaxed) > 2 * CONNECTIONS).then_some(())
        })
        .await;
        strangers
    }

    async fn go(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.hosts.join_all().await;
        self.opened.load(Ordering::Relaxed)
    }
}

async fn crowd(from: IpAddr, to: SocketAddr, stop: Arc<AtomicBool>, opened: Arc<AtomicUsize>) {
    let mut sockets: Vec<TcpStream> = Vec::new();
    let mut rounds = interval(Duration::from_millis(100));
    while !stop.load(Ordering::Relaxed) {
        rounds.tick().await;
        sockets.retain(is_open);
        while sockets.len() < CONNECTIONS {
            let Ok(socket) = socket(from, to).await else {
                break;
            };
            opened.fetch_add(1, Ordering::Relaxed);
            sockets.push(socket);
            if opened.load(Ordering::Relaxed).is_multiple_of(100) && stop.load(Ordering::Relaxed) {
                return;
            }
        }
    }
}

/// Three nodes with certificates. Strangers without one hold every place of n2's port for peers; money moves to it and
/// back, n3 finds its way to it after a restart, and a snapshot becomes complete.
pub(crate) async fn strangers_take_every_place_of_a_node_with_tls() {
    let mut cluster = Cluster::up().await;
    let client = cluster.certificates.trusting(None);
    let address: SocketAddr = cluster.grpc_address("n2").parse().expect("an address");
    let status = format!("/proc/{}/status", cluster.pid("n2"));
    let resident = || Programs::resident_in(status.as_ref()).unwrap_or(0);
    let ledgers = ["n1", "n2", "n3"].map(|id| {
        let ledger = Ledger::over(cluster.grpc(id, &client), Options::default());
        (id, ledger)
    });
    for (_, ledger) in &ledgers {
        let funds = ledger.apply(Operation::deposit("a", 1000)).await;
        funds.expect("it is accepted");
    }
    let before = resident();
    let strangers = Strangers::come_to(address).await;
    cluster.stop("n3");
    cluster.start("n3");
    cluster.connected().await;
    for _ in 0..TRANSFERS {
        for ((_, ledger), to) in ledgers.iter().zip(["n2", "n3", "n2"]) {
            let to = AccountRef {
                process: to,
                account: "b",
            };
            let sent = ledger.apply(Operation::transfer("a", to, 1)).await;
            sent.expect("it is accepted");
        }
    }
    for (id, sum) in [("n2", 2 * TRANSFERS), ("n3", TRANSFERS)] {
        until(&format!("the credits at {id}"), async || {
            let found = cluster.get(id, "/v1/accounts/b", &client).await.ok()?;
            (found["balance"] == sum).then_some(())
        })
        .await;
    }
    let grown = resident().saturating_sub(before);
    let opened = strangers.go().await;
    assert!(grown <= GROWTH_MAX, "n2 has grown by {grown} bytes");
    println!(
        "{opened} connections of strangers; n2 has grown by {} MiB",
        grown >> 20
    );
}
