//! The running program that hosts one process: the only place where process, store and channels meet.
//!
//! Four threads process a turn: `driver` decides and applies, `committer` makes durable and releases; in the background
//! `recorder` writes states and `part_writer` parts. Each waits at most for the next one and the last waits for none, so there
//! is no deadlock. Everything else is tasks that put inputs into the queue.

#[cfg(test)]
mod alone;
mod archive;
mod background;
mod decisions;
mod error;
mod feed;
mod fetch_error;
#[cfg(test)]
mod fixture;
mod handle;
mod health;
mod past;
pub mod peers;
mod recovery;
mod replication;
mod retention;
mod snapshots;
mod store_worker;
mod turn;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

pub use crate::history::known::SnapshotStatus;
pub use error::{NodeError, NotBegun, Unanswered, Unavailable};
pub use feed::{NodeEvent, NodeWatch, Told};
pub use handle::Handle;
use handle::NodeContext;
pub use health::readiness::ReadyCheck;
pub use health::refusals::{RefusalReason, Refusals};
pub use health::requests::{Requests, Route};
pub use peers::{PeerState, PeerView};
pub use snapshots::events::{Event, Happening};
pub use snapshots::views::{SnapshotCounts, SnapshotFilter, SnapshotPage, SnapshotView};
pub use snapshots::watcher::{Begun, Watch};
pub use store_worker::StoreWorker;
pub use turn::queue::CLIENTS_MAX;
pub use turn::replies::{PendingReplies, Settled};
pub use turn::share::QueueShare;

use archive::RunningArchive;
use archive::figures::ArchiveFigures;
use archive::instants;
use archive::keeper;
use archive::keeper::KeeperContext;
use archive::shipper::Surroundings;
use archive::tables_health::TablesHealth;
use archive::watermark::Watermark;
use background::indexer;
use health::admission::Admission;
use health::disk_space::DiskSpace;
use health::failures::Failures;
use health::metrics::Metrics;
use health::wall::Clock;
use peers::handshakes::Handshakes;
use peers::outbox::outboxes;
use peers::{Peers, Remembered};
use recovery::Recovered;
use snapshots::assembler::membership;
use snapshots::events::Events;
use snapshots::parts::Parts;
use snapshots::unfinished::unfinished;
use turn::clocks::DurableClocks;
use turn::committer::Committer;
use turn::queue::Queue;
use turn::releaser::Releaser;

use crate::config::{NodeConfig, Shipping};
use crate::transport::link::Links;

/// A running node, without its services.
pub struct Node {
    handle: Handle,
    /// Those of the turn first.
    threads: Vec<JoinHandle<()>>,
    archive: Option<RunningArchive>,
    tasks: JoinSet<()>,
    failures: mpsc::UnboundedReceiver<NodeError>,
    #[cfg(feature = "otel")]
    exporter: Option<crate::otel::Exporter>,
}

