//! A table in a storage: its log is continued by creating the next version, which only one of several writers can.
//!
//! Each writer has numbers in the log, such as the newest turn of a process that is in the table. A version that adds rows also
//! sets the numbers. A writer commits only if its numbers are what they were when it began to make the rows; a crash between
//! data and version therefore neither loses nor doubles a row.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::task::JoinSet;

use super::error::TablesError;
use super::log::{self, Added, Commit, Number, Version};
use super::parquet_file::ParquetFile;
use super::schema::Table;
use crate::archive::{Creation, Objects};

const LOG: &str = "_delta_log";
/// The most versions that are read at a time.
const READ_TOGETHER_MAX: u64 = 32;
/// The most bytes of a version: it has few numbers, and a file for many rows.
const VERSION_BYTES_MAX: u64 = 8 << 20;

/// A table that one process writes to, among others.
pub(super) struct DeltaTable {
    table: Table,
    objects: Objects,
    /// The first version that is not read.
    next: u64,
    numbers: Numbers,
}

/// The numbers of a writer, by the hash of their names: a name can be long, and there is one for each revision of a snapshot.
type Numbers = HashMap<u128, i64>;

/// The numbers that a writer needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// The beginning of the names of the writer's numbers.
    pub(super) prefix: &'a str,
    /// How many there are, if that is known: older versions have no others.
    pub(super) count: Option<usize>,
}

/// What a version adds for one process.
pub(super) struct Addition {
    pub(super) snapshot: Option<String>,
    pub(super) files: Vec<Added>,
    pub(super) numbers: Vec<Number>,
}

impl DeltaTable {
    /// Opens a table, or creates it, and reads its log from the newest version back to where the writer knows its numbers.
    pub(super) async fn open(
        tables: &Objects,
        table: Table,
        cluster: &str,
        wanted: Wanted<'_>,
    ) -> Result<Self, TablesError> {
        let objects = tables.below(table.name());
        let mut this = Self {
            table,
            objects,
            next: 0,
            numbers: Numbers::new(),
        };
        let newest = this.newest_version().await?;
        let Some(newest) = newest else {
            this.create(cluster).await?;
            this.next = 1;
            return Ok(this);
        };
        let first = this.read(0).await?;
        let found = first.and_then(|first| first.cluster);
        let Some(found) = found else {
            return Err(this.not_ours(0, "it does not describe the table".to_owned()));
        };
        if found != cluster {
            return Err(TablesError::OtherCluster {
                url: tables.url().to_owned(),
                found,
                cluster: cluster.to_owned(),
            });
        }
        this.next = newest + 1;
        this.learn_numbers(wanted).await?;
        Ok(this)
    }

    // Reads back from the newest version, several versions at a time once the newest did not suffice.
    async fn learn_numbers(&mut self, wanted: Wanted<'_>) -> Result<(), TablesError> {
        let (mut end, mut together) = (self.next, 1);
        while end > 0 && wanted.count != Some(self.numbers.len()) {
            let start = end.saturating_sub(together);
            let mut reads = JoinSet::new();
            for version in start..end {
                let objects = self.objects.clone();
                reads.spawn(async move {
                    let read = objects.read(&key(version), VERSION_BYTES_MAX).await;
                    (version, read)
                });
            }
            let mut read = reads.join_all().await;
            read.sort_unstable_by_key(|(version, _)| std::cmp::Reverse(*version));
            for (version, bytes) in read {
                let missing = || self.not_ours(version, "it is missing".to_owned());
                let bytes = bytes?.ok_or_else(missing)?;
                let read = log::read_version(&bytes);
                let read = read.map_err(|reason| self.not_ours(version, reason))?;
                for number in read.numbers {
                    if number.name.starts_with(wanted.prefix) {
                        let name = hash_of(&number.name);
                        self.numbers.entry(name).or_insert(number.value);
                    }
                }
            }
            end = start;
            together = (2 * together).min(READ_TOGETHER_MAX);
        }
        Ok(())
    }

    async fn create(&self, cluster: &str) -> Result<(), TablesError> {
        let id = uuid::Uuid::new_v4().to_string();
        let bytes = log::first_version(self.table, cluster, &id, now_us());
        // Another process of the cluster may have been first.
        self.objects.create(&key(0), bytes).await?;
        match self.read(0).await? {
            Some(first) if first.cluster.as_deref() == Some(cluster) => Ok(()),
            _ => Err(self.not_ours(0, "it is of another cluster".to_owned())),
        }
    }

    async fn newest_version(&self) -> Result<Option<u64>, TablesError> {
        let names = self.objects.list(LOG).await?;
        let versions = names.iter().filter_map(|name| {
            let version = name.strip_suffix(".json")?;
            version.parse::<u64>().ok().filter(|_| version.len() == 20)
        });
        Ok(versions.max())
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

    /// A number of this writer.
    pub(super) fn number(&self, name: &str) -> Option<i64> {
        self.numbers.get(&hash_of(name)).copied()
    }

    /// Puts the bytes of a file, which no reader sees before a version names it. The name has the hash of the bytes, so a file
    /// that is there already is this one.
    pub(super) async fn put(&self, file: ParquetFile, at: Place<'_>) -> Result<Added, TablesError> {
        let hash = blake3::hash(&file.bytes).to_hex();
        let path = format!("{}/{}-{}.parquet", at.folder, at.name, &hash[..16]);
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

    /// Adds a version behind all others. `false` if another writer has set one of these numbers meanwhile; nothing is added
    /// then.
    pub(super) async fn commit(&mut self, addition: Addition) -> Result<bool, TablesError> {
        let Addition {
            snapshot,
            files,
            numbers,
        } = addition;
        let names = numbers.iter().map(|number| number.name.clone());
        let before: Vec<_> = names
            .map(|name| (self.number(&name), name))
            .map(|(number, name)| (name, number))
            .collect();
        let commit = Commit {
            id: uuid::Uuid::new_v4().to_string(),
            at_us: now_us(),
            snapshot,
            files,
            numbers,
        };
        let bytes = commit.encode();
        loop {
            let version = self.next;
            if self.objects.create(&key(version), bytes.clone()).await? == Creation::Exists {
                let found = self.read(version).await?;
                let found = found.ok_or_else(|| self.not_ours(version, "it is gone".to_owned()))?;
                if found.id.as_ref() != Some(&commit.id) {
                    self.next += 1;
                    let set = |name: &str| found.numbers.iter().find(|one| one.name == name);
                    let moved = before.iter().any(|(name, number)| {
                        set(name).is_some_and(|one| Some(one.value) != *number)
                    });
                    if moved {
                        return Ok(false);
                    }
                    continue;
                }
                // The answer to an earlier attempt was lost.
            }
            self.next += 1;
            let set = commit.numbers.into_iter();
            self.numbers
                .extend(set.map(|number| (hash_of(&number.name), number.value)));
            return Ok(true);
        }
    }
}

/// Where a data file is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place<'a> {
    pub(super) process: &'a str,
    pub(super) folder: &'a str,
    pub(super) name: &'a str,
}

fn key(version: u64) -> String {
    format!("{LOG}/{version:020}.json")
}

fn hash_of(name: &str) -> u128 {
    let hash = blake3::hash(name.as_bytes());
    let bits = hash.as_bytes().first_chunk().copied();
    u128::from_le_bytes(bits.unwrap_or_default())
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
