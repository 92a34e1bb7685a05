//! Up to which turn and instant the entries of a process are written, and which turns before that are missing. Without it a reader
//! could not tell a quiet process from one that is behind.

use super::Exporter;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::store::Store;
use crate::tables::error::TablesError;
use crate::tables::log::Numbers;
use crate::tables::parquet_file::{FileWriter, Value, long};
use crate::tables::schema::Table;
use crate::tables::table::Addition;

/// The newest turn in the table.
const POSITION: &str = "position";
/// The least time between two rows while there are no entries.
const QUIET_US: u64 = 60_000_000;

/// A row of the table.
struct Row {
    position: Lsn,
    time: Hlc,
    /// The first of the turns up to this one that are missing.
    gap_from: Option<Lsn>,
}

impl Exporter {
    /// Writes how far the entries are.
    pub(super) fn export_progress(&mut self, store: &Store) -> Result<(), TablesError> {
        let (told, Some(position)) = (self.told_until()?, self.scanned) else {
            return Ok(());
        };
        if told > store.journal().position() {
            return Err(self.other_journal(told));
        }
        if position <= told {
            return Ok(());
        }
        let Some(turn) = store.journal().turns(position).next() else {
            return Ok(());
        };
        let time = turn?.time;
        let is_quiet = self.entries_told == self.written.entries;
        let next = self
            .told_at
            .map(|told| told.wall_us().saturating_add(QUIET_US));
        if is_quiet && next.is_some_and(|next| time.wall_us() < next) {
            return Ok(());
        }
        self.tell(&Row {
            position,
            time,
            gap_from: None,
        })
    }

    /// Writes that the turns behind one are missing up to the beginning of the journal.
    pub(super) fn export_gap(&mut self, store: &Store, after: Lsn) -> Result<(), TablesError> {
        let after = self.told_until()?.max(after);
        let Some((first, since)) = store.past().horizon() else {
            return Ok(());
        };
        if first <= after.next() {
            return Ok(());
        }
        self.tell(&Row {
            position: Lsn(first.0 - 1),
            time: since,
            gap_from: Some(after.next()),
        })
    }

    /// The newest turn in the table.
    pub(super) fn told_until(&mut self) -> Result<Lsn, TablesError> {
        let told = self.number(Table::Progress, POSITION)?;
        Ok(Lsn(told
            .and_then(|told| u64::try_from(told).ok())
            .unwrap_or(0)))
    }

    fn tell(&mut self, row: &Row) -> Result<(), TablesError> {
        let Row {
            position,
            time,
            gap_from,
        } = *row;
        let gap_from = gap_from.map(|from| long(from.0)).transpose()?;
        let at = long(position.0)?;
        let mut file = FileWriter::new(Table::Progress)?;
        let process = self.to.process.clone();
        file.push(&[
            Value::Text(process.as_str()),
            Value::Long(at),
            Value::Long(long(time.wall_us())?),
            Value::long_or_null(gap_from),
            Value::long_or_null(gap_from.map(|_| at)),
        ])?;
        let added = self.put(
            Table::Progress,
            &format!("{:020}", position.0),
            file.finish()?,
        )?;
        let addition = Addition {
            snapshot: None,
            files: added.into_iter().collect(),
            numbers: Numbers::from([(POSITION.to_owned(), at)]),
        };
        self.commit(Table::Progress, addition)?;
        self.told_at = Some(time);
        self.entries_told = self.written.entries;
        Ok(())
    }
}
