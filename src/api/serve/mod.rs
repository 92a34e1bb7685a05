//! The gRPC and REST servers. Both accept HTTP/1.1 and HTTP/2 with prior knowledge, have the same limits, and finish
//! the requests in progress when the node stops.

pub mod descriptors;
pub(super) mod host;
pub(in crate::api) mod limits;
pub(super) mod listener;
mod opened;
pub(super) mod resets;
pub(super) mod resettable;
pub(super) mod starting;

use std::future::Future;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::task::JoinSet;

use listener::Listener;
use opened::Opened;

/// The time limit for the header of a request on HTTP/1.1.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The largest header of a request on HTTP/2, bytes.
const HEADER_BYTES_MAX: u32 = 16 * 1024;
/// What a connection on HTTP/1.1 buffers in each direction; includes the header of a request. Bytes.
const HTTP1_BYTES_MAX: usize = 64 * 1024;
/// What an HTTP/2 stream buffers of its answer, bytes.
const SEND_BYTES_MAX: usize = 64 * 1024;
/// The streams of one HTTP/2 connection; further ones wait at the client.
const STREAMS_MAX: u32 = 1024;
/// The streams that may be cancelled before the server has handled them. A smaller limit would close connections whose
/// clients cancel or time out in bursts; `resets` limits the rate.
const PENDING_RESETS_MAX: usize = STREAMS_MAX as usize;
const KEEPALIVE: Duration = Duration::from_secs(20);
/// The flow-control window of a connection in bytes. That of one stream is half of it, so that a blocked channel does not
/// delay handshakes.
const WINDOW_BYTES: u32 = 8 * 1024 * 1024;

