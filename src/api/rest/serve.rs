//! The socket: connections are counted, headers must come in time, and the way down has an end.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use crate::node::Handle;

/// How many connections are open at once; further ones wait in the backlog of the system.
const CONNECTIONS_MAX: usize = 1024;
/// How long a client may take for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests may take that are under way when the node stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait before the next try where the system has no more sockets.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves REST until `stop` is done, and then what is under way, for a while.
pub async fn serve(listener: TcpListener, handle: Handle, stop: impl Future) {
    let router = super::router(handle);
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepted = async {
            let permit = connections.clone().acquire_owned().await;
            let permit = permit.expect("nobody closes this semaphore");
            (permit, listener.accept().await)
        };
        let (permit, socket) = tokio::select! {
            _ = &mut stop => break,
            accepted = accepted => accepted,
        };
        let socket = match socket {
            Ok((socket, _)) => socket,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let connection = graceful.watch(connect(socket, router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(permit);
        });
    }
    drop(listener);
    let ended = tokio::time::timeout(SHUTDOWN_TIMEOUT, graceful.shutdown()).await;
    if ended.is_err() {
        tracing::warn!("requests were still under way and are broken off");
    }
}

// HTTP/1.1 alone: a version that is guessed from the first bytes would wait for them without end.
fn connect(
    socket: TcpStream,
    router: Router,
) -> http1::Connection<TokioIo<TcpStream>, TowerToHyperService<Router>> {
    // Without it an answer in two parts waits for an acknowledgement; it is no more than slower.
    let _ = socket.set_nodelay(true);
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
}
