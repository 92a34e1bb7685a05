//! Messages in one piece. prost and tonic hand a message over through buffers that may be in pieces, which they look at
//! anew for every number in it. A message that has arrived lies in one piece, and to read it from there takes half as
//! long; room for one that leaves is made at once.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf as _;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The codec of all services: `application/grpc+proto`, as that of tonic.
#[derive(Debug, Clone)]
pub struct Contiguous<E, D>(PhantomData<(E, D)>);

/// Reads or writes messages of one type.
#[derive(Debug, Clone)]
pub struct Of<M>(PhantomData<M>);

impl<E, D> Default for Contiguous<E, D> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<M> Default for Of<M> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<E, D> Codec for Contiguous<E, D>
where
    E: Message + Send + 'static,
    D: Message + Default + Send + 'static,
{
    type Encode = E;
    type Decode = D;
    type Encoder = Of<E>;
    type Decoder = Of<D>;

    fn encoder(&mut self) -> Self::Encoder {
        Of::default()
    }

    fn decoder(&mut self) -> Self::Decoder {
        Of::default()
    }
}

impl<M: Message> Encoder for Of<M> {
    type Item = M;
    type Error = Status;

    fn encode(&mut self, message: M, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.reserve(message.encoded_len());
        let encoded = message.encode(buffer);
        encoded.map_err(|error| Status::internal(error.to_string()))
    }
}

impl<M: Message + Default> Decoder for Of<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        let arrived = buffer.remaining();
        let decoded = match buffer.chunk() {
            whole if whole.len() == arrived => M::decode(whole),
            _ => M::decode(buffer.copy_to_bytes(arrived)),
        };
        buffer.advance(buffer.remaining());
        let decoded = decoded.map_err(|error| Status::internal(error.to_string()));
        decoded.map(Some)
    }
}
