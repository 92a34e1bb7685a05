//! The queue of the turn: bounded, for clients and peers alike.
//!
//! New work waits, before it is queued, for room in what waits for the archive. Reads, acknowledgements and what ends earlier work
//! do not: nothing of what is queued waits for another input.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::clocks::DurableClocks;
use super::replies::{Patience, PendingAnswer, PendingReplies, Room, Settled, Waiter, stopped};
use super::share::QueueShare;
use crate::node::error::Unavailable;
use crate::node::health::admission::Admission;
use crate::node::health::wall::Clock;
use crate::node::peers::handshakes::Handshakes;
use crate::process::channel::ChannelDigest;
use crate::process::clock::{Clocks, Hlc};
use crate::process::command::{Advance, Arrive, Command, Commands, Compare};
use crate::process::handshake::Handshake;
use crate::process::identity::Identity;
use crate::process::ids::{ProcessId, Seq};
use crate::process::input::Input;
use crate::process::query::Query;
use crate::process::step::{InputQueue, WaitingQuery};
use crate::shipping::hold::Audience;
use crate::store::StoreError;
use crate::transport::{Closed, Envelope, Inbox, Settling};

/// The maximum number of waiting inputs.
const WAITING_MAX: usize = 65_536;
/// The maximum cost of the waiting inputs of clients. Beyond it clients are refused, so that peers always get a place and
/// memory stays bounded.
pub const CLIENTS_MAX: usize = 32_768;
/// The part of it available to clients that wait for space; the rest is for clients that are refused instead.
const WAITERS_MAX: usize = CLIENTS_MAX / 4 * 3;

/// A request to the turn.
pub(in crate::node) enum Request {
    /// Inputs, in order.
    Inputs(Inputs),
    /// A query, and the permit for its place in the queue.
    Query(WaitingQuery<Waiter>, OwnedSemaphorePermit),
    /// The node stops; later requests are ignored.
    Stop,
}

/// Inputs that are submitted together: they stay together in the queue, and their replies are sent together.
pub(in crate::node) struct Inputs {
    inputs: Vec<Input>,
    asker: Option<Waiter>,
    /// The permit for places in the queue, returned when the inputs are taken out.
    _place: Option<OwnedSemaphorePermit>,
}

impl Inputs {
    /// Moves the inputs to the waiting ones of the process.
    pub(in crate::node) fn wait(self, waiting: &mut InputQueue<Waiter>) {
        waiting.push(self.inputs, self.asker);
    }
}

/// The sending side of the queue.
#[derive(Clone)]
pub(in crate::node) struct Queue {
    requests: mpsc::UnboundedSender<Request>,
    places: Arc<Semaphore>,
    clients: Arc<Semaphore>,
    waiters: Arc<Semaphore>,
    admission: watch::Receiver<Admission>,
    /// Whether there is room in what waits for the archive.
    room: watch::Receiver<bool>,
    clocks: Arc<DurableClocks>,
    wall: Arc<Clock>,
    me: ProcessId,
    handshakes: Arc<Handshakes>,
}

impl Queue {
    /// The queue of the process `me`.
    pub(in crate::node) fn new(
        admission: watch::Receiver<Admission>,
        room: watch::Receiver<bool>,
        clocks: Arc<DurableClocks>,
        wall: Arc<Clock>,
        me: ProcessId,
        handshakes: Arc<Handshakes>,
    ) -> (Self, mpsc::UnboundedReceiver<Request>) {
        // The permits for places bound it.
        let (requests, queue) = mpsc::unbounded_channel();
        let entrance = Self {
            requests,
            places: Arc::new(Semaphore::new(WAITING_MAX)),
            clients: Arc::new(Semaphore::new(CLIENTS_MAX)),
            waiters: Arc::new(Semaphore::new(WAITERS_MAX)),
            admission,
            room,
            clocks,
            wall,
            me,
            handshakes,
        };
        (entrance, queue)
    }

    /// Submits commands of a client, in order. Refused or accepted as a whole: refused at once if too many inputs wait, of its
    /// address or in sum, or the disk is too full. Waits only for an archive that is behind, not longer than it may be.
    pub(in crate::node) async fn ask<C: Command>(
        &self,
        commands: Commands<C>,
        audience: Audience,
        share: Option<&QueueShare>,
    ) -> Result<PendingReplies<C>, Unavailable> {
        if commands.is_empty() {
            return Ok(PendingReplies::none());
        }
        if !*self.room.borrow() {
            // Not among the clients, whose places reads need.
            let waiters = Arc::clone(&self.waiters);
            let waits = waiters.try_acquire_many_owned(self.weight(commands.inputs())?);
            let _waits = waits.map_err(|_| Unavailable::Full)?;
            self.room_behind_archive().await?;
        }
        let weight = self.weight(commands.inputs())?;
        let room = self.room_at_once(share, weight)?;
        let place = Arc::clone(&self.places).try_acquire_many_owned(places(commands.inputs()));
        let place = place.map_err(|_| Unavailable::Full)?;
        let replies = self.put(commands, audience, place, room)?;
        Ok(replies.within(self.patience(audience)))
    }

