//! The guard of the gRPC port.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use tonic::Status;

use super::ending::Kind;
use super::{Call, admit, asked};
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
    let asked = asked(rule, &request);
    let caller = match admit(&authority, &asked, &request) {
        Ok(caller) => caller,
        Err(denied) => return Status::from(Failure::from(denied)).into_http(),
    };
    request.extensions_mut().insert(caller.clone());
    let call = Call::new(authority, asked, caller, Kind::Grpc);
    let response = next.run(request).await;
    call.answer(response)
}
