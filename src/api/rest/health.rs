//! For operators: whether the node lives, whether it is ready, its figures, and what there is.

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::Facade;
use super::accept::{Format, Plain, negotiate};
use super::json::Json;
use super::query::Parameters;
use crate::api::error::Failure;

#[derive(Serialize)]
struct Standing {
    status: &'static str,
    /// What is wrong though the node does its work.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// `GET /healthz`
pub(super) async fn live(_: Plain) -> Response {
    standing("live", Vec::new())
}

/// `GET /readyz`
pub(super) async fn ready(_: Plain, State(facade): State<Facade>) -> Result<Response, Failure> {
    facade.handle.ready().map_err(Failure::NotReady)?;
    Ok(standing("ready", facade.handle.warnings()))
}

fn standing(status: &'static str, warnings: Vec<String>) -> Response {
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    (never_stored, Json(Standing { status, warnings })).into_response()
}

/// `GET /`
pub(super) async fn index(uri: Uri, headers: HeaderMap) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Html])?;
    Parameters::of(&uri, &[])?;
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'",
        ),
    ];
    Ok((headers, include_str!("index.html")).into_response())
}
