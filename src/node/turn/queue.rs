//! The way into the turn: one queue, bounded, for clients and peers alike.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::clocks::DurableClocks;
use super::replies::{PendingReplies, Settled, Waiter, stopped};
use crate::node::error::Unavailable;
use crate::node::health::disk_space::DiskSpace;
use crate::node::health::wall::Clock;
use crate::node::peers::handshakes::Handshakes;
use crate::process::channel::ChannelDigest;
use crate::process::clock::{Clocks, Hlc};
use crate::process::handshake::Handshake;
use crate::process::identity::Identity;
use crate::process::ids::{ProcessId, Seq};
use crate::process::input::Input;
use crate::process::reply::Reply;
use crate::process::step::InputQueue;
use crate::store::StoreError;
use crate::transport::{Closed, Envelope, Inbox, Settling};

/// Inputs that wait for their turn, from everywhere.
const WAITING_MAX: usize = 65_536;
/// The weight of what clients have waiting: over it they are told to come back, so that peers always get in and
/// memory stays bounded.
const CLIENTS_MAX: usize = 32_768;
/// How much of that those may take who wait for room: the rest is for those who are told to come back.
const WAITERS_MAX: usize = CLIENTS_MAX / 4 * 3;

/// Something for the turn.
pub(in crate::node) enum Request {
    /// Inputs, in their order.
    Inputs(Inputs),
    /// The node stops: nothing after this is looked at.
    Stop,
}

/// What is asked together: it stands together in the queue, and its replies are said together.
pub(in crate::node) struct Inputs {
    inputs: Vec<Input>,
    asker: Option<Waiter>,
    /// Among all that waits for its turn; given back when they are taken out of the queue.
    _place: Option<OwnedSemaphorePermit>,
}

impl Inputs {
    /// Puts them to what waits for the process.
    pub(in crate::node) fn wait(self, waiting: &mut InputQueue<Waiter>) {
        waiting.push(self.inputs, self.asker);
    }
}

/// The entrance of the queue.
#[derive(Clone)]
pub(in crate::node) struct Queue {
    requests: mpsc::UnboundedSender<Request>,
    places: Arc<Semaphore>,
    clients: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    room: watch::Receiver<DiskSpace>,
    clocks: Arc<DurableClocks>,
    wall: Arc<Clock>,
    me: ProcessId,
    meetings: Arc<Handshakes>,
}

impl Queue {
    /// For the process of this name.
    pub(in crate::node) fn new(
        room: watch::Receiver<DiskSpace>,
        clocks: Arc<DurableClocks>,
        wall: Arc<Clock>,
        me: ProcessId,
        meetings: Arc<Handshakes>,
    ) -> (Self, mpsc::UnboundedReceiver<Request>) {
        // It is bounded by the places.
        let (requests, queue) = mpsc::unbounded_channel();
        let entrance = Self {
            requests,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            clients: Arc::new(Semaphore::new(CLIENTS_MAX)),
            waiters: Arc::new(Semaphore::new(WAITERS_MAX)),
            room,
            clocks,
            wall,
            me,
            meetings,
        };
        (entrance, queue)
    }

    /// Asks for a client; refused at once where too many wait, or the disk is too full for it.
    pub(in crate::node) async fn ask(&self, input: Input) -> Result<Settled, Unavailable> {
        self.ask_at_once(vec![input])?.last().await
    }

    /// Asks several things for a client, in order; refused as a whole.
    pub(in crate::node) async fn ask_all(
        &self,
        inputs: Vec<Input>,
    ) -> Result<Vec<Reply>, Unavailable> {
        match inputs.is_empty() {
            true => Ok(Vec::new()),
            false => self.ask_at_once(inputs)?.all().await,
        }
    }

    fn ask_at_once(&self, inputs: Vec<Input>) -> Result<PendingReplies, Unavailable> {
        let weight = self.weight(&inputs)?;
        let clients = Arc::clone(&self.clients).try_acquire_many_owned(weight);
        let clients = clients.map_err(|_| Unavailable::Full)?;
        let place = Arc::clone(&self.places).try_acquire_many_owned(places(&inputs));
        let place = place.map_err(|_| Unavailable::Full)?;
        self.put(inputs, place, [Some(clients), None])
    }

