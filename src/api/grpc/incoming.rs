//! Connections for gRPC, handed on once they have said something: one that says nothing would keep its place for ever,
//! since the server waits for the first bytes without end. One that has spoken is pinged by the server.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::server::{Connected, TcpConnectInfo};

use crate::api::door::{Door, Place};

/// How long a client may take for its first byte.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(10);

/// A connection and its place at the door.
pub(in crate::api) struct Connection {
    socket: TcpStream,
    _place: Place,
}

/// Those who come in and have something to say, until `stop` is done or nobody wants them any more.
pub(in crate::api) fn incoming(
    door: Door,
    stop: impl Future + Send + 'static,
) -> ReceiverStream<io::Result<Connection>> {
    let (speaking, connections) = mpsc::channel(1);
    tokio::spawn(async move {
        let mut stop = pin!(stop);
        let mut silent = JoinSet::new();
        loop {
            tokio::select! {
                _ = &mut stop => break,
                () = speaking.closed() => return,
                Some(_) = silent.join_next() => {}
                (socket, place) = door.next() => {
                    let connection = Connection { socket, _place: place };
                    silent.spawn(connection.hand_on(speaking.clone()));
                }
            }
        }
        // Nobody comes in any more. But a server whose connections end stops without the rest of what it does then.
        drop((door, silent));
        speaking.closed().await;
    });
    ReceiverStream::new(connections)
}

impl Connection {
    async fn hand_on(self, speaking: mpsc::Sender<io::Result<Self>>) {
        let first = timeout(FIRST_BYTE_MAX, self.socket.peek(&mut [0])).await;
        if matches!(first, Ok(Ok(1..))) {
            // The server may be on its way down.
            let _down = speaking.send(Ok(self)).await;
        }
    }

    fn socket(self: Pin<&mut Self>) -> Pin<&mut TcpStream> {
        Pin::new(&mut self.get_mut().socket)
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> Self::ConnectInfo {
        self.socket.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.socket().poll_read(context, bytes)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.socket().poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.socket().poll_shutdown(context)
    }
}
