//! The accounts of one process that differ between a snapshot and an instant: read locally, or requested from that
//! process, which alone has the journal entries between.

use std::ops::ControlFlow;
use std::time::Duration;

use tokio::runtime::Handle as Runtime;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use super::balance::{PEER_TIMEOUT, sentence};
use super::error::Failure;
use crate::history::audit::Absence;
use crate::history::diff::{AccountChange, Obstacle};
use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::node::{Handle, Unanswered};
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Lsn, ProcessId, SnapshotId};
use crate::proto::snapledger as wire;
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::store::Store;
use crate::transport::wire::{answers_since, state_to_wire};

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

/// Why another process does not answer.
enum Unsaid {
    /// The process cannot compare the two.
    Obstacle(Obstacle),
    /// The request failed; the status is that of the process or of the connection.
    Failed(Status),
}

impl ChangesQuery<'_> {
    /// Checks that the process can compare the two. `share` holds its totals at the instant.
    pub(super) async fn check(
        &self,
        handle: &Handle,
        share: &ProcessTotals,
    ) -> Result<Result<(), Obstacle>, Failure> {
        if *self.process == handle.config().me {
            let (snapshot, state) = (self.snapshot.clone(), self.state.clone());
            return match handle.comparable(snapshot, state, self.time).await {
                Ok(_) => Ok(Ok(())),
                Err(Unanswered::OtherJournal(_)) => Ok(Err(Obstacle::OtherJournal)),
                Err(error) => Err(error.into()),
            };
        }
        let head = wire::ChangesSinceRequest {
            head_only: true,
            ..self.request(handle, None)
        };
        let position = match self.open(handle, head).await {
            Ok((position, _)) => position,
            Err(Unsaid::Obstacle(obstacle)) => return Ok(Err(obstacle)),
            Err(Unsaid::Failed(status)) => return self.absent(&status).map(Err),
        };
        if position == share.position {
            return Ok(Ok(()));
        }
        tracing::warn!(process = %self.process, position = position.0, ?share, "it reports another journal position \
            than before");
        Ok(Err(Obstacle::NotAsked(Absence::NoAnswer)))
    }

    fn absent(&self, status: &Status) -> Result<Obstacle, Failure> {
        match (answers_since(status), status.code()) {
            (Some(since), _) => Err(Failure::BeforeHorizon(since)),
            (_, Code::OutOfRange) => Ok(Obstacle::NotAsked(Absence::ClockBehind)),
            (_, Code::Unavailable) => Ok(Obstacle::NotAsked(Absence::Down)),
            _ => {
                let (code, why) = (status.code(), status.message());
                tracing::warn!(process = %self.process, ?code, why, "not compared");
                Ok(Obstacle::NotAsked(Absence::NoAnswer))
            }
        }
    }

    /// Calls `show` for every changed account in order of id, starting after `behind`. Blocks on the disk or on the
    /// other process.
    pub(super) fn visit<E: From<Failure>>(
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
        let position = store.past().position_at(self.time).map_err(Failure::from)?;
        let changes = store.past().changes_until(self.state, position, behind);
        for change in changes.map_err(Failure::from)? {
            if show(change.map_err(Failure::from)?)?.is_break() {
                return Ok(ControlFlow::Break(()));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn visit_there<E: From<Failure>>(
        &self,
        handle: &Handle,
        behind: Option<&AccountId>,
        show: &mut Show<'_, E>,
    ) -> Result<ControlFlow<()>, E> {
        let runtime = Runtime::current();
        let opened = runtime.block_on(self.open(handle, self.request(handle, behind)));
        let (_, mut answer) = opened.map_err(|unsaid| match unsaid {
            Unsaid::Obstacle(obstacle) => self.down(obstacle.as_str()),
            Unsaid::Failed(status) => self.ended(&status),
        })?;
        let mut last = behind.cloned();
        loop {
            let message = runtime.block_on(timeout(SILENCE_MAX, answer.message()));
            let message = message
                .map_err(|_| self.down(format!("silent for {} s", SILENCE_MAX.as_secs())))?
                .map_err(|status| self.ended(&status))?;
            let Some(message) = message else {
                return Ok(ControlFlow::Continue(()));
            };
            for change in message.changes {
                let change = from_wire(change).map_err(|why| self.down(why))?;
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

    fn request(&self, handle: &Handle, behind: Option<&AccountId>) -> wire::ChangesSinceRequest {
        wire::ChangesSinceRequest {
            cluster: handle.config().cluster.clone(),
            snapshot_id: self.snapshot.to_string(),
            state: Some(state_to_wire(self.state)),
            time: self.time.0,
            behind: behind.map_or_else(String::new, ToString::to_string),
            head_only: false,
        }
    }

    // Opens the stream; returns the journal position of the instant there, and the changes.
    async fn open(
        &self,
        handle: &Handle,
        request: wire::ChangesSinceRequest,
    ) -> Result<(Lsn, Streaming<wire::ChangedAccounts>), Unsaid> {
        let channel = handle.peer_channel(self.process);
        let channel = channel.ok_or(Unsaid::Obstacle(Obstacle::NotAsked(Absence::OtherMake)))?;
        let mut client = PeerServiceClient::new(channel);
        let asked = async {
            let mut answer = client.changes_since(request).await?.into_inner();
            let head = answer.message().await?;
            let head = head.ok_or_else(|| Status::unknown("no change was received"))?;
            Ok((head, answer))
        };
        let (head, answer) = timeout(PEER_TIMEOUT, asked)
            .await
            .unwrap_or_else(|_| {
                let sentence = format!("no answer within {} s", PEER_TIMEOUT.as_secs());
                Err(Status::deadline_exceeded(sentence))
            })
            .map_err(unsaid)?;
        if head.process != self.process.as_str() {
            let sentence = format!("process {:?} answers at its address", head.process);
            return Err(Unsaid::Failed(Status::unknown(sentence)));
        }
        Ok((Lsn(head.position), answer))
    }

    // Retention may pass the instant while the comparison runs.
    fn ended(&self, status: &Status) -> Failure {
        match answers_since(status) {
            Some(since) => Failure::BeforeHorizon(since),
            None => self.down(sentence(status)),
        }
    }

    fn down(&self, why: impl Into<String>) -> Failure {
        Failure::ProcessDown {
            process: self.process.clone(),
            why: why.into(),
            instead: "compare two snapshots instead, or retry when the process is up",
        }
    }
}

fn unsaid(status: Status) -> Unsaid {
    match status.code() {
        Code::Unimplemented => Unsaid::Obstacle(Obstacle::UnknownThere),
        Code::InvalidArgument => Unsaid::Obstacle(Obstacle::OtherJournal),
        Code::NotFound => Unsaid::Obstacle(Obstacle::NotKept),
        _ => Unsaid::Failed(status),
    }
}

fn from_wire(change: wire::AccountChange) -> Result<AccountChange, String> {
    let account = AccountId::parse(&change.account);
    Ok(AccountChange {
        account: account.map_err(|error| error.to_string())?,
        before: change.before,
        after: change.after,
    })
}
