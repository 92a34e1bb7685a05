//! Requirements of the gRPC protocol outside the calls: media types, compression, and status codes.

use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use tonic::{Code, Status};

use crate::node::Requests;

const ENCODING: &str = "grpc-encoding";
const ACCEPT_ENCODING: &str = "grpc-accept-encoding";
/// The prefix of tonic's message for an oversized request, which it reports as OUT_OF_RANGE.
const TOO_LARGE: &str = "Error, decoded message length too large: ";

/// Admits gRPC calls, rejects other requests with a readable status, and counts both. A call that fails after the head of its
/// answer counts as it began.
pub(super) async fn keep(
    State(requests): State<Requests>,
    request: Request,
    next: Next,
) -> Response {
    let route = requests.grpc(request.uri().path());
    let begun = Instant::now();
    let (response, code) = admitted(request, next).await;
    route.answered_grpc(code as usize, begun.elapsed());
    response
}

async fn admitted(mut request: Request, next: Next) -> (Response, Code) {
    let rejected = |status, sentence: &'static str| {
        let response = (status, sentence).into_response();
        (response, Code::Unknown)
    };
    let media_type = request.headers().get(header::CONTENT_TYPE);
    if !media_type.is_some_and(is_grpc) {
        let sentence = "this port speaks gRPC, with Content-Type: application/grpc; REST has a port of its own\n";
        return rejected(StatusCode::UNSUPPORTED_MEDIA_TYPE, sentence);
    }
    if request.version() != Version::HTTP_2 {
        let sentence = "gRPC needs HTTP/2\n";
        return rejected(StatusCode::HTTP_VERSION_NOT_SUPPORTED, sentence);
    }
    let headers = request.headers_mut();
    if !is_compressed(headers) {
        // Most clients accept compressed answers without wanting them, so answers are compressed only if the request
        // was.
        headers.remove(ACCEPT_ENCODING);
    }
    let response = next.run(request).await;
    match Status::from_header_map(response.headers()) {
        Some(status) if is_too_large(&status) => {
            let status = named(status);
            let code = status.code();
            (status.into_http(), code)
        }
        Some(status) => (response, status.code()),
        None => (response, Code::Ok),
    }
}

/// A status of tonic with the code that the protocol prescribes.
pub(super) fn named(status: Status) -> Status {
    if !is_too_large(&status) {
        return status;
    }
    let figures = &status.message()[TOO_LARGE.len()..];
    Status::resource_exhausted(format!("the message is too large: {figures}"))
}

fn is_too_large(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().starts_with(TOO_LARGE)
}

// Messages are protobuf. Other encodings and gRPC-Web have other media types.
fn is_grpc(media_type: &HeaderValue) -> bool {
    let essence = media_type.to_str().unwrap_or("").split(';').next();
    let essence = essence.unwrap_or("").trim().to_ascii_lowercase();
    ["application/grpc", "application/grpc+proto"].contains(&&*essence)
}

fn is_compressed(headers: &HeaderMap) -> bool {
    let encoding = headers.get(ENCODING);
    encoding.is_some_and(|encoding| encoding != "identity")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn protobuf_over_grpc_is_taken_and_nothing_like_it() {
        let taken = |text: &'static str| is_grpc(&HeaderValue::from_static(text));
        for grpc in [
            "application/grpc",
            "Application/GRPC+proto",
            "application/grpc; charset=x",
        ] {
            assert!(taken(grpc), "{grpc}");
        }
        for other in [
            "",
            "application/json",
            "application/grpc+json",
            "application/grpc-web",
            "text/plain",
        ] {
            assert!(!taken(other), "{other}");
        }
    }
}
