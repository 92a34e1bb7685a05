//! The body of an answer, charged until the client has taken it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::body::Body;
use hyper::HeaderMap;
use hyper::body::{Bytes, Frame, SizeHint};

use super::REQUEST_BYTES;
use super::refusal::Protocol;
use super::request::RequestUsage;
use super::usage::ConnectionUsage;
use crate::api::error::Failure;

/// A body whose blocks are charged to its request.
pub(in crate::api::serve) struct Owed {
    body: Body,
    protocol: Protocol,
    request: Arc<RequestUsage>,
    /// Something that the connection has not asked for yet.
    debt: Option<Debt>,
}

/// Counts as owed to the client until dropped.
struct Debt(Arc<ConnectionUsage>);

/// A block of an answer, as it waits for the socket.
struct Block {
    bytes: Bytes,
    /// The bytes that were charged for it.
    charged: usize,
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
        self.request.permit.shrink(self.charged);
    }
}

impl Owed {
    pub(super) fn new(body: Body, protocol: Protocol, request: Arc<RequestUsage>) -> Self {
        let debt = Some(Debt::new(request.permit.usage()));
        Self {
            body,
            protocol,
            request,
            debt,
        }
    }

    // Short blocks are covered by the charge of the request.
    fn block(&self, bytes: Bytes) -> Result<Bytes, Failure> {
        let charged = match bytes.len() {
            0..=REQUEST_BYTES => 0,
            length => length,
        };
        self.request.permit.grow(charged)?;
        let debt = Debt::new(self.request.permit.usage());
        Ok(Bytes::from_owner(Block {
            bytes,
            charged,
            request: Arc::clone(&self.request),
            _debt: debt,
        }))
    }

    // The end of an answer for which there is no room.
    fn refused(&mut self, failure: Failure) -> Result<Frame<Bytes>, axum::Error> {
        self.body = Body::empty();
        match self.protocol {
            Protocol::Grpc => {
                let mut trailers = HeaderMap::new();
                let status = tonic::Status::from(failure).add_header(&mut trailers);
                status.expect("a sentence in ASCII can be sent");
                Ok(Frame::trailers(trailers))
            }
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
        self.debt = None;
        let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        self.debt = Some(Debt::new(self.request.permit.usage()));
        let frame = match frame?.into_data() {
            Ok(bytes) => self.block(bytes).map(Frame::data),
            Err(other) => Ok(other),
        };
        Poll::Ready(Some(match frame {
            Ok(frame) => Ok(frame),
            Err(failure) => self.refused(failure),
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
