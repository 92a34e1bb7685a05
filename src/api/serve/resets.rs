//! Limits the rate of frames per connection that cost the server more than the client: stream resets (RST_STREAM), both
//! those sent by the client, which cancels requests, and those that the client provokes from the server; control frames,
//! which must be answered or applied; and DATA frames that carry little or nothing. If the rate is exceeded, the
//! connection is not read for a while; everything on it proceeds afterwards.

use std::io;
use std::ops::AddAssign;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::limits::ConnectionUsage;
use crate::node::RefusalReason;

/// The time budget of one reset, or of a DATA frame without data: a sustained rate of 2,000 per second is allowed.
pub(super) const RESET: Duration = Duration::from_micros(500);
/// The budget of another control frame: 5,000 per second.
pub(super) const CONTROL: Duration = Duration::from_micros(200);
/// The budget of a DATA frame with less than [`SHORT_BYTES`] that does not end its stream: 50,000 per second.
pub(super) const SHORT: Duration = Duration::from_micros(20);
const SHORT_BYTES: usize = 64;
/// The budget of a WINDOW_UPDATE: 100,000 per second.
pub(super) const UPDATE: Duration = Duration::from_micros(10);
/// The burst limit: 512 resets. Together with the resets in one read it stays below the limit of pending resets at which
/// h2 closes the connection.
const AT_ONCE: Duration = RESET.saturating_mul(512);

/// The two halves of a connection. Sent resets are counted by the writer and charged at the next read.
pub(super) fn paced<R, W>(
    read: R,
    write: W,
    usage: Arc<ConnectionUsage>,
) -> (Paced<R>, Counted<W>) {
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
        usage,
    };
    (paced, counted)
}

/// The reading half.
pub(in crate::api) struct Paced<S> {
    inner: S,
    frames: Frames,
    /// Resets sent since the last read.
    sent: Arc<AtomicU32>,
    /// When the frames so far would have arrived at the allowed rate.
    due: Instant,
    pause: Option<Pin<Box<Sleep>>>,
    usage: Arc<ConnectionUsage>,
}

/// The writing half.
pub(in crate::api) struct Counted<S> {
    inner: S,
    frames: Frames,
    sent: Arc<AtomicU32>,
}

