//! The accounts of one process that differ between a snapshot and an instant: read locally, or requested from that
//! process, which alone has the journal entries between.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use super::error::{QueryError, Question, absence};
use crate::history::audit::Absence;
use crate::history::diff::{AccountChange, Obstacle};
use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::node::{Handle, Unanswered};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::Store;
use crate::transport::peer_client::ComparedState;
use crate::transport::peer_error::PeerError;

/// The longest wait for the next message. A process may read long stretches of equal data in different chunks without
/// sending anything.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A comparison of one process between a snapshot and an instant.
pub(super) struct ChangesQuery<'a> {
    pub(super) process: &'a ProcessId,
    pub(super) snapshot: &'a SnapshotId,
    /// The state of the process in the snapshot.
    pub(super) state: &'a RecordedState,
    /// The last clock value of the instant.
    pub(super) time: Hlc,
}

/// Called for each changed account until it returns `Break`.
pub(super) type Show<'a, E> = dyn FnMut(AccountChange) -> Result<ControlFlow<()>, E> + 'a;

impl ChangesQuery<'_> {
    /// Checks that the process can compare the two. `share` holds its totals at the instant.
    pub(super) async fn check(
        &self,
        handle: &Handle,
        share: &ProcessTotals,
    ) -> Result<Result<(), Obstacle>, QueryError> {
        if *self.process == handle.config().me {
            let (snapshot, state) = (self.snapshot.clone(), self.state.clone());
            return match handle.comparable(snapshot, state, self.time).await {
                Ok(_) => Ok(Ok(())),
                Err(Unanswered::OtherJournal(_)) => Ok(Err(Obstacle::OtherJournal)),
                Err(error) => Err(error.into()),
            };
        }
        let Some(client) = handle.peer_client(self.process) else {
            return Ok(Err(Obstacle::NotAsked(Absence::OtherMake)));
        };
        let position = match client.can_compare(self.compared()).await {
            Ok(position) => position,
            Err(error) => return self.obstacle(&error).map(Err),
        };
        if position == share.position {
            return Ok(Ok(()));
        }
        tracing::warn!(process = %self.process, position = position.0, ?share, "it says another position than before");
        Ok(Err(Obstacle::NotAsked(Absence::NoAnswer)))
    }

    fn compared(&self) -> ComparedState<'_> {
        ComparedState {
            snapshot: self.snapshot,
            state: self.state,
            time: self.time,
        }
    }

    fn obstacle(&self, error: &PeerError) -> Result<Obstacle, QueryError> {
        match known_obstacle(error) {
            Some(obstacle) => Ok(obstacle),
            None => absence(self.process, Absence::Down, error).map(Obstacle::NotAsked),
        }
    }

    /// Calls `show` for every changed account in order of id, starting after `behind`. Blocks on the disk or on the
    /// other process.
    pub(super) fn visit<E: From<QueryError>>(
        &self,
        handle: &Handle,
        store: &Store,
        behind: Option<&AccountId>,
        show: &mut Show<'_, E>,
    ) -> Result<ControlFlow<()>, E> {
        if *self.process != handle.config().me {
            return self.visit_there(handle, behind, show);
        }
        // The clock has passed the instant, so this is the same position as before.
        let position = store
            .past()
            .position_at(self.time)
            .map_err(QueryError::from)?;
        let changes = store.past().changes_until(self.state, position, behind);
        for change in changes.map_err(QueryError::from)? {
            if show(change.map_err(QueryError::from)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit_there<E: From<QueryError>>(
        &self,
        handle: &Handle,
        behind: Option<&AccountId>,
        show: &mut Show<'_, E>,
    ) -> Result<ControlFlow<()>, E> {
        let client = handle.peer_client(self.process);
        let client = client.ok_or_else(|| self.down(Absence::OtherMake.as_str()))?;
        let runtime = Runtime::current();
        let opened = runtime.block_on(client.changes_since(self.compared(), behind));
        let mut answer = opened.map_err(|error| self.not_begun(&error))?;
        let mut last = behind.cloned();
        loop {
            let batch = runtime.block_on(timeout(SILENCE_MAX, answer.next()));
            let silent = |_| self.down(format!("silent for {} s", SILENCE_MAX.as_secs()));
            let Some(batch) = batch.map_err(silent)? else {
                return Ok(ControlFlow::Continue(()));
            };
            for change in batch.map_err(|error| self.ended(&error))? {
                if last.as_ref().is_some_and(|last| change.account <= *last) {
                    return Err(self.down("its changes are not in order").into());
                }
                last = Some(change.account.clone());
                if show(change)?.is_break() {
                    return Ok(ControlFlow::Break(()));
                }
            }
        }
    }

    fn not_begun(&self, error: &PeerError) -> QueryError {
        match known_obstacle(error) {
            Some(obstacle) => self.down(obstacle.as_str()),
            None => self.ended(error),
        }
    }

    // Retention may pass the instant while the comparison runs.
    fn ended(&self, error: &PeerError) -> QueryError {
        QueryError::of_peer(self.process, Question::Changes, error)
    }

    fn down(&self, why: impl Into<String>) -> QueryError {
        QueryError::ProcessDown {
            process: self.process.clone(),
            why: why.into(),
            question: Question::Changes,
        }
    }
}

// Why a process cannot compare the two, if it says so.
fn known_obstacle(error: &PeerError) -> Option<Obstacle> {
    match error {
        PeerError::Unsupported(_) => Some(Obstacle::UnknownThere),
        PeerError::Invalid(_) => Some(Obstacle::OtherJournal),
        PeerError::NotFound(_) => Some(Obstacle::NotKept),
        _ => None,
    }
}
