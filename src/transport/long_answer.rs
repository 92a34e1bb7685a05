//! Long answers in bounded memory: a thread that may block reads the data, a bounded queue passes messages to the connection,
//! and a client that is too slow is disconnected. An incomplete answer always ends with an error.

use std::cell::Cell;
use std::io;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The messages of one answer.
pub type Answer<T, E = Status> = ReceiverStream<Result<T, E>>;

/// Why an answer ended early, other than by a failure of the data source.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TooSlow {
    /// The client took no message for this long.
    #[error("the client read nothing for {} s; the answer is truncated", .0.as_secs())]
    Stalled(Duration),
    /// The whole answer took longer than allowed.
    #[error("reading took too long; the answer is truncated")]
    Late,
}

impl From<TooSlow> for Status {
    fn from(slow: TooSlow) -> Self {
        Self::deadline_exceeded(slow.to_string())
    }
}

impl From<TooSlow> for io::Error {
    fn from(slow: TooSlow) -> Self {
        Self::new(io::ErrorKind::TimedOut, slow)
    }
}

/// The sending end of one answer.
pub struct AnswerSender<T, E = Status> {
    runtime: Runtime,
    messages: mpsc::Sender<Result<T, E>>,
    /// The reserved place for the final error, which never waits.
    last: mpsc::OwnedPermit<Result<T, E>>,
    stall: Duration,
    slow: Cell<Option<TooSlow>>,
    /// The time at which the client is disconnected, however steadily it reads.
    end: Option<Instant>,
}

impl<T, E: From<TooSlow>> AnswerSender<T, E> {
    /// An answer whose queue holds `waiting` messages and whose client may stall for `stall`. Must be called within a runtime.
    #[must_use]
    pub fn new(waiting: usize, stall: Duration) -> (Self, Answer<T, E>) {
        let (messages, answer) = mpsc::channel(waiting + 1);
        let last = messages.clone().try_reserve_owned();
        let sender = Self {
            runtime: Runtime::current(),
            messages,
            last: last.unwrap_or_else(|_| unreachable!("the channel is new, and has room")),
            stall,
            slow: Cell::new(None),
            end: None,
        };
        (sender, ReceiverStream::new(answer))
    }

    /// Limits the duration of the whole answer.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        let end = Some(Instant::now() + time);
        Self { end, ..self }
    }

    /// Sends a message. Breaks if the client has gone or is too slow.
    pub fn send(&self, message: T) -> ControlFlow<()> {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            self.slow.set(Some(TooSlow::Late));
            return ControlFlow::Break(());
        }
        let sending = self.messages.send_timeout(Ok(message), self.stall);
        match self.runtime.block_on(sending) {
            Ok(()) => ControlFlow::Continue(()),
            Err(SendTimeoutError::Timeout(_)) => {
                self.slow.set(Some(TooSlow::Stalled(self.stall)));
                ControlFlow::Break(())
            }
            Err(SendTimeoutError::Closed(_)) => ControlFlow::Break(()),
        }
    }

    /// Ends the answer, with an error if it is incomplete.
    pub fn end(self, failed: Option<E>) {
        let slow = self.slow.get();
        if let Some(slow) = slow {
            tracing::info!(reason = %slow, "a client was disconnected");
        }
        if let Some(why) = failed.or_else(|| slow.map(E::from)) {
            self.last.send(Err(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;

    // Without this, clients that never read would hold all threads, or mistake an incomplete answer for a complete one.
    #[tokio::test]
    async fn a_client_that_does_not_read_is_disconnected_and_told() {
        let (sender, answer) = AnswerSender::new(1, Duration::from_millis(1));
        let showing = tokio::task::spawn_blocking(move || {
            assert!(sender.send(1).is_continue());
            assert!(sender.send(2).is_break(), "nothing is read");
            sender.end(None);
        });
        showing.await.expect("it ends");
        let read: Vec<Result<_, Status>> = answer.collect().await;
        assert_eq!(read.len(), 2, "{read:?}");
        let last = read[1].as_ref().expect_err("it broke off");
        assert_eq!(last.code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_failure_has_the_last_word_and_a_whole_answer_has_none() {
        for failed in [None, Some(Status::data_loss("damaged"))] {
            let (sender, answer) = AnswerSender::new(1, Duration::from_secs(60));
            let expected = 1 + usize::from(failed.is_some());
            let showing = tokio::task::spawn_blocking(move || {
                assert!(sender.send(1).is_continue());
                sender.end(failed);
            });
            showing.await.expect("it ends");
            let read: Vec<Result<_, Status>> = answer.collect().await;
            assert_eq!(read.len(), expected, "{read:?}");
        }
    }
}
