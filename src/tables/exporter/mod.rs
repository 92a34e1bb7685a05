//! Writes the history of one process as tables, and only what they lack. Runs on a thread that may block; one file is in memory
//! at a time.
//!
//! The order is entries, progress, balances, messages, snapshots: a snapshot is in its table when everything that it refers to is in the
//! others.

mod balances;
mod entries;
mod pending;
mod progress;
mod recorded;
mod snapshots;
mod unknown;

pub use recorded::RecordedParts;

use std::collections::{BTreeSet, HashMap};

use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

use super::cuts::Cuts;
use super::error::TablesError;
use super::log::Added;
use super::names::name_of;
use super::parquet_file::ParquetFile;
use super::schema::Table;
use super::table::{Addition, DeltaTable, Place};
use crate::archive::Objects;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Hash, Lsn, ProcessId};
use crate::store::{Store, Tabled};
use pending::Pending;

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Written {
    /// Rows of operations.
    pub entries: u64,
    /// Rows of balances.
    pub balances: u64,
    /// Rows of messages in channels.
    pub channel_messages: u64,
    /// Rows of snapshots.
    pub snapshots: u64,
    /// Rows that say how far the entries are.
    pub progress: u64,
    /// Data files.
    pub files: u64,
    /// Their size in bytes.
    pub bytes: u64,
}

/// Whose history it is, and where it goes.
#[derive(Debug, Clone)]
pub struct Destination {
    /// The storage, below which each table has a folder.
    pub objects: Objects,
    /// The name of the cluster.
    pub cluster: String,
    /// The process.
    pub process: ProcessId,
}

/// Writes the history of one process.
pub struct Exporter {
    to: Destination,
    /// The name of the process in paths and logs.
    name: String,
    runtime: Runtime,
    /// Becomes true when the work has to end.
    ending: watch::Receiver<bool>,
    /// The tables, once they are open.
    tables: Option<Tables>,
    /// Whether the last version was written is not known.
    is_doubtful: bool,
    /// The turns up to here have no further entries to write.
    scanned: Option<Lsn>,
    /// The time of the newest row of `progress`, and how many entries were written by then, since this was made.
    told_at: Option<Hlc>,
    entries_told: u64,
    /// The balances of some accounts after the turn at `scanned`.
    known: HashMap<AccountId, i64>,
    /// The cuts at which all balances were written since this was made.
    bases: BTreeSet<i64>,
    /// The states whose balances are in the table, once that is known. Those that were lost before are open, and stay so.
    states: Option<Cuts>,
    /// The snapshots that may get more rows, once they are known.
    pending: Option<Pending>,
    /// The revisions of the history that were looked at.
    arrived: u64,
    written: Written,
    /// Turns and states that were lost before they were written.
    lost: u64,
}

/// The open tables.
struct Tables {
    entries: DeltaTable,
    progress: DeltaTable,
    balances: DeltaTable,
    channel_messages: DeltaTable,
    snapshots: DeltaTable,
}

impl Exporter {
    /// Writes nothing yet. Work ends early when `ending` becomes true.
    #[must_use]
    pub fn new(to: Destination, runtime: Runtime, ending: watch::Receiver<bool>) -> Self {
        Self {
            name: name_of(to.process.as_str()),
            to,
            runtime,
            ending,
            tables: None,
            scanned: None,
            told_at: None,
            entries_told: 0,
            known: HashMap::new(),
            bases: BTreeSet::new(),
            is_doubtful: false,
            states: None,
            pending: None,
            arrived: 0,
            written: Written::default(),
            lost: 0,
        }
    }

    /// Checks that the tables at the destination, if there are any, are of the cluster; writes nothing.
    ///
    /// # Errors
    /// [`TablesError::OtherCluster`] among others.
    pub fn check_place(&self) -> Result<(), TablesError> {
        let Destination {
            objects, cluster, ..
        } = &self.to;
        for table in Table::ALL {
            self.wait(DeltaTable::check(objects, table, cluster))?;
        }
        Ok(())
    }

    /// What was written since this was made.
    #[must_use]
    pub fn written(&self) -> Written {
        self.written
    }

    /// The turns and recorded states that were deleted or damaged before they were written, as far as this has noticed.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// The newest turn whose entries are in the tables, if that is known.
    #[must_use]
    pub fn position(&self) -> Option<Lsn> {
        self.scanned
    }

    /// Writes what the tables lack, from the turns up to a position. `step` is told how far the turns are written. Returns what
    /// the store may delete.
    ///
    /// # Errors
    /// [`TablesError`]; what is written stays, and the next call continues.
    pub fn export(
        &mut self,
        store: &Store,
        until: Lsn,
        step: &mut dyn FnMut(Lsn),
    ) -> Result<Tabled, TablesError> {
        let done = self.export_all(store, until, step);
        if done.is_err() {
            self.is_doubtful = true;
            self.scanned = None;
            self.known.clear();
            self.states = None;
            self.pending = None;
        }
        done
    }

