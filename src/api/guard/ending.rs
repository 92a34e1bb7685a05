//! Bodies that end when the rights of their caller end: a token that is removed or expires ends its running streams.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use hyper::body::{Body as _, Bytes, Frame, SizeHint};
use tonic::Status;

use super::Call;
use crate::access::trail::{Ended, Outcome};
use crate::api::ended;
use crate::api::trailers;

const ENDED: &str = "the token or certificate of this call was revoked or has expired";
const CUT_OFF: &str = "the client or its connection ended it";

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
    /// Wakes a body that waits. Most answers never wait, so it is made when one does.
    ended: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    call: Call,
    /// Whether its end is always a line of the audit trail; otherwise only one that is a refusal.
    closes: bool,
    end: End,
}

/// How a body ends.
enum End {
    /// Its receiver has not waited for it.
    CutOff,
    Whole,
    Early(Ended),
}

impl Ending {
    pub(super) fn new(body: Body, call: Call, closes: bool) -> Self {
        Self {
            body,
            ended: None,
            call,
            closes,
            end: End::CutOff,
        }
    }

    // Whether the rights of the caller have ended. A body that waits is woken when they do.
    fn has_ended(&mut self, waits: bool, context: &mut Context<'_>) -> bool {
        let caller = &self.call.caller;
        if caller.has_ended() {
            return true;
        }
        if !waits {
            return false;
        }
        let ended =
            || -> Pin<Box<dyn Future<Output = ()> + Send>> { Box::pin(caller.clone().ended()) };
        self.ended
            .get_or_insert_with(ended)
            .as_mut()
            .poll(context)
            .is_ready()
    }
}

impl hyper::body::Body for Ending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        // Looked at afterwards: the source of the answer ends with the rights, too, and that must not pass as a whole answer.
        let goes_on = matches!(self.end, End::CutOff);
        if goes_on && self.has_ended(polled.is_pending(), context) {
            // Dropping the body tells the source of the answer that its receiver is gone.
            self.body = Body::empty();
            self.end = End::Early(Ended::because(Outcome::Unauthenticated, ENDED));
            return Poll::Ready(Some(match self.call.kind {
                Kind::Rest => Err(axum::Error::new(std::io::Error::other(ENDED))),
                Kind::Grpc => Ok(trailers::ending_with(&Status::unauthenticated(ENDED))),
            }));
        }
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_ref() {
                    self.end = ended::of_headers(trailers).map_or(End::Whole, End::Early);
                }
            }
            Poll::Ready(Some(Err(_))) => {
                self.end = End::Early(Ended::plainly(Outcome::Failed));
            }
            Poll::Ready(None) if matches!(self.end, End::CutOff) => self.end = End::Whole,
            Poll::Ready(None) | Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let ended = match std::mem::replace(&mut self.end, End::Whole) {
            End::Early(ended) => ended,
            _ if !self.closes => return,
            End::Whole => Ended::plainly(Outcome::Closed),
            End::CutOff => Ended::because(Outcome::Closed, CUT_OFF),
        };
        match self.closes {
            true => self.call.close(ended),
            false => self.call.end(ended),
        }
    }
}
