//! The snapshots: for each published revision a row about the part of this process; and before it the messages of its recorded
//! channels, once they are all closed.

use std::collections::BTreeSet;

use super::Exporter;
use super::pending::Pending;
use crate::history::part::Part;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};
use crate::store::{Published, Store, StoreError};
use crate::tables::cuts::Cuts;
use crate::tables::error::TablesError;
use crate::tables::parquet_file::{FileWriter, Value, long};
use crate::tables::schema::Table;
use crate::tables::table::Addition;

/// The most revisions whose rows are in one version, but for those of one snapshot.
const TOGETHER: usize = 256;
/// The most rows of a file of messages.
const FILE_ROWS: u64 = 524_288;

/// The rows of one version.
pub(super) struct Rows {
    file: FileWriter,
    newest: Option<SnapshotId>,
}

impl Rows {
    pub(super) fn new() -> Result<Self, TablesError> {
        Ok(Self {
            file: FileWriter::new(Table::Snapshots)?,
            newest: None,
        })
    }
}

/// A row of the table.
pub(super) struct SnapshotRow<'a> {
    /// Of the published revision, if that is known.
    pub(super) revision: Option<u32>,
    pub(super) root: Option<Hash>,
    pub(super) status: &'static str,
    pub(super) initiator: &'a ProcessId,
    pub(super) initiated_at: Hlc,
    /// The rows of the revision.
    pub(super) parts: usize,
    pub(super) part: &'a Part,
}

impl Exporter {
    pub(super) fn export_snapshots(&mut self, store: &Store) -> Result<(), TablesError> {
        let mut changed = self.newly_pending(store)?;
        loop {
            let arrivals = store.history().revisions_after(self.arrived, TOGETHER);
            self.arrived += arrivals.len() as u64;
            let pending = self.pending(store)?;
            let cuts = arrivals.iter().map(|one| pending.cut_of(&one.snapshot));
            changed.extend(cuts.flatten());
            if arrivals.is_empty() {
                break;
            }
        }
        // In this order the cuts that are open stay few ranges.
        let mut rows = Rows::new()?;
        for cut in changed {
            self.add(store, cut, &mut rows)?;
            self.commit_many(&mut rows)?;
        }
        self.commit_rows(rows)?;
        // A store that was replayed from an archive has no revisions; its parts are exported later.
        if self.arrived > 0 {
            self.limit_pending(Pending::limit_followed);
        }
        Ok(())
    }

    pub(super) fn pending(&mut self, store: &Store) -> Result<&mut Pending, TablesError> {
        if self.pending.is_none() {
            let rows = Cuts::from_numbers(self.table(Table::Snapshots)?.numbers());
            let messages = self.table(Table::ChannelMessages)?.numbers();
            let mut pending = Pending::new(rows, Cuts::from_numbers(messages));
            let begin = store.journal().begins_at();
            for (first, last) in pending.open_ranges() {
                // A state is recorded in the turn behind its cut.
                let turns = (first.next().max(begin), last.next());
                if turns.0 > turns.1 {
                    continue;
                }
                for recording in store.past().recordings(turns.0, turns.1) {
                    let (cut, snapshot) = recording?;
                    pending.name(cut, snapshot);
                }
            }
            self.pending = Some(pending);
        }
        self.pending.as_mut().ok_or(TablesError::Stopped)
    }

    // The cuts whose revisions were not looked at: all open ones after a start, and then those whose balances were added.
    fn newly_pending(&mut self, store: &Store) -> Result<BTreeSet<Lsn>, TablesError> {
        let arrived = store.history().revisions_arrived();
        let mut changed = BTreeSet::new();
        if self.pending.is_none() {
            changed.extend(self.pending(store)?.cuts());
            self.arrived = arrived;
        }
        let Some(newest) = self.newest_cut()? else {
            return Ok(changed);
        };
        let first = self.pending(store)?.newest();
        let first = first.map_or(Lsn(1), |cut| cut.next().next());
        let first = first.max(store.journal().begins_at());
        if first > newest.next() {
            return Ok(changed);
        }
        for recording in store.past().recordings(first, newest.next()) {
            let (cut, snapshot) = recording?;
            let is_lost = self.states()?.open_at(cut.0).is_some();
            let pending = self.pending(store)?;
            if is_lost {
                pending.pass_over(cut);
                continue;
            }
            pending.add(cut, snapshot);
            changed.insert(cut);
        }
        Ok(changed)
    }

