//! Up to which turn and instant the entries of a process are written, and which turns before that are missing. Without it a reader
//! could not tell a quiet process from one that is behind.

use super::Exporter;
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;
use crate::store::{Store, Unknown};
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
pub(super) struct Row {
    pub(super) position: Lsn,
    pub(super) time: Hlc,
    /// The first of the turns up to this one that are missing.
    pub(super) gap_from: Option<Lsn>,
    /// A gap that the journal itself has.
    pub(super) unknown: Option<Unknown>,
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
        let row = Row {
            position,
            time,
            gap_from: None,
            unknown: None,
        };
        let numbers = self.progress_numbers()?;
        self.tell(&row, numbers)
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
        let row = Row {
            position: Lsn(first.0 - 1),
            time: since,
            gap_from: Some(after.next()),
            unknown: None,
        };
        let numbers = self.progress_numbers()?;
        self.tell(&row, numbers)
    }

    /// The newest turn in the table.
    pub(super) fn told_until(&mut self) -> Result<Lsn, TablesError> {
        let told = self.number(Table::Progress, POSITION)?;
        Ok(Lsn(told
            .and_then(|told| u64::try_from(told).ok())
            .unwrap_or(0)))
    }

    /// All numbers of this process in the table.
    pub(super) fn progress_numbers(&mut self) -> Result<Numbers, TablesError> {
        let numbers = self.table(Table::Progress)?.numbers();
        Ok(numbers
            .map(|(name, number)| (name.to_owned(), number))
            .collect())
    }

    /// Writes a row, and the numbers that go with it.
    pub(super) fn tell(&mut self, row: &Row, mut numbers: Numbers) -> Result<(), TablesError> {
        let Row {
            position,
            time,
            gap_from,
            unknown,
        } = *row;
        let number = |number: Option<u64>| {
            let number = number.map(long).transpose()?;
            Ok::<_, TablesError>(Value::long_or_null(number))
        };
        let from = gap_from.map(|from| from.0);
        let until = unknown.and_then(|unknown| unknown.until);
        let at = long(position.0)?;
        let mut file = FileWriter::new(Table::Progress)?;
        let process = self.to.process.clone();
        file.push(&[
            Value::Text(process.as_str()),
            Value::Long(at),
            Value::Long(long(time.wall_us())?),
            number(from)?,
            Value::long_or_null(from.map(|_| at)),
            number(unknown.map(|unknown| unknown.first.0))?,
            number(unknown.map(|unknown| unknown.last.0))?,
            number(unknown.map(|unknown| unknown.from.wall_us()))?,
            number(until.map(Hlc::wall_us))?,
        ])?;
        let added = self.put(
            Table::Progress,
            &format!("{:020}", position.0),
            file.finish()?,
        )?;
        numbers.insert(POSITION.to_owned(), at);
        let addition = Addition {
            snapshot: None,
            files: added.into_iter().collect(),
            numbers,
        };
        self.commit(Table::Progress, addition)?;
        self.told_at = Some(time);
        self.entries_told = self.written.entries;
        Ok(())
    }
}
