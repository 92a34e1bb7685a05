//! The return of replies to the submitters of inputs.

use std::marker::PhantomData;

use tokio::sync::{OwnedSemaphorePermit, oneshot, watch};

use crate::node::error::Unavailable;
use crate::node::health::admission::Admission;
use crate::process::Process;
use crate::process::clock::Hlc;
use crate::process::command::{Command, reply_to};
use crate::process::ids::Lsn;
use crate::process::query::Query;
use crate::process::reply::Reply;
use crate::process::step::{Replies, WaitingQuery};
use crate::shipping::hold::Audience;

/// A reply, with the durable turn that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled<R> {
    /// The reply of the process, or its answer to a query.
    pub reply: R,
    /// The newest turn at the time of the reply; durable.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
}

/// The permits of a client: for its part in the queue, for its part of what clients that wait may use, and the same two for the
/// share of its address.
pub(in crate::node) type Room = [Option<OwnedSemaphorePermit>; 4];

/// The address for the replies to inputs submitted together, or for the answer to a query. It holds the permits of the inputs
/// until it is dropped, even if the client has gone: clients that submit, give up and submit again must not exceed the limits.
pub(in crate::node) struct Waiter {
    address: Address,
    audience: Audience,
    _room: Room,
}

enum Address {
    Replies(oneshot::Sender<(Vec<Reply>, Turned)>),
    /// Sends the answer that it holds.
    Answer(Box<dyn FnOnce(Turned) + Send>),
}

/// The position and the clock of the durable turn that replied.
pub(in crate::node) type Turned = (Lsn, Hlc);

impl Waiter {
    /// An address that holds these permits, and the receiver of its replies.
    pub(in crate::node) fn new<C: Command>(
        audience: Audience,
        room: Room,
    ) -> (Self, PendingReplies<C>) {
        let (replies, settled) = oneshot::channel();
        let waiter = Self {
            address: Address::Replies(replies),
            audience,
            _room: room,
        };
        let pending = PendingReplies {
            replies: settled,
            patience: None,
            to: PhantomData,
        };
        (waiter, pending)
    }

    /// A query that holds these permits while it waits and its answer is not sent, and the receiver of the answer.
    pub(in crate::node) fn query<Q: Query>(
        query: Q,
        audience: Audience,
        room: Room,
    ) -> (WaitingQuery<Self>, PendingAnswer<Q::Answer>) {
        let (sender, settled) = oneshot::channel();
        let waiting = move |process: &Process| {
            let reply = query.ask(process);
            let send = move |(position, time): Turned| {
                let _gone = sender.send(Settled {
                    reply,
                    position,
                    time,
                });
            };
            Self {
                address: Address::Answer(Box::new(send)),
                audience,
                _room: room,
            }
        };
        let answer = PendingAnswer {
            answer: settled,
            patience: None,
        };
        (Box::new(waiting), answer)
    }

    // A submitter that has gone is ignored; its operations stay done.
    fn send(self, replies: Vec<Reply>, turned: Turned) {
        match self.address {
            Address::Replies(sender) => {
                let _gone = sender.send((replies, turned));
            }
            Address::Answer(send) => send(turned),
        }
    }
}

/// Collects the replies to inputs that need several turns.
#[derive(Default)]
pub(in crate::node) struct Answers(Vec<Reply>);

impl Answers {
    /// Takes replies of the next turn. Returns them with the earlier ones if they are all.
    pub(in crate::node) fn take(
        &mut self,
        said: Replies<Waiter>,
        turned: Turned,
    ) -> Option<Answered> {
        let mut replies = std::mem::take(&mut self.0);
        match replies.is_empty() {
            true => replies = said.replies,
            false => replies.extend(said.replies),
        }
        match said.to {
            None => {
                self.0 = replies;
                None
            }
            Some(waiter) => Some(Answered {
                waiter,
                replies,
                turned,
            }),
        }
    }
}

