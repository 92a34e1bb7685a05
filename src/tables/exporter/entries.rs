//! The entries: every operation of the journal, with the balance after it.

use std::collections::BTreeSet;

use super::{Exporter, shortened};
use crate::history::statement::{Entry, all_entries};
use crate::history::unattributed::entries_without_account;
use crate::process::ids::{AccountId, Lsn};
use crate::store::{Damage, Store, StoreError};
use crate::tables::error::TablesError;
use crate::tables::log::Numbers;
use crate::tables::parquet_file::{FileWriter, Value, long};
use crate::tables::schema::Table;
use crate::tables::table::Addition;

/// The newest turn in the table, and some bits of the journal's hash there.
const POSITION: &str = "position";
const JOURNAL: &str = "journal";

/// The rows at which a file ends, with the turn that reaches it.
const FILE_ROWS: usize = 131_072;
/// The most balances that are remembered from one file to the next.
const KNOWN_MAX: usize = 1_000_000;

/// A row: an entry of an account, or money that no account has.
struct Row {
    account: Option<AccountId>,
    entry: Entry,
}

impl Exporter {
    pub(super) fn export_entries(
        &mut self,
        store: &Store,
        until: Lsn,
        step: &mut dyn FnMut(Lsn),
    ) -> Result<(), TablesError> {
        let begin = store.journal().begins_at();
        let mut from = match self.scanned {
            Some(scanned) if scanned.next() >= begin => scanned,
            scanned => self.written_until(store, scanned)?,
        };
        while from < until {
            let (rows, last) = self.read_rows(store, from, until)?;
            if rows.is_empty() {
                // Turns without operations need no version of their own.
                self.scanned = Some(last);
            } else {
                self.write_rows(store, from, last, rows)?;
            }
            from = last;
            step(last);
        }
        self.scanned = Some(from);
        Ok(())
    }

    // The newest turn in the table, or a later one up to which there is nothing to write. It must be of this journal.
    fn written_until(&mut self, store: &Store, scanned: Option<Lsn>) -> Result<Lsn, TablesError> {
        let before = Lsn(store.journal().begins_at().0 - 1);
        let Some(position) = self.number(Table::Entries, POSITION)? else {
            if before > self.told_until()? {
                tracing::warn!(
                    process = %self.to.process,
                    first = before.next().0,
                    "the table entries begins with the oldest turn that retention has left"
                );
                self.export_gap(store, Lsn(0))?;
            }
            return Ok(before);
        };
        let position = Lsn(u64::try_from(position).unwrap_or(0));
        let hash = self.number(Table::Entries, JOURNAL)?;
        if position < before {
            let after = self.told_until()?.max(scanned.unwrap_or(position));
            if after < before {
                tracing::error!(
                    process = %self.to.process,
                    after = after.0,
                    first = before.next().0,
                    "turns were deleted before they were written to the table entries; it has a gap"
                );
                self.export_gap(store, after)?;
                self.lost += before.0 - after.0;
            }
            return Ok(before);
        }
        let here = store.journal().hash_of(position)?;
        match here.is_some_and(|here| Some(shortened(here)) == hash) {
            true => Ok(position),
            false => Err(self.other_journal(position)),
        }
    }

    pub(super) fn other_journal(&self, position: Lsn) -> TablesError {
        TablesError::OtherJournal {
            url: self.to.objects.url().to_owned(),
            process: self.to.process.clone(),
            position,
        }
    }

