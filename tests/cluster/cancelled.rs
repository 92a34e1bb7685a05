//! A client cancels hundreds of calls at once on a connection with other calls in progress: a waiting call and a
//! stream. Without this one burst of calls past their deadlines ends everything on the same connection.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::nodes::Cluster;

const CANCELLED: u32 = 300;
/// Together more than h2 lets the server reset in the life of a connection, if that limit is enabled.
const BURSTS: usize = 4;
/// Frame types (RFC 9113 §6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
const CANCEL: [u8; 4] = [0, 0, 0, 8];
/// A gRPC message without fields.
const EMPTY: [u8; 5] = [0; 5];

/// An HTTP/2 connection, frame by frame: a library would not send a request that is reset at once.
struct Wire {
    socket: TcpStream,
    address: String,
    next: u32,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length, &[kind, flags][..], &stream.to_be_bytes(), payload].concat()
}

// Each is a literal without indexing (RFC 7541 §6.2.2).
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).expect("short");
    let literal = |(name, value): &(&str, &str)| {
        let (name_bytes, value_bytes) = (name.as_bytes(), value.as_bytes());
        [
            &[0, length(name)],
            name_bytes,
            &[length(value)],
            value_bytes,
        ]
        .concat()
    };
    fields.iter().flat_map(literal).collect()
}

impl Wire {
    async fn open(address: &str) -> Self {
        let socket = TcpStream::connect(address).await.expect("it listens");
        let mut wire = Self {
            socket,
            address: address.to_owned(),
            next: 1,
        };
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let opening = [&preface[..], &frame(SETTINGS, 0, 0, &[])].concat();
        wire.write(&opening).await;
        wire
    }

    async fn write(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("it is open");
    }

    // The frames of a request, and its stream id.
    fn request(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> (u32, Vec<u8>) {
        let stream = self.next;
        self.next += 2;
        let address = self.address.clone();
        let mut fields = vec![
            (":method", method),
            (":scheme", "http"),
            (":path", path),
            (":authority", &*address),
        ];
        if body.is_some() {
            fields.extend([("content-type", "application/grpc"), ("te", "trailers")]);
        }
        let ends = END_STREAM * u8::from(body.is_none());
        let mut frames = frame(HEADERS, END_HEADERS | ends, stream, &headers(&fields));
        frames.extend(
            body.map(|body| frame(DATA, END_STREAM, stream, body))
                .into_iter()
                .flatten(),
        );
        (stream, frames)
    }

    async fn send(&mut self, method: &str, path: &str, body: Option<&[u8]>) -> u32 {
        let (stream, frames) = self.request(method, path, body);
        self.write(&frames).await;
        stream
    }

    async fn cancel_many(&mut self, method: &str, path: &str, body: Option<&[u8]>) {
        let mut burst = Vec::new();
        for _ in 0..CANCELLED {
            let (stream, frames) = self.request(method, path, body);
            burst.extend(frames);
            burst.extend(frame(RST_STREAM, 0, stream, &CANCEL));
        }
        self.write(&burst).await;
    }

    /// The next frame of this type on this stream. Frames of other streams are skipped; the end of the connection fails
    /// the test.
    async fn until(&mut self, stream: u32, kind: u8) -> Frame {
        loop {
            let frame = self.read().await;
            match frame.kind {
                // Without an error code it announces that the node stops.
                GOAWAY if frame.payload[4..8] != [0; 4] => {
                    unreachable!("{}", String::from_utf8_lossy(&frame.payload))
                }
                SETTINGS if frame.flags & ACK == 0 => {
                    self.write(&self::frame(SETTINGS, ACK, 0, &[])).await;
                }
                PING if frame.flags & ACK == 0 => {
                    self.write(&self::frame(PING, ACK, 0, &frame.payload)).await;
                }
                RST_STREAM if frame.stream == stream => unreachable!("{:?}", frame.payload),
                _ if (frame.stream, frame.kind) == (stream, kind) => return frame,
                _ => {}
            }
        }
    }

    async fn read(&mut self) -> Frame {
        let mut head = [0; 9];
        let read = self.socket.read_exact(&mut head).await;
        read.expect("the connection goes on");
        let [a, b, c, kind, flags, stream @ ..] = head;
        let length = u32::from_be_bytes([0, a, b, c]);
        let mut payload = vec![0; usize::try_from(length).expect("it fits")];
        let read = self.socket.read_exact(&mut payload).await;
        read.expect("the connection goes on");
        let stream = u32::from_be_bytes(stream);
        Frame {
            kind,
            flags,
            stream,
            payload,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_cancelled_leave_their_connection_to_the_others() {
    // n2 has its ports and does not serve: a connecting client waits.
    let mut cluster = Cluster::planned(&["n1", "n2"]);
    cluster.start("n1").await;
    let (grpc, rest) = cluster.addresses("n1");

    let mut wire = Wire::open(&grpc).await;
    let watch = wire
        .send("POST", "/grpc.health.v1.Health/Watch", Some(&EMPTY))
        .await;
    assert_eq!(wire.until(watch, DATA).await.payload, [0, 0, 0, 0, 2, 8, 1]);
    let status = "/chandy_lamport.KeyValueService/GetClusterStatus";
    for _ in 0..BURSTS {
        wire.cancel_many("POST", status, Some(&EMPTY)).await;
        let patient = wire.send("POST", status, Some(&EMPTY)).await;
        assert!(wire.until(patient, DATA).await.payload.len() > EMPTY.len());
    }

    // As after answers that precede the end of their requests: the client does not know yet that they are over.
    let over = (watch + 2..wire.next).step_by(2);
    let late = over.flat_map(|stream| frame(DATA, 0, stream, &EMPTY));
    wire.write(&late.collect::<Vec<u8>>()).await;
    let patient = wire.send("POST", status, Some(&EMPTY)).await;
    assert!(wire.until(patient, DATA).await.payload.len() > EMPTY.len());

    let mut other = Wire::open(&rest).await;
    let path = "/v1/processes/n2/accounts/a";
    let patient = other.send("GET", path, None).await;
    other.cancel_many("GET", "/v1/cluster", None).await;
    let answer = other.until(patient, DATA).await;
    assert!(answer.payload.starts_with(b"{"), "a problem document");
    other.cancel_many("GET", "/v1/cluster", None).await;
    let after = other.send("GET", "/healthz", None).await;
    assert!(other.until(after, DATA).await.payload.starts_with(b"{"));

    let stopping = tokio::spawn(async move { cluster.stop_all().await });
    let last = wire.until(watch, DATA).await.payload;
    assert_eq!(last, [0, 0, 0, 0, 2, 8, 2], "the stream went on to the end");
    drop((wire, other));
    stopping.await.expect("it stops");
}
