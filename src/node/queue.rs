//! The way into the turn: one queue, bounded, for clients and peers alike.

use std::sync::Arc;

use tokio::sync::{Semaphore, mpsc, oneshot};

use super::error::Unavailable;
use crate::process::channel::Tally;
use crate::process::clock::Hlc;
use crate::process::event::{Input, Meeting, Reply};
use crate::process::ids::{Lsn, ProcessId, Seq};
use crate::transport::{Closed, Envelope, Inbox, Settling};

/// Inputs that wait for their turn, from everywhere.
const WAITING_MAX: usize = 65_536;
/// The weight of what clients have waiting: over it they are told to come back, so that peers always get in and
/// memory stays bounded.
const CLIENTS_MAX: usize = 32_768;

/// A reply, with the durable turn that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// What the process says.
    pub reply: Reply,
    /// The newest turn when it said so; durable.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
}

/// Something for the turn.
pub(super) enum Request {
    /// An input, and who waits for the reply.
    Input {
        input: Input,
        reply: Option<oneshot::Sender<Settled>>,
    },
    /// The node stops: nothing after this is looked at.
    Stop,
}

/// The entrance of the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    requests: mpsc::Sender<Request>,
    clients: Arc<Semaphore>,
}

impl Queue {
    pub(super) fn new() -> (Self, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(WAITING_MAX);
        let clients = Arc::new(Semaphore::new(CLIENTS_MAX));
        (Self { requests, clients }, queue)
    }

    /// Asks for a client; refused at once where too many wait.
    pub(super) async fn ask(&self, input: Input) -> Result<Settled, Unavailable> {
        let settled = self.ask_all(vec![input]).await?.pop();
        Ok(settled.expect("one input has one reply"))
    }

    /// Asks several things for a client, in order; refused as a whole where too many wait.
    pub(super) async fn ask_all(&self, inputs: Vec<Input>) -> Result<Vec<Settled>, Unavailable> {
        let weight = inputs.iter().map(Input::weight).sum::<usize>();
        let weight = u32::try_from(weight).map_err(|_| Unavailable::Full)?;
        let _waiting = self
            .clients
            .try_acquire_many(weight)
            .map_err(|_| Unavailable::Full)?;
        let permits = self.requests.try_reserve_many(inputs.len());
        let permits = permits.map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => Unavailable::Full,
            mpsc::error::TrySendError::Closed(()) => stopped(),
        })?;
        let mut replies = Vec::with_capacity(inputs.len());
        for (input, permit) in inputs.into_iter().zip(permits) {
            let (reply, settled) = oneshot::channel();
            permit.send(Request::Input {
                input,
                reply: Some(reply),
            });
            replies.push(settled);
        }
        let mut settled = Vec::with_capacity(replies.len());
        for reply in replies {
            settled.push(reply.await.map_err(|_| stopped())?);
        }
        Ok(settled)
    }

    /// Tells the turn something; nobody waits for a reply.
    pub(super) async fn tell(&self, input: Input) -> Result<(), Unavailable> {
        let request = Request::Input { input, reply: None };
        self.requests.send(request).await.map_err(|_| stopped())
    }

    /// The same from a thread of the node.
    pub(super) fn tell_blocking(&self, input: Input) -> Result<(), Unavailable> {
        let request = Request::Input { input, reply: None };
        self.requests.blocking_send(request).map_err(|_| stopped())
    }

    /// Ends the turn loop after what is already waiting.
    pub(super) async fn stop(&self) {
        // If it has ended already, there is nobody to tell.
        let _ended = self.requests.send(Request::Stop).await;
    }

    // Enqueues for a peer, waiting for room.
    async fn enqueue(&self, input: Input) -> Result<oneshot::Receiver<Settled>, Closed> {
        let (reply, settled) = oneshot::channel();
        let request = Request::Input {
            input,
            reply: Some(reply),
        };
        self.requests.send(request).await.map_err(|_| closed())?;
        Ok(settled)
    }
}

impl Inbox for Queue {
    async fn meet(&self, meeting: Meeting) -> Result<Tally, Closed> {
        let settled = self.enqueue(Input::Met(meeting)).await?;
        match settled.await.map_err(|_| closed())?.reply {
            Reply::Met(Ok(delivered)) => Ok(delivered),
            Reply::Met(Err(refusal)) => Err(Closed::Stopped(refusal.to_string())),
            _ => unreachable!("a meeting is answered as one"),
        }
    }

    async fn deliver(&self, from: &ProcessId, messages: Vec<Envelope>) -> Result<Settling, Closed> {
        let mut last = None;
        let newest = messages.last().map(|envelope| envelope.seq);
        for envelope in messages {
            let is_newest = Some(envelope.seq) == newest;
            let arrived = Input::Arrived {
                from: from.clone(),
                seq: envelope.seq,
                time: envelope.time,
                message: envelope.message,
            };
            if is_newest {
                last = Some(self.enqueue(arrived).await?);
            } else {
                self.tell(arrived).await.map_err(|_| closed())?;
            }
        }
        let last = last.ok_or_else(|| Closed::Broken("a frame without messages".to_owned()))?;
        Ok(Box::pin(async move {
            match last.await.map_err(|_| closed())?.reply {
                Reply::Arrived(Ok(delivered)) => Ok(delivered),
                Reply::Arrived(Err(refusal)) => Err(Closed::Stopped(refusal.to_string())),
                _ => unreachable!("an arrival is answered as one"),
            }
        }))
    }

    async fn acknowledge(&self, to: &ProcessId, seq: Seq) -> Result<(), Closed> {
        let acknowledged = Input::Acknowledged {
            to: to.clone(),
            seq,
        };
        self.tell(acknowledged).await.map_err(|_| closed())
    }
}

fn stopped() -> Unavailable {
    Unavailable::Stopped("it is stopping or cannot make things durable".to_owned())
}

fn closed() -> Closed {
    Closed::Broken("the node is stopping".to_owned())
}
