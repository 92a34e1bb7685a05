//! An accepted connection up to its first request: the TLS handshake if the node has TLS, then the HTTP version.

use std::future::Future;
use std::io::{self, Cursor};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{
    AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, Chain, Join, ReadHalf, WriteHalf,
    join, split,
};
use tokio::net::tcp::OwnedReadHalf;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::server::TlsStream;
use tower_http::add_extension::AddExtension;

use super::limits::requests::Limited;
use super::limits::watch::{Ending, watched};
use super::limits::{ConnectionUsage, Resource, TRIAL, WINDOW_BYTES_MIN};
use super::listener::Accepted;
use super::resets::paced;
use super::resettable::Resettable;
use super::{WINDOW_BYTES, http1, http2};
use crate::access::connection::Connection;
use crate::access::identity::Holder;
use crate::node::RefusalReason;
use crate::tls::certificate::Proven;
use crate::tls::lasting::Lasting;
use crate::tls::node::Tls;
use crate::tls::refusals::{NotTls, TooSlow};

/// The first bytes of every HTTP/2 connection (RFC 9113 §3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The time limit for the first bytes of a client, with TLS for the handshake as well. A silent client would otherwise hold
/// its permit forever.
pub(super) const FIRST_BYTES_MAX: Duration = Duration::from_secs(10);
/// The first byte of a TLS record that begins a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// The answer to a request without TLS on a port with TLS.
const NOT_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain\r\nconnection: close\r\n\
    content-length: 39\r\n\r\nthis port speaks TLS; use https://HOST\n";
/// How much of such a request is read, so that its client reads the answer, and for how long.
const UNREAD_BYTES_MAX: u64 = 64 * 1024;
const UNREAD_MAX: Duration = Duration::from_secs(1);

type Secured = Lasting<TlsStream<Join<OwnedReadHalf, Resettable>>>;

/// A connection with a known HTTP version.
pub(super) enum Opened {
    Plain(Halves<OwnedReadHalf, Resettable>),
    Secured(Halves<ReadHalf<Secured>, WriteHalf<Secured>>),
}

/// The two halves of a connection.
pub(super) struct Halves<R, W> {
    /// Replays the bytes that were read to detect the version.
    read: Chain<Cursor<Vec<u8>>, R>,
    write: W,
    /// Requests a reset at the end.
    reset: Arc<AtomicBool>,
    other_end: Connection,
    /// Whether a peer may be at the other end; with TLS its certificate shows it.
    may_be_peer: bool,
    usage: Arc<ConnectionUsage>,
    is_http2: bool,
}

impl Opened {
    pub(super) async fn of(accepted: Accepted) -> io::Result<Self> {
        let (read, write) = accepted.socket.into_split();
        let (write, reset) = Resettable::of(write);
        let other_end = Connection {
            address: accepted.address,
            identity: None,
            expires: None,
        };
        let arrived = Arrived {
            reset,
            other_end,
            usage: accepted.usage,
        };
        match accepted.tls {
            None => {
                let usage = Arc::clone(&arrived.usage);
                let opened = timeout(FIRST_BYTES_MAX, arrived.opened(read, write)).await;
                let opened = opened.inspect_err(|_| usage.count(RefusalReason::Silent))??;
                Ok(Self::Plain(opened))
            }
            Some(tls) => {
                let address = accepted.address;
                let limit = match arrived.usage.place.is_on_trial() {
                    true => TRIAL,
                    false => FIRST_BYTES_MAX,
                };
                let opened = timeout(limit, arrived.secured(&tls, read, write)).await;
                let opened = opened.unwrap_or_else(|_| Err(io::Error::other(TooSlow)));
                opened
                    .inspect_err(|error| tls.refused(address, error))
                    .map(Self::Secured)
            }
        }
    }

    pub(super) fn serve(
        self,
        router: Router,
        graceful: &GracefulShutdown,
        connections: &mut JoinSet<()>,
    ) {
        match self {
            Self::Plain(halves) => halves.serve(router, graceful, connections),
            Self::Secured(halves) => halves.serve(router, graceful, connections),
        }
    }
}

/// What is known of a connection before its first bytes.
struct Arrived {
    reset: Arc<AtomicBool>,
    other_end: Connection,
    usage: Arc<ConnectionUsage>,
}

