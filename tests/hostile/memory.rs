//! Requests and answers that are to be held in memory: headers, bodies, answers that are not read, frames without data.

use std::net::IpAddr;
use std::time::Duration;

use crate::attack::{Attack, HERE, OTHERS, Target};
use crate::wire::{
    DATA, END_HEADERS, END_STREAM, HEADERS, Http2, INITIAL_WINDOW, frame, get, grpc, prefix,
};

const MIB: u64 = 1 << 20;
const APPLY: &str = "/snapledger.v1.LedgerService/Apply";
/// A debug build takes so long to be filled.
const LOADING: Duration = Duration::from_secs(6);
/// Streams of one connection, as many as the server allows.
const STREAMS: u32 = 1024;

pub(crate) fn attacks() -> Vec<Attack> {
    vec![
        Attack {
            name: "headers_of_requests_that_never_end",
            bound: "memory for clients in sum",
            growth_max: 300 * MIB,
            reasons: &["client_bytes"],
            least: LOADING,
            act: |target| Box::pin(headers(target)),
            ..Attack::ORDINARY
        },
        Attack {
            name: "headers_of_two_hosts_that_never_end",
            bound: "memory for clients in sum; the reserve of each connection",
            growth_max: 400 * MIB,
            reasons: &["client_bytes"],
            least: LOADING,
            act: |target| Box::pin(headers_of_two(target)),
            ..Attack::ORDINARY
        },
        Attack {
            name: "bodies_that_never_end",
            bound: "memory for clients in sum",
            growth_max: 300 * MIB,
            reasons: &["client_bytes"],
            least: LOADING,
            act: |target| Box::pin(bodies(target)),
            ..Attack::ORDINARY
        },
        Attack {
            name: "lengths_that_are_only_declared",
            bound: "memory for clients in sum",
            growth_max: 150 * MIB,
            reasons: &["client_bytes"],
            least: Duration::ZERO,
            act: |target| Box::pin(declared(target)),
            ..Attack::ORDINARY
        },
        Attack {
            name: "answers_that_are_not_read",
            bound: "memory for clients in sum",
            growth_max: 300 * MIB,
            reasons: &["client_bytes"],
            least: Duration::ZERO,
            act: |target| Box::pin(answers(target)),
            ..Attack::ORDINARY
        },
        Attack {
            name: "calls_of_peers_with_headers_that_never_end",
            bound: "memory for peers in sum",
            growth_max: 300 * MIB,
            reasons: &["peer_bytes"],
            least: LOADING,
            act: |target| Box::pin(peers(target)),
            ..Attack::ORDINARY
        },
    ]
}

async fn headers(target: Target) -> String {
    many_headers(target, HERE, APPLY).await
}

async fn headers_of_two(target: Target) -> String {
    let [one, other] = OTHERS.map(|from| many_headers(target.clone(), from, APPLY));
    let (one, other) = tokio::join!(one, other);
    format!("{one}; {other}")
}

async fn peers(target: Target) -> String {
    many_headers(target, HERE, "/snapledger.v1.PeerService/Channel").await
}

async fn many_headers(target: Target, from: IpAddr, path: &str) -> String {
    let large = "h".repeat(14 * 1024);
    let head = grpc(path, &[("x-large", &large)]);
    let mut held = Vec::new();
    for _ in 0..16 {
        held.extend(Http2::open(from, target.grpc, &[]).await);
    }
    let mut streams = 0;
    // A connection that is held up for a moment has its turn again.
    while !target.is_over() {
        let has_room = |one: &&mut Http2| !one.is_closed() && one.streams() < STREAMS;
        let mut open = held.iter_mut().filter(has_room).peekable();
        if open.peek().is_none() {
            break;
        }
        for connection in open {
            while !target.is_over() && connection.streams() < STREAMS {
                let stream = connection.stream();
                let head = frame(HEADERS, END_HEADERS, stream, &head);
                if !connection.send(&head).await {
                    break;
                }
                streams += 1;
            }
        }
    }
    target.end().await;
    format!(
        "{streams} streams with headers of 14 KiB on {} connections",
        held.len()
    )
}

async fn bodies(target: Target) -> String {
    let head = grpc(APPLY, &[]);
    let begun = [prefix(15 << 20), vec![0; 11 * 1024]].concat();
    let block = vec![0; 16 * 1024];
    let (mut held, mut sent) = (Vec::new(), 0);
    for _ in 0..64 {
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &[]).await else {
            continue;
        };
        // As much as the windows of two streams and of the connection allow without an update.
        for _ in 0..2 {
            let stream = connection.stream();
            connection
                .send(&frame(HEADERS, END_HEADERS, stream, &head))
                .await;
            connection.send(&frame(DATA, 0, stream, &begun)).await;
            for _ in 0..240 {
                if target.is_over() || !connection.send(&frame(DATA, 0, stream, &block)).await {
                    break;
                }
                sent += block.len();
            }
        }
        held.push(connection);
    }
    target.end().await;
    format!("{} MiB sent on {} connections", sent >> 20, held.len())
}

async fn declared(target: Target) -> String {
    let head = grpc(APPLY, &[]);
    let begun = prefix(15 << 20);
    let (mut held, mut streams) = (Vec::new(), 0);
    for _ in 0..8 {
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &[]).await else {
            continue;
        };
        for _ in 0..STREAMS / 2 {
            let stream = connection.stream();
            let head = frame(HEADERS, END_HEADERS, stream, &head);
            let call = [head, frame(DATA, 0, stream, &begun)].concat();
            if target.is_over() || !connection.send(&call).await {
                break;
            }
            streams += 1;
        }
        held.push(connection);
    }
    target.end().await;
    format!("{streams} messages of 15 MiB declared")
}

async fn answers(target: Target) -> String {
    let authority = target.rest.to_string();
    let head = get("/openapi.json", &authority);
    let (mut held, mut streams) = (Vec::new(), 0);
    for _ in 0..16 {
        let window = [(INITIAL_WINDOW, 0)];
        let Ok(mut connection) = Http2::open(HERE, target.rest, &window).await else {
            continue;
        };
        for _ in 0..STREAMS {
            let stream = connection.stream();
            let flags = END_HEADERS | END_STREAM;
            if target.is_over() || !connection.send(&frame(HEADERS, flags, stream, &head)).await {
                break;
            }
            streams += 1;
        }
        held.push(connection);
    }
    target.end().await;
    format!("{streams} answers asked for, none taken")
}
