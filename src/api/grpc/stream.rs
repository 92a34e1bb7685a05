//! Long answers over gRPC, in bounded memory: a thread that may block reads, a bounded channel carries messages to the
//! connection, and a client that does not read in time is let go.

use std::cell::Cell;
use std::ops::ControlFlow;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::SendTimeoutError;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::super::error::Failure;
use super::super::recorded::noted;
use crate::node::Handle;
use crate::store::Store;

/// Messages that wait for the connection.
const WAITING: usize = 256;
/// How long a client may read nothing.
pub(super) const STALL: Duration = Duration::from_secs(30);

/// The messages of one answer.
pub(super) type Answer<T> = ReceiverStream<Result<T, Status>>;

/// What messages are shown to.
pub(super) struct Listener<T> {
    runtime: Runtime,
    messages: mpsc::Sender<Result<T, Status>>,
    /// Whether nothing was read for too long.
    stalled: Cell<bool>,
}

impl<T> Listener<T> {
    /// Sends a message; breaks where nobody listens any more.
    pub(super) fn show(&self, message: T) -> ControlFlow<()> {
        let sending = self.messages.send_timeout(Ok(message), STALL);
        match self.runtime.block_on(sending) {
            Ok(()) => ControlFlow::Continue(()),
            Err(unsent) => {
                self.stalled
                    .set(matches!(unsent, SendTimeoutError::Timeout(_)));
                ControlFlow::Break(())
            }
        }
    }
}

/// An answer that `read` shows while it is being sent. If it fails, its status is the end of the answer; so that one that
/// was cut off does not look whole, there is always a place for that.
pub(super) fn stream<T: Send + 'static>(
    handle: &Handle,
    read: impl FnOnce(&Store, &Listener<T>) -> Result<(), Failure> + Send + 'static,
) -> Answer<T> {
    let (messages, answer) = mpsc::channel(WAITING + 1);
    let last = messages.clone().try_reserve_owned();
    let listener = Listener {
        runtime: Runtime::current(),
        messages,
        stalled: Cell::new(false),
    };
    let handle = handle.clone();
    tokio::task::spawn_blocking(move || {
        let status = match read(handle.store(), &listener) {
            Err(failure) => Some(noted(&handle, failure).into()),
            Ok(()) if listener.stalled.get() => {
                let seconds = STALL.as_secs();
                let sentence = format!("nothing was read for {seconds} s; the rest is missing");
                Some(Status::deadline_exceeded(sentence))
            }
            Ok(()) => None,
        };
        if let (Some(status), Ok(last)) = (status, last) {
            last.send(Err(status));
        }
    });
    ReceiverStream::new(answer)
}
