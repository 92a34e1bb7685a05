//! The body of a request, charged as it arrives and ended when it arrives too slowly.
//!
//! Over gRPC each message is charged when its length is known, since the decoder then allocates all of it. Messages of
//! a stream arrive one after the other, so the largest one is charged. A REST body is one message of unknown length.

use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;

use super::place::added;
use super::refusal::Protocol;
use super::usage::Permit;
use super::{BODY_MAX, BODY_STEP, BODY_STEP_BYTES, REQUEST_BYTES};
use crate::api::error::Failure;
use crate::api::grpc::sizes::BATCH_BYTES_MAX;
use crate::node::RefusalReason;

type Error = Box<dyn std::error::Error + Send + Sync>;

/// What a request holds, and why its body was refused.
pub(super) struct RequestUsage {
    pub(super) permit: Permit,
    refused: OnceLock<Refused>,
    /// Blocks of the answer that wait for the client.
    blocks: AtomicUsize,
    /// Bytes of them that the charge of the request covers, at most [`REQUEST_BYTES`].
    covered: AtomicUsize,
    /// The answer whose next block waits for room.
    waiting: Mutex<Option<Waker>>,
    is_open: bool,
}

/// What a block of the answer takes while it waits for the client, bytes.
pub(super) enum Charge {
    /// Covered by what the request was charged at its beginning.
    Covered(usize),
    /// In addition.
    Further(usize),
}

/// Why a body was refused.
#[derive(Debug, Clone, Copy)]
enum Refused {
    TooMuch,
    TooSlow,
}

impl RequestUsage {
    /// `is_open`: whether it is a stream that anyone may hold for any time.
    pub(super) fn new(permit: Permit, is_open: bool) -> Arc<Self> {
        permit.usage().progress.request_begins(is_open);
        Arc::new(Self {
            permit,
            refused: OnceLock::new(),
            blocks: AtomicUsize::new(0),
            covered: AtomicUsize::new(0),
            waiting: Mutex::default(),
            is_open,
        })
    }

    /// Charges a block of the answer.
    ///
    /// # Errors
    /// `None`: the task is woken when an earlier block was taken. A failure: there is none, and no room.
    pub(super) fn charge_block(
        &self,
        bytes: usize,
        waker: &Waker,
    ) -> Result<Charge, Option<Failure>> {
        let cover = || added(&self.covered, bytes, REQUEST_BYTES);
        let charge = if cover() {
            Charge::Covered(bytes)
        } else {
            // Before the looks that follow, so that no block is taken unseen.
            *self.waiting() = Some(waker.clone());
            let is_waiting = self.blocks.load(Ordering::Acquire) > 0;
            if cover() {
                Charge::Covered(bytes)
            } else {
                let grown = self.permit.grow(bytes);
                grown.map_err(|failure| Some(failure).filter(|_| !is_waiting))?;
                Charge::Further(bytes)
            }
        };
        self.blocks.fetch_add(1, Ordering::Relaxed);
        Ok(charge)
    }

