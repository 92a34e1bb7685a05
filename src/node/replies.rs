//! How replies come back to those who asked.

use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::error::Unavailable;
use crate::process::clock::Hlc;
use crate::process::event::Reply;
use crate::process::ids::Lsn;

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

/// Who waits for a reply.
pub(super) enum Asker {
    /// Who waits for the reply to the next input, too.
    OfNext,
    /// Who waits for this one, and those before it that are of the same.
    OfThese(Box<Waiter>),
}

/// Who waits for replies. The room that the inputs take is given back when this goes, not when the client does: those
/// who ask, give up and ask again must not let in more than fits.
pub(super) struct Waiter {
    replies: oneshot::Sender<Vec<Settled>>,
    _room: [Option<OwnedSemaphorePermit>; 2],
}

impl Waiter {
    /// Who has taken so much room, and what it waits for.
    pub(super) fn new(room: [Option<OwnedSemaphorePermit>; 2]) -> (Self, Replies) {
        let (replies, settled) = oneshot::channel();
        let waiter = Self {
            replies,
            _room: room,
        };
        (waiter, Replies(settled))
    }
}

/// Gathers replies until those who asked have all of theirs.
#[derive(Default)]
pub(super) struct Answers(Vec<Settled>);

impl Answers {
    /// Takes the reply to the input after that of the reply before. Whoever asked may have gone; what was done stays
    /// done.
    pub(super) fn take(&mut self, asker: Asker, settled: Settled) {
        self.0.push(settled);
        if let Asker::OfThese(waiter) = asker {
            // Those that come next are mostly as many.
            let next = Vec::with_capacity(self.0.len());
            let _gone = waiter.replies.send(std::mem::replace(&mut self.0, next));
        }
    }
}

/// Replies that are still to come, in the order in which it was asked.
pub struct Replies(oneshot::Receiver<Vec<Settled>>);

impl Replies {
    /// To nothing.
    pub(super) fn none() -> Self {
        let (replies, none) = oneshot::channel();
        let _held = replies.send(Vec::new());
        Self(none)
    }

    /// All of them; each is durable.
    ///
    /// # Errors
    /// [`Unavailable`]: the node goes down, and what was done is not known.
    pub async fn settled(self) -> Result<Vec<Settled>, Unavailable> {
        self.0.await.map_err(|_| stopped())
    }
}

pub(super) fn stopped() -> Unavailable {
    Unavailable::Stopped("it is stopping or cannot make things durable".to_owned())
}
