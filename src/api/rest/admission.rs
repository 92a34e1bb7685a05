//! What every request passes: bounds on how many there are and how long one takes, and a path that can be read.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::query::is_encoded;
use super::{AppState, body, wait};
use crate::api::error::Failure;

/// How many requests are answered at once.
const REQUESTS_MAX: usize = 512;
/// How many exports are written at once, on REST and over gRPC each; each holds a thread.
pub(in crate::api) const EXPORTS_MAX: usize = 64;
/// How many snapshots are watched or waited for at once; each holds a connection for as long as its snapshot takes, and
/// three of four connections stay free for requests.
const WATCHERS_MAX: usize = 256;
/// How many backups are read at once: nothing is deleted meanwhile, and each reads all there is.
const BACKUPS_MAX: usize = 1;
/// How long a request may take, its body included, unless it asks to wait for a snapshot.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The bounds of one facade.
#[derive(Clone)]
pub(super) struct Bounds {
    requests: Arc<Semaphore>,
    exports: Arc<Semaphore>,
    watchers: Arc<Semaphore>,
    backups: Arc<Semaphore>,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            requests: Arc::new(Semaphore::new(REQUESTS_MAX)),
            exports: Arc::new(Semaphore::new(EXPORTS_MAX)),
            watchers: Arc::new(Semaphore::new(WATCHERS_MAX)),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
        }
    }
}

impl AppState {
    /// Leave to write an export, as long as the permit lives.
    pub(super) fn admit_export(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = self.bounds.exports.clone().try_acquire_owned();
        permit.map_err(|_| Failure::Busy(EXPORTS_MAX, "exports"))
    }

    /// Leave to copy the store, as long as the permit lives.
    pub(super) fn admit_backup(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = self.bounds.backups.clone().try_acquire_owned();
        permit.map_err(|_| Failure::Busy(BACKUPS_MAX, "backup"))
    }

    /// Leave to watch a snapshot, as long as the permit lives.
    pub(super) fn admit_watcher(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = self.bounds.watchers.clone().try_acquire_owned();
        permit.map_err(|_| Failure::Busy(WATCHERS_MAX, "watchers of snapshots"))
    }
}

/// Lets a request in, or says why not.
pub(super) async fn admit(
    State(facade): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if !is_encoded(request.uri().path()) {
        let why = "a % is not followed by two hexadecimal digits; write %25 for the sign itself";
        return Err(Failure::malformed("path", why));
    }
    let permit = facade.bounds.requests.try_acquire();
    let _permit = permit.map_err(|_| Failure::Busy(REQUESTS_MAX, "requests"))?;
    let patience = TIMEOUT + wait::allowance(request.uri());
    let too_long = |_| Failure::Timeout(patience.as_secs());
    let begun = Instant::now();
    // Who asks to wait gets no more time to send a body.
    let request = timeout_at(begun + TIMEOUT, with_whole_body(request)).await;
    let request = request.map_err(too_long)??;
    let answer = timeout_at(begun + patience, next.run(request)).await;
    answer.map_err(too_long)
}

// Read before anything is refused: a connection that is closed over unread bytes takes its answer with it.
async fn with_whole_body(request: Request) -> Result<Request, Failure> {
    let (head, body) = request.into_parts();
    let bytes = body::read(Request::from_parts(head.clone(), body), &()).await?;
    Ok(Request::from_parts(head, bytes.into()))
}

/// Where no route is.
pub(super) async fn unknown_route(uri: Uri) -> Failure {
    Failure::UnknownRoute(uri.path().to_owned())
}

/// Where a route is and its method is not; axum adds `Allow`.
pub(super) async fn unknown_method(method: Method) -> Failure {
    Failure::Method(method.to_string())
}
