//! The last frame of a gRPC answer.

use hyper::HeaderMap;
use hyper::body::{Bytes, Frame};
use tonic::Status;

/// The frame that ends an answer with this status.
pub(super) fn ending_with(status: &Status) -> Frame<Bytes> {
    let mut trailers = HeaderMap::new();
    let added = status.add_header(&mut trailers);
    added.expect("a sentence in ASCII can be sent");
    Frame::trailers(trailers)
}