/// All replies to a waiter, ready to be sent.
pub(in crate::node) struct Answered {
    waiter: Waiter,
    replies: Vec<Reply>,
    turned: Turned,
}

impl Answered {
    /// Who receives them.
    pub(in crate::node) fn audience(&self) -> Audience {
        self.waiter.audience
    }

    /// Sends them.
    pub(in crate::node) fn send(self) {
        self.waiter.send(self.replies, self.turned);
    }
}

/// Why a client stops waiting for an answer that waits for the archive: that does not take what the answer depends on.
pub(in crate::node) struct Patience {
    admission: watch::Receiver<Admission>,
    audience: Audience,
}

impl Patience {
    /// For answers to this audience; `None`: they do not wait for the archive.
    pub(in crate::node) fn of(
        admission: &watch::Receiver<Admission>,
        audience: Audience,
    ) -> Option<Self> {
        let holds = admission.borrow().holds(audience);
        holds.then(|| Self {
            admission: admission.clone(),
            audience,
        })
    }

    /// Resolves when the archive does not take what waits for it. Not if the node ends: then there is no answer either.
    pub(in crate::node) async fn ends(&mut self) -> Unavailable {
        let audience = self.audience;
        let stuck = |admission: &Admission| admission.for_answers(audience).is_err();
        let looked = self.admission.wait_for(stuck).await;
        match looked.map(|admission| admission.for_answers(audience)) {
            Ok(Err(why)) => why,
            Ok(Ok(())) | Err(_) => std::future::pending().await,
        }
    }
}

// What comes, or why it is not waited for any longer.
async fn received<T>(
    answer: &mut oneshot::Receiver<T>,
    patience: Option<&mut Patience>,
) -> Result<T, Unavailable> {
    let Some(patience) = patience else {
        return answer.await.map_err(|_| stopped());
    };
    tokio::select! {
        biased;
        answer = answer => answer.map_err(|_| stopped()),
        why = patience.ends() => Err(why),
    }
}

/// The pending answer to a query.
pub(in crate::node) struct PendingAnswer<R> {
    answer: oneshot::Receiver<Settled<R>>,
    patience: Option<Patience>,
}

impl<R> PendingAnswer<R> {
    /// The same, waited for only as long as the archive answers.
    pub(in crate::node) fn within(self, patience: Option<Patience>) -> Self {
        Self { patience, ..self }
    }

    /// The answer, with the turn in which it was read.
    pub(in crate::node) async fn settled(mut self) -> Result<Settled<R>, Unavailable> {
        received(&mut self.answer, self.patience.as_mut()).await
    }
}

/// Pending replies to commands of one kind, in their order.
pub struct PendingReplies<C> {
    replies: oneshot::Receiver<(Vec<Reply>, Turned)>,
    patience: Option<Patience>,
    to: PhantomData<fn(C)>,
}

impl<C: Command> PendingReplies<C> {
    /// The empty replies to no commands.
    #[must_use]
    pub fn none() -> Self {
        let (sender, replies) = oneshot::channel();
        let _held = sender.send(Default::default());
        Self {
            replies,
            patience: None,
            to: PhantomData,
        }
    }

    /// The same, waited for only as long as the archive answers.
    pub(in crate::node) fn within(self, patience: Option<Patience>) -> Self {
        Self { patience, ..self }
    }

    /// The same, waited for as long as it takes.
    #[must_use]
    pub fn patiently(self) -> Self {
        self.within(None)
    }

    async fn received(&mut self) -> Result<(Vec<Reply>, Turned), Unavailable> {
        let received = received(&mut self.replies, self.patience.as_mut()).await;
        received.map_err(Unavailable::of_submitted)
    }

    /// All replies; each is durable.
    ///
    /// # Errors
    /// [`Unavailable`]: the node is stopping, or the archive does not take what waits for it. The outcome is unknown.
    pub async fn all(mut self) -> Result<impl Iterator<Item = C::Reply> + use<C>, Unavailable> {
        self.take().await
    }

