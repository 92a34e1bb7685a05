//! Failures as problem documents (RFC 9457).

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::super::error::Failure;
use super::super::time::rfc3339;
use super::check::CheckResponse;
use super::json::Json;
use crate::access::trail::Ended;

/// The URI prefix of problem types; it need not resolve.
const TYPES: &str = "https://snapledger.invalid/problems/";

#[derive(Serialize)]
struct Problem<'a> {
    #[serde(rename = "type")]
    kind: String,
    title: String,
    status: u16,
    detail: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<&'a str>,
    /// The instant from which answers exist.
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Of a node that is not ready.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<CheckResponse<'a>>>,
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let verdict = self.verdict();
        let field = match &self {
            Self::Malformed { field, .. } => Some(field.as_str()),
            _ => None,
        };
        let since = match &self {
            Self::BeforeHorizon(since) => Some(rfc3339(since.wall_us())),
            Self::Deleted { since, .. } => since.clone(),
            _ => None,
        };
        let checks = match &self {
            Self::NotReady(checks) => Some(checks.iter().map(CheckResponse::of).collect()),
            _ => None,
        };
        let challenge = match &self {
            Self::Denied(denied) => denied.challenge(),
            _ => None,
        };
        let problem = Problem {
            kind: format!("{TYPES}{}", verdict.kind),
            title: verdict.title(),
            status: verdict.http.as_u16(),
            detail: self.to_string(),
            field,
            since,
            checks,
        };
        let mut response = (verdict.http, Json(problem)).into_response();
        response.extensions_mut().insert(Ended::from(&self));
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, "application/problem+json");
        set(header::CACHE_CONTROL, "no-store");
        if verdict.http == StatusCode::TOO_MANY_REQUESTS || verdict.kind == "not-ready" {
            set(header::RETRY_AFTER, "1");
        }
        if let Some(challenge) = challenge.and_then(|text| text.parse().ok()) {
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Unavailable;

    #[test]
    fn a_full_node_says_when_to_come_back() {
        let response = Failure::from(Unavailable::Full).into_response();
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        let types = response.headers().get_all(header::CONTENT_TYPE).iter();
        assert_eq!(types.collect::<Vec<_>>(), ["application/problem+json"]);
    }
}