    /// Submits commands of a client that waits for space, in order. A call made after this one returns comes after it.
    /// Refused as a whole if the disk is too full or the inputs exceed the limit.
    pub(in crate::node) async fn ask_in_turn<C: Command>(
        &self,
        commands: Commands<C>,
        share: Option<&QueueShare>,
    ) -> Result<PendingReplies<C>, Unavailable> {
        let weight = self.weight(commands.inputs())?;
        if weight as usize > WAITERS_MAX {
            return Err(Unavailable::Full);
        }
        if commands.is_empty() {
            return Ok(PendingReplies::none());
        }
        // First, so that an address that has used its share keeps nobody else waiting.
        let [share_waiters, share] = match share {
            Some(share) => share.acquire(weight).await?.map(Some),
            None => [None, None],
        };
        let waiters = acquire(&self.waiters, weight).await?;
        self.room_behind_archive().await?;
        let clients = acquire(&self.clients, weight).await?;
        let place = acquire(&self.places, places(commands.inputs())).await?;
        let room = [Some(clients), Some(waiters), share_waiters, share];
        let replies = self.put(commands, Audience::Client, place, room)?;
        Ok(replies.within(self.patience(Audience::Client)))
    }

    /// Submits a query of a client. Refused at once if too many inputs wait, or its answer would wait for an archive that is too
    /// far behind.
    pub(in crate::node) async fn query<Q: Query>(
        &self,
        query: Q,
        share: Option<&QueueShare>,
    ) -> Result<Settled<Q::Answer>, Unavailable> {
        self.admission.borrow().for_queries()?;
        let room = self.room_at_once(share, 1)?;
        let place = Arc::clone(&self.places).try_acquire_owned();
        let place = place.map_err(|_| Unavailable::Full)?;
        self.put_query(query, Audience::Client, place, room)?
            .within(self.patience(Audience::Client))
            .settled()
            .await
    }

    // Of a client. Peers and the node itself wait for as long as it takes.
    fn patience(&self, audience: Audience) -> Option<Patience> {
        Patience::of(&self.admission, audience)
    }

    /// Submits a query of a peer or of the node itself, waiting for a place.
    pub(in crate::node) async fn query_from_within<Q: Query>(
        &self,
        query: Q,
    ) -> Result<Q::Answer, Unavailable> {
        let place = acquire(&self.places, 1).await?;
        Ok(self
            .put_query(query, Audience::Processes, place, Room::default())?
            .settled()
            .await?
            .reply)
    }

    fn put_query<Q: Query>(
        &self,
        query: Q,
        audience: Audience,
        place: OwnedSemaphorePermit,
        room: Room,
    ) -> Result<PendingAnswer<Q::Answer>, Unavailable> {
        let (waiting, answer) = Waiter::query(query, audience, room);
        let sent = self.requests.send(Request::Query(waiting, place));
        sent.map_err(|_| stopped())?;
        Ok(answer)
    }

    // Permits of a client that is refused instead of waiting.
    fn room_at_once(&self, share: Option<&QueueShare>, weight: u32) -> Result<Room, Unavailable> {
        let of_address = share.map(|share| share.try_acquire(weight)).transpose()?;
        match Arc::clone(&self.clients).try_acquire_many_owned(weight) {
            Ok(clients) => Ok([Some(clients), None, None, of_address]),
            Err(_) => Err(match share {
                Some(share) => share.refused(Unavailable::Full),
                None => Unavailable::Full,
            }),
        }
    }

    // Waits while too much waits for the archive.
    async fn has_room(&self) {
        // Without a sender the node has ended: what is queued is not answered.
        let mut room = self.room.clone();
        let _ended = room.wait_for(|has_room| *has_room).await;
    }

    // The same for a client, which is refused once the archive is too far behind: nothing of its work was done.
    async fn room_behind_archive(&self) -> Result<(), Unavailable> {
        if *self.room.borrow() {
            return Ok(());
        }
        let Some(mut patience) = self.patience(Audience::Processes) else {
            self.has_room().await;
            return Ok(());
        };
        tokio::select! {
            biased;
            () = self.has_room() => Ok(()),
            why = patience.ends() => Err(why),
        }
    }

    fn weight(&self, inputs: &[Input]) -> Result<u32, Unavailable> {
        let admission = *self.admission.borrow();
        inputs
            .iter()
            .try_for_each(|input| admission.for_input(input))?;
        let weight = inputs.iter().map(Input::cost).sum::<usize>();
        u32::try_from(weight).map_err(|_| Unavailable::Full)
    }

    /// Submits the call of a process of another make, waiting for a place: a flood of clients cannot block transfers between
    /// processes. Refused if the disk is too full.
    pub(in crate::node) async fn ask_for_peer<C: Command>(
        &self,
        command: C,
    ) -> Result<C::Reply, Unavailable> {
        let commands = Commands::from(command);
        self.weight(commands.inputs())?;
        self.room_behind_archive().await?;
        let place = acquire(&self.places, places(commands.inputs())).await?;
        let replies = self.put(commands, Audience::Processes, place, Room::default())?;
        Ok(replies.last().await?.reply)
    }