/// Serves until `stop` resolves, then finishes the requests in progress. Dropping this future closes the connections.
pub(super) async fn serve(listener: Listener, router: Router, stop: impl Future) {
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    let mut opening = JoinSet::new();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stop => break,
            accepted = listener.next() => {
                opening.spawn(Opened::of(accepted));
            }
            Some(opened) = opening.join_next() => {
                if let Ok(Ok(opened)) = opened {
                    opened.serve(router.clone(), &graceful, &mut connections);
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
    drop((listener, opening));
    graceful.shutdown().await;
}

fn http1() -> http1::Builder {
    let mut builder = http1::Builder::new();
    // A client that has closed its sending side still reads.
    builder
        .half_close(true)
        .timer(TokioTimer::new())
        .max_buf_size(HTTP1_BYTES_MAX)
        .header_read_timeout(HEADER_TIMEOUT);
    builder
}

// `window`: of the connection, bytes.
fn http2(window: u32) -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        // This limit counts over the whole life of a connection, so it is disabled; `resets` limits the rate instead.
        .max_local_error_reset_streams(None)
        .keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .initial_stream_window_size(window / 2)
        .initial_connection_window_size(window);
    builder
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write as _};
    use std::net::{SocketAddr, TcpStream};

    use axum::Extension;
    use axum::body::Body;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpSocket;
    use tokio::sync::oneshot;
    use tokio::task::JoinHandle;
    use tokio_rustls::client::TlsStream;

    use super::listener::ConnectionLimit;
    use super::*;
    use crate::access::connection::Connection;
    use crate::access::identity::Holder;
    use crate::access::private_file::replace_private;
    use crate::node::Refusals;
    use crate::process::ids::ProcessId;
    use crate::tls::client::{ClientFiles, ClientPair, ClientTls};
    use crate::tls::files::{TlsFiles, certificates};
    use crate::tls::issue::Authority;
    use crate::tls::node::Tls;

    const NINE: ConnectionLimit = ConnectionLimit {
        for_all: 9,
        reserved: 0,
    };

    /// A node with a certificate, which is also that of a peer, and the CA alone.
    struct Certified {
        dir: tempfile::TempDir,
        tls: Tls,
        peer: ClientTls,
        stranger: ClientTls,
    }

    impl Certified {
        fn new() -> Self {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let path = |name: &str| dir.path().join(name);
            let (authority, ca) = Authority::new("c", 1).expect("a CA");
            let n1 = ProcessId::parse("n1").expect("an id");
            let holder = Holder::Process(n1.clone());
            let hosts = ["127.0.0.1".to_owned()];
            let pair = authority.issue(holder, &hosts, 1).expect("a pair");
            std::fs::write(path("ca.crt"), ca.certificate).expect("there is room");
            std::fs::write(path("n1.crt"), pair.certificate).expect("there is room");
            replace_private(&path("n1.key"), pair.key.as_bytes()).expect("there is room");
            let files = TlsFiles {
                cert: path("n1.crt"),
                key: path("n1.key"),
                ca: path("ca.crt"),
                client_ca: path("ca.crt"),
            };
            let trusting = ClientFiles::trusting(&path("ca.crt"));
            let stranger = ClientTls::load(&trusting).expect("a CA");
            let proving = ClientFiles {
                pair: Some(ClientPair {
                    cert: path("n1.crt"),
                    key: path("n1.key"),
                }),
                ..trusting
            };
            Self {
                tls: Tls::load(files, "c", &n1).expect("a pair"),
                peer: ClientTls::load(&proving).expect("a pair"),
                stranger,
                dir,
            }
        }
    }

    struct Served {
        address: SocketAddr,
        stop: oneshot::Sender<()>,
        serving: JoinHandle<()>,
    }

    // Serves one answer that breaks off and one that is whole.
    async fn served(tls: Option<Tls>, limit: ConnectionLimit) -> Served {
        let (stop, stopped) = oneshot::channel::<()>();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let answer = |broken: bool| {
            let parts = [Ok("half"), Err(io::Error::other("the rest is missing"))];
            let parts = parts.into_iter().filter(move |part| broken || part.is_ok());
            async { Body::from_stream(tokio_stream::iter(parts)) }
        };
        let router = Router::new()
            .route("/broken", get(move || answer(true)))
            .route("/whole", get(move || answer(false)))
            .route("/expires", get(end_of_certificate));
        let listener = Listener::new(listener, limit, Refusals::default()).with_tls(tls);
        let serving = tokio::spawn(serve(listener, router, stopped));
        Served {
            address,
            stop,
            serving,
        }
    }

    async fn end_of_certificate(Extension(connection): Extension<Connection>) -> String {
        let expires = connection.expires.map(|end| end.to_string());
        expires.unwrap_or_default()
    }

    fn request(path: &str) -> String {
        format!("GET {path} HTTP/1.0\r\n\r\n")
    }

    // Without this half an answer looks whole on HTTP/1.0, which has no other end mark.
    #[tokio::test]
    async fn an_answer_that_breaks_off_over_http_1_0_resets_the_connection() {
        let served = served(None, NINE).await;
        let address = served.address;
        let asked = |path: &'static str| {
            tokio::task::spawn_blocking(move || {
                let mut socket = TcpStream::connect(address)?;
                socket.write_all(request(path).as_bytes())?;
                io::read_to_string(socket)
            })
        };
        let broken = asked("/broken").await.expect("it ends");
        let error = broken.expect_err("it is not whole");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset, "{error}");
        let whole = asked("/whole")
            .await
            .expect("it ends")
            .expect("it is whole");
        assert!(whole.ends_with("half"), "{whole}");
        drop(served.stop);
        served.serving.await.expect("it stops");
    }

    // With TLS the end of an answer is a notice within the session, which must be absent then.
    #[tokio::test]
    async fn an_answer_that_breaks_off_over_tls_does_not_end_the_session() {
        let ours = Certified::new();
        let client = &ours.peer;
        let served = served(Some(ours.tls.clone()), NINE).await;
        let address = served.address.to_string();
        let asked = async |path: &str| {
            let mut socket = client.open(&address).await?;
            socket.write_all(request(path).as_bytes()).await?;
            let mut answer = String::new();
            socket.read_to_string(&mut answer).await?;
            Ok::<_, io::Error>(answer)
        };
        let error = asked("/broken").await.expect_err("it is not whole");
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
        assert!(kinds.contains(&error.kind()), "{error}");
        let whole = asked("/whole").await.expect("it is whole");
        assert!(whole.ends_with("half"), "{whole}");
        let until = certificates(&ours.dir.path().join("n1.crt")).expect("it is there")[0]
            .certificate
            .until;
        let until = jiff::Timestamp::from_second(until).expect("tomorrow");
        let expires = asked("/expires").await.expect("it is whole");
        assert!(expires.ends_with(&until.to_string()), "{expires}");
        drop(served.stop);
        served.serving.await.expect("it stops");
    }

    // One byte of the answer to a call of a peer, from one of the addresses of this machine; 0: closed without an answer.
    async fn called(
        client: &ClientTls,
        from: [u8; 4],
        to: SocketAddr,
    ) -> (usize, TlsStream<tokio::net::TcpStream>) {
        let socket = TcpSocket::new_v4().expect("there are descriptors");
        socket.bind((from, 0).into()).expect("a free port");
        let socket = socket.connect(to).await.expect("it listens");
        let mut socket = client.secure("127.0.0.1", socket).await.expect("TLS");
        let request = "POST /snapledger.v1.PeerService/Greet HTTP/1.1\r\nHost: localhost\r\n\r\n";
        let _closed = socket.write_all(request.as_bytes()).await;
        let read = socket.read(&mut [0]).await.unwrap_or(0);
        (read, socket)
    }

    // Without this, two hosts without certificates could keep a peer out of a node by naming the paths of peers.
    #[tokio::test]
    async fn strangers_of_two_addresses_leave_the_reserved_places_to_a_peer() {
        let ours = Certified::new();
        let reserved = ConnectionLimit {
            for_all: 0,
            reserved: 2,
        };
        let served = served(Some(ours.tls.clone()), reserved).await;
        let (first, _first) = called(&ours.stranger, [127, 0, 0, 2], served.address).await;
        let (second, _second) = called(&ours.stranger, [127, 0, 0, 3], served.address).await;
        assert_eq!((first, second), (0, 0), "they are closed");
        let (answer, _peer) = called(&ours.peer, [127, 0, 0, 1], served.address).await;
        assert_eq!(answer, 1, "it has a place");
        drop(served.stop);
    }
}
