//! Refusals of requests before any service has seen them, in the form that the client understands.

use axum::body::Body;
use axum::http::{HeaderMap, Response, header};
use axum::response::IntoResponse as _;
use tonic::Status;

use crate::api::error::Failure;

/// The protocol of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::api::serve) enum Protocol {
    Grpc,
    Rest,
}

impl Protocol {
    /// The protocol that the header of a request shows.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let media_type = headers.get(header::CONTENT_TYPE);
        let is_grpc =
            media_type.is_some_and(|text| text.as_bytes().starts_with(b"application/grpc"));
        match is_grpc {
            true => Self::Grpc,
            false => Self::Rest,
        }
    }

    /// The answer that reports a failure.
    pub(super) fn answer(self, failure: Failure) -> Response<Body> {
        match self {
            Self::Grpc => Status::from(failure).into_http(),
            Self::Rest => failure.into_response(),
        }
    }
}