    /// Submits a command of a client, waiting for a place, also on a nearly full disk. Refused, or not waited for any longer, while
    /// its reply would wait for an archive that is too far behind.
    pub(in crate::node) async fn settle_for_client<C: Command>(
        &self,
        command: C,
    ) -> Result<Settled<C::Reply>, Unavailable> {
        self.admission.borrow().archived()?;
        self.room_behind_archive().await?;
        let place = acquire(&self.places, 1).await?;
        let (commands, audience) = (Commands::from(command), Audience::Processes);
        let replies = self.put(commands, audience, place, Room::default())?;
        replies.within(self.patience(audience)).last().await
    }

    /// Submits a command of a peer or of the node itself, waiting for a place: a flood of clients cannot block snapshots.
    pub(in crate::node) async fn ask_from_within<C: Command>(
        &self,
        command: C,
    ) -> Result<C::Reply, Unavailable> {
        self.has_room().await;
        let place = acquire(&self.places, 1).await?;
        let (commands, audience) = (Commands::from(command), Audience::Processes);
        let replies = self.put(commands, audience, place, Room::default())?;
        Ok(replies.last().await?.reply)
    }

    /// Submits an input whose reply is dropped.
    pub(in crate::node) async fn tell(&self, input: Input) -> Result<(), Unavailable> {
        let place = acquire(&self.places, 1).await?;
        self.send(vec![input], None, Some(place))
    }

    /// Submits an input whose reply is dropped, from a thread of the node, without a permit: there are few of those.
    pub(in crate::node) fn tell_blocking(&self, input: Input) -> Result<(), Unavailable> {
        self.send(vec![input], None, None)
    }

    /// The number of inputs that wait for a turn.
    pub(in crate::node) fn depth(&self) -> usize {
        WAITING_MAX.saturating_sub(self.places.available_permits())
    }

    /// Ends the turn loop after the inputs that are already waiting.
    pub(in crate::node) fn stop(&self) {
        // The turn loop has ended already.
        let _ended = self.requests.send(Request::Stop);
    }

    fn put<C: Command>(
        &self,
        commands: Commands<C>,
        audience: Audience,
        place: OwnedSemaphorePermit,
        room: Room,
    ) -> Result<PendingReplies<C>, Unavailable> {
        let (waiter, replies) = Waiter::new(audience, room);
        self.send(commands.into_inputs(), Some(waiter), Some(place))?;
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
    // Ends a newly found gap at the end of the journal with a turn, which is the first instant with an answer. `settled` was
    // read before the journal was checked, so that a turn made in between is not overlooked.
    async fn learnt(
        &self,
        settled: Hlc,
        ends_in_gap: Result<bool, StoreError>,
    ) -> Result<(), Closed> {
        if ends_in_gap.map_err(|error| Closed::Broken(error.to_string()))? {
            self.clocks.begin_anew(settled);
            let time = self.clocks.newest().time;
            let first = self.ask_from_within(Advance { time }).await;
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
        self.handshakes.known(peer)
    }

    async fn known_as(&self, peer: &ProcessId, known: Identity) -> Result<(), Closed> {
        let settled = self.clocks.settled();
        let learnt = self.handshakes.known_as(peer, known).await;
        self.learnt(settled, learnt).await
    }

    async fn meet(&self, meeting: Handshake) -> Result<ChannelDigest, Closed> {
        let before = self.clocks.settled();
        let peer = meeting.peer.clone();
        let compared = self.ask_from_within(Compare(meeting)).await;
        match compared.map_err(|_| closed())? {
            Ok(delivered) => Ok(delivered),
            Err(refusal) => {
                let refused = self.handshakes.refused(&peer, &refusal, &self.me);
                let learnt = refused.await;
                self.learnt(before, learnt).await?;
                Err(Closed::Stopped(refusal.to_string()))
            }
        }
    }

    async fn deliver(&self, from: &ProcessId, messages: Vec<Envelope>) -> Result<Settling, Closed> {
        self.has_room().await;
        let mut admission = self.admission.clone();
        let accepted = admission.wait_for(|admission| admission.for_peers().is_ok());
        drop(accepted.await.map_err(|_| closed())?);
        if messages.is_empty() {
            return Err(Closed::Broken("a frame without messages".to_owned()));
        }
        let arrived = messages.into_iter().map(|envelope| Arrive {
            from: from.clone(),
            seq: envelope.seq,
            time: envelope.time,
            message: envelope.message,
        });
        let arrived: Commands<_> = arrived.collect();
        let place = acquire(&self.places, places(arrived.inputs())).await;
        let place = place.map_err(|_| closed())?;
        let replies = self.put(arrived, Audience::Processes, place, Room::default());
        let replies = replies.map_err(|_| closed())?;
        Ok(Box::pin(async move {
            match replies.last().await.map_err(|_| closed())?.reply {
                Ok(delivered) => Ok(delivered),
                Err(refusal) => Err(Closed::Stopped(refusal.to_string())),
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

/// The number of places for the inputs, at most the total: a request for more would wait for ever.
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
#[path = "queue_tests.rs"]
mod tests;
