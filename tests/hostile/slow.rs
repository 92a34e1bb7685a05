//! Clients that are slow or silent: each is ended after a time, and keeps no place that others need.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::attack::{Attack, HERE, Target};
use crate::wire::{DATA, END_HEADERS, HEADERS, Http2, frame, grpc, prefix, socket};

const MIB: u64 = 1 << 20;
/// In sum with the bodies less than one host has places.
const CLIENTS: usize = 60;
/// More than REST requests are answered at once.
const BODIES: usize = 540;

pub(crate) fn attacks() -> Vec<Attack> {
    let attack = |name, reasons, seconds, act| Attack {
        name,
        bound: "a time, and no place before a request is complete",
        growth_max: 100 * MIB,
        reasons,
        least: Duration::from_secs(seconds),
        act,
        ..Attack::ORDINARY
    };
    vec![
        attack(
            "requests_that_are_slow_or_silent",
            &["silent", "slow_body"],
            14,
            |target| Box::pin(slow(target)),
        ),
        attack("answers_of_which_nothing_is_taken", &[], 3, |target| {
            Box::pin(unread(target))
        }),
    ]
}

// All at once, since each takes as long as the server is patient.
async fn slow(target: Target) -> String {
    let (silent, bodies, headers, streams, messages) = tokio::join!(
        silent(&target),
        stopped_bodies(&target),
        slow_headers(&target),
        mute_streams(&target),
        stopped_messages(&target),
    );
    format!(
        "silent: {silent}; bodies that stop: {bodies}; headers that trickle: {headers}; {streams}; {messages}"
    )
}

// How many of the connections the server has closed.
async fn closed(sockets: &mut [TcpStream]) -> usize {
    let mut closed = 0;
    for socket in sockets {
        let mut buffer = [0; 4096];
        let ended = async { while let Ok(1..) = socket.read(&mut buffer).await {} };
        closed += usize::from(timeout(Duration::from_millis(2), ended).await.is_ok());
    }
    closed
}

async fn opened(to: SocketAddr, clients: usize, first: &[u8]) -> Vec<TcpStream> {
    let mut sockets = Vec::new();
    for _ in 0..clients {
        if let Ok(mut socket) = socket(HERE, to).await
            && socket.write_all(first).await.is_ok()
        {
            sockets.push(socket);
        }
    }
    sockets
}

async fn silent(target: &Target) -> String {
    let mut sockets = opened(target.rest, CLIENTS / 2, b"").await;
    sockets.extend(opened(target.grpc, CLIENTS / 2, b"PRI").await);
    target.end().await;
    format!("{} of {} closed", closed(&mut sockets).await, sockets.len())
}

async fn stopped_bodies(target: &Target) -> String {
    let head = format!(
        "POST /v1/accounts/slow/deposits HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
         Content-Length: 1000000\r\n\r\n{{",
        target.rest
    );
    let mut sockets = opened(target.rest, BODIES, head.as_bytes()).await;
    let mut pace = interval(Duration::from_secs(1));
    while !target.is_over() {
        pace.tick().await;
        for socket in &mut sockets {
            let _closed = timeout(Duration::from_millis(5), socket.write_all(b" ")).await;
        }
    }
    format!("{} of {} closed", closed(&mut sockets).await, sockets.len())
}

async fn slow_headers(target: &Target) -> String {
    let mut sockets = opened(target.rest, CLIENTS, b"GET / HTTP/1.1\r\nx: ").await;
    let mut pace = interval(Duration::from_secs(1));
    while !target.is_over() {
        pace.tick().await;
        for socket in &mut sockets {
            let _closed = timeout(Duration::from_millis(5), socket.write_all(b"y")).await;
        }
    }
    format!("{} of {} closed", closed(&mut sockets).await, sockets.len())
}

async fn mute_streams(target: &Target) -> String {
    let mut connections = Vec::new();
    let mut streams = 0;
    for path in [
        "/snapledger.v1.LedgerService/Stream",
        "/snapledger.v1.PeerService/Channel",
        "/snapledger.v1.HistoryService/Watch",
        "/grpc.health.v1.Health/Watch",
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    ] {
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &[]).await else {
            continue;
        };
        for _ in 0..200 {
            let stream = connection.stream();
            connection
                .send(&frame(HEADERS, END_HEADERS, stream, &grpc(path, &[])))
                .await;
            streams += 1;
        }
        connections.push(connection);
    }
    target.end().await;
    format!("{streams} streams that never speak")
}

async fn stopped_messages(target: &Target) -> String {
    let mut connections = Vec::new();
    for _ in 0..4 {
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &[]).await else {
            continue;
        };
        for _ in 0..200 {
            let stream = connection.stream();
            let head = grpc("/snapledger.v1.LedgerService/Apply", &[]);
            connection
                .send(&frame(HEADERS, END_HEADERS, stream, &head))
                .await;
            connection
                .send(&frame(DATA, 0, stream, &prefix(5000)))
                .await;
        }
        connections.push(connection);
    }
    target.end().await;
    "800 messages that stop".to_owned()
}

// HTTP/1.1 with a small window, full of answers that nobody reads.
async fn unread(target: Target) -> String {
    let request = format!(
        "GET /openapi.json HTTP/1.1\r\nHost: {}\r\n\r\n",
        target.rest
    );
    let requests = request.repeat(50);
    let mut asking = JoinSet::new();
    let sockets = opened(target.rest, 4 * CLIENTS, b"").await;
    let count = sockets.len();
    for mut socket in sockets {
        let requests = requests.clone();
        let target = target.clone();
        asking.spawn(async move {
            let asked = async {
                let _closed = socket.write_all(requests.as_bytes()).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = asked => {}
                () = target.end() => {}
            }
        });
    }
    while asking.join_next().await.is_some() {}
    format!("50 answers asked for on each of {count} connections")
}
