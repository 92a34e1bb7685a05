//! Bodies that end when the rights of their caller end: a token that is removed or expires ends its running streams.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tonic::Status;

use crate::access::caller::Caller;
use crate::api::trailers;

const ENDED: &str = "the token or certificate of this call was revoked or has expired";

/// How a body tells that it is cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// By breaking off.
    Rest,
    /// By a status in the trailers.
    Grpc,
}

impl Kind {
    /// Whether the body may last.
    pub(super) fn has_stream(self, body: &Body) -> bool {
        !body.is_end_stream() && body.size_hint().exact().is_none()
    }
}

/// The body of an answer.
pub(super) struct Ending {
    body: Body,
    ended: Pin<Box<dyn Future<Output = ()> + Send>>,
    caller: Caller,
    kind: Kind,
}

impl Ending {
    pub(super) fn new(body: Body, caller: Caller, kind: Kind) -> Self {
        Self {
            body,
            ended: Box::pin(caller.clone().ended()),
            caller,
            kind,
        }
    }

    // The end of the rights also wakes the source of the answer, perhaps first: an answer that ends for that reason must not
    // pass as a whole one.
    fn has_ended(&mut self, context: &mut Context<'_>) -> bool {
        self.caller.has_ended() || self.ended.as_mut().poll(context).is_ready()
    }
}

impl hyper::body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if !self.body.is_end_stream() && self.has_ended(context) {
            // Dropping the body tells the source of the answer that its receiver is gone.
            self.body = Body::empty();
            return Poll::Ready(Some(match self.kind {
                Kind::Rest => Err(axum::Error::new(std::io::Error::other(ENDED))),
                Kind::Grpc => Ok(trailers::ending_with(&Status::unauthenticated(ENDED))),
            }));
        }
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
