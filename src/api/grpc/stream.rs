//! Long answers over gRPC, in bounded memory: a thread that may block reads, a bounded channel carries messages to the
//! connection, and a client that does not read in time is let go.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;
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
}

impl<T> Listener<T> {
    /// Sends a message; breaks where nobody listens any more.
    pub(super) fn show(&self, message: T) -> ControlFlow<()> {
        self.send(Ok(message))
    }

    fn send(&self, message: Result<T, Status>) -> ControlFlow<()> {
        let sending = self.messages.send_timeout(message, STALL);
        match self.runtime.block_on(sending) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        }
    }
}

/// An answer that `read` shows while it is being sent. If it fails, its status is the end of the answer.
pub(super) fn stream<T: Send + 'static>(
    handle: &Handle,
    read: impl FnOnce(&Store, &Listener<T>) -> Result<(), Failure> + Send + 'static,
) -> Answer<T> {
    let (messages, answer) = mpsc::channel(WAITING);
    let listener = Listener {
        runtime: Runtime::current(),
        messages,
    };
    let handle = handle.clone();
    tokio::task::spawn_blocking(move || {
        if let Err(failure) = read(handle.store(), &listener) {
            let failure = noted(&handle, failure);
            // Whoever asked may have gone; then nobody needs to learn of it.
            let _gone = listener.send(Err(failure.into()));
        }
    });
    ReceiverStream::new(answer)
}
