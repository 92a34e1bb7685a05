//! The snapshots whose rows are not all written yet.

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;

use crate::process::ids::{Lsn, SnapshotId};
use crate::tables::cuts::Cuts;

/// The most snapshots that are followed from one export to the next.
const FOLLOWED_MAX: usize = 65_536;

/// The cuts in the tables `snapshots` and `channel_messages`, and the snapshots of the open ones.
pub(super) struct Pending {
    /// The parts whose rows are in the table. Those of snapshots that are not complete are open, with the newest revision that
    /// has a row.
    rows: Cuts,
    /// The parts whose messages are in the table.
    messages: Cuts,
    snapshots: BTreeMap<u64, SnapshotId>,
    by_id: HashMap<SnapshotId, u64>,
}

impl Pending {
    /// What the logs say. The snapshots of the open cuts are to be named then.
    pub(super) fn new(rows: Cuts, mut messages: Cuts) -> Self {
        // Parts without messages add no version.
        messages.follow(&rows);
        Self {
            rows,
            messages,
            snapshots: BTreeMap::new(),
            by_id: HashMap::new(),
        }
    }

    /// The ranges of open cuts.
    pub(super) fn open_ranges(&self) -> Vec<(Lsn, Lsn)> {
        let ranges = self.rows.open_ranges();
        ranges
            .map(|(first, last)| (Lsn(first), Lsn(last)))
            .collect()
    }

    /// The newest cut that was considered.
    pub(super) fn newest(&self) -> Option<Lsn> {
        self.rows.newest().map(Lsn)
    }

    /// Names the snapshot of an open cut.
    pub(super) fn name(&mut self, cut: Lsn, snapshot: SnapshotId) {
        self.by_id.insert(snapshot.clone(), cut.0);
        self.snapshots.insert(cut.0, snapshot);
    }

    /// Considers the next recorded cut.
    pub(super) fn add(&mut self, cut: Lsn, snapshot: SnapshotId) {
        self.rows.pass(cut.0, Some(0));
        if self.messages.newest() < Some(cut.0) {
            self.messages.pass(cut.0, Some(0));
        }
        self.name(cut, snapshot);
    }

    /// Considers the next recorded cut, which gets no rows.
    pub(super) fn pass_over(&mut self, cut: Lsn) {
        self.rows.pass(cut.0, None);
        if self.messages.newest() < Some(cut.0) {
            self.messages.pass(cut.0, None);
        }
    }

    /// The open cuts whose snapshots are named.
    pub(super) fn cuts(&self) -> impl Iterator<Item = Lsn> {
        self.snapshots.keys().copied().map(Lsn)
    }

    /// The cut of a snapshot that may get more rows.
    pub(super) fn cut_of(&self, snapshot: &SnapshotId) -> Option<Lsn> {
        self.by_id.get(snapshot).copied().map(Lsn)
    }

    /// The snapshot at a cut, if it may get more rows.
    pub(super) fn at(&self, cut: Lsn) -> Option<&SnapshotId> {
        self.snapshots.get(&cut.0)
    }

    /// The newest revision with a row, zero if there is none; `None` if there will be no more.
    pub(super) fn newest_row(&self, cut: Lsn) -> Option<i64> {
        self.at(cut)?;
        self.rows.open_at(cut.0)
    }

    /// Whether the messages of a part are not in the table.
    pub(super) fn lacks_messages(&self, cut: Lsn) -> bool {
        self.messages.open_at(cut.0).is_some()
    }

    /// Notes the newest revision that has a row; `None` if there will be no more.
    pub(super) fn note_row(&mut self, cut: Lsn, revision: Option<i64>) {
        let Ok(()) = self.rows.change(cut.0, revision, among(&self.snapshots));
        if revision.is_none()
            && let Some(snapshot) = self.snapshots.remove(&cut.0)
        {
            self.by_id.remove(&snapshot);
        }
    }

    /// Notes that the messages of a part are in the table, or that it has none.
    pub(super) fn note_messages(&mut self, cut: Lsn) {
        let Ok(()) = self.messages.change(cut.0, None, among(&self.snapshots));
    }

    /// Keeps the logs short: returns the end of the oldest snapshots, which get no more rows, if there are too many ranges.
    pub(super) fn limit_ranges(&mut self) -> Option<Lsn> {
        let end = self.rows.too_many().or_else(|| self.messages.too_many())?;
        Some(self.close_until(end))
    }

    /// Keeps the memory small: as [`Self::limit_ranges`], if there are too many snapshots.
    pub(super) fn limit_followed(&mut self) -> Option<Lsn> {
        let mut cuts = self.snapshots.keys();
        let end = cuts.nth(FOLLOWED_MAX / 2).copied();
        let end = end.filter(|_| self.snapshots.len() > FOLLOWED_MAX)?;
        Some(self.close_until(end))
    }

    fn close_until(&mut self, end: u64) -> Lsn {
        self.rows.close_until(end);
        self.messages.close_until(end);
        self.snapshots = self.snapshots.split_off(&end.saturating_add(1));
        self.by_id.retain(|_, cut| *cut > end);
        Lsn(end)
    }

    /// The numbers for the log of `snapshots`.
    pub(super) fn row_numbers(&self) -> BTreeMap<String, i64> {
        self.rows.numbers().into_iter().collect()
    }

    /// The numbers for the log of `channel_messages`.
    pub(super) fn message_numbers(&self) -> BTreeMap<String, i64> {
        self.messages.numbers().into_iter().collect()
    }
}

// Whether there are open cuts in a range.
fn among(
    snapshots: &BTreeMap<u64, SnapshotId>,
) -> impl FnMut(u64, u64) -> Result<bool, Infallible> {
    |first, last| Ok(snapshots.range(first..=last).next().is_some())
}
