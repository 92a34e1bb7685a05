//! The balances: for each recorded state the accounts that changed since the state before it, or, now and then, all accounts.
//! The newest row of an account up to a cut is its balance there. An account is never forgotten once it was credited.

use super::Exporter;
use crate::history::diff::AccountChange;
use crate::history::part::{RecordedState, Run};
use crate::process::ids::{Lsn, SnapshotId};
use crate::store::{ReadLease, Store, StoreError};
use crate::tables::cuts::Cuts;
use crate::tables::error::TablesError;
use crate::tables::log::{Added, Numbers};
use crate::tables::parquet_file::{FileWriter, Value, long};
use crate::tables::schema::Table;
use crate::tables::table::Addition;

/// The newest cut with all balances, the rows of that, and the rows behind it.
const BASE: &str = "base";
const BASE_ROWS: &str = "base_rows";
const ROWS_BEHIND: &str = "rows_behind";

/// The most rows of one file, which is in memory until it is put.
const FILE_ROWS: u64 = 2_097_152;

/// The state at the newest cut in the table, kept from deletion.
struct PreviousState {
    runs: Vec<Run>,
    _reading: ReadLease,
}

/// A state that a process recorded.
enum Recorded {
    Here(RecordedState),
    /// It will be written soon.
    NotYet,
    /// It was deleted or is damaged.
    Gone(StoreError),
}

/// Where a state stands in the table.
struct Standing {
    base: i64,
    base_rows: i64,
    rows_behind: i64,
}

impl Standing {
    // A reader of a state reads at most twice as many rows as it has accounts.
    fn asks_for_base(&self) -> bool {
        self.rows_behind >= self.base_rows
    }
}

impl Exporter {
    /// Returns the turn up to which all states are in the table.
    pub(super) fn export_balances(
        &mut self,
        store: &Store,
        until: Lsn,
    ) -> Result<Lsn, TablesError> {
        let newest = self.newest_cut()?;
        // A state is recorded in the turn behind its cut.
        let first = newest.map_or(Lsn(1), |cut| cut.next().next());
        let first = first.max(store.journal().begins_at());
        if first > until {
            return Ok(until);
        }
        let recordings: Vec<_> = store
            .past()
            .recordings(first, until)
            .collect::<Result<_, _>>()?;
        if recordings.is_empty() {
            return Ok(until);
        }
        let mut before = match newest {
            Some(cut) => previous(store, cut)?,
            None => None,
        };
        for (cut, snapshot) in recordings {
            let reading = store.retention().reading(&snapshot);
            let state = match recorded(store, &snapshot, cut)? {
                Recorded::Here(state) => state,
                Recorded::NotYet => return Ok(cut),
                Recorded::Gone(error) => {
                    self.pass_over(store, &snapshot, cut, &error)?;
                    continue;
                }
            };
            match self.export_state(store, &snapshot, before.as_ref(), &state) {
                Err(TablesError::Store(error @ StoreError::Damaged { .. })) => {
                    self.pass_over(store, &snapshot, cut, &error)?;
                    continue;
                }
                exported => exported?,
            }
            before = Some(PreviousState {
                runs: state.runs,
                _reading: reading,
            });
        }
        Ok(until)
    }

    /// The states whose balances are in the table.
    pub(super) fn states(&mut self) -> Result<&mut Cuts, TablesError> {
        if self.states.is_none() {
            let table = self.table(Table::Balances)?;
            self.states = Some(Cuts::from_numbers(table.numbers()));
        }
        self.states.as_mut().ok_or(TablesError::Stopped)
    }

    /// The newest cut whose balances are in the table.
    pub(super) fn newest_cut(&mut self) -> Result<Option<Lsn>, TablesError> {
        Ok(self.states()?.newest().map(Lsn))
    }

    // A snapshot without its balances gets no rows.
    fn pass_over(
        &mut self,
        store: &Store,
        snapshot: &SnapshotId,
        cut: Lsn,
        error: &StoreError,
    ) -> Result<(), TablesError> {
        let states = self.states()?;
        states.pass(cut.0, Some(0));
        if let Some(end) = states.too_many() {
            states.close_until(end);
        }
        // A recording that was given up is in no history.
        let is_published = !store.history().revisions_of(snapshot).is_empty();
        if is_published || store.retention().is_deleted(snapshot) {
            self.lost += 1;
            tracing::error!(%snapshot, %error, "the tables get no rows of the own part of a snapshot, whose state cannot be read");
        }
        Ok(())
    }

    /// A cut from which on the rows up to this cut give all balances.
    pub(super) fn base_of(&mut self, cut: i64) -> Result<i64, TablesError> {
        if self.bases.is_empty()
            && let Some(base) = self.number(Table::Balances, BASE)?
        {
            self.bases.insert(base);
        }
        // The rows from the beginning always do.
        Ok(self.bases.range(..=cut).next_back().copied().unwrap_or(0))
    }

