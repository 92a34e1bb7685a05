//! The way into the turn: one queue, bounded, for clients and peers alike.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot, watch};

use super::error::Unavailable;
use super::room::Room;
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
/// How much of that those may take who wait for room: the rest is for those who are told to come back.
const WAITERS_MAX: usize = CLIENTS_MAX / 4 * 3;

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
    Input { input: Input, asker: Option<Asker> },
    /// The node stops: nothing after this is looked at.
    Stop,
}

/// Replies that are still to come, in the order in which it was asked.
pub struct Replies(Vec<oneshot::Receiver<Settled>>);

impl Replies {
    /// All of them; each is durable.
    ///
    /// # Errors
    /// [`Unavailable`]: the node goes down, and what was done is not known.
    pub async fn settled(self) -> Result<Vec<Settled>, Unavailable> {
        let mut settled = Vec::with_capacity(self.0.len());
        for reply in self.0 {
            settled.push(reply.await.map_err(|_| stopped())?);
        }
        Ok(settled)
    }
}

/// Who waits for a reply. The room that an input takes is given back when this goes, not when the client does: those
/// who ask, give up and ask again must not let in more than fits.
pub(super) struct Asker {
    reply: oneshot::Sender<Settled>,
    _room: [Option<OwnedSemaphorePermit>; 2],
}

impl Asker {
    /// Whoever asked may have gone; what was done stays done.
    pub(super) fn answer(self, settled: Settled) {
        let _gone = self.reply.send(settled);
    }
}

/// The entrance of the queue.
#[derive(Debug, Clone)]
pub(super) struct Queue {
    requests: mpsc::Sender<Request>,
    clients: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    room: watch::Receiver<Room>,
}

impl Queue {
    pub(super) fn new(room: watch::Receiver<Room>) -> (Self, mpsc::Receiver<Request>) {
        let (requests, queue) = mpsc::channel(WAITING_MAX);
        let entrance = Self {
            requests,
            clients: Arc::new(Semaphore::new(CLIENTS_MAX)),
            waiters: Arc::new(Semaphore::new(WAITERS_MAX)),
            room,
        };
        (entrance, queue)
    }

    /// Asks for a client; refused at once where too many wait, or the disk is too full for it.
    pub(super) async fn ask(&self, input: Input) -> Result<Settled, Unavailable> {
        let settled = self.ask_all(vec![input]).await?.pop();
        Ok(settled.expect("one input has one reply"))
    }

    /// Asks several things for a client, in order; refused as a whole.
    pub(super) async fn ask_all(&self, inputs: Vec<Input>) -> Result<Vec<Settled>, Unavailable> {
        let weight = self.weight(&inputs)?;
        let clients = Arc::clone(&self.clients);
        let room = clients.try_acquire_many_owned(weight);
        let room = room.map_err(|_| Unavailable::Full)?;
        let permits = self.requests.try_reserve_many(inputs.len());
        let permits = permits.map_err(|error| match error {
            mpsc::error::TrySendError::Full(()) => Unavailable::Full,
            mpsc::error::TrySendError::Closed(()) => stopped(),
        })?;
        put(inputs, permits, [Some(room), None]).settled().await
    }

    /// Asks several things for a client that waits for room, in order: who calls again when this returns is next.
    /// Refused as a whole where the disk is too full, or where it is more than ever fits.
    pub(super) async fn ask_in_turn(&self, inputs: Vec<Input>) -> Result<Replies, Unavailable> {
        let weight = self.weight(&inputs)?;
        if weight as usize > WAITERS_MAX {
            return Err(Unavailable::Full);
        }
        let closed = |_| stopped();
        let waiters = Arc::clone(&self.waiters).acquire_many_owned(weight);
        let waiters = waiters.await.map_err(closed)?;
        let clients = Arc::clone(&self.clients).acquire_many_owned(weight);
        let clients = clients.await.map_err(closed)?;
        let permits = self.requests.reserve_many(inputs.len()).await;
        let permits = permits.map_err(|_| stopped())?;
        Ok(put(inputs, permits, [Some(clients), Some(waiters)]))
    }

    fn weight(&self, inputs: &[Input]) -> Result<u32, Unavailable> {
        let room = *self.room.borrow();
        inputs.iter().try_for_each(|input| room.for_input(input))?;
        let weight = inputs.iter().map(Input::weight).sum::<usize>();
        u32::try_from(weight).map_err(|_| Unavailable::Full)
    }

    /// Asks for a peer or for the node itself, waiting for room: clients that flood it keep nobody from a snapshot.
    pub(super) async fn ask_from_within(&self, input: Input) -> Result<Settled, Unavailable> {
        let settled = self.enqueue(input).await.map_err(|_| stopped())?;
        settled.await.map_err(|_| stopped())
    }

