//! A codec for contiguous messages. tonic gives prost a buffer that may consist of several pieces, which it checks for
//! every number of the message. This codec decodes a received message from one contiguous buffer, and reserves the
//! space of a sent message at once.

use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf as _;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

/// The codec of all services: `application/grpc+proto`, as tonic's own.
#[derive(Debug, Clone)]
pub struct Contiguous<E, D>(PhantomData<(E, D)>);

/// Encodes or decodes messages of one type.
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
        // Takes the whole message out of the buffer even if it cannot be decoded, since the next one follows. Nothing
        // is copied.
        let whole = buffer.copy_to_bytes(buffer.remaining());
        let decoded = M::decode(&whole[..]);
        let decoded = decoded.map_err(|error| Status::internal(error.to_string()));
        decoded.map(Some)
    }
}

#[cfg(test)]
mod tests {
    use tonic::codec::Streaming;

    use super::*;
    use crate::proto::chandy_lamport::DepositRequest;

    // The wire format: not compressed, a length, a message.
    fn frame(message: &[u8]) -> Vec<u8> {
        let [.., length] = message.len().to_be_bytes();
        [&[0, 0, 0, 0, length], message].concat()
    }

    #[tokio::test]
    async fn messages_that_come_together_are_told_apart_and_a_broken_one_is_refused() {
        let deposit = DepositRequest {
            account_id: "a".to_owned(),
            amount: 1,
        };
        let whole = deposit.encode_to_vec();
        let cut_off = &whole[..2];
        let frames = [frame(&whole), frame(&[]), frame(&whole), frame(cut_off)];
        // A string is a body without a further crate; these bytes are valid UTF-8.
        let body = String::from_utf8(frames.concat()).expect("small numbers and letters");
        let decoder = Of::<DepositRequest>::default();
        let mut arrived = Streaming::new_request(decoder, body, None, None);
        for expected in [deposit.clone(), DepositRequest::default(), deposit] {
            let message = arrived.message().await.expect("it is whole");
            assert_eq!(message, Some(expected));
        }
        let broken = arrived.message().await.expect_err("it is cut off");
        assert_eq!(broken.code(), tonic::Code::Internal);
    }
}
