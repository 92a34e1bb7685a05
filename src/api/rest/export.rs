//! Long answers as bytes, sent in blocks; [`long_answer`](crate::transport::long_answer) is the counterpart for
//! messages.

use std::io::{self, Write};
use std::ops::ControlFlow;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};

use super::negotiation::Format;
use crate::api::error::Failure;
use crate::api::recorded;
use crate::api::serve::limits::Permit;
use crate::cluster::QueryError;
use crate::node::Handle;
use crate::store::{READING_MAX, Store, StoreError};
use crate::transport::long_answer::AnswerSender;

/// The size in bytes at which a block is handed over.
const BLOCK_BYTES: usize = 32 * 1024;
/// The blocks queued for the socket.
const BLOCKS_WAITING_MAX: usize = 4;
/// The longest time in which a client may read nothing.
const STALL: Duration = Duration::from_secs(30);
/// The limit of the whole answer, shorter than the lease of the snapshot.
const ANSWER_MAX: Duration = READING_MAX.saturating_sub(STALL.saturating_mul(2));

/// The writer of an export. It fails with [`io::ErrorKind::BrokenPipe`] when the client is gone or too slow.
pub(super) struct Sink {
    blocks: AnswerSender<Bytes, io::Error>,
    block: Vec<u8>,
    /// Set when the client is gone or too slow, which is then the cause of any later error.
    is_refused: bool,
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
        match self.blocks.send(block) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => {
                self.is_refused = true;
                Err(io::ErrorKind::BrokenPipe.into())
            }
        }
    }
}

/// Why an export that reads the store ends early.
pub(super) enum Broken {
    Store(StoreError),
    /// Another process fails to answer.
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

impl From<QueryError> for Broken {
    fn from(error: QueryError) -> Self {
        Failure::from(error).into()
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

/// An answer that `write` produces while it is sent. If `write` fails, the body is cut off, which clients detect.
pub(super) fn stream(
    handle: &Handle,
    format: Format,
    permit: Permit,
    write: impl FnOnce(&Store, &mut Sink) -> io::Result<()> + Send + 'static,
) -> Response {
    let (blocks, body) = AnswerSender::new(BLOCKS_WAITING_MAX, STALL);
    let sink = Sink {
        // Retention waits for readers, but not indefinitely.
        blocks: blocks.within(ANSWER_MAX),
        block: Vec::new(),
        is_refused: false,
    };
    let noting = handle.clone();
    handle.store_worker().spawn(move |_| {
        let _permit = permit;
        write_all(&noting, sink, write);
    });
    let content_type = match format {
        Format::Csv => "text/csv; charset=utf-8; header=present",
        other => other.media_type(),
    };
    let mut response = Body::from_stream(body).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn write_all(
    handle: &Handle,
    mut sink: Sink,
    write: impl FnOnce(&Store, &mut Sink) -> io::Result<()>,
) {
    let written = write(handle.store(), &mut sink).and_then(|()| sink.flush());
    let failed = written.err().filter(|_| !sink.is_refused);
    let failed = failed.map(|error| noted(handle, error));
    if let Some(error) = &failed {
        tracing::warn!(%error, "an export ended early");
    }
    sink.blocks.end(failed);
}

// Tells the node if the error is one of the store.
fn noted(handle: &Handle, error: io::Error) -> io::Error {
    match error.downcast::<StoreError>() {
        Ok(error) => io::Error::other(recorded::noted(handle, error.into())),
        Err(error) => error,
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt as _;

    use super::*;
    use crate::node::Node;

    // Without this half a table or half a backup looks whole to a slow client.
    #[tokio::test]
    async fn an_answer_to_a_slow_client_breaks_off() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let handle = node.handle().clone();
        let (blocks, body) = AnswerSender::new(1, Duration::from_millis(1));
        let sink = Sink {
            blocks,
            block: Vec::new(),
            is_refused: false,
        };
        let lines = |_: &Store, sink: &mut Sink| {
            let mut lines = csv::Writer::from_writer(sink);
            (0..BLOCK_BYTES).try_for_each(|line| lines.write_record([line.to_string()]))?;
            lines.flush()
        };
        let writing = tokio::task::spawn_blocking(move || write_all(&handle, sink, lines));
        writing.await.expect("it ends");
        let read: Vec<_> = body.collect().await;
        let last = read.last().expect("it began").as_ref();
        let error = last.expect_err("it is not whole");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
    }
}