    /// A block was taken.
    pub(super) fn block_is_taken(&self, charged: Charge) {
        match charged {
            Charge::Covered(bytes) => _ = self.covered.fetch_sub(bytes, Ordering::Relaxed),
            Charge::Further(bytes) => self.permit.shrink(bytes),
        }
        self.blocks.fetch_sub(1, Ordering::Release);
        if let Some(waker) = self.waiting().take() {
            waker.wake();
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Option<Waker>> {
        // A waker is replaced as a whole.
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The failure, if the body was refused.
    pub(super) fn failure(&self) -> Option<Failure> {
        Some(match self.refused.get()? {
            Refused::TooMuch => self.permit.failure(),
            Refused::TooSlow => {
                let seconds = BODY_STEP.as_secs();
                let why = format!(
                    "arrives too slowly; send at least {BODY_STEP_BYTES} bytes every {seconds} s"
                );
                Failure::malformed("body", why)
            }
        })
    }

    // The error with which the body ends. gRPC shows its status; for REST the answer is replaced.
    fn refuse(&self, why: Refused) -> Error {
        let why = self.refused.get_or_init(|| why);
        if let Refused::TooSlow = why {
            self.permit.usage().count(RefusalReason::SlowBody);
        }
        let failure = self.failure().expect("it was just refused");
        Status::from(failure).into()
    }
}

impl Drop for RequestUsage {
    fn drop(&mut self) {
        self.permit.usage().progress.request_ends(self.is_open);
    }
}

/// A body that is charged to a request.
pub(in crate::api::serve) struct Charged<B> {
    body: B,
    request: Arc<RequestUsage>,
    message: Message,
    /// Whether the client may send nothing after a message, as in a stream.
    may_be_silent: bool,
    /// Bytes charged for the largest message so far.
    charged: usize,
    pace: Pace,
}

/// What the header of a request says about its body.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) protocol: Protocol,
    /// Whether it is a stream of messages, between which the client may be silent.
    pub(super) may_be_silent: bool,
}

/// Where in its messages a body is.
enum Message {
    /// In the five bytes before a gRPC message: one of flags, four of length.
    Prefix {
        bytes: [u8; PREFIX_BYTES],
        known: usize,
    },
    /// So many bytes before the end of a gRPC message.
    Rest(usize),
    /// A body without framing, of which so much has arrived.
    Whole(usize),
}

const PREFIX_BYTES: usize = 5;

/// The minimum rate of a body.
struct Pace {
    /// The time in which [`BODY_STEP_BYTES`] must arrive.
    step: Duration,
    /// The end of the current step; `None` while nothing is awaited.
    end: Option<Pin<Box<Sleep>>>,
    /// Bytes that have arrived in this step.
    arrived: usize,
    has_begun: bool,
    /// When the message began to be awaited.
    since: Option<Instant>,
}

impl<B> Charged<B> {
    pub(super) fn new(body: B, call: Call, request: Arc<RequestUsage>) -> Self {
        let Call {
            protocol,
            may_be_silent,
        } = call;
        let message = match protocol {
            Protocol::Grpc => Message::prefix(),
            Protocol::Rest => Message::Whole(0),
        };
        Self {
            body,
            request,
            message,
            may_be_silent,
            charged: 0,
            pace: Pace::new(BODY_STEP),
        }
    }

    fn charge(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let largest = self.message.pass(bytes);
        if largest > self.charged {
            self.request.permit.grow(largest - self.charged)?;
            self.charged = largest;
        }
        Ok(())
    }
}

impl Message {
    fn prefix() -> Self {
        let bytes = [0; PREFIX_BYTES];
        Self::Prefix { bytes, known: 0 }
    }

    // The size of the largest message that these bytes belong to.
    fn pass(&mut self, mut bytes: &[u8]) -> usize {
        let mut largest = 0;
        while !bytes.is_empty() {
            match self {
                Self::Whole(arrived) => {
                    *arrived += bytes.len();
                    return *arrived;
                }
                Self::Rest(left) => {
                    let passed = bytes.len().min(*left);
                    bytes = &bytes[passed..];
                    *left -= passed;
                    if *left == 0 {
                        *self = Self::prefix();
                    }
                }
                Self::Prefix {
                    bytes: prefix,
                    known,
                } => {
                    let taken = bytes.len().min(PREFIX_BYTES - *known);
                    prefix[*known..*known + taken].copy_from_slice(&bytes[..taken]);
                    *known += taken;
                    bytes = &bytes[taken..];
                    if *known == PREFIX_BYTES {
                        let [_, length @ ..] = *prefix;
                        let length = u32::from_be_bytes(length) as usize;
                        largest = largest.max(length);
                        *self = match length {
                            0 => Self::prefix(),
                            length => Self::Rest(length),
                        };
                    }
                }
            }
        }
        // The decoder refuses a longer message before it allocates it.
        if largest > BATCH_BYTES_MAX {
            0
        } else {
            largest
        }
    }

    // Whether a message, or the body, has begun and not ended.
    fn is_within(&self) -> bool {
        match self {
            Self::Prefix { known, .. } => *known > 0,
            Self::Rest(_) | Self::Whole(_) => true,
        }
    }
}

impl Pace {
    fn new(step: Duration) -> Self {
        Self {
            step,
            end: None,
            arrived: 0,
            has_begun: false,
            since: None,
        }
    }

    fn pause(&mut self) {
        self.end = None;
        self.since = None;
        self.arrived = 0;
    }

    // Polled while bytes are awaited: whether the body is too slow.
    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let end = || Instant::now() + self.step;
        let timer = self.end.get_or_insert_with(|| Box::pin(sleep_until(end())));
        while timer.as_mut().poll(context).is_ready() {
            if self.arrived < BODY_STEP_BYTES || since.elapsed() > BODY_MAX {
                return true;
            }
            self.arrived = 0;
            timer.as_mut().reset(end());
        }
        false
    }
}

impl<B> Body for Charged<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<Error>,
{
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Poll::Ready(next) = Pin::new(&mut this.body).poll_frame(context) else {
            let is_silent = this.pace.has_begun && !this.message.is_within();
            let is_awaited = !(is_silent && this.may_be_silent);
            if is_awaited && this.pace.is_over(context) {
                return Poll::Ready(Some(Err(this.request.refuse(Refused::TooSlow))));
            }
            return Poll::Pending;
        };
        let Some(frame) = next else {
            return Poll::Ready(None);
        };
        let frame = frame.map_err(Into::into)?;
        if let Some(bytes) = frame.data_ref() {
            let bytes = bytes.clone();
            this.pace.has_begun |= !bytes.is_empty();
            this.pace.arrived += bytes.len();
            if this.charge(&bytes).is_err() {
                return Poll::Ready(Some(Err(this.request.refuse(Refused::TooMuch))));
            }
            if this.may_be_silent && !this.message.is_within() {
                this.pace.pause();
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    fn framed(lengths: &[usize]) -> Vec<u8> {
        let message = |length: &usize| {
            let prefix = u32::try_from(*length).expect("it is small").to_be_bytes();
            [&[0], &prefix[..], &vec![7; *length]].concat()
        };
        lengths.iter().flat_map(message).collect()
    }

    #[test]
    fn the_largest_message_is_charged_when_its_length_is_known() {
        let bytes = framed(&[3, 0, 70, 5]);
        for size in [1, 2, 5, 6, 9, bytes.len()] {
            let mut message = Message::prefix();
            let mut largest = 0;
            for piece in bytes.chunks(size) {
                largest = largest.max(message.pass(piece));
            }
            assert_eq!(largest, 70, "in pieces of {size}");
            assert!(!message.is_within());
        }
        let mut message = Message::prefix();
        assert_eq!(message.pass(&[0, 0, 0, 1]), 0);
        assert_eq!(message.pass(&[0]), 256, "none of it has arrived");
        assert!(message.is_within());
    }

    #[test]
    fn a_length_that_the_decoder_refuses_is_not_charged() {
        assert_eq!(Message::prefix().pass(&[0, 255, 255, 255, 255]), 0);
    }

    #[test]
    fn a_body_without_framing_is_charged_as_it_arrives() {
        let mut message = Message::Whole(0);
        assert_eq!((message.pass(&[1; 10]), message.pass(&[1; 5])), (10, 15));
    }

    #[tokio::test]
    async fn a_body_that_stops_is_over_and_a_slow_one_is_not() {
        let step = Duration::from_millis(20);
        let mut pace = Pace::new(step);
        let begun = Instant::now();
        for _ in 0..3 {
            assert!(!poll_fn(|context| Poll::Ready(pace.is_over(context))).await);
            pace.arrived += BODY_STEP_BYTES;
            let _over = tokio::time::timeout(step, std::future::pending::<()>()).await;
        }
        poll_fn(|context| match pace.is_over(context) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        })
        .await;
        assert!(begun.elapsed() >= 4 * step);
        pace.pause();
        assert!(!poll_fn(|context| Poll::Ready(pace.is_over(context))).await);
    }
}