    // Adds the rows of the revisions of a snapshot that are not in the table: the newer partial ones, and the complete ones.
    fn add(&mut self, store: &Store, cut: Lsn, rows: &mut Rows) -> Result<(), TablesError> {
        let pending = self.pending(store)?;
        let (Some(snapshot), Some(written)) = (pending.at(cut).cloned(), pending.newest_row(cut))
        else {
            return Ok(());
        };
        let _reading = store.retention().reading(&snapshot);
        let has_complete = store.history().has_complete(&snapshot);
        let mut found = Vec::new();
        for revision in store.history().revisions_of(&snapshot) {
            if i64::from(revision) <= written && !has_complete {
                continue;
            }
            match store.history().revision(&snapshot, revision) {
                Err(StoreError::Damaged { what, damage }) => {
                    tracing::warn!(what, %damage, "a revision is not written to the tables");
                }
                revision => found.extend(revision?),
            }
        }
        found.retain(|one| one.state.is_complete() || i64::from(one.state.revision) > written);
        found.sort_by_key(|one| (one.state.is_complete(), one.state.revision));
        let mut is_closed = false;
        for published in found {
            match self.add_revision(store, cut, &published, rows) {
                Err(TablesError::Store(StoreError::Damaged { what, damage })) => {
                    let revision = published.state.revision;
                    tracing::error!(%snapshot, revision, what, %damage, "a revision is not written to the tables");
                    continue;
                }
                added => added?,
            }
            // Of several complete revisions each has its rows: which one all processes have is not known here.
            if published.state.is_complete() {
                is_closed = true;
            } else {
                let revision = i64::from(published.state.revision);
                self.pending(store)?.note_row(cut, Some(revision));
            }
        }
        if is_closed {
            self.pending(store)?.note_row(cut, None);
        }
        self.limit_pending(Pending::limit_ranges);
        Ok(())
    }

    pub(super) fn limit_pending(&mut self, limit: fn(&mut Pending) -> Option<Lsn>) {
        while let Some(end) = self.pending.as_mut().and_then(limit) {
            tracing::error!(
                process = %self.to.process,
                cut = end.0,
                "too many snapshots are not complete; those up to this cut get no more rows in the tables"
            );
        }
    }

    fn add_revision(
        &mut self,
        store: &Store,
        cut: Lsn,
        Published { state, root }: &Published,
        rows: &mut Rows,
    ) -> Result<(), TablesError> {
        let part = state.parts.get(&self.to.process);
        let Some(part) = part.filter(|part| part.state.position == cut) else {
            return Ok(());
        };
        // The state of a store that this one has replaced has cuts of another journal.
        if !store.past().is_recorded_here(&part.snapshot, &part.state)? {
            return Ok(());
        }
        if part.is_finished() {
            self.export_messages(store, part)?;
        }
        let row = SnapshotRow {
            revision: Some(state.revision),
            root: Some(*root),
            status: state.status(),
            initiator: &state.initiator,
            initiated_at: state.initiated_at,
            parts: state.parts.len(),
            part,
        };
        self.add_row(&row, rows)
    }