impl<S> Paced<S> {
    fn charge(&mut self, cost: Duration) {
        let now = Instant::now();
        self.due = self.due.max(now) + cost;
        let until = self.due - AT_ONCE;
        if until > now {
            self.usage.count(RefusalReason::Frames);
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
        let received = self.frames.sum_in(&buffer.filled()[before..], Head::cost);
        let sent = RESET * self.sent.swap(0, Ordering::Relaxed);
        if received + sent > Duration::ZERO {
            self.charge(received + sent);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> Counted<S> {
    fn count<'a>(&mut self, mut written: usize, pieces: impl IntoIterator<Item = &'a [u8]>) {
        for piece in pieces {
            let bytes = &piece[..written.min(piece.len())];
            written -= bytes.len();
            let resets = self
                .frames
                .sum_in(bytes, |frame| u32::from(frame.kind == RST_STREAM));
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
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const WINDOW_UPDATE: u8 = 8;
const END_STREAM: u8 = 1;

/// The head of a frame, without its stream.
#[derive(Clone, Copy)]
struct Head {
    length: usize,
    kind: u8,
    flags: u8,
}

impl Head {
    // The budget of a received frame.
    fn cost(self) -> Duration {
        let is_last = self.flags & END_STREAM != 0;
        match self.kind {
            RST_STREAM => RESET,
            DATA if is_last => Duration::ZERO,
            DATA => match self.length {
                0 => RESET,
                1..SHORT_BYTES => SHORT,
                _ => Duration::ZERO,
            },
            HEADERS => Duration::ZERO,
            WINDOW_UPDATE => UPDATE,
            // PRIORITY, SETTINGS, PING, GOAWAY, CONTINUATION, and unknown types.
            _ => CONTROL,
        }
    }
}

impl Frames {
    // For a connection that begins with `skip` bytes before the first frame.
    fn after(skip: usize) -> Self {
        Self {
            skip,
            head: [0; HEAD_BYTES],
            known: 0,
        }
    }

    /// The sum over the frames whose heads end in these bytes, which follow the earlier ones.
    fn sum_in<T: Default + AddAssign>(&mut self, mut bytes: &[u8], of: impl Fn(Head) -> T) -> T {
        let mut sum = T::default();
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = bytes.len().min(HEAD_BYTES - self.known);
            self.head[self.known..self.known + taken].copy_from_slice(&bytes[..taken]);
            self.known += taken;
            bytes = &bytes[taken..];
            if self.known == HEAD_BYTES {
                let [high, middle, low, kind, flags, ..] = self.head;
                self.known = 0;
                self.skip = u32::from_be_bytes([0, high, middle, low]) as usize;
                sum += of(Head {
                    length: self.skip,
                    kind,
                    flags,
                });
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::limits::places::Places;
    use super::*;

    const ENDING: [u8; 12] = [0, 0, 3, DATA, END_STREAM, 0, 0, 0, 1, 3, 3, 3];
    const RESETTING: [u8; 13] = [0, 0, 4, RST_STREAM, 0, 0, 0, 0, 1, 0, 0, 0, 8];

    fn connection(resets: usize) -> Vec<u8> {
        let resets = std::iter::repeat_n([&ENDING[..], &RESETTING].concat(), resets);
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
            let costs: Duration = pieces.map(|piece| frames.sum_in(piece, Head::cost)).sum();
            assert_eq!(costs, RESET * 40, "in pieces of {size}");
        }
    }

    #[tokio::test]
    async fn a_client_that_resets_too_fast_is_read_at_the_allowed_pace() {
        for (resets, is_paused) in [(512, false), (512 + 400, true)] {
            let bytes = connection(resets);
            let (mut paced, _) = paced(&bytes[..], tokio::io::sink(), Places::alone());
            let begun = Instant::now();
            let (mut piece, mut read) = ([0; 2048], 0);
            while read < bytes.len() {
                read += paced.read(&mut piece).await.expect("all of it comes");
            }
            assert!(is_paused || paced.pause.is_none(), "{resets}");
            // The resets of one read are charged to the next.
            let least = if is_paused {
                RESET * 300
            } else {
                Duration::ZERO
            };
            assert!(begun.elapsed() >= least, "{resets}");
        }
    }

    #[tokio::test]
    async fn what_the_server_resets_is_paid_for_by_its_client() {
        let (mut paced, mut counted) = paced(&[0][..], tokio::io::sink(), Places::alone());
        let bytes: Vec<u8> = std::iter::repeat_n(RESETTING, 600).flatten().collect();
        for piece in bytes.chunks(1000) {
            counted.write_all(piece).await.expect("a sink takes all");
        }
        paced.read_u8().await.expect("there is a byte");
        assert!(paced.pause.is_some(), "the next read waits");
    }

    // Without this a flood of frames that carry no request would cost more than one of requests.
    #[test]
    fn control_frames_and_empty_ones_cost_and_requests_do_not() {
        const SETTINGS: u8 = 4;
        const PING: u8 = 6;
        const CONTINUATION: u8 = 9;
        for (kind, flags, length, cost) in [
            (DATA, 0, 0, RESET),
            (DATA, 0, 1, SHORT),
            (DATA, 0, SHORT_BYTES, Duration::ZERO),
            (DATA, END_STREAM, 0, Duration::ZERO),
            (HEADERS, 0, 100, Duration::ZERO),
            (SETTINGS, 0, 6, CONTROL),
            (PING, 0, 8, CONTROL),
            (CONTINUATION, 0, 0, CONTROL),
            (WINDOW_UPDATE, 0, 4, UPDATE),
            (99, 0, 1, CONTROL),
        ] {
            let head = Head {
                length,
                kind,
                flags,
            };
            assert_eq!(head.cost(), cost, "{kind} with {flags} and {length} bytes");
        }
    }
}
