//! The accounts of the own process that differ between a recorded state and an instant: in bounded memory, few answers at once,
//! each only while it is read.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::history::diff::AccountChange;
use crate::history::part::RecordedState;
use crate::node::error::{Unanswered, Unavailable};
use crate::node::handle::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, SnapshotId};
use crate::proto::snapledger as wire;
use crate::store::{READING_MAX, ReadLease, StoreError};
use crate::transport::long_answer::{Answer, AnswerSender};
use crate::transport::wire::before_horizon;

/// The number of accounts per message.
const ACCOUNTS_PER_MESSAGE: usize = 256;
/// The maximum number of messages queued for the connection.
const WAITING: usize = 2;
/// The maximum number of concurrent answers: each has a reading thread.
const AT_ONCE_MAX: usize = 64;
/// How long a caller may read nothing; longer than it lets its own client wait.
const STALL: Duration = Duration::from_secs(60);

type Changes = Answer<wire::ChangedAccounts>;

impl Handle {
    /// The newest turn of this process at an instant, if its recorded state in a snapshot is comparable with that.
    ///
    /// # Errors
    /// [`Unanswered::OtherJournal`] if the state was recorded from another journal, or the instant is before this one.
    pub async fn comparable(
        &self,
        snapshot: SnapshotId,
        state: RecordedState,
        time: Hlc,
    ) -> Result<Lsn, Unanswered> {
        self.reach(time).await?;
        let at = state.position;
        let found = self.store_worker().look_up(move |store| {
            let known = store.past().known_at(time)?;
            let is_ours = known.is_some() && store.past().is_recorded_here(&snapshot, &state)?;
            Ok(known.filter(|_| is_ours))
        });
        found.await?.ok_or(Unanswered::OtherJournal(at))
    }
}

/// The answers in progress on this node.
pub(in crate::node) struct Comparisons {
    handle: Handle,
    room: Arc<Semaphore>,
}

impl Comparisons {
    pub(in crate::node) fn new(handle: Handle) -> Self {
        Self {
            handle,
            room: Arc::new(Semaphore::new(AT_ONCE_MAX)),
        }
    }

    /// Admits one more answer. Callers that only ask whether an answer is possible get the refusal too, before anything is
    /// sent.
    pub(in crate::node) fn admit(&self) -> Result<Admitted, Status> {
        let permit = self.room.clone().try_acquire_owned().map_err(|_| {
            let sentence = format!("the limit is {AT_ONCE_MAX} concurrent comparisons");
            Status::resource_exhausted(sentence)
        })?;
        Ok(Admitted {
            handle: self.handle.clone(),
            permit,
        })
    }
}

/// An admitted answer.
pub(in crate::node) struct Admitted {
    handle: Handle,
    permit: OwnedSemaphorePermit,
}

impl Admitted {
    /// An answer of only the process and the position of the instant.
    pub(in crate::node) fn head(self, position: Lsn) -> Changes {
        let (messages, answer) = mpsc::channel(1);
        // The queue has space for one message, and the caller holds the receiver.
        let _sent = messages.try_send(Ok(head(&self.handle, position)));
        ReceiverStream::new(answer)
    }

    /// The accounts that differ, ordered by account, while the receiver reads.
    pub(in crate::node) fn changes(
        self,
        from: RecordedState,
        position: Lsn,
        behind: Option<AccountId>,
        reading: ReadLease,
    ) -> Changes {
        let (sender, answer) = AnswerSender::new(WAITING, STALL);
        let sender = sender.within(READING_MAX.saturating_sub(2 * STALL));
        let worker = self.handle.store_worker().clone();
        worker.spawn(move |_| {
            let Self { handle, permit } = self;
            let shown = show_all(&handle, &sender, &from, position, behind.as_ref());
            sender.end(shown.err().map(|error| failed(&handle, error)));
            drop((permit, reading));
        });
        answer
    }
}

fn show_all(
    handle: &Handle,
    sender: &AnswerSender<wire::ChangedAccounts>,
    from: &RecordedState,
    position: Lsn,
    behind: Option<&AccountId>,
) -> Result<(), StoreError> {
    let mut shown = sender.send(head(handle, position));
    let show = |changes| {
        sender.send(wire::ChangedAccounts {
            changes,
            ..wire::ChangedAccounts::default()
        })
    };
    let mut changes = Vec::new();
    for change in handle
        .store()
        .past()
        .changes_until(from, position, behind)?
    {
        if shown.is_break() {
            return Ok(());
        }
        changes.push(to_wire(&change?));
        if changes.len() == ACCOUNTS_PER_MESSAGE {
            shown = show(std::mem::take(&mut changes));
        }
    }
    if !changes.is_empty() && shown.is_continue() {
        // This is the last message; the sender records whether it was sent.
        let _shown = show(changes);
    }
    Ok(())
}

// The horizon may have passed the instant since it was determined.
fn failed(handle: &Handle, error: StoreError) -> Status {
    if let StoreError::BeforeHorizon { since, .. } = error {
        return before_horizon(since, &error.to_string());
    }
    match handle.store_failed(error) {
        Unavailable::Damaged(why) => Status::data_loss(why),
        error => Status::unavailable(error.to_string()),
    }
}

fn head(handle: &Handle, position: Lsn) -> wire::ChangedAccounts {
    wire::ChangedAccounts {
        process: handle.config().me.to_string(),
        position: position.0,
        changes: Vec::new(),
    }
}

fn to_wire(change: &AccountChange) -> wire::AccountChange {
    wire::AccountChange {
        process: String::new(),
        account: change.account.to_string(),
        before: change.before,
        after: change.after,
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;
    use tonic::Code;

    use super::*;
    use crate::node::Node;

    // Without this, the number of reading threads would be unbounded.
    #[tokio::test]
    async fn a_few_are_answered_at_once_and_a_head_holds_no_place() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let comparisons = Comparisons::new(node.handle().clone());
        let mut admitted: Vec<_> = (0..AT_ONCE_MAX).map(|_| comparisons.admit()).collect();
        let refused = comparisons.admit().err().expect("there is no room");
        assert_eq!(refused.code(), Code::ResourceExhausted);
        let last = admitted.pop().and_then(Result::ok).expect("there was room");
        let head = last.head(Lsn(7));
        assert!(
            comparisons.admit().is_ok(),
            "there is enough free disk space again"
        );
        let read: Vec<_> = head.collect().await;
        let positions = read.iter().flatten().map(|message| message.position);
        assert_eq!(positions.collect::<Vec<_>>(), [7]);
        drop(admitted);
        node.stop().await;
    }
}
