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
use super::ended;
use crate::access::LoginRefused;
use crate::access::authority::Authority;
use crate::access::caller::Caller;
use crate::access::connection::Connection;
use crate::access::role::{Capacity, Need};
use crate::access::table::Rule;
use crate::access::trail::{Asked, Ended, Outcome};
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
fn admit(authority: &Authority, asked: &Asked, request: &Request) -> Result<Caller, Denied> {
    let caller = identified(authority, request).map_err(|refused| {
        authority.login_refused(asked, &refused);
        Denied::Unauthenticated {
            refused,
            realm: authority.cluster().to_owned(),
        }
    })?;
    let capacity = caller.grant().map(|grant| grant.capacity);
    match capacity.is_some_and(|capacity| asked.rule.allows(capacity)) {
        true => Ok(caller),
        false => {
            let denied = Denied::Role {
                name: caller.name().unwrap_or_default().to_owned(),
                capacity: capacity
                    .map(|capacity| capacity.to_string())
                    .unwrap_or_default(),
                need: asked.rule.need,
            };
            authority.ended(asked, &caller, Ended::from(&denied));
            Err(denied)
        }
    }
}

fn asked(rule: Rule, request: &Request) -> Asked {
    let connection = request.extensions().get::<Connection>();
    Asked {
        rule,
        address: connection.map(|connection| connection.address),
        request_id: request_id(request.headers()),
        snapshot: None,
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

/// A call in progress. It has its line in the audit trail also if it is dropped before its answer: what its client did not
/// wait for may have been done.
struct Call {
    authority: Authority,
    asked: Asked,
    caller: Caller,
    kind: Kind,
    has_ended: bool,
}

impl Call {
    fn new(authority: Authority, asked: Asked, caller: Caller, kind: Kind) -> Self {
        Self {
            authority,
            asked,
            caller,
            kind,
            has_ended: false,
        }
    }

    /// The answer, which ends when the rights of its caller do.
    fn answer(mut self, response: Response) -> Response {
        let failure = match self.kind {
            Kind::Rest => ended::failure_of_rest(&response),
            Kind::Grpc => ended::failure_of_grpc(&response),
        };
        let is_stream = self.kind == Kind::Grpc && self.asked.rule.call.ends_with("/Stream");
        let ended = failure.unwrap_or_else(|| match is_stream {
            true => Ended::plainly(Outcome::Opened),
            false => Ended::answered(&self.caller),
        });
        let closes = ended.outcome == Outcome::Opened;
        self.end(ended);
        response.map(|body| match self.kind.has_stream(&body) {
            true => Body::new(Ending::new(body, self, closes)),
            false => body,
        })
    }

    /// Writes a line, if the trail has one for such a call.
    fn end(&mut self, ended: Ended) {
        self.has_ended = true;
        if self.is_audited() || ended.outcome == Outcome::Forbidden {
            self.authority.ended(&self.asked, &self.caller, ended);
        }
    }

    /// Writes the line of the end of a stream, once its last operation has ended.
    fn close(&mut self, ended: Ended) {
        if self.is_audited() || ended.outcome == Outcome::Forbidden {
            self.authority.closes(&self.asked, &self.caller, ended);
        }
    }

    // Calls of processes are too many, and have their own journal.
    fn is_audited(&self) -> bool {
        let grant = self.caller.grant();
        let is_client = grant.is_some_and(|grant| grant.capacity != Capacity::Process);
        let need = self.asked.rule.need;
        is_client && !matches!(need, Need::Public | Need::Known | Need::Process)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(Ended::plainly(Outcome::Unanswered));
        }
    }
}

fn request_id(headers: &HeaderMap) -> Option<String> {
    let id = headers.get("x-request-id")?.to_str().ok()?;
    Some(id[..id.len().min(REQUEST_ID_BYTES_MAX)].to_owned())
}
