//! Counts every request of REST, with the time until its answer begins.

use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::node::Requests;

/// Around the routes, where the pattern of the route is known.
pub(super) async fn count(
    State(requests): State<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let pattern = request.extensions().get::<MatchedPath>();
    let route = requests.rest(request.method().as_str(), pattern.map(MatchedPath::as_str));
    let begun = Instant::now();
    let response = next.run(request).await;
    route.answered(response.status().as_u16(), begun.elapsed());
    response
}
