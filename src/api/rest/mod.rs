//! The REST server: JSON on its own port; all failures are problem documents.

mod accounts;
pub(super) mod admission;
mod audit;
mod backup;
mod balances;
mod body;
mod cache_policy;
mod channels;
mod check;
mod cluster;
mod console;
mod counted;
pub(super) mod cursor;
mod diagram;
mod diff;
mod encoding;
mod events;
mod export;
mod file;
mod health;
mod json;
mod latest;
mod metrics;
pub(super) mod missing;
mod negotiation;
mod node_events;
mod openapi;
mod operations;
mod pins;
mod problem;
pub(super) mod query;
mod series;
mod snapshot;
mod snapshots;
mod statement;
mod statement_entry;
mod statement_table;
mod table;
mod wait;
mod whole_cluster;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{HeaderMap, Uri};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{get, post};
use tower_http::request_id::{MakeRequestUuid, PropagateRequestIdLayer, SetRequestIdLayer};
use tower_http::trace::{DefaultOnFailure, TraceLayer};
use tracing::{Level, Span};

use super::browser::{self, Names};
use super::error::Failure;
use super::guard;
use crate::node::Handle;
use crate::node::peers::discover::UnansweredAddresses;

pub(crate) use audit::audit_document;
pub use openapi::document;

/// Why a path is refused.
pub(super) const NOT_UTF_8: &str = "is not UTF-8 in percent-encoding";

/// State shared by the handlers.
#[derive(Clone)]
struct AppState {
    handle: Handle,
}

/// All routes of one node.
pub fn router(handle: Handle) -> Router {
    let app = AppState { handle };
    let trace = TraceLayer::new_for_http()
        .make_span_with(span)
        .on_failure(DefaultOnFailure::new().level(Level::DEBUG));
    // The guard is around the admission, so that nothing is read from a caller without rights.
    let mut routes = routes().route_layer(from_fn(admission::admit));
    // Within the guard: a caller without rights has no spans.
    #[cfg(feature = "otel")]
    if let Some(tracer) = app.handle.tracer() {
        routes = routes.route_layer(from_fn_with_state(tracer, super::traced::rest));
    }
    if let Some(authority) = app.handle.config().auth.clone() {
        routes = routes.route_layer(from_fn_with_state(authority, guard::rest::keep));
    }
    let routes = routes
        .method_not_allowed_fallback(admission::unknown_method)
        .fallback(admission::unknown_route)
        .layer(from_fn_with_state(app.handle.requests(), counted::count))
        .with_state(app.clone());
    // Layers on an outer router: a layer of the routes themselves would run after a route is matched.
    let config = app.handle.config();
    let names = Names::of(&config.api.hosts, config.tls.as_ref());
    Router::new()
        .fallback_service(routes)
        .layer(from_fn_with_state(app, latest::resolve))
        .layer(from_fn(admission::decodable))
        .layer(DefaultBodyLimit::max(body::BODY_BYTES_MAX))
        .layer(from_fn_with_state(names, browser::on_rest))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(trace)
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
}

/// The routes of a node that still discovers its peers: liveness and metrics; all others fail with the reason.
pub(super) fn not_ready(unanswered: UnansweredAddresses, names: Names) -> Router {
    let waited_for = unanswered.clone();
    let figures = move |uri: Uri, headers: HeaderMap| async move {
        metrics::answer(&uri, &headers, || waited_for.metrics())
    };
    let refuse = move || {
        let failure = Failure::NotReady(vec![unanswered.check()]);
        async move { failure }
    };
    Router::new()
        .route("/healthz", get(health::live))
        .route("/metrics", get(figures))
        .fallback(refuse)
        .layer(from_fn_with_state(names, browser::on_rest))
        .layer(PropagateRequestIdLayer::x_request_id())
        .layer(SetRequestIdLayer::x_request_id(MakeRequestUuid))
}

// Each route must also be in the OpenAPI document; see `openapi`.
fn routes() -> Router<AppState> {
    snapshot_routes()
        .merge(account_routes())
        .route("/", get(health::index))
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(metrics::show))
        .route("/openapi.json", get(openapi::openapi))
        .route("/console/{file}", get(console::file))
        .route("/console/{folder}/{file}", get(console::file))
        .route("/docs", get(openapi::show))
        .route("/docs/{file}", get(openapi::file))
        .route("/v1/cluster", get(cluster::show))
        .route("/v1/events", get(node_events::stream))
        .route("/v1/audit", get(audit::show))
        .route("/v1/audit/series", get(series::audits))
        .route("/v1/backup", get(backup::stream))
}

fn snapshot_routes() -> Router<AppState> {
    Router::new()
        .route(
            "/v1/snapshots",
            get(snapshots::list).post(snapshots::initiate),
        )
        .route("/v1/snapshots/latest", get(snapshots::latest))
        .route("/v1/snapshots/{id}", get(snapshots::one))
        .route("/v1/snapshots/{id}/revisions", get(snapshots::revisions))
        .route(
            "/v1/snapshots/{id}/pin",
            get(pins::show).put(pins::pin).delete(pins::unpin),
        )
        .route("/v1/snapshots/{id}/balances", get(balances::list))
        .route("/v1/snapshots/{id}/channels", get(channels::list))
        .route("/v1/snapshots/{id}/diff", get(diff::until))
        .route("/v1/snapshots/{id}/diff/{other}", get(diff::list))
        .route("/v1/snapshots/{id}/diagram", get(diagram::show))
        .route("/v1/snapshots/{id}/events", get(events::stream))
        .route("/v1/snapshots/{id}/export", get(file::export))
        .route(
            "/v1/snapshots/{id}/balances/{process}/{account}/proof",
            get(file::proof),
        )
}

fn account_routes() -> Router<AppState> {
    let of_process = "/v1/processes/{process}/accounts/{account}";
    Router::new()
        .route("/v1/accounts/{account}", get(accounts::own))
        .route("/v1/accounts/{account}/balance", get(accounts::own_balance))
        .route("/v1/accounts/{account}/history", get(statement::own))
        .route("/v1/accounts/{account}/series", get(series::own_account))
        .route("/v1/accounts/{account}/deposits", post(operations::deposit))
        .route(
            "/v1/accounts/{account}/withdrawals",
            post(operations::withdraw),
        )
        .route("/v1/transfers", post(operations::transfer))
        .route(of_process, get(accounts::of_process))
        .route(
            &format!("{of_process}/balance"),
            get(accounts::balance_of_process),
        )
        .route(&format!("{of_process}/history"), get(statement::of_process))
        .route(
            &format!("{of_process}/series"),
            get(series::account_of_process),
        )
}

// Never logs bodies, which contain balances.
fn span<B>(request: &hyper::Request<B>) -> Span {
    let id = request.headers().get("x-request-id");
    let id = id.and_then(|value| value.to_str().ok()).unwrap_or("");
    let (method, path) = (request.method(), request.uri().path());
    tracing::debug_span!("request", %method, path, id)
}
