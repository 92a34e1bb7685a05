//! What differs between two snapshots, as REST and gRPC show it: by process, then account.

use std::ops::{Bound, ControlFlow};

use super::error::Failure;
use super::recorded::view;
use crate::history::diff::{AccountChange, Comparison};
use crate::node::{Handle, SnapshotView};
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::store::{Store, StoreError};

/// The two sides, in the order in which they were asked for.
pub(super) struct Sides {
    pub(super) from: SnapshotView,
    pub(super) to: SnapshotView,
}

impl Sides {
    /// The newest revisions of both.
    pub(super) async fn of(
        handle: &Handle,
        from: SnapshotId,
        to: SnapshotId,
    ) -> Result<Self, Failure> {
        Ok(Self {
            from: view(handle, from).await?,
            to: view(handle, to).await?,
        })
    }

    /// Process by process.
    pub(super) fn compared(&self) -> Comparison<'_> {
        Comparison::of(&self.from.state, &self.to.state)
    }

    /// Shows every account that differs, from behind a place on, until told to stop. Reads the disk.
    pub(super) fn visit<E: From<StoreError>>(
        &self,
        store: &Store,
        behind: Option<&(ProcessId, AccountId)>,
        mut show: impl FnMut(&ProcessId, AccountChange) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        let first = behind.map_or(Bound::Unbounded, |(process, _)| Bound::Included(process));
        let compared = self.compared().compared;
        for (process, (before, after)) in compared.range::<&ProcessId, _>((first, Bound::Unbounded))
        {
            let behind = behind.filter(|(last, _)| last == *process);
            let behind = behind.map(|(_, account)| account);
            for change in store.changes((&before.runs, &after.runs), behind)? {
                if show(process, change?)?.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
