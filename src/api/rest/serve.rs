//! The socket: headers must come in time, and the way down has an end.

use std::future::Future;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;

use crate::api::door::Door;

/// How long a client may take for the head of a request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long requests may take that are under way when the node stops.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves REST until `stop` is done, and then what is under way, for a while.
pub async fn serve(door: Door, router: Router, stop: impl Future) {
    let graceful = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let (socket, place) = tokio::select! {
            _ = &mut stop => break,
            accepted = door.next() => accepted,
        };
        let connection = graceful.watch(connect(socket, router.clone()));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke off");
            }
            drop(place);
        });
    }
    drop(door);
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
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(socket), TowerToHyperService::new(router))
}
