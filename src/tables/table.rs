//! A table in a storage: its log is continued by creating the next version, which only one of several writers can.
//!
//! Each writer has numbers in the log, such as the newest turn of a process that is in the table. A version that adds rows also
//! sets the numbers of its writer, and repeats those of all others, so the newest version tells a writer where it is. A writer
//! commits only if its numbers are what they were when it began to make the rows; a crash between data and version therefore
//! neither loses nor doubles a row.
//!
//! Versions of other programs that leave the rows and columns as they are, such as those of a compaction, are passed over.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use super::error::TablesError;
use super::log::{self, Added, Commit, Numbers, Version};
use super::parquet_file::ParquetFile;
use super::schema::Table;
use crate::archive::{Creation, Objects};

const LOG: &str = "_delta_log";
/// The most bytes of a version. Own ones are small; a compaction by another program names each file that it replaces.
const VERSION_BYTES_MAX: u64 = 32 << 20;

/// A table that one process writes to, among others.
pub(super) struct DeltaTable {
    table: Table,
    objects: Objects,
    /// The name of its cluster.
    cluster: String,
    /// The name of this writer.
    writer: String,
    /// The first version that is not read.
    next: u64,
    /// Those of all writers.
    numbers: BTreeMap<String, Numbers>,
}

/// What a version adds for one process.
pub(super) struct Addition {
    pub(super) snapshot: Option<String>,
    pub(super) files: Vec<Added>,
    /// All numbers of the writer.
    pub(super) numbers: Numbers,
}

impl DeltaTable {
    /// Opens a table, or creates it, and reads the newest version of its log. A name of a writer has no colon.
    pub(super) async fn open(
        tables: &Objects,
        table: Table,
        cluster: &str,
        writer: &str,
    ) -> Result<Self, TablesError> {
        let mut this = Self::unread(tables, table, cluster, writer);
        let first = match this.read(0).await? {
            Some(first) => Some(first),
            None => this.create().await?,
        };
        this.check_cluster(first)?;
        this.next = 1;
        let known = this.newest_by_steps().await?;
        let newest = this.newest_behind(known).await?.unwrap_or(known);
        this.learn(newest).await?;
        Ok(this)
    }

    /// Checks that a table is of a cluster, if there is one; writes nothing.
    pub(super) async fn check(
        tables: &Objects,
        table: Table,
        cluster: &str,
    ) -> Result<(), TablesError> {
        let this = Self::unread(tables, table, cluster, "");
        match this.read(0).await? {
            Some(first) => this.check_cluster(Some(first)),
            None => Ok(()),
        }
    }

    fn unread(tables: &Objects, table: Table, cluster: &str, writer: &str) -> Self {
        Self {
            table,
            objects: tables.below(table.name()),
            cluster: cluster.to_owned(),
            writer: writer.to_owned(),
            next: 0,
            numbers: BTreeMap::new(),
        }
    }

    fn check_cluster(&self, first: Option<Version>) -> Result<(), TablesError> {
        let Some(found) = first.and_then(|first| first.description) else {
            return Err(self.not_ours(0, "it does not describe the table".to_owned()));
        };
        match found.cluster == self.cluster {
            true => Ok(()),
            false => Err(TablesError::OtherCluster {
                url: self.objects.url().to_owned(),
                found: found.cluster,
                cluster: self.cluster.clone(),
            }),
        }
    }

    // Another process of the cluster may be first.
    async fn create(&self) -> Result<Option<Version>, TablesError> {
        if self.newest_behind(0).await?.is_some() {
            return Err(self.not_ours(0, "it is missing".to_owned()));
        }
        let id = uuid::Uuid::new_v4().to_string();
        let bytes = log::first_version(self.table, &self.cluster, &id, now_us());
        self.objects.create(&key(0), bytes).await?;
        self.read(0).await
    }

    // A late version that exists: a log has many, and a list of all would be long.
    async fn newest_by_steps(&self) -> Result<u64, TablesError> {
        let (mut newest, mut step) = (0_u64, 1_u64);
        while self.has(newest + step).await? {
            newest += step;
            step *= 2;
        }
        while step > 1 {
            step /= 2;
            if self.has(newest + step).await? {
                newest += step;
            }
        }
        Ok(newest)
    }

    async fn has(&self, version: u64) -> Result<bool, TablesError> {
        let byte = self.objects.read_start(&key(version), 1).await?;
        Ok(byte.is_some())
    }

