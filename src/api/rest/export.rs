//! Long answers, in bounded memory: a thread that may block reads and writes, a bounded channel carries blocks to the
//! socket, and a client that does not read in time is let go.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use tokio::runtime::Handle as Runtime;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::negotiation::Format;
use crate::api::error::Failure;
use crate::api::recorded;
use crate::node::Handle;
use crate::store::{READING_MAX, Store, StoreError};

/// The size from which on a block is handed over, in bytes.
const BLOCK_BYTES: usize = 32 * 1024;
/// How many blocks wait for the socket.
const BLOCKS_WAITING_MAX: usize = 4;
/// How long a client may read nothing.
const STALL: Duration = Duration::from_secs(30);
/// How long the whole may take: it ends before the lease of the snapshot does.
const ANSWER_MAX: Duration = READING_MAX.saturating_sub(STALL.saturating_mul(2));

/// What an export writes into. It fails once nobody reads any more.
pub(super) struct Sink {
    runtime: Runtime,
    blocks: mpsc::Sender<io::Result<Bytes>>,
    block: Vec<u8>,
    /// A slower client is let go: retention waits for readers, and not for ever.
    end: Instant,
}

impl Sink {
    fn send(&mut self, block: io::Result<Bytes>) -> io::Result<()> {
        if Instant::now() >= self.end {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sending = self.blocks.send_timeout(block, STALL);
        let sent = self.runtime.block_on(sending);
        sent.map_err(|_| io::Error::from(io::ErrorKind::BrokenPipe))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.block.extend_from_slice(bytes);
        if self.block.len() >= BLOCK_BYTES {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.block.is_empty() {
            return Ok(());
        }
        let block = Bytes::from(std::mem::take(&mut self.block));
        self.send(Ok(block))
    }
}

/// Why an export that visits the store breaks off.
pub(super) enum Broken {
    Store(StoreError),
    /// Another process does not say what it was asked for.
    Asked(Failure),
    Socket(io::Error),
}

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreadable(error) => Self::Store(error),
            other => Self::Asked(other),
        }
    }
}

impl From<Broken> for io::Error {
    fn from(broken: Broken) -> Self {
        match broken {
            Broken::Store(error) => Self::other(error),
            Broken::Asked(failure) => Self::other(failure),
            Broken::Socket(error) => error,
        }
    }
}

/// An answer that `write` writes while it is being sent. If it fails, the answer breaks off, which clients notice.
pub(super) fn stream(
    handle: &Handle,
    format: Format,
    permit: OwnedSemaphorePermit,
    write: impl FnOnce(&Store, &mut Sink) -> io::Result<()> + Send + 'static,
) -> Response {
    let (blocks, body) = mpsc::channel(BLOCKS_WAITING_MAX);
    let mut sink = Sink {
        runtime: Runtime::current(),
        blocks,
        block: Vec::new(),
        end: Instant::now() + ANSWER_MAX,
    };
    let handle = handle.clone();
    tokio::task::spawn_blocking(move || {
        let _permit = permit;
        let written = write(handle.store(), &mut sink).and_then(|()| sink.flush());
        if let Err(error) = written
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            let error = noted(&handle, error);
            tracing::warn!(%error, "an export broke off");
            // Whether the client still learns of it makes no difference here.
            let _ = sink.send(Err(error));
        }
    });
    let content_type = match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        other => other.media_type(),
    };
    let mut response = Body::from_stream(ReceiverStream::new(body)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

// The node takes note where it is the store that failed.
fn noted(handle: &Handle, error: io::Error) -> io::Error {
    match error.downcast::<StoreError>() {
        Ok(error) => io::Error::other(recorded::noted(handle, error.into())),
        Err(error) => error,
    }
}
