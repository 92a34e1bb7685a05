//! HTTP/2 by hand (RFC 9113), so that a client can do what no library does; and sockets from a chosen address.

use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::OwnedWriteHalf;
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;
/// The setting of the window in which the server may send.
pub(crate) const INITIAL_WINDOW: u16 = 4;

/// How long one write may be held up before the attacker goes on with something else.
const PATIENCE: Duration = Duration::from_millis(300);

/// A socket of `from`, connected to `to`.
pub(crate) async fn socket(from: IpAddr, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::new(from, 0))?;
    socket.connect(to).await
}

/// A connection, closed on drop. What the server sends is read and dropped.
pub(crate) struct Http2 {
    write: OwnedWriteHalf,
    /// What was held up. It precedes everything else, so that no frame is cut.
    unsent: VecDeque<u8>,
    reading: JoinHandle<()>,
    pub(crate) seen: Arc<Seen>,
    next: u32,
}

/// What the server has done with a connection.
#[derive(Default)]
pub(crate) struct Seen {
    pub(crate) bytes: AtomicUsize,
    pub(crate) is_closed: AtomicBool,
}

impl Http2 {
    /// Opens a connection with these settings.
    pub(crate) async fn open(
        from: IpAddr,
        to: SocketAddr,
        settings: &[(u16, u32)],
    ) -> io::Result<Self> {
        let (mut read, mut write) = socket(from, to).await?.into_split();
        let pairs = settings.iter().flat_map(|(name, value)| {
            let (name, value) = (name.to_be_bytes(), value.to_be_bytes());
            name.into_iter().chain(value)
        });
        let payload: Vec<u8> = pairs.collect();
        let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let settings = frame(SETTINGS, 0, 0, &payload);
        write.write_all(&[&preface[..], &settings].concat()).await?;
        // The windows of the server are valid when its settings are acknowledged.
        read.readable().await?;
        write.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
        let seen = Arc::new(Seen::default());
        let noted = Arc::clone(&seen);
        let reading = tokio::spawn(async move {
            let mut buffer = vec![0; 64 * 1024];
            while let Ok(read @ 1..) = read.read(&mut buffer).await {
                noted.bytes.fetch_add(read, Ordering::Relaxed);
            }
            noted.is_closed.store(true, Ordering::Relaxed);
        });
        Ok(Self {
            write,
            unsent: VecDeque::new(),
            reading,
            seen,
            next: 1,
        })
    }

    /// Sends bytes; `false` if the server has closed the connection or does not read it.
    pub(crate) async fn send(&mut self, bytes: &[u8]) -> bool {
        if !self.flush().await {
            return false;
        }
        self.unsent.extend(bytes);
        self.flush().await
    }

    async fn flush(&mut self) -> bool {
        let sent = timeout(PATIENCE, self.write.write_all_buf(&mut self.unsent)).await;
        matches!(sent, Ok(Ok(())))
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.seen.is_closed.load(Ordering::Relaxed)
    }

    /// The next stream id of this client.
    pub(crate) fn stream(&mut self) -> u32 {
        let stream = self.next;
        self.next += 2;
        stream
    }

    /// How many stream ids were taken.
    pub(crate) fn streams(&self) -> u32 {
        self.next / 2
    }
}

impl Drop for Http2 {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len())
        .expect("a frame is small")
        .to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// A header block of literals (RFC 7541 §6.2.2).
pub(crate) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

// An integer with a prefix of seven bits (RFC 7541 §5.1).
fn length(block: &mut Vec<u8>, length: usize) {
    let byte = |value: usize| u8::try_from(value).expect("it is less than 256");
    match length.checked_sub(127) {
        None => block.push(byte(length)),
        Some(mut rest) => {
            block.push(127);
            while rest >= 128 {
                block.push(byte(rest % 128 + 128));
                rest /= 128;
            }
            block.push(byte(rest));
        }
    }
}

/// The header of a gRPC call, with further fields.
pub(crate) fn grpc(path: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let call = [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "n1"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    fields(&[&call, more].concat())
}

/// The header of a GET over HTTP/2.
pub(crate) fn get(path: &str, authority: &str) -> Vec<u8> {
    fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":path", path),
        (":authority", authority),
    ])
}

/// The bytes before a gRPC message of this length.
pub(crate) fn prefix(length: usize) -> Vec<u8> {
    let length = u32::try_from(length).expect("a length of 32 bits");
    [&[0], &length.to_be_bytes()[..]].concat()
}
