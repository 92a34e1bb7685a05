//! The return of replies to the submitters of inputs.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::node::error::Unavailable;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::process::reply::Reply;
use crate::process::step::Replies;

/// A reply, with the durable turn that gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settled {
    /// The reply of the process.
    pub reply: Reply,
    /// The newest turn at the time of the reply; durable.
    pub position: Lsn,
    /// The clock of that turn.
    pub time: Hlc,
}

/// The address for the replies to inputs submitted together. It holds the permits of the inputs until it is dropped, even if
/// the client has gone: clients that submit, give up and submit again must not exceed the limits.
pub(in crate::node) struct Waiter {
    replies: oneshot::Sender<(Vec<Reply>, Turned)>,
    _room: [Option<OwnedSemaphorePermit>; 2],
}

/// The position and the clock of the durable turn that replied.
pub(in crate::node) type Turned = (Lsn, Hlc);

impl Waiter {
    /// An address that holds these permits, and the receiver of its replies.
    pub(in crate::node) fn new(room: [Option<OwnedSemaphorePermit>; 2]) -> (Self, PendingReplies) {
        let (replies, settled) = oneshot::channel();
        let waiter = Self {
            replies,
            _room: room,
        };
        (waiter, PendingReplies(settled))
    }
}

/// Collects the replies to inputs that need several turns.
#[derive(Default)]
pub(in crate::node) struct Answers(Vec<Reply>);

impl Answers {
    /// Takes replies of the next turn. A submitter that has gone is ignored; its operations stay done.
    pub(in crate::node) fn take(&mut self, said: Replies<Waiter>, turned: Turned) {
        let mut replies = std::mem::take(&mut self.0);
        match replies.is_empty() {
            true => replies = said.replies,
            false => replies.extend(said.replies),
        }
        match said.to {
            None => self.0 = replies,
            Some(waiter) => {
                let _gone = waiter.replies.send((replies, turned));
            }
        }
    }
}

/// Pending replies, in the order of the inputs.
pub struct PendingReplies(oneshot::Receiver<(Vec<Reply>, Turned)>);

impl PendingReplies {
    /// The empty replies to no inputs.
    pub(in crate::node) fn none() -> Self {
        let (replies, none) = oneshot::channel();
        let _held = replies.send(Default::default());
        Self(none)
    }

    /// All replies; each is durable.
    ///
    /// # Errors
    /// [`Unavailable`]: the node is stopping, and the outcome is unknown.
    pub async fn all(self) -> Result<Vec<Reply>, Unavailable> {
        let (replies, _) = self.0.await.map_err(|_| stopped())?;
        Ok(replies)
    }

    /// The last reply, with the turn that gave it.
    pub(in crate::node) async fn last(self) -> Result<Settled, Unavailable> {
        let (mut replies, (position, time)) = self.0.await.map_err(|_| stopped())?;
        let reply = replies.pop().ok_or_else(stopped)?;
        Ok(Settled {
            reply,
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

    fn said(balances: &[i64], to: Option<Waiter>) -> Replies<Waiter> {
        let replies = balances.iter().map(|units| Reply::Balance(Some(*units)));
        Replies {
            replies: replies.collect(),
            to,
        }
    }

    #[tokio::test]
    async fn whoever_asks_for_several_turns_hears_of_all_of_them_at_once() {
        let room = Arc::new(Semaphore::new(2));
        let taken = || Arc::clone(&room).try_acquire_owned().ok();
        let (first, replies) = Waiter::new([taken(), None]);
        let (second, other) = Waiter::new([taken(), None]);
        let turned = |number| (Lsn(number), Hlc(number));
        let mut answers = Answers::default();
        answers.take(said(&[1, 2], None), turned(1));
        assert_eq!(
            room.available_permits(),
            0,
            "its last part is still to come"
        );
        answers.take(said(&[3], Some(first)), turned(2));
        answers.take(said(&[4], Some(second)), turned(2));
        assert_eq!(room.available_permits(), 2);
        let balances = [1, 2, 3].map(|units| Reply::Balance(Some(units)));
        assert_eq!(replies.all().await, Ok(balances.to_vec()));
        let settled = other.last().await.expect("it was answered");
        let one = Settled {
            reply: Reply::Balance(Some(4)),
            position: Lsn(2),
            time: Hlc(2),
        };
        assert_eq!(settled, one);
    }
}
