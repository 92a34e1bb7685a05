//! The thread that writes history as tables into the archive: at an interval, what the tables lack of the turns that the archive
//! has. It runs at a lower priority than turns, and nothing waits for it.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;
use tokio::time::timeout;

use super::figures::ArchiveFigures;
use super::tables_health::TablesHealth;
use super::watermark::Watermark;
use crate::archive::{ArchiveError, Objects, journal};
use crate::node::error::NodeError;
use crate::node::health::failures::Failures;
use crate::store::{Store, StoreError, Tabled};
use crate::tables::{Destination, Exporter, TablesError};

/// The shortest time between two log lines about tables that cannot be written.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A running writer of tables.
pub(super) struct RunningTables {
    stop: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

/// What a writer of tables needs of its node.
pub(super) struct TablesWriter {
    pub(super) store: Arc<Store>,
    /// The objects of the process.
    pub(super) archive: Objects,
    pub(super) watermark: Arc<Watermark>,
    pub(super) figures: ArchiveFigures,
    pub(super) health: Arc<TablesHealth>,
    pub(super) every: Duration,
}

impl RunningTables {
    /// Writes at the interval, first after one.
    pub(super) fn start(
        writer: TablesWriter,
        destination: Destination,
        failures: &Failures,
    ) -> Result<Self, NodeError> {
        // Retention waits for the tables from here on.
        writer.store.retention().note_tabled(Tabled::default());
        writer.health.begin(writer.every, Instant::now());
        let (stop, stops) = watch::channel(false);
        let runtime = Runtime::current();
        let thread =
            failures.thread_behind("tables", move || writer.run(&destination, &runtime, stops))?;
        Ok(Self { stop, thread })
    }

    /// Ends the work, also in the middle; the next start continues it. Returns the thread that ends.
    pub(super) fn stop(self) -> JoinHandle<()> {
        let _ended = self.stop.send(true);
        self.thread
    }
}

impl TablesWriter {
    fn run(
        self,
        destination: &Destination,
        runtime: &Runtime,
        stops: watch::Receiver<bool>,
    ) -> Result<(), StoreError> {
        let new = || Exporter::new(destination.clone(), runtime.clone(), stops.clone());
        let (mut exporter, mut ends) = (new(), stops.clone());
        let mut said: Option<Instant> = None;
        loop {
            let stopped = ends.wait_for(|stop| *stop);
            let waited = runtime.block_on(async { timeout(self.every, stopped).await.is_ok() });
            if waited {
                return Ok(());
            }
            let error = match runtime.block_on(self.is_lost()) {
                Ok(false) => match self.export(&mut exporter) {
                    Ok(()) => continue,
                    Err(error) => error,
                },
                Ok(true) => {
                    // What it remembers of the tables may not be there.
                    exporter = new();
                    continue;
                }
                Err(error) => error.into(),
            };
            let error = match error.into_fatal() {
                Ok(fatal) => return Err(fatal),
                Err(TablesError::Stopped) => return Ok(()),
                Err(error) => error,
            };
            self.figures.tables_failed();
            self.health.failed();
            if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                said = Some(Instant::now());
                tracing::warn!(%error, "history is not written as tables; trying again");
            }
        }
    }

    // Whether the archive is not the one that has what was archived: the shipper may not have looked back yet.
    async fn is_lost(&self) -> Result<bool, ArchiveError> {
        if self.watermark.loss().is_some() {
            return Ok(true);
        }
        let has = journal::has(&self.archive, self.watermark.seen()).await?;
        Ok(!has)
    }

    fn export(&self, exporter: &mut Exporter) -> Result<(), TablesError> {
        let until = self.watermark.position();
        let (before, lost) = (exporter.written(), exporter.lost());
        let exported = exporter.export(&self.store, until, &mut |_| {});
        let written = exporter.written();
        self.figures
            .tables_written(written.bytes - before.bytes, exporter.position());
        self.figures.tables_lost(exporter.lost() - lost);
        self.store.retention().note_tabled(exported?);
        self.figures.tables_are_written();
        self.health.written(Instant::now());
        Ok(())
    }
}
