//! The guard of the REST port.

use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{MatchedPath, RawPathParams, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::ending::Kind;
use super::{Call, admit, asked};
use crate::access::authority::Authority;
use crate::access::role::Need;
use crate::access::table::of_route;
use crate::access::trail::Ended;
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
    let mut asked = asked(rule, &request);
    let segments = segments.as_ref().ok();
    asked.snapshot = segments.and_then(|segments| segment(segments, "id"));
    let caller = match admit(&authority, &asked, &request) {
        Ok(caller) => caller,
        Err(denied) => {
            unread::discard(request).await;
            return Failure::from(denied).into_response();
        }
    };
    let mut call = Call::new(authority, asked, caller.clone(), Kind::Rest);
    let may_touch = match segments {
        None => Err(Failure::malformed("path", NOT_UTF_8)),
        // An auditor sees all accounts, and no other role than a teller is bound to some.
        Some(segments) => match segment(segments, "account") {
            None => Ok(()),
            Some(account) => caller
                .check(|| "account".to_owned(), &account)
                .map_err(Failure::from),
        },
    };
    if let Err(refused) = may_touch {
        call.end(Ended::from(&refused));
        unread::discard(request).await;
        return refused.into_response();
    }
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    call.answer(response)
}

fn segment(segments: &RawPathParams, wanted: &str) -> Option<String> {
    let mut segments = segments.into_iter();
    let found = segments.find(|(name, _)| *name == wanted);
    found.map(|(_, value)| value.to_owned())
}