    /// Asks several things for a client that waits for room, in order: who calls again when this returns is next.
    /// Refused as a whole where the disk is too full, or where it is more than ever fits.
    pub(in crate::node) async fn ask_in_turn(
        &self,
        inputs: Vec<Input>,
    ) -> Result<PendingReplies, Unavailable> {
        let weight = self.weight(&inputs)?;
        if weight as usize > WAITERS_MAX {
            return Err(Unavailable::Full);
        }
        if inputs.is_empty() {
            return Ok(PendingReplies::none());
        }
        let waiters = acquire(&self.waiters, weight).await?;
        let clients = acquire(&self.clients, weight).await?;
        let place = acquire(&self.places, places(&inputs)).await?;
        self.put(inputs, place, [Some(clients), Some(waiters)])
    }

    fn weight(&self, inputs: &[Input]) -> Result<u32, Unavailable> {
        let room = *self.room.borrow();
        inputs.iter().try_for_each(|input| room.for_input(input))?;
        let weight = inputs.iter().map(Input::cost).sum::<usize>();
        u32::try_from(weight).map_err(|_| Unavailable::Full)
    }

    /// Asks for a peer or for the node itself, waiting for room: clients that flood it keep nobody from a snapshot.
    pub(in crate::node) async fn ask_from_within(
        &self,
        input: Input,
    ) -> Result<Settled, Unavailable> {
        let place = acquire(&self.places, 1).await?;
        self.put(vec![input], place, [None, None])?.last().await
    }

    /// Tells the turn something; nobody waits for a reply.
    pub(in crate::node) async fn tell(&self, input: Input) -> Result<(), Unavailable> {
        let place = acquire(&self.places, 1).await?;
        self.send(vec![input], None, Some(place))
    }

    /// The same from a thread of the node, which does not wait for a place: there are few of those.
    pub(in crate::node) fn tell_blocking(&self, input: Input) -> Result<(), Unavailable> {
        self.send(vec![input], None, None)
    }

    /// Ends the turn loop after what is already waiting.
    pub(in crate::node) fn stop(&self) {
        // If it has ended already, there is nobody to tell.
        let _ended = self.requests.send(Request::Stop);
    }

    fn put(
        &self,
        inputs: Vec<Input>,
        place: OwnedSemaphorePermit,
        room: [Option<OwnedSemaphorePermit>; 2],
    ) -> Result<PendingReplies, Unavailable> {
        let (waiter, replies) = Waiter::new(room);
        self.send(inputs, Some(waiter), Some(place))?;
        Ok(replies)
    }

    fn send(
        &self,
        inputs: Vec<Input>,
        asker: Option<Waiter>,
        place: Option<OwnedSemaphorePermit>,
    ) -> Result<(), Unavailable> {
        let inputs = Inputs {
            inputs,
            asker,
            _place: place,
        };
        let sent = self.requests.send(Request::Inputs(inputs));
        sent.map_err(|_| stopped())
    }
}

impl Queue {
    // Where the journal ends in a gap that was just found, a turn ends it: it is the first instant with an answer. `settled`
    // was read before the journal was looked at, so a turn in between is not overlooked.
    async fn learnt(
        &self,
        settled: Hlc,
        ends_in_gap: Result<bool, StoreError>,
    ) -> Result<(), Closed> {
        if ends_in_gap.map_err(|error| Closed::Broken(error.to_string()))? {
            self.clocks.begin_anew(settled);
            let time = self.clocks.newest().time;
            let first = self.ask_from_within(Input::AdvanceClock { time }).await;
            first.map_err(|_| closed())?;
        }
        Ok(())
    }
}

impl Inbox for Queue {
    fn clocks(&self) -> Clocks {
        self.clocks.newest()
    }

    async fn present(&self) -> Hlc {
        self.wall.settled().await;
        let (_, believed) = self.wall.told();
        believed.map_or(Hlc::default(), Hlc::at)
    }

    fn known(&self, peer: &ProcessId) -> Option<Identity> {
        self.meetings.known(peer)
    }

    async fn known_as(&self, peer: &ProcessId, known: Identity) -> Result<(), Closed> {
        let settled = self.clocks.settled();
        let learnt = self.meetings.known_as(peer, known).await;
        self.learnt(settled, learnt).await
    }

