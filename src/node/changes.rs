//! The accounts of the own process that differ between a recorded state and an instant, for whoever asks.

use tokio::sync::mpsc;
use tonic::Status;

use super::error::{Unanswered, Unavailable};
use super::handle::Handle;
use crate::history::diff::AccountChange;
use crate::history::part::RecordedState;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, SnapshotId};
use crate::proto::snapledger as wire;
use crate::store::{Store, StoreError};
use crate::transport::wire::before_horizon;

/// Accounts in one message.
const ACCOUNTS_PER_MESSAGE: usize = 256;

impl Handle {
    /// The newest turn of this process at an instant, if its recorded state in a snapshot can be compared with that.
    ///
    /// # Errors
    /// [`Unanswered::OtherJournal`] where the state was recorded from another journal.
    pub async fn comparable(
        &self,
        (snapshot, state): (SnapshotId, RecordedState),
        time: Hlc,
    ) -> Result<Lsn, Unanswered> {
        self.reach(time).await?;
        let at = state.position;
        let found = self.look_up(move |store| {
            let position = store.position_at(time)?;
            let is_ours = store.is_recorded_here(&snapshot, &state)?;
            Ok(is_ours.then_some(position))
        });
        found.await?.ok_or(Unanswered::OtherJournal(at))
    }
}

/// Sends the accounts that differ, by name, until nobody listens any more.
pub(super) fn send(
    handle: &Handle,
    (from, position): (&RecordedState, Lsn),
    behind: Option<&AccountId>,
    messages: &mpsc::Sender<Result<wire::ChangesSince, Status>>,
) {
    let listener = Listener { handle, messages };
    if let Err(error) = listener.show_all(handle.store(), (from, position), behind) {
        let status = failed(handle, error);
        let _gone = messages.blocking_send(Err(status));
    }
}

// The horizon may have passed the instant since it was found.
fn failed(handle: &Handle, error: StoreError) -> Status {
    if let StoreError::BeforeHorizon { since, .. } = error {
        return before_horizon(since, &error.to_string());
    }
    match handle.store_failed(error) {
        Unavailable::Damaged(why) => Status::data_loss(why),
        error => Status::unavailable(error.to_string()),
    }
}

struct Listener<'a> {
    handle: &'a Handle,
    messages: &'a mpsc::Sender<Result<wire::ChangesSince, Status>>,
}

impl Listener<'_> {
    fn show_all(
        &self,
        store: &Store,
        (from, position): (&RecordedState, Lsn),
        behind: Option<&AccountId>,
    ) -> Result<(), StoreError> {
        let head = wire::ChangesSince {
            process: self.handle.config().me.to_string(),
            position: position.0,
            changes: Vec::new(),
        };
        if self.messages.blocking_send(Ok(head)).is_err() {
            return Ok(());
        }
        let mut changes = Vec::new();
        for change in store.changes_until((from, position), behind)? {
            changes.push(to_wire(&change?));
            if changes.len() == ACCOUNTS_PER_MESSAGE && !self.show(std::mem::take(&mut changes)) {
                return Ok(());
            }
        }
        // Nobody may be listening any more.
        let _gone = changes.is_empty() || self.show(changes);
        Ok(())
    }

    fn show(&self, changes: Vec<wire::AccountChange>) -> bool {
        let message = wire::ChangesSince {
            changes,
            ..wire::ChangesSince::default()
        };
        self.messages.blocking_send(Ok(message)).is_ok()
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
