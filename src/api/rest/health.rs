//! For operators: liveness, readiness, and an index of routes.

use std::fmt::Write as _;
use std::sync::LazyLock;

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use serde::Serialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::check::CheckResponse;
use super::json::Json;
use super::negotiation::{Format, Plain, is_named, negotiate};
use super::openapi::document;
use super::query::Parameters;
use super::{AppState, console};
use crate::api::error::Failure;

#[derive(Serialize)]
struct HealthResponse<'a> {
    status: &'static str,
    /// The conditions of readiness.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checks: Vec<CheckResponse<'a>>,
    /// Problems of a node that still works.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
}

/// `GET /healthz`
pub(super) async fn live(_: Plain) -> Response {
    standing("live", Vec::new(), Vec::new())
}

/// `GET /readyz`
pub(super) async fn ready(_: Plain, State(app): State<AppState>) -> Result<Response, Failure> {
    let checks = app.handle.ready_checks();
    if checks.iter().any(|check| check.fault.is_some()) {
        return Err(Failure::NotReady(checks.to_vec()));
    }
    let checks = checks.iter().map(CheckResponse::of).collect();
    Ok(standing("ready", checks, app.handle.warnings()))
}

fn standing(
    status: &'static str,
    checks: Vec<CheckResponse<'_>>,
    warnings: Vec<String>,
) -> Response {
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    let response = HealthResponse {
        status,
        checks,
        warnings,
    };
    (never_stored, Json(response)).into_response()
}

/// `GET /`: the console for browsers, which name `text/html`; the list of routes for all others.
pub(super) async fn index(uri: Uri, headers: HeaderMap) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Html])?;
    Parameters::of(&uri, &[])?;
    let page = match is_named(&headers, Format::Html) {
        true => console::page(),
        false => routes(),
    };
    Ok(([(header::VARY, "Accept")], page).into_response())
}

fn routes() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY.as_str()),
    ];
    (headers, INDEX.as_str()).into_response()
}

/// Allows the style sheet in the page, by its hash, and nothing else.
static POLICY: LazyLock<String> = LazyLock::new(|| {
    let (_, rest) = INDEX
        .split_once("<style>")
        .expect("the page has a style sheet");
    let (sheet, _) = rest.split_once("</style>").expect("the style sheet ends");
    let hash = base64::engine::general_purpose::STANDARD.encode(Sha256::digest(sheet));
    format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Generated from the OpenAPI document, so no route can be missing.
static INDEX: LazyLock<String> =
    LazyLock::new(|| include_str!("index.html").replace("{routes}", &rows(document())));

const FILE: &str = "/responses/200/content/application~1octet-stream";

fn rows(document: &Value) -> String {
    let mut rows = String::new();
    let paths = document["paths"].as_object().into_iter().flatten();
    for (path, operations) in paths {
        for (method, operation) in operations.as_object().into_iter().flatten() {
            let method = method.to_uppercase();
            let route = format!("<code>{method} {path}</code>");
            // Links only routes without path parameters that do not return a file.
            let is_page = operation.pointer(FILE).is_none() && !path.contains('{');
            let route = match method.as_str() {
                "GET" if is_page => format!("<a href=\"{path}\">{route}</a>"),
                _ => route,
            };
            let summary = operation["summary"].as_str().unwrap_or_default();
            let parameters = match in_query(document, operation).join(" ") {
                none if none.is_empty() => none,
                some => format!(": <code>{some}</code>"),
            };
            writeln!(rows, "<tr><td>{route}<td>{summary}{parameters}")
                .expect("a string takes all that is written to it");
        }
    }
    rows
}

fn in_query<'a>(document: &'a Value, operation: &'a Value) -> Vec<&'a str> {
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|parameter| {
        let reference = parameter["$ref"].as_str();
        let pointer = reference.and_then(|reference| reference.strip_prefix('#'));
        let referred = pointer.and_then(|pointer| document.pointer(pointer));
        referred.unwrap_or(parameter)
    });
    let in_query = parameters.filter(|parameter| parameter["in"] == "query");
    in_query
        .filter_map(|parameter| parameter["name"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this the index page can lack a route or its parameters.
    #[test]
    fn the_page_lists_every_route_with_its_parameters() {
        let paths = document()["paths"].as_object().expect("an object");
        for (path, operations) in paths {
            for method in operations.as_object().expect("an object").keys() {
                let route = format!("<code>{} {path}</code>", method.to_uppercase());
                assert!(INDEX.contains(&route), "{route} in\n{}", &**INDEX);
            }
        }
        let latest = "GET /v1/snapshots/latest</code></a><td>The newest snapshot: <code>status wait revision</code>";
        assert!(INDEX.contains(latest), "{}", &**INDEX);
    }
}