impl Arrived {
    async fn opened<R: AsyncRead + Unpin, W>(
        self,
        mut read: R,
        write: W,
    ) -> io::Result<Halves<R, W>> {
        let first = first_bytes(&mut read).await?;
        Ok(Halves {
            is_http2: first == PREFACE,
            read: Cursor::new(first).chain(read),
            write,
            reset: self.reset,
            other_end: self.other_end,
            may_be_peer: true,
            usage: self.usage,
        })
    }

    async fn secured(
        mut self,
        tls: &Tls,
        mut read: OwnedReadHalf,
        write: Resettable,
    ) -> io::Result<Halves<ReadHalf<Secured>, WriteHalf<Secured>>> {
        let mut first = [0];
        if read.peek(&mut first).await? == 1 && first != [HANDSHAKE] {
            refuse_plain(read, write).await;
            return Err(io::Error::other(NotTls));
        }
        let (stream, proven) = tls.accept(join(read, write)).await?;
        let mut is_peer = false;
        if let Some(Proven { identity, expires }) = proven {
            is_peer = matches!(identity.holder, Holder::Process(_));
            self.other_end.identity = Some(Arc::new(identity));
            self.other_end.expires = expires;
        }
        if is_peer {
            self.usage.place.is_of_peer();
        }
        let (read, write) = split(stream);
        let opened = self.opened(read, write).await?;
        Ok(Halves {
            may_be_peer: is_peer,
            ..opened
        })
    }
}

// A failure is ignored: the client has gone.
async fn refuse_plain(read: OwnedReadHalf, mut write: Resettable) {
    let _gone = write.write_all(NOT_TLS).await;
    let _gone = write.shutdown().await;
    // Closing with unread bytes would reset the connection before the client has read the answer.
    let (mut unread, mut sink) = (read.take(UNREAD_BYTES_MAX), tokio::io::sink());
    let _rest = timeout(UNREAD_MAX, tokio::io::copy(&mut unread, &mut sink)).await;
}

impl<R, W> Halves<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    fn serve(self, router: Router, graceful: &GracefulShutdown, connections: &mut JoinSet<()>) {
        let usage = self.usage;
        if !self.may_be_peer && usage.place.is_on_trial() {
            usage.count(RefusalReason::Connections);
            return;
        }
        let windows = match self.may_be_peer && self.other_end.identity.is_some() {
            true => Resource::PeerWindows,
            false => Resource::ClientWindows,
        };
        let service = AddExtension::new(router, self.other_end);
        let service =
            TowerToHyperService::new(Limited::new(service, Arc::clone(&usage), self.may_be_peer));
        let read = Ending {
            inner: self.read,
            usage: Arc::clone(&usage),
        };
        if self.is_http2 {
            let (read, write) = paced(read, self.write, Arc::clone(&usage));
            let io = TokioIo::new(join(read, write));
            let granted = usage.take_if_free(windows, WINDOW_BYTES as usize);
            let window = granted.as_ref().map_or(WINDOW_BYTES_MIN, |_| WINDOW_BYTES);
            let connection = graceful.watch(http2(window).serve_connection(io, service));
            connections.spawn(async move {
                watched(connection, usage).await;
                drop(granted);
            });
        } else {
            let io = TokioIo::new(join(read, self.write));
            let connection = graceful.watch(http1().serve_connection(io, service));
            connections.spawn(watched(resetting(connection, self.reset), usage));
        }
    }
}

// A reset is the only way to signal a truncated answer on HTTP/1.0, where the end of the connection ends the answer. With
// TLS the notice that closes the session is absent, too.
async fn resetting(
    connection: impl Future<Output = hyper::Result<()>>,
    reset: Arc<AtomicBool>,
) -> hyper::Result<()> {
    // Dropping the connection at the end of this function closes the socket.
    let mut connection = std::pin::pin!(connection);
    let result = connection.as_mut().await;
    let is_cut_off = result.as_ref().is_err_and(hyper::Error::is_user);
    reset.store(is_cut_off, Ordering::Relaxed);
    result
}

// As many bytes as are needed to distinguish the versions, at most the preface.
async fn first_bytes(read: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut first = Vec::with_capacity(PREFACE.len());
    let mut limited = read.take(PREFACE.len() as u64);
    while first.len() < PREFACE.len() && PREFACE.starts_with(&first) {
        if limited.read_buf(&mut first).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(first)
}
