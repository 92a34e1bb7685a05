//! One gRPC stream as an end of a channel uses it: at most one frame waits to be sent, one handshake step is running, and one
//! timer is active. Whichever completes first is the next event.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Sleep, sleep};
use tonic::Streaming;

use super::Closed;

/// A handshake step.
pub(super) type Step<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The stream, initially not connected. `T` is the result of a handshake step.
pub(super) struct Stream<'a, Out, In, T> {
    pub(super) outgoing: Option<mpsc::Sender<Out>>,
    pub(super) incoming: Option<Streaming<In>>,
    pub(super) step: Option<Step<'a, T>>,
    unsent: Option<Out>,
    timer: Option<Pin<Box<Sleep>>>,
}

/// The next event.
pub(super) enum Next<In, T> {
    /// The step is done.
    Step(T),
    /// A frame or answer arrived from the other end.
    Came(In),
    /// The connection has taken the frame.
    Sent,
    /// The timer has elapsed.
    Elapsed,
    /// The other end has closed the stream.
    Ended,
    /// The stream failed.
    Broken(Closed),
}

impl<Out, In, T> Default for Stream<'_, Out, In, T> {
    fn default() -> Self {
        Self {
            outgoing: None,
            incoming: None,
            step: None,
            unsent: None,
            timer: None,
        }
    }
}

impl<'a, Out, In, T> Stream<'a, Out, In, T> {
    /// Queues a frame, which is sent as soon as the connection takes it.
    pub(super) fn send(&mut self, frame: Out) {
        debug_assert!(self.unsent.is_none(), "one frame after the other");
        self.unsent = Some(frame);
    }

    /// Starts a handshake step.
    pub(super) fn begin(&mut self, step: impl Future<Output = T> + Send + 'a) {
        debug_assert!(self.step.is_none(), "one step after the other");
        self.step = Some(Box::pin(step));
    }

    /// Restarts the timer; `None` stops it.
    pub(super) fn arm(&mut self, after_ms: Option<u64>) {
        self.timer = after_ms.map(|after_ms| Box::pin(sleep(Duration::from_millis(after_ms))));
    }

    /// Waits for the next event. Cancel-safe.
    pub(super) async fn next(&mut self, listens: bool) -> Next<In, T> {
        let is_unsent = self.unsent.is_some();
        tokio::select! {
            done = pending(self.step.as_mut()) => {
                self.step = None;
                Next::Step(done)
            }
            sent = send(self.outgoing.as_ref(), &mut self.unsent), if is_unsent => match sent {
                Ok(()) => Next::Sent,
                Err(why) => Next::Broken(why),
            },
            frame = hear(self.incoming.as_mut()), if listens => frame,
            () = pending(self.timer.as_mut()) => {
                self.timer = None;
                Next::Elapsed
            }
        }
    }

    /// What has arrived from the other end, without waiting.
    pub(super) async fn peek(&mut self) -> Option<Next<In, T>> {
        tokio::select! {
            biased;
            frame = hear(self.incoming.as_mut()) => Some(frame),
            () = std::future::ready(()) => None,
        }
    }
}

/// The result of a future that is kept between calls; never resolves if there is none.
pub(super) async fn pending<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

async fn send<Out>(
    outgoing: Option<&mpsc::Sender<Out>>,
    unsent: &mut Option<Out>,
) -> Result<(), Closed> {
    let gone = || Closed::Broken("the stream ended".to_owned());
    let permit = outgoing.ok_or_else(gone)?.reserve().await;
    let permit = permit.map_err(|_| gone())?;
    if let Some(frame) = unsent.take() {
        permit.send(frame);
    }
    Ok(())
}

async fn hear<In, T>(incoming: Option<&mut Streaming<In>>) -> Next<In, T> {
    let Some(incoming) = incoming else {
        return std::future::pending().await;
    };
    match incoming.message().await {
        Ok(Some(frame)) => Next::Came(frame),
        Ok(None) => Next::Ended,
        Err(status) => Next::Broken(status.into()),
    }
}