    /// Tells the turn something; nobody waits for a reply.
    pub(super) async fn tell(&self, input: Input) -> Result<(), Unavailable> {
        let request = Request::Input { input, asker: None };
        self.requests.send(request).await.map_err(|_| stopped())
    }

    /// The same from a thread of the node.
    pub(super) fn tell_blocking(&self, input: Input) -> Result<(), Unavailable> {
        let request = Request::Input { input, asker: None };
        self.requests.blocking_send(request).map_err(|_| stopped())
    }

    /// Ends the turn loop after what is already waiting.
    pub(super) async fn stop(&self) {
        // If it has ended already, there is nobody to tell.
        let _ended = self.requests.send(Request::Stop).await;
    }

    // Enqueues for a peer, waiting for room.
    async fn enqueue(&self, input: Input) -> Result<oneshot::Receiver<Settled>, Closed> {
        let (request, settled) = asked(input, [None, None]);
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
        let mut room = self.room.clone();
        let enough = room.wait_for(|room| room.for_peers().is_ok()).await;
        drop(enough.map_err(|_| closed())?);
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

// Each input takes its own share of the room with it.
fn put(
    inputs: Vec<Input>,
    permits: mpsc::PermitIterator<'_, Request>,
    mut room: [Option<OwnedSemaphorePermit>; 2],
) -> Replies {
    let mut replies = Vec::with_capacity(inputs.len());
    for (input, permit) in inputs.into_iter().zip(permits) {
        let weight = input.weight();
        let own = room
            .each_mut()
            .map(|room| room.as_mut().and_then(|room| room.split(weight)));
        let (request, settled) = asked(input, own);
        permit.send(request);
        replies.push(settled);
    }
    Replies(replies)
}

fn asked(
    input: Input,
    room: [Option<OwnedSemaphorePermit>; 2],
) -> (Request, oneshot::Receiver<Settled>) {
    let (reply, settled) = oneshot::channel();
    let asker = Some(Asker { reply, _room: room });
    (Request::Input { input, asker }, settled)
}

fn stopped() -> Unavailable {
    Unavailable::Stopped("it is stopping or cannot make things durable".to_owned())
}

fn closed() -> Closed {
    Closed::Broken("the node is stopping".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock::Lamport;
    use crate::process::event::Operation;
    use crate::process::ids::Key;
    use crate::process::ids::SnapshotId;
    use crate::process::kv::VALUE_BYTES_MAX;
    use crate::process::message::{Body, Marker, Message};

    fn marker(seq: u64) -> Envelope {
        let marker = Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: ProcessId::parse("q").expect("a valid id"),
        };
        Envelope {
            seq: Seq(seq),
            time: Hlc::default(),
            message: Message {
                clock: Lamport(1),
                body: Body::Marker(marker),
            },
        }
    }

    #[tokio::test]
    async fn on_a_full_disk_clients_are_refused_and_peers_wait_for_room() {
        let (room, looks) = watch::channel(Room { free: 50, min: 400 });
        let (queue, mut requests) = Queue::new(looks);
        let refused = queue.ask(Input::Initiate { snapshot: None }).await;
        assert!(matches!(refused, Err(Unavailable::NoRoom { .. })));
        let from = ProcessId::parse("q").expect("a valid id");
        let mut delivery = Box::pin(queue.deliver(&from, vec![marker(1)]));
        tokio::select! {
            biased;
            _ = &mut delivery => unreachable!("there is no room"),
            () = tokio::task::yield_now() => {}
        }
        assert!(requests.try_recv().is_err(), "nothing went in");
        room.send_replace(Room {
            free: 100,
            min: 400,
        });
        assert!(delivery.await.is_ok());
        assert!(requests.try_recv().is_ok(), "what was sent went in");
        let acknowledged = queue.acknowledge(&from, Seq(1)).await;
        assert!(acknowledged.is_ok(), "acknowledgements always pass");
    }

    fn put() -> Input {
        let operation = Operation::Put {
            key: Key::parse("k").expect("a valid key"),
            value: Some("v".repeat(VALUE_BYTES_MAX).into()),
        };
        Input::Operation {
            request: None,
            operation,
        }
    }

    #[tokio::test]
    async fn clients_who_give_up_let_in_no_more_than_fits() {
        let (_room, looks) = watch::channel(Room { free: 1, min: 0 });
        let (queue, mut requests) = Queue::new(looks);
        let fits = CLIENTS_MAX / put().weight();
        for _ in 0..fits {
            // Asked once and given up.
            let asked = tokio::time::timeout(std::time::Duration::ZERO, queue.ask(put())).await;
            assert!(asked.is_err(), "it waits for a turn that does not come");
        }
        assert_eq!(queue.ask(put()).await, Err(Unavailable::Full));
        drop(requests.recv().await);
        let asked = tokio::time::timeout(std::time::Duration::ZERO, queue.ask(put())).await;
        assert!(asked.is_err(), "there is room again for one");
        assert_eq!(requests.len(), fits);
    }
}
