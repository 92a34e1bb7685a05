//! The storage engine alone: insert, flush and sync in sequence. It is a lower bound of the latency of one durable
//! operation.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::figures::Run;
use crate::cli::CliError;

/// The size of a value, about that of a journal entry with one deposit.
pub(super) const VALUE_BYTES: usize = 128;
/// The settings of a node's store.
const SEGMENT_BYTES: usize = 16 * 1024 * 1024;
const CACHE_BYTES: u64 = 64 * 1024 * 1024;

/// An engine without the store around it.
#[derive(Clone)]
pub(super) struct Raw {
    db: sled::Db,
    log: Arc<File>,
}

impl Raw {
    pub(super) fn open(dir: &Path) -> Result<Self, CliError> {
        let db = sled::Config::new()
            .path(dir)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            .flush_every_ms(None)
            .open()
            .map_err(failed)?;
        let log = File::options().read(true).write(true).open(dir.join("db"));
        let log = Arc::new(log.map_err(failed)?);
        Ok(Self { db, log })
    }

    /// Inserts for `time`.
    pub(super) async fn run(&self, time: Duration) -> Result<Run, CliError> {
        let raw = self.clone();
        let ran = tokio::task::spawn_blocking(move || raw.insert_for(time)).await;
        ran.map_err(failed)?
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "the bare engine is what is measured"
    )]
    fn insert_for(&self, time: Duration) -> Result<Run, CliError> {
        let started = Instant::now();
        let mut latencies_ns = Vec::new();
        while started.elapsed() < time {
            let inserting = Instant::now();
            let key = self.db.generate_id().map_err(failed)?.to_be_bytes();
            self.db
                .insert(key, &[7_u8; VALUE_BYTES][..])
                .map_err(failed)?;
            self.db.flush().map_err(failed)?;
            self.log.sync_data().map_err(failed)?;
            latencies_ns.push(u64::try_from(inserting.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        let took = started.elapsed();
        Ok(Run { took, latencies_ns })
    }
}

fn failed(error: impl std::fmt::Display) -> CliError {
    CliError::Store(format!("the bare storage engine: {error}"))
}
