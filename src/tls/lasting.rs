//! Connections between processes that end with the certificate of the other end. A process that does not renew its
//! certificate is thereby cut off; one that has renewed it connects again.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::certificate::Proven;
use super::connector::Failure;
use crate::access::expiry::expired;
use crate::access::identity::Holder;

/// The last second of validity belongs to it.
const LAST_SECOND: Duration = Duration::from_secs(1);

/// A stream whose reads fail once the certificate of its other end has expired. HTTP/2 always reads, so a silent connection
/// ends, too.
pub struct Lasting<S> {
    stream: S,
    /// `None` once it has expired.
    end: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The process at the other end, for the log.
    holder: String,
}

impl<S> Lasting<S> {
    /// An accepted stream. One of a client lasts; its rights end with its certificate.
    pub(super) fn accepted(stream: S, proven: Option<&Proven>) -> Self {
        match proven {
            Some(proven) if matches!(proven.identity.holder, Holder::Process(_)) => {
                Self::until(stream, proven)
            }
            _ => Self {
                stream,
                end: Some(Box::pin(std::future::pending())),
                holder: String::new(),
            },
        }
    }

    fn until(stream: S, proven: &Proven) -> Self {
        let end = proven
            .expires
            .and_then(|end| end.checked_add(LAST_SECOND).ok());
        Self {
            stream,
            end: Some(Box::pin(expired(end))),
            holder: proven.identity.to_string(),
        }
    }

    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        if let Some(end) = &mut self.end {
            if end.as_mut().poll(context).is_pending() {
                return Ok(());
            }
            self.end = None;
            tracing::warn!(
                "a connection with {} ends: its certificate has expired",
                self.holder
            );
        }
        Err(io::Error::other(
            "the certificate of the other end has expired",
        ))
    }
}

impl Lasting<TlsStream<TcpStream>> {
    /// A connection to a process, as a connector makes it.
    ///
    /// # Errors
    /// The other end has proven no identity.
    pub async fn connected(
        secured: TokioIo<TlsStream<TcpStream>>,
    ) -> Result<TokioIo<Self>, Failure> {
        let stream = secured.into_inner();
        let certificates = stream.get_ref().1.peer_certificates();
        let end = certificates.and_then(<[_]>::first);
        let end = end.ok_or_else(|| io::Error::other("the other end has no certificate"))?;
        let proven = Proven::by(end)?;
        Ok(TokioIo::new(Self::until(stream, &proven)))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Lasting<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Lasting<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;
    use crate::access::identity::Identity;

    // Without this a process whose certificate was not renewed stays a process for as long as it holds its connection.
    #[tokio::test]
    async fn a_silent_connection_of_a_process_ends_with_its_certificate() {
        let proven = |uri: &str| Proven {
            identity: Identity::parse(uri).expect("an identity"),
            // The last second ends now.
            expires: Some(Timestamp::now() - LAST_SECOND),
        };
        let (near, mut far) = duplex(8);
        far.write_all(b"12345678").await.expect("there is room");
        let process = proven("snapledger://bank/process/n2");
        let mut of_process = Lasting::accepted(near, Some(&process));
        let ended = of_process.read_u8().await.expect_err("it has expired");
        assert!(ended.to_string().contains("has expired"), "{ended}");
        let again = of_process.read_u8().await;
        assert!(again.is_err(), "it stays so");
        for client in [Some(proven("snapledger://bank/client/ops")), None] {
            let (near, mut far) = duplex(8);
            far.write_all(b"1").await.expect("there is room");
            let mut lasting = Lasting::accepted(near, client.as_ref());
            assert_eq!(lasting.read_u8().await.expect("it lasts"), b'1');
        }
    }
}
