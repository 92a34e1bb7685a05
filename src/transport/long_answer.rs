//! Long answers, in bounded memory: a thread that may block reads, a bounded channel carries messages to the connection,
//! and whoever does not take them in time is let go.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

/// The messages of one answer.
pub type Answer<T> = ReceiverStream<Result<T, Status>>;

/// What messages are shown to.
pub struct Listener<T> {
    runtime: Runtime,
    messages: mpsc::Sender<Result<T, Status>>,
    /// The place of a last word, which never waits: an answer that breaks off must not look like a whole one.
    last: mpsc::OwnedPermit<Result<T, Status>>,
    stall: Duration,
    stalled: Cell<bool>,
    late: Cell<bool>,
    /// When a slower client is let go, however steadily it reads.
    end: Option<Instant>,
}

impl<T> Listener<T> {
    /// With so many messages that wait for the connection, and for so long. Within a runtime.
    #[must_use]
    pub fn new(waiting: usize, stall: Duration) -> (Self, Answer<T>) {
        let (messages, answer) = mpsc::channel(waiting + 1);
        let last = messages.clone().try_reserve_owned();
        let listener = Self {
            runtime: Runtime::current(),
            messages,
            last: last.unwrap_or_else(|_| unreachable!("the channel is new, and has room")),
            stall,
            stalled: Cell::new(false),
            late: Cell::new(false),
            end: None,
        };
        (listener, ReceiverStream::new(answer))
    }

    /// Bounds how long the whole answer may take.
    #[must_use]
    pub fn within(self, time: Duration) -> Self {
        let end = Some(Instant::now() + time);
        Self { end, ..self }
    }

    /// Sends a message; breaks where nobody listens any more.
    pub fn show(&self, message: T) -> ControlFlow<()> {
        if self.end.is_some_and(|end| Instant::now() >= end) {
            self.late.set(true);
            return ControlFlow::Break(());
        }
        let sending = self.messages.send_timeout(Ok(message), self.stall);
        match self.runtime.block_on(sending) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unsent) => {
                let stalled = matches!(unsent, SendTimeoutError::Timeout(_));
                self.stalled.set(stalled);
                ControlFlow::Break(())
            }
        }
    }

    /// Ends the answer, with why it is not whole, where it is not.
    pub fn end(self, failed: Option<Status>) {
        let stalled = || {
            let seconds = self.stall.as_secs();
            let sentence = format!("nothing was read for {seconds} s; the rest is missing");
            Status::deadline_exceeded(sentence)
        };
        let late = || Status::deadline_exceeded("it took too long to read; the rest is missing");
        let why = failed
            .or_else(|| self.stalled.get().then(stalled))
            .or_else(|| self.late.get().then(late));
        if let Some(why) = why {
            self.last.send(Err(why));
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;

    // Without this callers who never read would hold all threads there are, or take what broke off for all there was.
    #[tokio::test]
    async fn who_does_not_read_is_let_go_and_learns_of_it() {
        let (listener, answer) = Listener::new(1, Duration::from_millis(1));
        let showing = tokio::task::spawn_blocking(move || {
            assert!(listener.show(1).is_continue());
            assert!(listener.show(2).is_break(), "nobody reads");
            listener.end(None);
        });
        showing.await.expect("it ends");
        let read: Vec<_> = answer.collect().await;
        assert_eq!(read.len(), 2, "{read:?}");
        let last = read[1].as_ref().expect_err("it broke off");
        assert_eq!(last.code(), Code::DeadlineExceeded);
    }

    #[tokio::test]
    async fn a_failure_has_the_last_word_and_a_whole_answer_has_none() {
        for failed in [None, Some(Status::data_loss("damaged"))] {
            let (listener, answer) = Listener::new(1, Duration::from_secs(60));
            let expected = 1 + usize::from(failed.is_some());
            let showing = tokio::task::spawn_blocking(move || {
                assert!(listener.show(1).is_continue());
                listener.end(failed);
            });
            showing.await.expect("it ends");
            let read: Vec<_> = answer.collect().await;
            assert_eq!(read.len(), expected, "{read:?}");
        }
    }
}
