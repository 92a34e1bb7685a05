//! The guard of both ports: every call needs a caller with the right role, as the table of `access` says. Without
//! authentication there is no guard.

mod ending;
pub(super) mod grpc;
pub(super) mod rest;

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::{FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::Response;

use super::denied::Denied;
use crate::access::LoginRefused;
use crate::access::authority::Authority;
use crate::access::caller::Caller;
use crate::access::connection::Connection;
use crate::access::role::{Capacity, Need};
use crate::access::table::Rule;
use ending::{Ending, Kind};

/// The longest request id in the audit trail, in bytes.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Without authentication anyone is the caller.
impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::of(&parts.extensions))
    }
}

/// The caller of a request, if it may make this call.
fn admit(authority: &Authority, rule: Rule, request: &Request) -> Result<Caller, Denied> {
    let caller = identified(authority, request).map_err(|refused| {
        let connection = request.extensions().get::<Connection>();
        let address = connection.map(|connection| connection.address);
        authority.login_refused(rule, &refused, address);
        Denied::Unauthenticated {
            refused,
            realm: authority.cluster().to_owned(),
        }
    })?;
    let capacity = caller.grant().map(|grant| grant.capacity);
    match capacity.is_some_and(|capacity| rule.allows(capacity)) {
        true => Ok(caller),
        false => {
            let denied = Denied::Role {
                name: caller.name().unwrap_or_default().to_owned(),
                capacity: capacity
                    .map(|capacity| capacity.to_string())
                    .unwrap_or_default(),
                need: rule.need,
            };
            Err(forbidden(authority, rule, &caller, denied))
        }
    }
}

fn identified(authority: &Authority, request: &Request) -> Result<Caller, LoginRefused> {
    let connection = request.extensions().get::<Connection>();
    let values = request.headers().get_all(header::AUTHORIZATION).iter();
    authority.caller(values.map(|value| value.to_str().ok()), connection)
}

/// Whether the caller of a request may see snapshots, asked before its route is known. Nothing is reported: the guard of the
/// route will.
pub(super) fn may_see_snapshots(authority: &Authority, request: &Request) -> bool {
    let caller = identified(authority, request).unwrap_or_default();
    let capacity = caller.grant().map(|grant| grant.capacity);
    matches!(capacity, Some(Capacity::Role(role)) if Need::Audit.roles().contains(&role))
}

fn forbidden(authority: &Authority, rule: Rule, caller: &Caller, denied: Denied) -> Denied {
    authority.forbidden(rule, caller, denied.to_string());
    denied
}

/// Whether the audit trail has a line for each such call. Calls of processes are too many, and have their own journal.
fn is_audited(rule: Rule, caller: &Caller) -> bool {
    let is_client = caller
        .grant()
        .is_some_and(|grant| grant.capacity != Capacity::Process);
    is_client && !matches!(rule.need, Need::Public | Need::Known | Need::Process)
}

/// The answer, which ends when the rights of its caller do, with a line in the audit trail.
fn watched(response: Response, call: Call, outcome: String) -> Response {
    let is_stream = call.kind == Kind::Grpc && call.rule.call.ends_with("/Stream");
    let outcome = match is_stream && outcome == "ok" {
        true => "opened".to_owned(),
        false => outcome,
    };
    let Call {
        authority,
        rule,
        caller,
        request_id,
        kind,
    } = call;
    if is_audited(rule, &caller) {
        let is_open = outcome == "opened";
        authority.answered(rule, &caller, outcome, request_id.clone());
        if is_open {
            authority.closes(rule, &caller, request_id);
        }
    }
    response.map(|body| match kind.has_stream(&body) {
        true => Body::new(Ending::new(body, caller, kind)),
        false => body,
    })
}

/// A call in progress.
struct Call {
    authority: Authority,
    rule: Rule,
    caller: Caller,
    request_id: Option<String>,
    kind: Kind,
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    (id.len() <= REQUEST_ID_BYTES_MAX).then(|| id.to_owned())
}
