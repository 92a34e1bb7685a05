//! Snapshot ids in requests: an id, or `latest`.
//!
//! Both words below are reserved: no new snapshot gets them as its id. An old history may contain a snapshot with the
//! id `latest`; it is addressed as `id:latest`.

use super::error::{Failure, id};
use crate::node::{Handle, SnapshotFilter, SnapshotStatus, SnapshotView};
use crate::process::ids::SnapshotId;

/// The newest snapshot.
pub(crate) const LATEST: &str = "latest";
/// The snapshot whose id is `latest`.
pub(crate) const ITS_ID_IS_LATEST: &str = "id:latest";

/// A snapshot, and a revision of it; the newest one where none is given.
#[derive(Debug, Clone)]
pub(super) struct RevisionRef {
    pub(super) snapshot: SnapshotId,
    pub(super) revision: Option<u32>,
}

/// The set of snapshots from which `latest` selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    /// All, including those in progress.
    All,
    /// Complete and partial ones, which have contents to read.
    Finished,
}

/// Resolves the id in a request.
pub(super) async fn named(
    handle: &Handle,
    field: &str,
    text: &str,
    among: Among,
) -> Result<SnapshotId, Failure> {
    match text {
        LATEST => Ok(newest(handle, among).await?.state.snapshot.clone()),
        ITS_ID_IS_LATEST => id(field, LATEST, SnapshotId::parse),
        text => id(field, text, SnapshotId::parse),
    }
}

/// Validates the id of a new snapshot.
pub(super) fn new_id(field: &str, text: &str) -> Result<SnapshotId, Failure> {
    if text == LATEST || text == ITS_ID_IS_LATEST {
        let why = format!("{text:?} is reserved for the newest snapshot; choose another id");
        return Err(Failure::malformed(field, why));
    }
    id(field, text, SnapshotId::parse)
}

async fn newest(handle: &Handle, among: Among) -> Result<SnapshotView, Failure> {
    let statuses: &[_] = match among {
        Among::All => &[None],
        Among::Finished => &[
            Some(SnapshotStatus::Complete),
            Some(SnapshotStatus::Partial),
        ],
    };
    let mut newest: Option<SnapshotView> = None;
    for status in statuses {
        let began = |view: &SnapshotView| (view.state.initiated_at, view.state.snapshot.clone());
        let found = newest_of(handle, *status).await?;
        newest = newest.into_iter().chain(found).max_by_key(began);
    }
    newest.ok_or(Failure::NoSnapshot("finished snapshot"))
}

async fn newest_of(
    handle: &Handle,
    status: Option<SnapshotStatus>,
) -> Result<Option<SnapshotView>, Failure> {
    let filter = SnapshotFilter {
        status,
        limit: 1,
        ..SnapshotFilter::default()
    };
    Ok(handle.snapshots(filter).await?.views.into_iter().next())
}