impl Node {
    /// Opens the store, recovers the process, and starts its threads and channels.
    ///
    /// Over 70 lines: one list of what is made and started; each needs those before it.
    ///
    /// # Errors
    /// [`NodeError`]: the store cannot be opened, is damaged, or belongs to another process.
    pub async fn start(config: NodeConfig) -> Result<Self, NodeError> {
        let config = Arc::new(config);
        let Recovered {
            store,
            process,
            committed,
            mut attached,
        } = Recovered::from_store(&config).await?;
        let membership = membership(&config);
        let unfinished = unfinished(&store, &process, &membership)?;
        let remembered = Remembered::of(&store, &process)?;
        let (failures, failed) = Failures::new();
        let worker = StoreWorker::new(Arc::clone(&store), failures.clone());
        let outboxes = outboxes(&worker, &process)?;
        let clocks = Arc::new(DurableClocks::of(&process));
        let handshakes = Arc::new(Handshakes::of(&process, &config, &worker)?);
        let metrics = Metrics::new()
            .exposed(&config)
            .with_standing(&config)
            .with_tls(config.tls.as_ref());
        let figures = attached.as_ref().map(|_| ArchiveFigures::default());
        let metrics = metrics.with_archive(figures.as_ref());
        let metrics = metrics.with_auth(config.auth.as_ref());
        let wall = Arc::new(Clock::new(&config.clock, process.registers().time));
        let events = Events::new(store.identity().run, Arc::clone(&wall));
        #[cfg(feature = "otel")]
        let (exporter, events, metrics) = traced(&config, &wall, events, metrics);
        let metrics = Arc::new(metrics);
        let events = Arc::new(events);
        let disk = DiskSpace::measure(&store, &config)?;
        let (admissions, admission) = watch::channel(Admission {
            queries_wait: config
                .archive
                .as_ref()
                .is_some_and(|archive| archive.journal == Shipping::Sync),
            work_waits: config
                .archive
                .as_ref()
                .is_some_and(|archive| archive.waits().holds_start()),
            ..Admission::on(disk)
        });
        let admissions = Arc::new(admissions);
        let watermark = Arc::new(Watermark::default());
        let (queue, requests) = Queue::new(
            admission.clone(),
            watermark.room(),
            Arc::clone(&clocks),
            Arc::clone(&wall),
            config.me.clone(),
            Arc::clone(&handshakes),
        );
        let background = background::start(&config.me, &store, &queue, &failures, &metrics)?;
        let (starts, started) = mpsc::unbounded_channel();
        let releaser = Releaser {
            me: config.me.clone(),
            store: Arc::clone(&store),
            outboxes: outboxes.clone(),
            recorder: background.recorder,
            metrics: Arc::clone(&metrics),
            started: starts,
            assembled: membership.assembled(),
            events: Arc::clone(&events),
        };
        let (tables, trouble) = (Arc::new(TablesHealth::default()), Arc::default());
        let around = Surroundings {
            worker: worker.clone(),
            watermark,
            figures: figures.unwrap_or_default(),
            admission: admissions.clone(),
            failures: failures.clone(),
            tables: Arc::clone(&tables),
            trouble: Arc::clone(&trouble),
        };
        let kept_there = attached.as_mut().and_then(|attached| {
            let beginning = attached.beginning.take()?;
            let keep = config.archive.as_ref().and_then(|archive| archive.keep);
            Some(KeeperContext {
                beginning,
                keep,
                watermark: Arc::clone(&around.watermark),
                figures: around.figures.clone(),
            })
        });
        let attached = attached.zip(config.archive.clone());
        let settings = attached.as_ref().map(|(_, settings)| settings);
        let instants_every = settings.and_then(|settings| settings.instants);
        let (release, archive) = archive::start(attached, releaser, around)?;
        let committer = Committer {
            store: Arc::clone(&store),
            metrics: Arc::clone(&metrics),
            clocks: Arc::clone(&clocks),
            handshakes: Arc::clone(&handshakes),
            release,
        };
        #[cfg(feature = "otel")]
        let recordings = process.registers().recordings.keys().cloned().collect();
        let mut threads = turn::start(process, requests, &wall, committer, committed, &failures)?;
        threads.extend(background.threads);
        let written = background.written;
        let parts = Parts::new(config.me.clone(), worker, queue, written);
        let peers = Arc::new(Peers::new(&config, remembered, Links::default(), wall)?);
        let handle = Handle::new(NodeContext {
            config,
            peers,
            outboxes: outboxes.clone(),
            parts,
            metrics,
            clocks,
            events,
            handshakes,
            failed: failures.sentence(),
            admission,
            tables,
            trouble,
        });
        let closing = handle.watch_closing();
        threads.push(indexer::start(handle.store(), closing, &failures)?);
        let mut tasks = JoinSet::new();
        health::spawn(&mut tasks, &handle, Arc::clone(&admissions), failures);
        peers::tasks::spawn(&mut tasks, &handle, &outboxes);
        replication::spawn(&mut tasks, &handle);
        retention::spawn(&mut tasks, &handle);
        decisions::spawn(&mut tasks, &handle);
        tasks.spawn(feed::follow(handle.clone()));
        if let Some(context) = kept_there {
            keeper::spawn(&mut tasks, &handle, context);
        }
        if let Some(every) = instants_every {
            instants::spawn(&mut tasks, &handle, every);
        }
        snapshots::tasks::spawn(&mut tasks, &handle, unfinished, started);
        #[cfg(feature = "otel")]
        if let Some(tracer) = handle.tracer() {
            tasks.spawn(snapshots::traced::follow(
                handle.clone(),
                tracer,
                recordings,
            ));
        }
        Ok(Self {
            handle,
            threads,
            archive,
            tasks,
            failures: failed,
            #[cfg(feature = "otel")]
            exporter,
        })
    }

    /// The handle for the services of the node.
    #[must_use]
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Resolves when the node stops because of a failure.
    pub async fn failed(&mut self) -> NodeError {
        match self.failures.recv().await {
            Some(error) => error,
            // All threads have ended in order: nothing has failed.
            None => std::future::pending().await,
        }
    }

    /// Stops in order: accepted inputs become durable, recorded states are written.
    pub async fn stop(mut self) {
        self.handle.close_channels();
        self.tasks.shutdown().await;
        self.handle.shared.assembler.stop().await;
        self.handle.shared.queue.stop();
        self.handle.shared.peers.wall().close();
        let background = self.threads.split_off(turn::THREADS);
        if let Some(archive) = &self.archive {
            archive.end_waiting_for_room();
        }
        join(self.threads).await;
        // Nothing is committed any more: what waits for the archive is released, and the background threads end behind it.
        if let Some(archive) = self.archive {
            join(archive.stop().await).await;
        }
        join(background).await;
        #[cfg(feature = "otel")]
        if let Some(exporter) = self.exporter {
            exporter.stop().await;
        }
    }
}

async fn join(threads: Vec<JoinHandle<()>>) {
    let joined = tokio::task::spawn_blocking(move || {
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the node had ended unexpectedly");
            }
        }
    });
    if joined.await.is_err() {
        tracing::error!("cannot wait for the threads of the node");
    }
}

// Starts the exporter if there is a collector, and names it to those that make spans and metrics.
#[cfg(feature = "otel")]
fn traced(
    config: &NodeConfig,
    wall: &Arc<Clock>,
    mut events: Events,
    metrics: Metrics,
) -> (Option<crate::otel::Exporter>, Events, Metrics) {
    use crate::otel::{Exporter, Resource};

    let Some(settings) = &config.otel else {
        return (None, events, metrics);
    };
    let resource = Resource {
        cluster: &config.cluster,
        me: &config.me,
    };
    let wall = Arc::clone(wall);
    let (exporter, tracer) = Exporter::start(settings, resource, move || wall.wall_us());
    let metrics = metrics.with_tracer(&tracer);
    events.tracer = Some(tracer);
    (Some(exporter), events, metrics)
}

/// Milliseconds for logs, as a number of 64 bits: programs that read logs do not support 128 bits.
fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}
