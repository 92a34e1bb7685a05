//! Limits the rate of stream resets (RST_STREAM) per connection: both those sent by the client, which cancels requests,
//! and those that the client provokes from the server. A reset is cheap to cause and costs the server a request. If the
//! rate is exceeded, the connection is not read for a while; everything on it proceeds afterwards.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// The time budget of one reset: a sustained rate of 2,000 per second is allowed.
const EACH: Duration = Duration::from_micros(500);
/// The burst limit. Together with the resets in one read it stays below the limit of pending resets at which h2 closes
/// the connection.
const AT_ONCE: u32 = 512;

/// The two halves of a connection. Sent resets are counted by the writer and charged at the next read.
pub(super) fn paced<R, W>(read: R, write: W) -> (Paced<R>, Counted<W>) {
    let sent = Arc::new(AtomicU32::new(0));
    let counted = Counted {
        inner: write,
        frames: Frames::after(0),
        sent: Arc::clone(&sent),
    };
    let paced = Paced {
        inner: read,
        frames: Frames::after(PREFACE_BYTES),
        sent,
        due: Instant::now(),
        pause: None,
    };
    (paced, counted)
}

/// The reading half.
pub(in crate::api) struct Paced<S> {
    inner: S,
    frames: Frames,
    /// Resets sent since the last read.
    sent: Arc<AtomicU32>,
    /// When the resets so far would have arrived at the allowed rate.
    due: Instant,
    pause: Option<Pin<Box<Sleep>>>,
}

/// The writing half.
pub(in crate::api) struct Counted<S> {
    inner: S,
    frames: Frames,
    sent: Arc<AtomicU32>,
}

impl<S> Paced<S> {
    fn count(&mut self, resets: u32) {
        let now = Instant::now();
        self.due = self.due.max(now) + EACH * resets;
        let until = self.due - EACH * AT_ONCE;
        if until > now {
            self.pause = Some(Box::pin(sleep_until(until)));
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
            self.pause = None;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(context, buffer))?;
        let received = self.frames.resets_in(&buffer.filled()[before..]);
        match received + self.sent.swap(0, Ordering::Relaxed) {
            0 => {}
            resets => self.count(resets),
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Counted<S> {
    fn count<'a>(&mut self, mut written: usize, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            let bytes = &piece[..written.min(piece.len())];
            written -= bytes.len();
            let resets = self.frames.resets_in(bytes);
            if resets > 0 {
                self.sent.fetch_add(resets, Ordering::Relaxed);
            }
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(context, bytes))?;
        self.count(written, [bytes]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(context, pieces))?;
        self.count(written, pieces.iter().map(|piece| &**piece));
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(context)
    }
}

/// The position in the frame structure of an HTTP/2 byte stream (RFC 9113 §4.1).
struct Frames {
    /// Bytes before the next frame header.
    skip: usize,
    /// The header bytes so far: first the length of the payload, then the type.
    head: [u8; HEAD_BYTES],
    known: usize,
}

const PREFACE_BYTES: usize = 24;
/// Length, type, flags and stream id.
const HEAD_BYTES: usize = 9;
const RST_STREAM: u8 = 3;

impl Frames {
    // For a connection that begins with `skip` bytes before the first frame.
    fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; HEAD_BYTES],
            known: 0,
        }
    }

    /// The number of RST_STREAM frames whose headers end in these bytes, which follow the earlier ones.
    fn resets_in(&mut self, mut bytes: &[u8]) -> u32 {
        let mut resets = 0;
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD_BYTES - self.known);
            self.head[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
            self.known += taken;
            bytes = &bytes[taken..];
            if self.known == HEAD_BYTES {
                let [high, middle, low, kind, ..] = self.head;
                self.known = 0;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                resets += u32::from(kind == RST_STREAM);
            }
        }
        resets
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    const DATA: [u8; 12] = [0, 0, 3, 0, 0, 0, 0, 0, 1, 3, 3, 3];
    const RESET: [u8; 13] = [0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 8];

    fn connection(resets: usize) -> Vec<u8> {
        let resets = std::iter::repeat_n([&DATA[..], &RESET].concat(), resets);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        bytes.extend(resets.flatten());
        bytes
    }

    #[test]
    fn resets_are_counted_however_the_bytes_come() {
        let bytes = connection(40);
        for size in [1, 2, 7, 24, 25, 100, bytes.len()] {
            let mut frames = Frames::after(PREFACE_BYTES);
            let pieces = bytes.chunks(size);
            let counted: u32 = pieces.map(|piece| frames.resets_in(piece)).sum();
            assert_eq!(counted, 40, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_client_that_resets_too_fast_is_read_at_the_allowed_pace() {
        let at_once = usize::try_from(AT_ONCE).expect("it is small");
        for (resets, is_paused) in [(at_once, false), (at_once + 400, true)] {
            let bytes = connection(resets);
            let (mut paced, _) = paced(&bytes[..], tokio::io::sink());
            let begun = Instant::now();
            let (mut piece, mut read) = ([0; 2048], 0);
            while read < bytes.len() {
                read += paced.read(&mut piece).await.expect("all of it comes");
            }
            assert_eq!(paced.pause.is_some(), is_paused, "{resets}");
            // The resets of one read are charged to the next.
            let least = if is_paused {
                EACH * 300
            } else {
                Duration::ZERO
            };
            assert!(begun.elapsed() >= least, "{resets}");
        }
    }

    #[tokio::test]
    async fn what_the_server_resets_is_paid_for_by_its_client() {
        let (mut paced, mut counted) = paced(&[0][..], tokio::io::sink());
        let bytes: Vec<u8> = std::iter::repeat_n(RESET, 600).flatten().collect();
        for piece in bytes.chunks(1000) {
            counted.write_all(piece).await.expect("a sink takes all");
        }
        paced.read_u8().await.expect("there is a byte");
        assert!(paced.pause.is_some(), "the next read waits");
    }
}
