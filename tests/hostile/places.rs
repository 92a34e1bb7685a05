//! Places that one host tries to take from all others: connections, exports, and the reserved places of peers.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{interval, timeout};

use crate::attack::{Attack, ELSEWHERE, Leaves, OTHERS, Target};
use crate::rest::{Rest, asked};
use crate::wire::{Http2, socket};

const MIB: u64 = 1 << 20;
/// More than one host may have.
const CONNECTIONS: usize = 1200;
/// Of two hosts together more than a port has.
const CONNECTIONS_OF_TWO: usize = 600;

pub(crate) fn attacks() -> Vec<Attack> {
    let attack = |name, bound, reasons, act| Attack {
        name,
        bound,
        growth_max: 150 * MIB,
        reasons,
        least: Duration::from_secs(3),
        act,
        ..Attack::ORDINARY
    };
    vec![
        attack(
            "connections_of_one_host",
            "three quarters of the connections",
            &["connections"],
            |target| Box::pin(connections(target)),
        ),
        Attack {
            leaves: Leaves::OldConnections,
            ..attack(
                "connections_of_two_hosts",
                "all connections",
                &["connections"],
                |target| Box::pin(connections_of_two(target)),
            )
        },
        attack(
            "tables_that_are_read_slowly",
            "three quarters of the exports",
            &["exports"],
            |target| Box::pin(tables(target)),
        ),
    ]
}

async fn connections(target: Target) -> String {
    many_connections(target, ELSEWHERE, CONNECTIONS).await
}

async fn connections_of_two(target: Target) -> String {
    let [one, other] =
        OTHERS.map(|from| many_connections(target.clone(), from, CONNECTIONS_OF_TWO));
    let (one, other) = tokio::join!(one, other);
    format!("{one}; {other}")
}

async fn many_connections(target: Target, from: IpAddr, connections: usize) -> String {
    let (mut idle, mut speaking) = (Vec::new(), Vec::new());
    let mut rounds = interval(Duration::from_millis(200));
    // The node closes those that are silent for long, perhaps before the last one is opened.
    while !target.is_at_limit() {
        rounds.tick().await;
        idle.retain(is_open);
        speaking.retain(|connection: &Http2| !connection.is_closed());
        let missing = connections - idle.len().min(speaking.len());
        for _ in 0..missing {
            if idle.len() < connections {
                idle.extend(socket(from, target.rest).await);
            }
            if speaking.len() < connections {
                speaking.extend(Http2::open(from, target.grpc, &[]).await);
            }
        }
    }
    let open = speaking.iter().filter(|connection| !connection.is_closed());
    format!("{} of {connections} open over gRPC", open.count())
}

pub(crate) fn is_open(socket: &TcpStream) -> bool {
    let read = socket.try_read(&mut [0; 64]);
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

// Each reader takes a few bytes now and then, which is allowed.
async fn tables(target: Target) -> String {
    let rest = Rest::new(target.rest);
    let latest = rest.send(asked("/v1/snapshots/latest", &[])).await.json();
    let id = latest["snapshot_id"].as_str().expect("an id").to_owned();
    let request = format!(
        "GET /v1/snapshots/{id}/balances HTTP/1.1\r\nHost: {}\r\nAccept: text/csv\r\n\r\n",
        target.rest
    );
    let (mut readers, mut refused) = (Vec::new(), 0);
    for _ in 0..80 {
        let socket = TcpSocket::new_v4().expect("there are descriptors");
        socket.set_recv_buffer_size(2048).expect("a size");
        socket.bind((ELSEWHERE, 0).into()).expect("a free port");
        let Ok(mut stream) = socket.connect(target.rest).await else {
            continue;
        };
        let _closed = stream.write_all(request.as_bytes()).await;
        let mut head = [0; 12];
        let read = timeout(Duration::from_secs(5), stream.read_exact(&mut head)).await;
        match read {
            Ok(Ok(_)) if head.ends_with(b"200") => readers.push(stream),
            _ => refused += 1,
        }
    }
    let mut pace = interval(Duration::from_millis(100));
    while !target.is_over() {
        pace.tick().await;
        for reader in &mut readers {
            let mut some = [0; 64];
            let _slowly = timeout(Duration::from_millis(1), reader.read(&mut some)).await;
        }
    }
    format!("{} readers, {refused} refused", readers.len())
}
