//! The end of a call for the audit trail: made from the failure that answers it, where there is one.
//!
//! A failure leaves its end in the answer: in the extensions over REST, as the source of the status over gRPC. So the trail has
//! the same word for both, and no text of a request.

use axum::response::Response;
use hyper::HeaderMap;
use tonic::{Code, Status};

use super::denied::Denied;
use super::error::Failure;
use crate::access::trail::{Ended, Outcome};

impl From<&Failure> for Ended {
    fn from(failure: &Failure) -> Self {
        if let Failure::Denied(denied) = failure {
            return denied.into();
        }
        let verdict = failure.verdict();
        let outcome = match verdict.http.is_server_error() {
            true => Outcome::Failed,
            false => Outcome::Refused,
        };
        Self::because(outcome, verdict.kind)
    }
}

impl From<&Denied> for Ended {
    fn from(denied: &Denied) -> Self {
        let outcome = match denied {
            Denied::Unauthenticated { .. } => Outcome::Unauthenticated,
            _ => Outcome::Forbidden,
        };
        Self::because(outcome, denied.to_string())
    }
}

/// The failure that an answer over REST reports.
pub(super) fn failure_of_rest(response: &Response) -> Option<Ended> {
    let status = response.status();
    if status.is_success() || status.is_redirection() {
        return None;
    }
    let known = response.extensions().get::<Ended>().cloned();
    Some(known.unwrap_or_else(|| {
        let outcome = match status.is_server_error() {
            true => Outcome::Failed,
            false => Outcome::Refused,
        };
        Ended::because(outcome, status.as_str())
    }))
}

/// The failure that the head of an answer over gRPC reports.
pub(super) fn failure_of_grpc(response: &Response) -> Option<Ended> {
    let status = response.extensions().get::<Status>();
    let source = status.and_then(std::error::Error::source);
    let known = source.and_then(|source| source.downcast_ref::<Ended>());
    known.cloned().or_else(|| of_headers(response.headers()))
}

/// The failure in the headers or trailers of gRPC; `None`: OK, or no status.
pub(super) fn of_headers(headers: &HeaderMap) -> Option<Ended> {
    let status = Status::from_header_map(headers)?;
    let outcome = match status.code() {
        Code::Ok => return None,
        Code::PermissionDenied => Outcome::Forbidden,
        Code::Unauthenticated => Outcome::Unauthenticated,
        Code::Unknown
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::DeadlineExceeded
        | Code::Aborted => Outcome::Failed,
        _ => Outcome::Refused,
    };
    Some(match outcome {
        // A sentence about the caller. Others may repeat what was asked.
        Outcome::Forbidden | Outcome::Unauthenticated => Ended::because(outcome, status.message()),
        _ => Ended::because(outcome, format!("{:?}", status.code())),
    })
}
