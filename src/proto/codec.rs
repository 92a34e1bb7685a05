//! A codec for contiguous messages. tonic gives prost a buffer that may consist of several pieces, which it checks for
//! every number of the message. This codec decodes a received message from one contiguous buffer, and reserves the
//! space of a sent message at once.

use std::any::TypeId;
use std::marker::PhantomData;

use prost::Message;
use prost::bytes::Buf as _;
use prost::encoding::decode_varint;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};

use super::snapledger::{ApplyRequest, Frame};

/// Messages up to this length are decoded whatever they are, bytes.
const UNCHECKED_BYTES: usize = 128 * 1024;
/// The most fields that may be shorter than [`FIELD_BYTES_MIN`] on average. The longest list of requests has 8192.
const FIELDS_MAX: usize = 32_768;
const FIELD_BYTES_MIN: usize = 12;
const TOO_MANY: &str = "the message consists of too many short fields; send fewer of them at once";

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

impl<M: Message + Default + 'static> Decoder for Of<M> {
    type Item = M;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<M>, Status> {
        // Takes the whole message out of the buffer even if it cannot be decoded, since the next one follows. Nothing
        // is copied.
        let whole = buffer.copy_to_bytes(buffer.remaining());
        if Lists::of::<M>().is_some_and(|lists| lists.are_mostly_heads(&whole)) {
            return Err(Status::resource_exhausted(TOO_MANY));
        }
        let decoded = M::decode(&whole[..]);
        let decoded = decoded.map_err(|error| Status::internal(error.to_string()));
        decoded.map(Some)
    }
}

/// Requests that consist of a list of messages.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    /// The fields of the request.
    Itself,
    /// The fields of its longest field.
    Longest,
}

impl Lists {
    fn of<M: 'static>() -> Option<Self> {
        let this = TypeId::of::<M>();
        [
            (TypeId::of::<ApplyRequest>(), Self::Itself),
            (TypeId::of::<Frame>(), Self::Longest),
        ]
        .into_iter()
        .find_map(|(request, lists)| (request == this).then_some(lists))
    }

    // Whether decoding would take many times the memory of the message, because most of it is the heads of short fields:
    // an empty message takes two bytes here and a hundred when it is decoded. Short messages are not looked at.
    fn are_mostly_heads(self, message: &[u8]) -> bool {
        if message.len() <= UNCHECKED_BYTES {
            return false;
        }
        let list = match self {
            Self::Itself => message,
            Self::Longest => Fields(message)
                .max_by_key(|field| field.len())
                .unwrap_or(&[]),
        };
        let count = Fields(list).count();
        count > FIELDS_MAX && list.len() / count < FIELD_BYTES_MIN
    }
}

/// The contents of the fields of a message, up to what cannot be decoded.
struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let kind = self.varint()? & 7;
        let length = match kind {
            0 => {
                self.varint()?;
                0
            }
            1 => 8,
            2 => usize::try_from(self.varint()?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (content, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(content)
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        decode_varint(&mut self.0).ok()
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

    // Without this a request of a few MiB would take a hundred times as much when it is decoded.
    #[test]
    fn a_message_of_empty_messages_is_refused_and_a_long_list_is_not() {
        let empty = [10, 0].repeat(UNCHECKED_BYTES);
        assert!(Lists::Itself.are_mostly_heads(&empty));
        let mut frame = vec![18];
        prost::encoding::encode_varint(empty.len() as u64, &mut frame);
        frame.extend(&empty);
        assert!(Lists::Longest.are_mostly_heads(&frame));
        let long = [&[10, 20][..], &[7; 20]].concat().repeat(UNCHECKED_BYTES);
        assert!(!Lists::Itself.are_mostly_heads(&long));
        assert!(!Lists::Itself.are_mostly_heads(&empty[..UNCHECKED_BYTES]));
        assert!(Lists::of::<ApplyRequest>() == Some(Lists::Itself));
        assert!(Lists::of::<DepositRequest>().is_none());
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
