//! The instants that the journal of a process does not know: an older copy of its store went on, or one that was restored. Without
//! these rows the tables would answer where an audit says `other_journal`.
//!
//! A gap has a row when it is noticed, and another one when its end is known. Of several rows about the same turns the earliest end
//! counts.

use super::Exporter;
use super::progress::Row;
use crate::process::ids::Lsn;
use crate::store::{Store, Unknown};
use crate::tables::error::TablesError;
use crate::tables::log::Numbers;
use crate::tables::parquet_file::long;

/// By the first turn of a gap: its last turn, and its end in microseconds, as the table has them.
const LAST: &str = "lost_to-";
const END: &str = "unknown_until-";

impl Exporter {
    /// Writes the gaps that the table lacks, as far as the turns up to a position tell.
    pub(super) fn export_unknown(&mut self, store: &Store, until: Lsn) -> Result<(), TablesError> {
        let told = self.told_until()?;
        let Some(position) = self.scanned.map(|scanned| scanned.max(told)) else {
            return Ok(());
        };
        for unknown in store.gaps().unknown(until)? {
            let Some(turn) = store.journal().turns(position).next().transpose()? else {
                return Ok(());
            };
            let Some(numbers) = self.numbers_with(&unknown)? else {
                continue;
            };
            let row = Row {
                position,
                time: turn.time,
                gap_from: None,
                unknown: Some(unknown),
            };
            self.tell(&row, numbers)?;
        }
        Ok(())
    }

    // The numbers with a gap; `None` if they say it already.
    fn numbers_with(&mut self, unknown: &Unknown) -> Result<Option<Numbers>, TablesError> {
        let last = long(unknown.last.0)?;
        let end = unknown.until.map(|until| long(until.wall_us()));
        let end = end.transpose()?;
        let mut numbers = self.progress_numbers()?;
        let [name_of_last, name_of_end] =
            [LAST, END].map(|kind| format!("{kind}{}", unknown.first.0));
        let told = [&name_of_last, &name_of_end].map(|name| numbers.get(name).copied());
        if told == [Some(last), end] {
            return Ok(None);
        }
        numbers.insert(name_of_last, last);
        match end {
            Some(end) => _ = numbers.insert(name_of_end, end),
            None => _ = numbers.remove(&name_of_end),
        }
        Ok(Some(numbers))
    }
}
