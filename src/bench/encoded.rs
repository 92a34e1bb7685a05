//! Batches encoded before the measurement, so that the load generator is not the bottleneck. The client of a bulk
//! statement likewise has nothing to do but send it.

use prost::Message as _;
use prost::bytes::{BufMut as _, Bytes};
use tokio_stream::Stream;
use tonic::client::Grpc;
use tonic::codec::{Codec, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Request, Response, Status, Streaming};

use crate::client::Authorized;
use crate::proto::Contiguous;
use crate::proto::snapledger::{ApplyRequest, ApplyResponse};

const APPLY: PathAndQuery = PathAndQuery::from_static("/snapledger.v1.LedgerService/Apply");
const STREAM: PathAndQuery = PathAndQuery::from_static("/snapledger.v1.LedgerService/Stream");

/// A batch in wire format.
#[derive(Debug, Clone)]
pub(super) struct Encoded(Bytes);

impl Encoded {
    pub(super) fn of(request: &ApplyRequest) -> Self {
        Self(request.encode_to_vec().into())
    }
}

/// Calls `LedgerService.Apply`.
pub(super) async fn apply(
    channel: &Authorized,
    batch: Encoded,
) -> Result<Response<ApplyResponse>, Status> {
    let mut client = ready(channel).await?;
    client.unary(Request::new(batch), APPLY, AsItIs).await
}

/// Calls `LedgerService.Stream`.
pub(super) async fn stream(
    channel: &Authorized,
    batches: impl Stream<Item = Encoded> + Send + 'static,
) -> Result<Response<Streaming<ApplyResponse>>, Status> {
    let mut client = ready(channel).await?;
    client
        .streaming(Request::new(batches), STREAM, AsItIs)
        .await
}

async fn ready(channel: &Authorized) -> Result<Grpc<Authorized>, Status> {
    let mut client = Grpc::new(channel.clone());
    let ready = client.ready().await;
    ready.map_err(|error| Status::unavailable(error.to_string()))?;
    Ok(client)
}

/// Passes requests through, since they are encoded; decodes answers.
#[derive(Debug, Default)]
struct AsItIs;

impl Codec for AsItIs {
    type Encode = Encoded;
    type Decode = ApplyResponse;
    type Encoder = Self;
    type Decoder = <Contiguous<ApplyRequest, ApplyResponse> as Codec>::Decoder;

    fn encoder(&mut self) -> Self::Encoder {
        Self
    }

    fn decoder(&mut self) -> Self::Decoder {
        Contiguous::<ApplyRequest, ApplyResponse>::default().decoder()
    }
}

impl Encoder for AsItIs {
    type Item = Encoded;
    type Error = Status;

    fn encode(&mut self, batch: Encoded, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(batch.0);
        Ok(())
    }
}
