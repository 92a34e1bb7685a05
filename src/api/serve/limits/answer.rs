//! The body of an answer, charged until the client has taken it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::{Body, HttpBody as _};
use axum::http::Response;
use hyper::body::{Bytes, Frame, SizeHint};

use super::REQUEST_BYTES;
use super::refusal::Protocol;
use super::request::{Charge, RequestUsage};
use super::usage::ConnectionUsage;
use crate::api::error::Failure;
use crate::api::trailers;

/// What a block of an answer costs beside its bytes while it waits.
const BLOCK_BYTES: usize = 256;

/// A body that is charged to its request: as a whole if its size is known, else each block until the client has taken it.
pub(in crate::api::serve) struct Owed {
    body: Body,
    protocol: Protocol,
    request: Arc<RequestUsage>,
    is_charged: bool,
    /// A block for which there is no room yet.
    next: Option<Bytes>,
    /// Something that the connection has not asked for yet.
    debt: Option<Debt>,
}

/// Counts as owed to the client until dropped.
struct Debt(Arc<ConnectionUsage>);

/// A block of an answer, as it waits for the socket.
struct Block {
    bytes: Bytes,
    /// What was charged for it; `None` if the whole body was charged.
    charged: Option<Charge>,
    request: Arc<RequestUsage>,
    _debt: Debt,
}

impl Debt {
    fn new(usage: &Arc<ConnectionUsage>) -> Self {
        usage.progress.owes();
        Self(Arc::clone(usage))
    }
}

impl Drop for Debt {
    fn drop(&mut self) {
        self.0.progress.is_taken();
    }
}

impl AsRef<[u8]> for Block {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Block {
    fn drop(&mut self) {
        if let Some(charged) = self.charged.take() {
            self.request.block_is_taken(charged);
        }
    }
}

impl Owed {
    /// The answer of a request. A body of known size for which there is no room becomes a refusal.
    pub(super) fn answer(
        answer: Response<Body>,
        protocol: Protocol,
        request: Arc<RequestUsage>,
    ) -> Response<Self> {
        let answer = match charge_whole(answer.body(), &request) {
            Ok(()) => answer,
            Err(failure) => protocol.answer(failure),
        };
        answer.map(|body| Self {
            is_charged: body.size_hint().exact().is_some(),
            body,
            protocol,
            debt: Some(Debt::new(request.permit.usage())),
            request,
            next: None,
        })
    }

    // The block as it is sent; pending while the client takes earlier ones.
    fn poll_block(
        &mut self,
        bytes: Bytes,
        context: &mut Context<'_>,
    ) -> Poll<Result<Bytes, Failure>> {
        let request = &self.request;
        let charged = match self.is_charged {
            true => None,
            false => match request.charge_block(BLOCK_BYTES + bytes.len(), context.waker()) {
                Ok(charged) => Some(charged),
                Err(None) => {
                    self.next = Some(bytes);
                    return Poll::Pending;
                }
                Err(Some(failure)) => return Poll::Ready(Err(failure)),
            },
        };
        let block = Block {
            bytes,
            charged,
            request: Arc::clone(request),
            _debt: Debt::new(request.permit.usage()),
        };
        Poll::Ready(Ok(Bytes::from_owner(block)))
    }

    // The end of an answer for which there is no room.
    fn refused(&mut self, failure: Failure) -> Result<Frame<Bytes>, axum::Error> {
        self.body = Body::empty();
        match self.protocol {
            Protocol::Grpc => Ok(trailers::ending_with(&failure.into())),
            Protocol::Rest => Err(axum::Error::new(failure)),
        }
    }
}

impl hyper::body::Body for Owed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        this.debt = None;
        let bytes = match this.next.take() {
            Some(bytes) => bytes,
            None => {
                let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
                    return Poll::Ready(None);
                };
                match frame?.into_data() {
                    Ok(bytes) => bytes,
                    Err(other) => return Poll::Ready(Some(Ok(other))),
                }
            }
        };
        let block = ready!(this.poll_block(bytes, context));
        this.debt = Some(Debt::new(this.request.permit.usage()));
        Poll::Ready(Some(match block {
            Ok(bytes) => Ok(Frame::data(bytes)),
            Err(failure) => this.refused(failure),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.next.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn charge_whole(body: &Body, request: &RequestUsage) -> Result<(), Failure> {
    let length = body.size_hint().exact().unwrap_or(0);
    match usize::try_from(length).unwrap_or(usize::MAX) {
        0..=REQUEST_BYTES => Ok(()),
        length => request.permit.grow(length),
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use hyper::body::Body as _;

    use super::super::places::Places;
    use super::super::{CLIENT_BYTES_MAX, RESERVED_BYTES, Resource, address_share};
    use super::*;

    fn poll(answer: &mut Owed) -> Poll<Option<Result<Bytes, axum::Error>>> {
        let frame = Pin::new(answer).poll_frame(&mut Context::from_waker(std::task::Waker::noop()));
        frame.map_ok(|frame| frame.into_data().unwrap_or_default())
    }

    // Without this, streams of short messages that nobody reads would hold many times what they were charged.
    #[test]
    fn short_blocks_that_are_not_taken_are_charged_when_they_are_many() {
        let usage = Places::alone();
        let permit = usage.take(Resource::ClientBytes, REQUEST_BYTES);
        let request = RequestUsage::new(permit.expect("its reserve"), false);
        let blocks = std::iter::repeat(Ok::<_, Infallible>(Bytes::from_static(&[7; 100])));
        let body = Body::from_stream(tokio_stream::iter(blocks));
        let mut answer = Owed::answer(Response::new(body), Protocol::Grpc, request).into_body();
        let share = address_share(CLIENT_BYTES_MAX);
        let others = usage.take(
            Resource::ClientBytes,
            RESERVED_BYTES + share - REQUEST_BYTES,
        );
        let others = others.expect("all but what the request has");
        let covered = REQUEST_BYTES / (BLOCK_BYTES + 100);
        let mut held = Vec::new();
        for _ in 0..covered {
            let Poll::Ready(Some(Ok(bytes))) = poll(&mut answer) else {
                unreachable!("the request covers {covered} blocks, not {}", held.len());
            };
            held.push(bytes);
        }
        assert!(poll(&mut answer).is_pending(), "there is no room");
        held.pop();
        assert!(poll(&mut answer).is_ready(), "one was taken");
        drop(others);
        assert!(poll(&mut answer).is_ready(), "there is room again");
        drop((held, answer));
        let all = usage.take(Resource::ClientBytes, RESERVED_BYTES + share);
        assert!(all.is_ok(), "all was returned");
    }
}