    async fn meet(&self, meeting: Handshake) -> Result<ChannelDigest, Closed> {
        let before = self.clocks.settled();
        let peer = meeting.peer.clone();
        let settled = self
            .ask_from_within(Input::Handshake(Box::new(meeting)))
            .await;
        match settled.map_err(|_| closed())?.reply {
            Reply::Handshake(Ok(delivered)) => Ok(*delivered),
            Reply::Handshake(Err(refusal)) => {
                let refused = self.meetings.refused(&peer, &refusal, &self.me);
                let learnt = refused.await;
                self.learnt(before, learnt).await?;
                Err(Closed::Stopped(refusal.to_string()))
            }
            _ => unreachable!("a meeting is answered as one"),
        }
    }

    async fn deliver(&self, from: &ProcessId, messages: Vec<Envelope>) -> Result<Settling, Closed> {
        let mut room = self.room.clone();
        let enough = room.wait_for(|room| room.for_peers().is_ok()).await;
        drop(enough.map_err(|_| closed())?);
        if messages.is_empty() {
            return Err(Closed::Broken("a frame without messages".to_owned()));
        }
        let arrived = messages.into_iter().map(|envelope| Input::Arrived {
            from: from.clone(),
            seq: envelope.seq,
            time: envelope.time,
            message: envelope.message,
        });
        let arrived: Vec<Input> = arrived.collect();
        let place = acquire(&self.places, places(&arrived)).await;
        let place = place.map_err(|_| closed())?;
        let replies = self.put(arrived, place, [None, None]);
        let replies = replies.map_err(|_| closed())?;
        Ok(Box::pin(async move {
            match replies.last().await.map_err(|_| closed())?.reply {
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

/// How many places they take: never more than there are, or they would wait for ever.
fn places(inputs: &[Input]) -> u32 {
    u32::try_from(inputs.len().min(WAITING_MAX)).unwrap_or(u32::MAX)
}

async fn acquire(room: &Arc<Semaphore>, share: u32) -> Result<OwnedSemaphorePermit, Unavailable> {
    let share = Arc::clone(room).acquire_many_owned(share).await;
    share.map_err(|_| stopped())
}

fn closed() -> Closed {
    Closed::Broken("the node is stopping".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClockSettings;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::Key;
    use crate::process::ids::SnapshotId;
    use crate::process::input::Operation;
    use crate::process::message::VALUE_BYTES_MAX;
    use crate::process::message::{Marker, Message};

    fn queue(room: watch::Receiver<DiskSpace>) -> (Queue, mpsc::UnboundedReceiver<Request>) {
        let wall = Clock::new(&ClockSettings::default(), Hlc::default());
        let me = ProcessId::parse("p").expect("a valid id");
        Queue::new(room, Arc::default(), Arc::new(wall), me, Arc::default())
    }

    fn snapshot() -> SnapshotId {
        SnapshotId::parse("s").expect("a valid id")
    }

    fn marker(seq: u64) -> Envelope {
        let marker = Marker {
            snapshot: snapshot(),
            initiator: ProcessId::parse("q").expect("a valid id"),
        };
        Envelope {
            seq: Seq(seq),
            time: Hlc::default(),
            message: Message {
                clock: Lamport(1),
                body: marker.into(),
            },
        }
    }

    #[tokio::test]
    async fn on_a_full_disk_clients_are_refused_and_peers_wait_for_room() {
        let (room, looks) = watch::channel(DiskSpace { free: 50, min: 400 });
        let (queue, mut requests) = queue(looks);
        let refused = queue
            .ask(Input::Initiate {
                snapshot: snapshot(),
            })
            .await;
        assert!(matches!(refused, Err(Unavailable::NoRoom { .. })));
        let from = ProcessId::parse("q").expect("a valid id");
        let mut delivery = Box::pin(queue.deliver(&from, vec![marker(1)]));
        tokio::select! {
            biased;
            _ = &mut delivery => unreachable!("there is no room"),
            () = tokio::task::yield_now() => {}
        }
        assert!(requests.try_recv().is_err(), "nothing went in");
        room.send_replace(DiskSpace {
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
        let (_room, looks) = watch::channel(DiskSpace { free: 1, min: 0 });
        let (queue, mut requests) = queue(looks);
        let fits = CLIENTS_MAX / put().cost();
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