    fn export_all(
        &mut self,
        store: &Store,
        until: Lsn,
        step: &mut dyn FnMut(Lsn),
    ) -> Result<Tabled, TablesError> {
        let mut tables = match self.tables.take() {
            Some(tables) => tables,
            None => self.open()?,
        };
        if self.is_doubtful {
            let refreshed = self.wait(tables.refresh());
            self.tables = Some(tables);
            refreshed?;
            self.is_doubtful = false;
        } else {
            self.tables = Some(tables);
        }
        self.export_entries(store, until, step)?;
        self.export_unknown(store, until)?;
        self.export_progress(store)?;
        let position = self.export_balances(store, until)?;
        self.export_snapshots(store)?;
        Ok(Tabled {
            position,
            revisions: self.arrived,
        })
    }

    fn open(&self) -> Result<Tables, TablesError> {
        let open = |table| {
            let Destination {
                objects, cluster, ..
            } = &self.to;
            self.wait(DeltaTable::open(objects, table, cluster, &self.name))
        };
        Ok(Tables {
            entries: open(Table::Entries)?,
            progress: open(Table::Progress)?,
            balances: open(Table::Balances)?,
            channel_messages: open(Table::ChannelMessages)?,
            snapshots: open(Table::Snapshots)?,
        })
    }

    // Waits for the storage, unless the work has to end.
    fn wait<T>(
        &self,
        asked: impl Future<Output = Result<T, TablesError>>,
    ) -> Result<T, TablesError> {
        let mut ending = self.ending.clone();
        self.runtime.block_on(async {
            tokio::select! {
                biased;
                _ = ending.wait_for(|ending| *ending) => Err(TablesError::Stopped),
                answer = asked => answer,
            }
        })
    }

    fn table(&mut self, table: Table) -> Result<&mut DeltaTable, TablesError> {
        let tables = self.tables.as_mut().ok_or(TablesError::Stopped)?;
        Ok(match table {
            Table::Entries => &mut tables.entries,
            Table::Progress => &mut tables.progress,
            Table::Balances => &mut tables.balances,
            Table::ChannelMessages => &mut tables.channel_messages,
            Table::Snapshots => &mut tables.snapshots,
        })
    }

    fn number(&mut self, table: Table, what: &str) -> Result<Option<i64>, TablesError> {
        Ok(self.table(table)?.number(what))
    }

    // A file without rows is not needed.
    fn put(
        &mut self,
        table: Table,
        name: &str,
        file: ParquetFile,
    ) -> Result<Option<Added>, TablesError> {
        if file.rows == 0 {
            return Ok(None);
        }
        let (rows, bytes) = (file.rows, file.bytes.len() as u64);
        let Some(tables) = &self.tables else {
            return Err(TablesError::Stopped);
        };
        let into = match table {
            Table::Entries => &tables.entries,
            Table::Progress => &tables.progress,
            Table::Balances => &tables.balances,
            Table::ChannelMessages => &tables.channel_messages,
            Table::Snapshots => &tables.snapshots,
        };
        let place = Place {
            process: self.to.process.as_str(),
            name,
        };
        let added = self.wait(into.put(file, place))?;
        self.written.files += 1;
        self.written.bytes += bytes;
        *match table {
            Table::Entries => &mut self.written.entries,
            Table::Progress => &mut self.written.progress,
            Table::Balances => &mut self.written.balances,
            Table::ChannelMessages => &mut self.written.channel_messages,
            Table::Snapshots => &mut self.written.snapshots,
        } += rows;
        Ok(Some(added))
    }

    fn commit(&mut self, table: Table, addition: Addition) -> Result<(), TablesError> {
        let mut ending = self.ending.clone();
        let runtime = self.runtime.clone();
        let into = self.table(table)?;
        let committed = runtime.block_on(async {
            tokio::select! {
                biased;
                _ = ending.wait_for(|ending| *ending) => Err(TablesError::Stopped),
                committed = into.commit(addition) => committed,
            }
        })?;
        match committed {
            true => Ok(()),
            false => Err(TablesError::Raced(self.to.process.clone())),
        }
    }
}

impl Tables {
    async fn refresh(&mut self) -> Result<(), TablesError> {
        self.entries.refresh().await?;
        self.progress.refresh().await?;
        self.balances.refresh().await?;
        self.channel_messages.refresh().await?;
        self.snapshots.refresh().await
    }
}

// Some bits of a hash as a number of the log.
fn shortened(hash: Hash) -> i64 {
    let bits = hash.0.first_chunk().copied().unwrap_or_default();
    i64::from_le_bytes(bits)
}