    fn export_state(
        &mut self,
        store: &Store,
        snapshot: &SnapshotId,
        before: Option<&PreviousState>,
        state: &RecordedState,
    ) -> Result<(), TablesError> {
        let number = |this: &mut Self, what| this.number(Table::Balances, what);
        let standing = Standing {
            base: number(self, BASE)?.unwrap_or(0),
            base_rows: number(self, BASE_ROWS)?.unwrap_or(0),
            rows_behind: number(self, ROWS_BEHIND)?.unwrap_or(0),
        };
        let cut = state.position.0;
        let before = before.filter(|_| !standing.asks_for_base());
        let (files, rows) = match before {
            Some(before) => match self.put_changes(store, &before.runs, state) {
                // Chunks of the older state may have been swept.
                Err(TablesError::Store(StoreError::Damaged { what, damage })) => {
                    tracing::warn!(what, %damage, cut, "all balances are written instead of changes");
                    return self.export_base(store, snapshot, state);
                }
                put => put?,
            },
            None => return self.export_base(store, snapshot, state),
        };
        let standing = Standing {
            rows_behind: standing.rows_behind.saturating_add(rows),
            ..standing
        };
        self.commit_state(snapshot, state, files, &standing)
    }

    fn export_base(
        &mut self,
        store: &Store,
        snapshot: &SnapshotId,
        state: &RecordedState,
    ) -> Result<(), TablesError> {
        let (files, rows) = self.put_changes(store, &[], state)?;
        let cut = long(state.position.0)?;
        let standing = Standing {
            base: cut,
            base_rows: rows,
            rows_behind: 0,
        };
        self.base_of(cut)?;
        self.commit_state(snapshot, state, files, &standing)?;
        self.bases.insert(cut);
        Ok(())
    }

    fn commit_state(
        &mut self,
        snapshot: &SnapshotId,
        state: &RecordedState,
        files: Vec<Added>,
        standing: &Standing,
    ) -> Result<(), TablesError> {
        let states = self.states()?;
        states.pass(state.position.0, None);
        let mut numbers: Numbers = states.numbers().into_iter().collect();
        let Standing {
            base,
            base_rows,
            rows_behind,
        } = *standing;
        let standing = [
            (BASE, base),
            (BASE_ROWS, base_rows),
            (ROWS_BEHIND, rows_behind),
        ];
        numbers.extend(standing.map(|(name, value)| (name.to_owned(), value)));
        let addition = Addition {
            snapshot: Some(snapshot.to_string()),
            files,
            numbers,
        };
        self.commit(Table::Balances, addition)
    }

    // Puts the balances that differ from those of a state before. Returns the files and the number of rows.
    fn put_changes(
        &mut self,
        store: &Store,
        before: &[Run],
        state: &RecordedState,
    ) -> Result<(Vec<Added>, i64), TablesError> {
        let (mut files, mut rows) = (Vec::new(), 0);
        let mut file = FileWriter::new(Table::Balances)?;
        let cut = state.position.0;
        let process = self.to.process.clone();
        for change in store.states().changes(before, &state.runs, None)? {
            let AccountChange { account, after, .. } = change?;
            let Some(after) = after else {
                continue;
            };
            file.push(&[
                Value::Text(process.as_str()),
                Value::Long(long(cut)?),
                Value::Text(account.as_str()),
                Value::Long(after),
            ])?;
            rows += 1;
            if file.rows() == FILE_ROWS {
                let full = std::mem::replace(&mut file, FileWriter::new(Table::Balances)?);
                files.extend(self.put(Table::Balances, &format!("{cut:020}"), full.finish()?)?);
            }
        }
        files.extend(self.put(Table::Balances, &format!("{cut:020}"), file.finish()?)?);
        Ok((files, rows))
    }
}

// The state that a process recorded for a snapshot: that of the part, or while the recording goes on the state itself.
fn recorded(store: &Store, snapshot: &SnapshotId, cut: Lsn) -> Result<Recorded, StoreError> {
    let part = match store.parts().get(snapshot) {
        Err(StoreError::Damaged { what, damage }) => {
            tracing::warn!(what, %damage, "the state is read without the part");
            None
        }
        found => found?,
    };
    if let Some(part) = part.filter(|part| part.state.position == cut) {
        return Ok(Recorded::Here(part.state));
    }
    match store.states().at(cut) {
        Ok(Some(state)) => Ok(Recorded::Here(state)),
        Ok(None) => Ok(Recorded::NotYet),
        Err(error @ StoreError::Damaged { .. }) => Ok(Recorded::Gone(error)),
        Err(error) => Err(error),
    }
}

// The state at a cut that is in the table; `None` if it is not kept any more.
fn previous(store: &Store, cut: Lsn) -> Result<Option<PreviousState>, StoreError> {
    let turn = cut.next();
    if turn < store.journal().begins_at() {
        return Ok(None);
    }
    let Some((cut, snapshot)) = store.past().recordings(turn, turn).next().transpose()? else {
        return Ok(None);
    };
    let reading = store.retention().reading(&snapshot);
    match recorded(store, &snapshot, cut)? {
        Recorded::Here(state) => Ok(Some(PreviousState {
            runs: state.runs,
            _reading: reading,
        })),
        Recorded::NotYet | Recorded::Gone(_) => Ok(None),
    }
}
