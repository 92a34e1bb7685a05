//! Admission of requests: limits of concurrency and time, and a decodable path.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{Method, Uri};
use axum::middleware::Next;
use axum::response::Response;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::encoding::is_encoded;
use super::{AppState, body, wait};
use crate::api::error::Failure;

/// The most requests answered at once.
const REQUESTS_MAX: usize = 512;
/// The most exports written at once, on REST and on gRPC each; each occupies a thread.
pub(in crate::api) const EXPORTS_MAX: usize = 64;
/// The most snapshots watched or waited for at once. Each occupies a connection until its snapshot is finished; three
/// of four connections stay free for requests.
const WATCHERS_MAX: usize = 256;
/// The most backups at once. A backup reads the whole store and suspends deletion.
const BACKUPS_MAX: usize = 1;
/// The time limit of a request, its body included, unless it waits for a snapshot.
const TIMEOUT: Duration = Duration::from_secs(30);

/// The limits of one server.
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
    /// A permit to write an export.
    pub(super) fn admit_export(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = self.bounds.exports.clone().try_acquire_owned();
        permit.map_err(|_| Failure::Busy(EXPORTS_MAX, "exports"))
    }

    /// A permit to copy the store.
    pub(super) fn admit_backup(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = self.bounds.backups.clone().try_acquire_owned();
        permit.map_err(|_| Failure::Busy(BACKUPS_MAX, "backup"))
    }

    /// A permit to watch a snapshot.
    pub(super) fn admit_watcher(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let permit = self.bounds.watchers.clone().try_acquire_owned();
        permit.map_err(|_| Failure::Busy(WATCHERS_MAX, "watchers of snapshots"))
    }
}

/// Admits a request or refuses it.
pub(super) async fn admit(
    State(app): State<AppState>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    if !is_encoded(request.uri().path()) {
        let why = "a % must be followed by two hexadecimal digits; encode a literal % as %25";
        return Err(Failure::malformed("path", why));
    }
    let permit = app.bounds.requests.try_acquire();
    let _permit = permit.map_err(|_| Failure::Busy(REQUESTS_MAX, "requests"))?;
    let patience = TIMEOUT + wait::allowance(request.uri());
    let too_long = |_| Failure::Timeout(patience.as_secs());
    let begun = Instant::now();
    // A request that waits for a snapshot gets no extra time to send its body.
    let request = timeout_at(begun + TIMEOUT, with_whole_body(request)).await;
    let request = request.map_err(too_long)??;
    let answer = timeout_at(begun + patience, next.run(request)).await;
    answer.map_err(too_long)
}

// The body is read before a refusal: closing a connection with unread bytes can discard the answer.
async fn with_whole_body(request: Request) -> Result<Request, Failure> {
    let (head, body) = request.into_parts();
    let bytes = body::read(Request::from_parts(head.clone(), body), &()).await?;
    Ok(Request::from_parts(head, bytes.into()))
}

/// The answer for an unknown route.
pub(super) async fn unknown_route(uri: Uri) -> Failure {
    Failure::UnknownRoute(uri.path().to_owned())
}

/// The answer for a known route with another method; axum adds `Allow`.
pub(super) async fn unknown_method(method: Method) -> Failure {
    Failure::Method(method.to_string())
}