    // The rows of the next turns, at most of one file, and the last of these turns.
    fn read_rows(
        &self,
        store: &Store,
        from: Lsn,
        until: Lsn,
    ) -> Result<(Vec<Row>, Lsn), TablesError> {
        let (mut rows, mut last) = (Vec::new(), from);
        for turn in store.journal().turns(from.next()) {
            let turn = turn?;
            if *self.ending.borrow() {
                return Err(TablesError::Stopped);
            }
            last = turn.position;
            let before = rows.len();
            let entries = all_entries(&self.to.process, &turn).into_iter();
            rows.extend(entries.map(|(account, entry)| Row {
                account: Some(account.clone()),
                entry,
            }));
            let ordinal = u32::try_from(rows.len() - before).unwrap_or(u32::MAX);
            let others = entries_without_account(&turn, ordinal).into_iter();
            rows.extend(others.map(|entry| Row {
                account: None,
                entry,
            }));
            if last >= until || rows.len() >= FILE_ROWS {
                break;
            }
        }
        Ok((rows, last))
    }

    fn write_rows(
        &mut self,
        store: &Store,
        from: Lsn,
        last: Lsn,
        rows: Vec<Row>,
    ) -> Result<(), TablesError> {
        self.learn_balances(store, from, &rows)?;
        let mut file = FileWriter::new(Table::Entries)?;
        let process = self.to.process.clone();
        let first = rows.first().map_or(from, |row| row.entry.place.position);
        for Row { account, entry } in rows {
            let balance = account.map(|account| {
                let balance = self.known.get(&account).copied().unwrap_or(0);
                let after = i128::from(balance) + entry.change();
                let after = i64::try_from(after).map_err(|_| contradiction(&account, after))?;
                self.known.insert(account.clone(), after);
                Ok::<_, StoreError>((account, after))
            });
            let balance = balance.transpose()?;
            let ordinal = i32::try_from(entry.place.ordinal).unwrap_or(i32::MAX);
            file.push(&[
                Value::Text(process.as_str()),
                Value::Long(long(entry.place.position.0)?),
                Value::Int(ordinal),
                Value::Long(long(entry.time.wall_us())?),
                Value::Text(entry.op.as_str()),
                Value::text_or_null(balance.as_ref().map(|(account, _)| account.as_str())),
                Value::Long(entry.amount.units()),
                Value::long_or_null(balance.as_ref().map(|(_, balance)| *balance)),
                Value::text_or_null(entry.counterparty.as_ref().map(AccountId::as_str)),
                Value::text_or_null(entry.counterparty_process.as_ref().map(|one| one.as_str())),
                Value::text_or_null(entry.transfer_id.as_deref()),
                Value::text_or_null(entry.meant_for.as_ref().map(AccountId::as_str)),
            ])?;
        }
        let name = format!("{:020}-{:020}", first.0, last.0);
        let added = self.put(Table::Entries, &name, file.finish()?)?;
        let hash = store.journal().hash_of(last)?.unwrap_or_default();
        let numbers = Numbers::from([
            (POSITION.to_owned(), long(last.0)?),
            (JOURNAL.to_owned(), shortened(hash)),
        ]);
        self.commit(
            Table::Entries,
            Addition {
                snapshot: None,
                files: added.into_iter().collect(),
                numbers,
            },
        )?;
        self.scanned = Some(last);
        Ok(())
    }

    // The balances before the first row, of the accounts that are not remembered.
    fn learn_balances(
        &mut self,
        store: &Store,
        from: Lsn,
        rows: &[Row],
    ) -> Result<(), TablesError> {
        if self.known.len() > KNOWN_MAX {
            self.known.clear();
        }
        let accounts = rows.iter().filter_map(|row| row.account.as_ref());
        let unknown: BTreeSet<AccountId> = accounts
            .filter(|account| !self.known.contains_key(*account))
            .cloned()
            .collect();
        if !unknown.is_empty() && from > Lsn(0) {
            self.known.extend(store.past().balances_of(&unknown, from)?);
        }
        Ok(())
    }
}

fn contradiction(account: &AccountId, balance: i128) -> StoreError {
    let what = format!("account {account:?}");
    let problem = format!("it differs from the journal, which gives {balance}");
    StoreError::Damaged {
        what,
        damage: Damage::Contradiction(problem),
    }
}
