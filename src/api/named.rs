//! Snapshots as requests name them: by their id, or as `latest`.
//!
//! No snapshot is taken under either of the two words that are read here. A history of before may hold one whose id is
//! `latest`; that one is read as `id:latest`.

use super::error::{Failure, id};
use crate::node::{Handle, SnapshotFilter, SnapshotStatus, SnapshotView};
use crate::process::ids::SnapshotId;

/// The newest snapshot.
pub(crate) const LATEST: &str = "latest";
/// The snapshot whose id is `latest`.
pub(crate) const ITS_ID_IS_LATEST: &str = "id:latest";

/// Which snapshots `latest` is the newest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Among {
    /// All, those that are in progress included.
    All,
    /// Those that are complete or partial: of these there is something to read.
    Finished,
}

/// The id that a request names.
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

/// The id of a snapshot that is to be taken.
pub(super) fn new_id(field: &str, text: &str) -> Result<SnapshotId, Failure> {
    if text == LATEST || text == ITS_ID_IS_LATEST {
        let why = format!("{text:?} is how the newest snapshot is asked for; choose another id");
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
