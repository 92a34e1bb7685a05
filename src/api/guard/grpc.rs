//! The guard of the gRPC port.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::{Code, Status};

use super::ending::Kind;
use super::{Call, admit, request_id, watched};
use crate::access::authority::Authority;
use crate::access::role::Need;
use crate::access::table::of_method;
use crate::api::error::Failure;

/// Around every call of every service.
pub(in crate::api) async fn keep(
    State(authority): State<Authority>,
    mut request: Request,
    next: Next,
) -> Response {
    let Some(rule) = of_method(request.uri().path()) else {
        return Status::unimplemented("there is no such method").into_http();
    };
    if rule.need == Need::Public {
        return next.run(request).await;
    }
    let caller = match admit(&authority, rule, &request) {
        Ok(caller) => caller,
        Err(denied) => return Status::from(Failure::from(denied)).into_http(),
    };
    let call = Call {
        authority,
        rule,
        caller: caller.clone(),
        request_id: request_id(request.headers()),
        kind: Kind::Grpc,
    };
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    // A failure has its status in the headers.
    let status = Status::from_header_map(response.headers());
    let outcome = match status.map(|status| status.code()) {
        None | Some(Code::Ok) => "ok".to_owned(),
        Some(code) => format!("{code:?}"),
    };
    watched(response, call, outcome)
}