    /// The same, once; without a loss if it is dropped before.
    ///
    /// # Errors
    /// As [`PendingReplies::all`].
    pub async fn take(&mut self) -> Result<impl Iterator<Item = C::Reply> + use<C>, Unavailable> {
        let (replies, _) = self.received().await?;
        Ok(replies.into_iter().map(reply_to::<C>))
    }

    /// The last reply, with the turn that gave it.
    ///
    /// # Errors
    /// As [`PendingReplies::all`].
    pub async fn last(mut self) -> Result<Settled<C::Reply>, Unavailable> {
        let (mut replies, (position, time)) = self.received().await?;
        let reply = replies.pop().ok_or_else(stopped)?;
        Ok(Settled {
            reply: reply_to::<C>(reply),
            position,
            time,
        })
    }
}

pub(in crate::node) fn stopped() -> Unavailable {
    Unavailable::Stopped("it is stopping or cannot write durably".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::process::command::Arrive;
    use crate::process::ids::{Key, ProcessId, Seq};
    use crate::process::query::ValueOf;
    use crate::process::topology::Topology;

    fn said(numbers: &[u64], to: Option<Waiter>) -> Replies<Waiter> {
        let replies = numbers.iter().map(|units| Reply::Arrived(Ok(Seq(*units))));
        Replies {
            replies: replies.collect(),
            to,
        }
    }

    #[tokio::test]
    async fn whoever_asks_for_several_turns_hears_of_all_of_them_at_once() {
        let room = Arc::new(Semaphore::new(2));
        let taken = || Arc::clone(&room).try_acquire_owned().ok();
        let (first, replies) = Waiter::new::<Arrive>(Audience::Client, [taken(), None, None, None]);
        let (second, other) = Waiter::new::<Arrive>(Audience::Client, [taken(), None, None, None]);
        let turned = |number| (Lsn(number), Hlc(number));
        let mut answers = Answers::default();
        assert!(answers.take(said(&[1, 2], None), turned(1)).is_none());
        assert_eq!(
            room.available_permits(),
            0,
            "its last part is still to come"
        );
        for (numbers, to) in [([3], first), ([4], second)] {
            let answered = answers.take(said(&numbers, Some(to)), turned(2));
            answered.expect("they are all").send();
        }
        assert_eq!(room.available_permits(), 2);
        let replies = replies.all().await.expect("they were sent");
        assert!(replies.eq([1, 2, 3].map(|number| Ok(Seq(number)))));
        let settled = other.last().await.expect("it was answered");
        let one = Settled {
            reply: Ok(Seq(4)),
            position: Lsn(2),
            time: Hlc(2),
        };
        assert_eq!(settled, one);
    }

    // Without this, clients that query, give up and query again would exceed the limits, or read what a crash could undo.
    #[tokio::test]
    async fn a_query_holds_its_permit_until_its_turn_is_durable() {
        let room = Arc::new(Semaphore::new(1));
        let me = ProcessId::parse("p").expect("a valid id");
        let topology = Topology::full(std::slice::from_ref(&me)).expect("one process");
        let process = Process::new(me, topology, 1);
        let query = ValueOf(Key::parse("k").expect("a valid key"));
        let permit = Arc::clone(&room).try_acquire_owned().ok();
        let (waiting, mut answer) =
            Waiter::query(query, Audience::Client, [permit, None, None, None]);
        let replies = Replies {
            replies: Vec::new(),
            to: Some(waiting(&process)),
        };
        assert_eq!(room.available_permits(), 0, "its turn is not durable");
        assert!(answer.answer.try_recv().is_err(), "nor is it answered");
        let answered = Answers::default().take(replies, (Lsn(1), Hlc(1)));
        answered.expect("it is all").send();
        assert_eq!(room.available_permits(), 1);
        let settled = answer.settled().await.expect("it is answered");
        assert_eq!((settled.reply, settled.position), (None, Lsn(1)));
    }
}
