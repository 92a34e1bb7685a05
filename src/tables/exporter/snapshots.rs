//! The snapshots: for each published revision a row about the part of this process; and before it the messages of its recorded
//! channels, once they are all closed.

use super::Exporter;
use crate::history::known::RevisionArrival;
use crate::history::part::Part;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, ProcessId, SnapshotId};
use crate::store::{Published, Store, StoreError};
use crate::tables::error::TablesError;
use crate::tables::log::Number;
use crate::tables::parquet_file::{FileWriter, Value, long};
use crate::tables::schema::Table;
use crate::tables::table::Addition;

/// The most revisions whose rows are in one version.
const TOGETHER: usize = 256;
/// The most rows of a file of messages.
const FILE_ROWS: u64 = 524_288;

/// The rows of one version.
pub(super) struct Rows {
    file: FileWriter,
    numbers: Vec<Number>,
    newest: Option<SnapshotId>,
}

impl Rows {
    pub(super) fn new() -> Result<Self, TablesError> {
        Ok(Self {
            file: FileWriter::new(Table::Snapshots)?,
            numbers: Vec::new(),
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
        let Some(newest) = self.newest_cut()? else {
            return Ok(());
        };
        let mut waiting = std::mem::take(&mut self.waiting);
        loop {
            let mut rows = Rows::new()?;
            for arrival in std::mem::take(&mut waiting) {
                if !self.add(store, &arrival, newest, &mut rows)? {
                    self.waiting.push(arrival);
                }
            }
            self.commit_rows(rows)?;
            waiting = store.history().revisions_after(self.arrived, TOGETHER);
            self.arrived += waiting.len() as u64;
            if waiting.is_empty() {
                return Ok(());
            }
        }
    }

    // Adds the row of a revision that is not in the table. `false` if its balances are not in their table yet.
    fn add(
        &mut self,
        store: &Store,
        arrival: &RevisionArrival,
        newest: Lsn,
        rows: &mut Rows,
    ) -> Result<bool, TablesError> {
        let RevisionArrival {
            snapshot, revision, ..
        } = arrival;
        let name = format!("revision:{revision}:{}", hex::encode(snapshot.as_str()));
        if self.number(Table::Snapshots, &name)?.is_some() {
            return Ok(true);
        }
        let _reading = store.retention().reading(snapshot);
        let published = match store.history().revision(snapshot, *revision) {
            Err(StoreError::Damaged { what, damage }) => {
                tracing::warn!(what, %damage, "a revision is not written to the tables");
                return Ok(true);
            }
            found => found?,
        };
        let Some(Published { state, root }) = published else {
            return Ok(true);
        };
        let Some(part) = state.parts.get(&self.to.process) else {
            return Ok(true);
        };
        // The state of a store that this one has replaced has cuts of another journal.
        if !store.past().is_recorded_here(snapshot, &part.state)? {
            return Ok(part.state.position <= store.journal().position());
        }
        if part.state.position > newest {
            return Ok(false);
        }
        if part.is_finished() {
            self.export_messages(store, part)?;
        }
        let row = SnapshotRow {
            revision: Some(*revision),
            root: Some(root),
            status: state.status(),
            initiator: &state.initiator,
            initiated_at: state.initiated_at,
            parts: state.parts.len(),
            part,
        };
        self.add_row(&row, &name, rows)?;
        Ok(true)
    }

    /// Adds a row, unless the number with this name says that the table has it. Commits rows that are many.
    pub(super) fn add_row(
        &mut self,
        row: &SnapshotRow<'_>,
        name: &str,
        rows: &mut Rows,
    ) -> Result<(), TablesError> {
        if self.number(Table::Snapshots, name)?.is_some() {
            return Ok(());
        }
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
        rows.numbers.push(self.set(name, 0));
        rows.newest = Some(part.snapshot.clone());
        match rows.numbers.len() < TOGETHER {
            true => Ok(()),
            false => self.commit_rows(std::mem::replace(rows, Rows::new()?)),
        }
    }

    pub(super) fn commit_rows(&mut self, rows: Rows) -> Result<(), TablesError> {
        let Rows {
            file,
            numbers,
            newest,
        } = rows;
        let Some(newest) = newest else {
            return Ok(());
        };
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
        let snapshot = part.snapshot.as_str();
        let name = format!("messages:{}", hex::encode(snapshot));
        if part.channels.iter().all(|channel| channel.messages() == 0)
            || self.number(Table::ChannelMessages, &name)?.is_some()
        {
            return Ok(());
        }
        let (mut files, at) = (Vec::new(), format!("{:020}", part.state.position.0));
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
        let addition = Addition {
            snapshot: Some(snapshot.to_owned()),
            files,
            numbers: vec![self.set(&name, 0)],
        };
        self.commit(Table::ChannelMessages, addition)
    }
}
