//! Admission of requests: a decodable path for all; limits of concurrency and time for those that the guard has let pass.

use std::time::Duration;

use axum::Extension;
use axum::extract::{OriginalUri, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;
use tokio::time::{Instant, timeout_at};

use super::encoding::is_encoded;
use super::{body, wait};
use crate::api::error::Failure;
use crate::api::serve::limits::{Client, Resource};
use crate::api::unread;

/// The time limit of a request, its body included, unless it waits for a snapshot.
pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

/// Refuses a path that cannot be decoded.
pub(super) async fn decodable(request: Request, next: Next) -> Result<Response, Failure> {
    if !is_encoded(request.uri().path()) {
        let why = "a % must be followed by two hexadecimal digits; encode a literal % as %25";
        unread::discard(request).await;
        return Err(Failure::malformed("path", why));
    }
    Ok(next.run(request).await)
}

/// Reads the body of a request and admits it, or refuses it.
pub(super) async fn admit(
    Extension(client): Extension<Client>,
    request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let patience = TIMEOUT + wait::allowance(request.uri());
    let too_long = |_| Failure::Timeout(patience.as_secs());
    let begun = Instant::now();
    // A request that waits for a snapshot gets no extra time to send its body.
    let request = timeout_at(begun + TIMEOUT, with_whole_body(request)).await;
    let request = request.map_err(too_long)??;
    // Only now, so that clients with slow bodies cannot keep others out.
    let _permit = client.take(Resource::Requests, 1)?;
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
pub(super) async fn unknown_route(OriginalUri(asked): OriginalUri, request: Request) -> Failure {
    unread::discard(request).await;
    Failure::UnknownRoute(asked.path().to_owned())
}

/// The answer for a known route with another method; axum adds `Allow`.
pub(super) async fn unknown_method(method: Method, request: Request) -> Failure {
    unread::discard(request).await;
    Failure::Method(method.to_string())
}
