//! Unary calls without a client stack: the caller writes HTTP/2 frames itself. Client and server share the cores, so a
//! costly client would distort the measurement; the layers of a usual client take as long as a whole deposit.

use h2::client::SendRequest;
use http::request::Parts;
use http::{Method, Request, Version};
use prost::Message;
use prost::bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::children::Address;
use super::connect::until_it_listens;
use crate::cli::CliError;
use crate::client::Credentials;

/// The window for unread answers. With the default of 64 KiB the library takes many small answers for an attack.
const WINDOW_BYTES: u32 = 4 << 20;
/// The prefix of each message: a compression flag and the length.
const PREFIX_BYTES: usize = 5;

/// One method of one server, over one connection.
#[derive(Debug, Clone)]
pub(super) struct Caller {
    streams: SendRequest<Bytes>,
    head: Parts,
}

impl Caller {
    /// Connects to a server as soon as it listens; `method` is, for example, `/package.Service/Method`.
    pub(super) async fn connect(server: &Address, method: &str) -> Result<Self, CliError> {
        let address = &server.grpc;
        let url = format!("{}{method}", server.grpc_url());
        match &server.credentials.tls {
            None => {
                let connect = async || TcpStream::connect(address).await;
                let socket = until_it_listens(address, connect).await?;
                socket.set_nodelay(true).map_err(failed)?;
                Self::over(socket, url, &server.credentials).await
            }
            Some(tls) => {
                let socket = until_it_listens(address, async || tls.open(address).await).await?;
                Self::over(socket, url, &server.credentials).await
            }
        }
    }

    async fn over<S>(socket: S, url: String, credentials: &Credentials) -> Result<Self, CliError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let connected = h2::client::Builder::new()
            .initial_connection_window_size(WINDOW_BYTES)
            .handshake(socket)
            .await;
        let (streams, connection) = connected.map_err(failed)?;
        // The connection ends with its last stream. Errors are reported by the pending calls.
        tokio::spawn(async move { connection.await.ok() });
        let mut request = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(url)
            .header("content-type", "application/grpc")
            .header("te", "trailers");
        if let Some(token) = &credentials.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let (head, ()) = request.body(()).map_err(failed)?.into_parts();
        Ok(Self { streams, head })
    }

    /// Makes one call; fails unless the answer is good.
    pub(super) async fn call<A: Message + Default>(
        &self,
        request: &impl Message,
    ) -> Result<A, CliError> {
        let mut streams = self.streams.clone().ready().await.map_err(failed)?;
        let head = Request::from_parts(self.head.clone(), ());
        let (response, mut body) = streams.send_request(head, false).map_err(failed)?;
        body.send_data(framed(request)?, true).map_err(failed)?;
        let mut answer = response.await.map_err(failed)?.into_body();
        let mut message = BytesMut::new();
        while let Some(data) = answer.data().await {
            let data = data.map_err(failed)?;
            let room = answer.flow_control().release_capacity(data.len());
            room.map_err(failed)?;
            message.put(data);
        }
        let trailers = answer.trailers().await.map_err(failed)?;
        let status = trailers.as_ref().and_then(|all| all.get("grpc-status"));
        if status.is_none_or(|status| status != "0") || message.len() < PREFIX_BYTES {
            return Err(failed(format!("a call has failed: {trailers:?}")));
        }
        message.advance(PREFIX_BYTES);
        A::decode(message).map_err(failed)
    }
}

fn framed(message: &impl Message) -> Result<Bytes, CliError> {
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).map_err(failed)?);
    message.encode(&mut framed).map_err(failed)?;
    Ok(framed.freeze())
}

fn failed(why: impl std::fmt::Display) -> CliError {
    CliError::CheckFailed(why.to_string())
}
