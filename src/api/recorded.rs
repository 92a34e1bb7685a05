//! Reads recorded states and channels. Chunks are read from disk, so this runs on blocking threads.

use std::collections::BTreeMap;

use super::error::Failure;
use super::named::RevisionRef;
use super::time::rfc3339;
pub(super) use crate::cluster::recorded::{balance, balances};
use crate::config::Keep;
use crate::history::assembly;
use crate::history::global::GlobalState;
use crate::history::part::RecordedState;
use crate::node::{Handle, SnapshotStatus, SnapshotView};
use crate::process::ids::{ProcessId, SnapshotId};
use crate::process::snapshot::is_drawn_by;
use crate::store::{Store, StoreError, Stretch};

/// Runs `work`, which reads from disk, on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    handle: &Handle,
    work: impl FnOnce(&Store) -> Result<T, Failure> + Send + 'static,
) -> Result<T, Failure> {
    let done = handle.store_worker().spawn(work).await;
    let done = done.unwrap_or_else(|stopped| Err(Failure::Interrupted(stopped.to_string())));
    done.map_err(|failure| noted(handle, failure))
}

/// Passes the failure through, after telling the node about a fatal store error: a reader may be the first to detect
/// it.
pub(super) fn noted(handle: &Handle, failure: Failure) -> Failure {
    match failure {
        Failure::Unreadable(error) if error.is_fatal() => handle.store_failed(error).into(),
        failure => failure,
    }
}