    async fn newest_behind(&self, version: u64) -> Result<Option<u64>, TablesError> {
        let names = self.objects.list_behind(LOG, &name(version)).await?;
        let versions = names.iter().filter_map(|name| {
            let version = name.strip_suffix(".json")?;
            version.parse::<u64>().ok().filter(|_| version.len() == 20)
        });
        Ok(versions.max().filter(|newest| *newest > version))
    }

    // Takes over the numbers of all writers from the newest own version that was not read yet, if there is one. Those of other
    // programs behind it must have left rows and columns as they are.
    async fn learn(&mut self, newest: u64) -> Result<(), TablesError> {
        for at in (self.next..=newest).rev() {
            let missing = || self.not_ours(at, "it is missing".to_owned());
            let version = self.read(at).await?.ok_or_else(missing)?;
            if version.is_ours {
                self.numbers = version.numbers;
                break;
            }
            if let Some(obstacle) = version.obstacle(self.table, &self.cluster) {
                return Err(self.not_ours(at, obstacle.to_owned()));
            }
        }
        self.next = newest.saturating_add(1);
        Ok(())
    }

    /// Reads what was added since, also by an own attempt whose answer was lost.
    pub(super) async fn refresh(&mut self) -> Result<(), TablesError> {
        match self.newest_behind(self.next.saturating_sub(1)).await? {
            Some(newest) => self.learn(newest).await,
            None => Ok(()),
        }
    }

    async fn read(&self, version: u64) -> Result<Option<Version>, TablesError> {
        let bytes = self.objects.read(&key(version), VERSION_BYTES_MAX).await?;
        let read = bytes.map(|bytes| log::read_version(&bytes)).transpose();
        read.map_err(|reason| self.not_ours(version, reason))
    }

    fn not_ours(&self, version: u64, reason: String) -> TablesError {
        TablesError::NotOurs {
            table: self.table.name(),
            url: self.objects.url().to_owned(),
            version,
            reason,
        }
    }

    /// The numbers of this writer.
    pub(super) fn numbers(&self) -> impl Iterator<Item = (&str, i64)> {
        let own = self.numbers.get(&self.writer).into_iter().flatten();
        own.map(|(name, value)| (name.as_str(), *value))
    }

    /// A number of this writer.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.numbers.get(&self.writer)?.get(name).copied()
    }

    /// Puts the bytes of a file, which no reader sees before a version names it. The name has the hash of the bytes, so a file
    /// that is there already is this one.
    pub(super) async fn put(&self, file: ParquetFile, at: Place<'_>) -> Result<Added, TablesError> {
        let hash = blake3::hash(&file.bytes).to_hex();
        let path = format!("{}/{}-{}.parquet", self.writer, at.name, &hash[..16]);
        let added = Added {
            path: path.clone(),
            process: at.process.to_owned(),
            size: file.bytes.len() as u64,
            rows: file.rows,
            ranges: file.ranges,
        };
        match self.objects.create(&path, file.bytes).await? {
            Creation::Created | Creation::Exists => Ok(added),
        }
    }

    /// Adds a version behind all others. `false` if another program has set the numbers of this writer meanwhile; nothing is
    /// added then.
    pub(super) async fn commit(&mut self, addition: Addition) -> Result<bool, TablesError> {
        let before = self.numbers.get(&self.writer).cloned();
        let mut commit = Commit {
            id: uuid::Uuid::new_v4().to_string(),
            at_us: now_us(),
            writer: self.writer.clone(),
            snapshot: addition.snapshot,
            files: addition.files,
            numbers: BTreeMap::new(),
        };
        loop {
            commit.numbers.clone_from(&self.numbers);
            let own = addition.numbers.clone();
            commit.numbers.insert(self.writer.clone(), own);
            let version = self.next;
            let created = self.objects.create(&key(version), commit.encode()).await?;
            if created == Creation::Exists {
                let found = self.read(version).await?;
                // If it is this one, the answer to an earlier attempt was lost.
                if found.is_none_or(|found| found.id.as_ref() != Some(&commit.id)) {
                    let newest = self.newest_behind(version).await?;
                    self.learn(newest.unwrap_or(version)).await?;
                    if self.numbers.get(&self.writer) != before.as_ref() {
                        return Ok(false);
                    }
                    continue;
                }
            }
            self.next += 1;
            self.numbers = commit.numbers;
            return Ok(true);
        }
    }
}

/// Where a data file is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) process: &'a str,
    pub(super) name: &'a str,
}

fn key(version: u64) -> String {
    format!("{LOG}/{}", name(version))
}

fn name(version: u64) -> String {
    format!("{version:020}.json")
}

fn now_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