    /// Adds a row.
    pub(super) fn add_row(
        &mut self,
        row: &SnapshotRow<'_>,
        rows: &mut Rows,
    ) -> Result<(), TablesError> {
        let (part, recorded) = (row.part, &row.part.state);
        let cut = long(recorded.position.0)?;
        let root = row.root.map(|root| root.to_string());
        rows.file.push(&[
            Value::Text(part.snapshot.as_str()),
            Value::long_or_null(row.revision.map(i64::from)),
            Value::Text(row.status),
            Value::Text(row.initiator.as_str()),
            Value::Long(long(row.initiated_at.wall_us())?),
            Value::Int(i32::try_from(row.parts).unwrap_or(i32::MAX)),
            Value::Text(part.process.as_str()),
            Value::Long(cut),
            Value::Long(self.base_of(cut)?),
            Value::Long(long(recorded.time.wall_us())?),
            Value::Long(long(recorded.accounts)?),
            Value::Decimal(recorded.balance_total),
            Value::Decimal(recorded.deposits),
            Value::Decimal(recorded.withdrawals),
            Value::text_or_null(root.as_deref()),
        ])?;
        rows.newest = Some(part.snapshot.clone());
        Ok(())
    }

    /// Commits rows that are many, all of whose snapshots are noted.
    pub(super) fn commit_many(&mut self, rows: &mut Rows) -> Result<(), TablesError> {
        match rows.file.rows() < TOGETHER as u64 {
            true => Ok(()),
            false => self.commit_rows(std::mem::replace(rows, Rows::new()?)),
        }
    }

    pub(super) fn commit_rows(&mut self, rows: Rows) -> Result<(), TablesError> {
        let Rows { file, newest } = rows;
        let (Some(newest), Some(pending)) = (newest, &self.pending) else {
            return Ok(());
        };
        let numbers = pending.row_numbers();
        let name = format!("{:020}", self.arrived);
        let added = self.put(Table::Snapshots, &name, file.finish()?)?;
        let addition = Addition {
            snapshot: Some(newest.to_string()),
            files: added.into_iter().collect(),
            numbers,
        };
        self.commit(Table::Snapshots, addition)
    }

    pub(super) fn export_messages(
        &mut self,
        store: &Store,
        part: &Part,
    ) -> Result<(), TablesError> {
        let (snapshot, cut) = (part.snapshot.as_str(), part.state.position);
        let pending = self.pending(store)?;
        if !pending.lacks_messages(cut) {
            return Ok(());
        }
        if part.channels.iter().all(|channel| channel.messages() == 0) {
            pending.note_messages(cut);
            return Ok(());
        }
        let (mut files, at) = (Vec::new(), format!("{:020}", cut.0));
        let mut file = FileWriter::new(Table::ChannelMessages)?;
        for channel in &part.channels {
            for recorded in store.chunks().messages(channel) {
                let recorded = recorded?;
                let body = &recorded.message.body;
                let transfer = body.transfer();
                file.push(&[
                    Value::Text(snapshot),
                    Value::Text(channel.from.as_str()),
                    Value::Text(part.process.as_str()),
                    Value::Long(long(recorded.seq.0)?),
                    Value::Text(body.kind()),
                    Value::text_or_null(transfer.map(|transfer| &*transfer.transfer_id)),
                    Value::text_or_null(transfer.map(|transfer| transfer.from_account.as_str())),
                    Value::text_or_null(transfer.map(|transfer| transfer.to_account.as_str())),
                    Value::long_or_null(transfer.map(|transfer| transfer.amount.units())),
                ])?;
                if file.rows() == FILE_ROWS {
                    let full =
                        std::mem::replace(&mut file, FileWriter::new(Table::ChannelMessages)?);
                    files.extend(self.put(Table::ChannelMessages, &at, full.finish()?)?);
                }
            }
        }
        files.extend(self.put(Table::ChannelMessages, &at, file.finish()?)?);
        let pending = self.pending(store)?;
        pending.note_messages(cut);
        let addition = Addition {
            snapshot: Some(snapshot.to_owned()),
            files,
            numbers: pending.message_numbers(),
        };
        self.commit(Table::ChannelMessages, addition)
    }
}
