//! The guard of the REST port.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ending::Kind;
use super::{Call, admit, forbidden, request_id, watched};
use crate::access::authority::Authority;
use crate::access::role::Need;
use crate::access::table::of_route;
use crate::api::denied::Denied;
use crate::api::error::Failure;
use crate::api::rest::NOT_UTF_8;
use crate::api::unread;

/// Around each route, so that its pattern is known.
pub(in crate::api) async fn keep(
    State(authority): State<Authority>,
    matched: MatchedPath,
    segments: Result<RawPathParams, RawPathParamsRejection>,
    mut request: Request,
    next: Next,
) -> Response {
    // A route that is not in the table is refused.
    let Some(rule) = of_route(request.method().as_str(), matched.as_str()) else {
        return Failure::UnknownRoute(request.uri().path().to_owned()).into_response();
    };
    if rule.need == Need::Public {
        return next.run(request).await;
    }
    let caller = match admit(&authority, rule, &request) {
        Ok(caller) => caller,
        Err(denied) => {
            unread::discard(request).await;
            return Failure::from(denied).into_response();
        }
    };
    let Ok(segments) = segments else {
        return Failure::malformed("path", NOT_UTF_8).into_response();
    };
    for (name, value) in &segments {
        match name {
            // An auditor sees all accounts, and no other role than a teller is bound to some.
            "account" => {
                if let Err(foreign) = caller.check(|| name.to_owned(), value) {
                    let denied = Denied::Account(foreign);
                    let denied = forbidden(&authority, rule, &caller, denied);
                    unread::discard(request).await;
                    return Failure::from(denied).into_response();
                }
            }
            "id" => caller.note_snapshot(value),
            _ => {}
        }
    }
    let call = Call {
        authority,
        rule,
        caller: caller.clone(),
        request_id: request_id(request.headers()),
        kind: Kind::Rest,
    };
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    let outcome = outcome(response.status());
    watched(response, call, outcome)
}

fn outcome(status: StatusCode) -> String {
    match status.is_success() || status.is_redirection() {
        true => "ok".to_owned(),
        false => status.as_u16().to_string(),
    }
}