/// The bytes of the accounts in each recorded state, except for processes whose contents are not fully here.
pub(super) async fn account_bytes(
    handle: &Handle,
    view: &SnapshotView,
) -> Result<BTreeMap<ProcessId, u64>, Failure> {
    // Reads under the lease of the snapshot.
    let state = view.state.clone();
    if state.parts.is_empty() {
        return Ok(BTreeMap::new());
    }
    blocking(handle, move |store| {
        let mut bytes = BTreeMap::new();
        for (process, part) in &state.parts {
            match store.states().account_bytes(&part.state) {
                Ok(found) => _ = bytes.insert(process.clone(), found),
                Err(StoreError::Damaged { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(bytes)
    })
    .await
}

/// The newest revision of a snapshot, or the local data of one in progress. Nothing is changed.
pub(super) async fn view(handle: &Handle, id: SnapshotId) -> Result<SnapshotView, Failure> {
    match handle.find(&id).await? {
        Some(view) => Ok(view),
        None => Err(absent(handle, id).await?),
    }
}

/// The same as [`view`]. While the initiator is gone, this node begins to assemble the snapshot.
pub(super) async fn view_or_assemble(
    handle: &Handle,
    id: SnapshotId,
) -> Result<SnapshotView, Failure> {
    match handle.find_or_assemble(&id).await? {
        Some(view) => Ok(view),
        None => Err(absent(handle, id).await?),
    }
}

/// The given revision of a snapshot, or the newest.
pub(super) async fn view_of(
    handle: &Handle,
    id: SnapshotId,
    revision: Option<u32>,
) -> Result<SnapshotView, Failure> {
    let Some(revision) = revision else {
        return view(handle, id).await;
    };
    if let Some(found) = handle.revision(&id, revision).await? {
        return Ok(found);
    }
    let newest = view(handle, id).await?;
    let is_over = assembly::is_over(revision, &newest.state);
    Err(Failure::UnknownRevision {
        revision,
        here: handle
            .store()
            .history()
            .revisions_of(&newest.state.snapshot),
        last: is_over.then_some(newest.state.revision),
        numbered_by: numbered_by(handle, &newest.state.initiator, revision),
        snapshot: newest.state.snapshot.clone(),
    })
}

/// As `view_of`, for a [`RevisionRef`].
pub(super) async fn view_of_revision(
    handle: &Handle,
    wanted: RevisionRef,
) -> Result<SnapshotView, Failure> {
    view_of(handle, wanted.snapshot, wanted.revision).await
}

// Another process that may have assigned this revision number.
fn numbered_by(handle: &Handle, initiator: &ProcessId, revision: u32) -> Option<ProcessId> {
    let config = handle.config();
    let numbering = assembly::numbered_by(revision, initiator, &config.topology);
    numbering.filter(|process| **process != config.me).cloned()
}

/// Why a snapshot is not in the local history: it was deleted, is unknown, or is assembled elsewhere.
pub(super) async fn absent(handle: &Handle, id: SnapshotId) -> Result<Failure, Failure> {
    if handle.store().retention().is_deleted(&id) {
        let since = handle.store().retention().kept_since();
        return Ok(Failure::Deleted {
            snapshot: id,
            since: since.map(|at| rfc3339(at.wall_us())),
        });
    }
    let seen = handle.seen(&id).await?;
    let me = &handle.config().me;
    let assembler = seen.map(|seen| handle.assembler(&seen.initiator).clone());
    let Some(assembler) = assembler.filter(|assembler| assembler != me) else {
        return Ok(Failure::UnknownSnapshot {
            named_by: named_by(handle, &id),
            snapshot: id,
        });
    };
    let peers = handle.peers();
    let initiator = peers.iter().find(|peer| peer.process == assembler);
    let rest = initiator.and_then(|peer| peer.rest.as_deref());
    let scheme = match handle.config().tls {
        Some(_) => "https",
        None => "http",
    };
    Ok(Failure::Elsewhere {
        snapshot: id,
        initiator: assembler,
        address: rest.map_or_else(
            || "its address is not known".to_owned(),
            |at| format!("{scheme}://{at}"),
        ),
        comes: handle.config().history.keep == Keep::All,
    })
}

// The other process whose generated ids have the form of this id. An id chosen by a client names no process.
fn named_by(handle: &Handle, id: &SnapshotId) -> Option<ProcessId> {
    let config = handle.config();
    let mut others = config.topology.processes().filter(|one| **one != config.me);
    others.find(|process| is_drawn_by(id, process)).cloned()
}

/// Refuses to filter by an initiator that is neither a member of the cluster nor in the history.
pub(super) fn check_initiator(
    handle: &Handle,
    initiator: Option<&ProcessId>,
) -> Result<(), Failure> {
    let Some(initiator) = initiator else {
        return Ok(());
    };
    let is_listed = || {
        let started = handle
            .store()
            .history()
            .lines(&Stretch::default(), 1, |_, line| {
                line.initiator == *initiator
            });
        !started.is_empty()
    };
    if handle.config().topology.contains(initiator) || is_listed() {
        return Ok(());
    }
    let why = format!(
        "there is no process {initiator:?} in the cluster, and no process of this name started a snapshot in the history"
    );
    Err(Failure::malformed("initiator", why))
}

/// Parses a status.
pub(super) fn status(text: &str) -> Result<SnapshotStatus, Failure> {
    match text {
        "in_progress" => Ok(SnapshotStatus::InProgress),
        "complete" => Ok(SnapshotStatus::Complete),
        "partial" => Ok(SnapshotStatus::Partial),
        other => {
            let why =
                format!("{other:?} is not a valid status; give in_progress, complete or partial");
            Err(Failure::malformed("status", why))
        }
    }
}

/// `in_progress`, `partial` or `complete`.
pub(super) fn status_of(view: &SnapshotView) -> &'static str {
    view.status().as_str()
}

/// The state of one process in a snapshot.
pub(super) fn state_of<'a>(
    state: &'a GlobalState,
    process: &ProcessId,
) -> Result<&'a RecordedState, Failure> {
    let part = state.parts.get(process);
    part.map(|part| &part.state)
        .ok_or_else(|| Failure::NotRecorded {
            snapshot: state.snapshot.clone(),
            process: process.clone(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;
    use crate::store::Damage;

    // Without this a node whose disk fails would return errors to readers forever.
    #[tokio::test]
    async fn a_store_that_fails_while_a_client_reads_ends_the_node() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut node = Node::alone(dir.path()).await;
        let handle = node.handle().clone();
        let read = |error: StoreError| blocking::<()>(&handle, move |_| Err(error.into()));
        let damaged = StoreError::Damaged {
            what: "chunk 1".to_owned(),
            damage: Damage::Checksum,
        };
        let named = read(damaged).await.expect_err("it is damaged");
        assert_eq!(named.verdict().kind, "unreadable");
        assert!(handle.ready().is_ok(), "the rest goes on");
        let failed = read(StoreError::Failed("EIO".to_owned())).await;
        let failed = failed.expect_err("it has failed");
        assert_eq!(failed.verdict().kind, "not-durable");
        assert_eq!(node.failed().await.exit_code(), 3);
        node.stop().await;
    }
}
