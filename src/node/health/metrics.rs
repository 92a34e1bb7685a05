//! Metrics for Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::process_figures::ProcessFigures;
use super::refusals::Refusals;
use super::requests::Requests;
use super::standing::Standing;
use super::suspense::SuspenseCredits;
use super::wall::micros_as_seconds;
use crate::access::authority::Authority;
use crate::config::NodeConfig;
use crate::node::archive::figures::ArchiveFigures;
use crate::process::ids::ProcessId;
use crate::process::record::Turn;
use crate::store::{Unreadable, Usage, newest_format};
use crate::tls::node::Tls;

const READY: &str = "ready";
const READY_HELP: &str = "1 if the node is ready, as in /readyz, else 0";

type Labels = Vec<(String, String)>;

/// Why a verification of a snapshot failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) enum Failed {
    /// A part is damaged or lacks contents here.
    Damaged,
    /// The figures of the certificate contradict each other.
    Violated,
}

impl Failed {
    const fn labels(self) -> [(&'static str, &'static str); 1] {
        [(
            "reason",
            match self {
                Self::Damaged => "damaged",
                Self::Violated => "violated",
            },
        )]
    }
}

/// The metrics of one node.
pub(in crate::node) struct Metrics {
    registry: Registry,
    turns: Counter,
    records: Counter,
    position: Gauge,
    commit_seconds: Histogram,
    free_bytes: Gauge,
    disk_bytes: Gauge,
    blob_files: Gauge,
    ready: Gauge,
    insecure: Gauge,
    channels_stopped: Gauge,
    unreadable_revisions: Gauge,
    unreadable_blocks: Gauge,
    clock_skew_seconds: Family<Labels, Gauge<f64, AtomicU64>>,
    dated_ahead_seconds: Family<Labels, Gauge<f64, AtomicU64>>,
    verification_failed: Family<[(&'static str, &'static str); 1], Counter>,
    snapshot_new_bytes: Counter,
    pub(in crate::node) standing: Standing,
    pub(in crate::node) requests: Requests,
    pub(in crate::node) refusals: Refusals,
    pub(in crate::node) suspense: SuspenseCredits,
    pub(in crate::node) snapshots_complete: Counter,
    pub(in crate::node) snapshots_partial: Counter,
    pub(in crate::node) snapshot_seconds: Histogram,
}

impl Metrics {
    pub(in crate::node) fn new() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("snapledger"),
            turns: Counter::default(),
            records: Counter::default(),
            position: Gauge::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
            free_bytes: Gauge::default(),
            disk_bytes: Gauge::default(),
            blob_files: Gauge::default(),
            ready: Gauge::default(),
            insecure: Gauge::default(),
            channels_stopped: Gauge::default(),
            unreadable_revisions: Gauge::default(),
            unreadable_blocks: Gauge::default(),
            clock_skew_seconds: Family::default(),
            dated_ahead_seconds: Family::default(),
            verification_failed: Family::default(),
            snapshot_new_bytes: Counter::default(),
            standing: Standing::default(),
            requests: Requests::default(),
            refusals: Refusals::default(),
            suspense: SuspenseCredits::default(),
            snapshots_complete: Counter::default(),
            snapshots_partial: Counter::default(),
            snapshot_seconds: Histogram::new(exponential_buckets(0.001, 2.0, 16)),
        };
        metrics.registered()
    }

    /// Adds the metrics of authentication.
    pub(in crate::node) fn with_auth(mut self, auth: Option<&Authority>) -> Self {
        if let Some(auth) = auth {
            auth.register(&mut self.registry);
        }
        self
    }

    /// Adds the metrics of the exporter of traces.
    #[cfg(feature = "otel")]
    pub(in crate::node) fn with_tracer(mut self, tracer: &crate::otel::Tracer) -> Self {
        tracer.register(&mut self.registry);
        self
    }

    /// Adds the metrics of the archive.
    pub(in crate::node) fn with_archive(mut self, archive: Option<&ArchiveFigures>) -> Self {
        if let Some(archive) = archive {
            archive.register(&mut self.registry);
        }
        self
    }

    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("turns", "Turns made durable", self.turns.clone());
        registry.register("records", "Records made durable", self.records.clone());
        registry.register(
            "journal_position",
            "Newest durable position",
            self.position.clone(),
        );
        registry.register(
            "commit_seconds",
            "Time to make one turn durable",
            self.commit_seconds.clone(),
        );
        registry.register(
            "store_free_bytes",
            "Free on the file system of the store; below store.free_space_min new work is refused",
            self.free_bytes.clone(),
        );
        registry.register(
            "store_disk_bytes",
            "Disk usage of the files of the store",
            self.disk_bytes.clone(),
        );
        registry.register(
            "store_blob_files",
            "Files outside of the log, which are never synced; should be 0",
            self.blob_files.clone(),
        );
        registry.register(READY, READY_HELP, self.ready.clone());
        registry.register(
            "channels_stopped",
            "Channels of this process that are stopped until an operator decides",
            self.channels_stopped.clone(),
        );
        registry.register(
            "history_damaged_revisions",
            "Revisions in this node's history that cannot be read; should be 0",
            self.unreadable_revisions.clone(),
        );
        registry.register(
            "history_damaged_blocks",
            "Blocks of revisions with an unreadable head and body; while there is one, no chunks are deleted",
            self.unreadable_blocks.clone(),
        );
        self.register_clocks();
        self.register_limits();
        self.register_snapshots();
        self
    }

    fn register_snapshots(&mut self) {
        let registry = &mut self.registry;
        registry.register(
            "snapshots_complete",
            "Snapshots started by this process and published complete",
            self.snapshots_complete.clone(),
        );
        registry.register(
            "snapshots_partial",
            "Revisions of snapshots started by this process and published partial",
            self.snapshots_partial.clone(),
        );
        registry.register(
            "snapshot_seconds",
            "From start to complete of snapshots started by this process",
            self.snapshot_seconds.clone(),
        );
        registry.register(
            "snapshot_new_bytes",
            "Bytes that recordings of the own state have written, compressed as stored",
            self.snapshot_new_bytes.clone(),
        );
        for reason in [Failed::Damaged, Failed::Violated] {
            drop(self.verification_failed.get_or_create(&reason.labels()));
        }
        registry.register(
            "verification_failed",
            "Parts of snapshots that are damaged here, and certificates that do not add up; should be 0",
            self.verification_failed.clone(),
        );
    }

    /// Adds the figures of requests, of the running node and of the program.
    pub(in crate::node) fn with_standing(mut self, config: &NodeConfig) -> Self {
        let registry = &mut self.registry;
        registry.register_collector(Box::new(self.requests.clone()));
        registry.register_collector(Box::new(ProcessFigures::new()));
        self.standing.register(registry, config);
        let build = Family::<Labels, Gauge>::default();
        let (version, format) = (env!("CARGO_PKG_VERSION"), newest_format());
        let labels = [
            ("version", version.to_owned()),
            ("store_format", format.to_string()),
        ];
        let labels = labels
            .map(|(name, value)| (name.to_owned(), value))
            .to_vec();
        build.get_or_create(&labels).set(1);
        let help =
            "1; the labels are the version of the program and the store format that it writes";
        registry.register("build_info", help, build);
        self
    }

    fn register_limits(&mut self) {
        self.registry.register(
            "refused",
            "Connections, requests and operations that were refused or ended because of a limit",
            self.refusals.family(),
        );
        self.registry.register(
            "credits_to_suspense",
            "Credits that their account could not take, which went to suspense instead",
            self.suspense.counter(),
        );
    }

    fn register_clocks(&mut self) {
        let clocks = [
            (
                "clock_skew_seconds",
                "How far the wall clock of a process is ahead of the clock that labels turns on this node",
                &self.clock_skew_seconds,
            ),
            (
                "dated_ahead_seconds",
                "How far the time of the newest turn of a process is ahead of this node's clock",
                &self.dated_ahead_seconds,
            ),
        ];
        for (name, help, figures) in clocks {
            self.registry.register(name, help, figures.clone());
        }
    }

    /// Shows whether the node is protected.
    pub(in crate::node) fn exposed(mut self, config: &NodeConfig) -> Self {
        self.registry.register(
            "insecure",
            "1 if other machines can reach the node and TLS or authentication is missing, else 0",
            self.insecure.clone(),
        );
        self.insecure.set(config.unprotected.is_some().into());
        self
    }

    /// Adds the metrics of TLS.
    pub(in crate::node) fn with_tls(mut self, tls: Option<&Tls>) -> Self {
        if let Some(tls) = tls {
            tls.register(&mut self.registry);
        }
        self
    }

    /// Sets the numbers of unreadable revisions and blocks of the history.
    pub(in crate::node) fn unreadable(&self, unreadable: Unreadable) {
        let Unreadable { revisions, blocks } = unreadable;
        let gauges = [
            (&self.unreadable_revisions, revisions),
            (&self.unreadable_blocks, blocks),
        ];
        for (gauge, figure) in gauges {
            gauge.set(i64::try_from(figure).unwrap_or(i64::MAX));
        }
    }

    /// Counts a durable turn.
    pub(in crate::node) fn committed(&self, turn: &Turn, took: Duration) {
        self.turns.inc();
        self.records.inc_by(turn.records.len() as u64);
        self.position
            .set(i64::try_from(turn.position.0).unwrap_or(i64::MAX));
        self.commit_seconds.observe(took.as_secs_f64());
    }

    /// Counts a failed verification.
    pub(in crate::node) fn failed_verification(&self, reason: Failed) {
        let counter = self.verification_failed.get_or_create(&reason.labels());
        counter.inc();
    }

    /// Counts the bytes of a recorded state.
    pub(in crate::node) fn recorded(&self, new_bytes: u64) {
        self.snapshot_new_bytes.inc_by(new_bytes);
    }

    /// The number of records made durable in this run.
    pub(in crate::node) fn records(&self) -> u64 {
        self.records.get()
    }

    /// Sets how far the wall clock of a process is ahead, microseconds.
    pub(super) fn skewed(&self, process: &ProcessId, skew_us: i64) {
        let labels = vec![("process".to_owned(), process.to_string())];
        let seconds = micros_as_seconds(skew_us);
        self.clock_skew_seconds.get_or_create(&labels).set(seconds);
    }

    /// Sets how far the newest turn of a process is dated ahead, microseconds.
    pub(in crate::node) fn dated_ahead(&self, process: &ProcessId, ahead_us: u64) {
        let labels = vec![("process".to_owned(), process.to_string())];
        let seconds = Duration::from_micros(ahead_us).as_secs_f64();
        self.dated_ahead_seconds.get_or_create(&labels).set(seconds);
    }

    /// Sets the size of the store and the free space.
    pub(in crate::node) fn measured(&self, usage: &Usage) {
        let gauges = [
            (&self.free_bytes, usage.free),
            (&self.disk_bytes, usage.disk),
            (&self.blob_files, usage.blobs),
        ];
        for (gauge, figure) in gauges {
            gauge.set(i64::try_from(figure).unwrap_or(i64::MAX));
        }
    }

    /// All metrics in the text format of Prometheus, with the present readiness and the number of stopped channels.
    pub(in crate::node) fn text(&self, is_ready: bool, stopped: usize) -> String {
        self.ready.set(is_ready.into());
        self.channels_stopped
            .set(i64::try_from(stopped).unwrap_or(i64::MAX));
        encoded(&self.registry)
    }
}

/// The metrics of a node that waits for the ids of `peers` peers. Others are left out, because they would be wrong before its
/// store is open.
pub(in crate::node) fn of_waiting(peers: usize) -> String {
    let mut registry = Registry::with_prefix("snapledger");
    registry.register(READY, READY_HELP, Gauge::<i64>::default());
    let waited_for = Gauge::<i64>::default();
    waited_for.set(i64::try_from(peers).unwrap_or(i64::MAX));
    registry.register(
        "peers_unknown",
        "Peers of which only the address is known: the node waits for their ids",
        waited_for,
    );
    encoded(&registry)
}

fn encoded(registry: &Registry) -> String {
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, registry)
        .expect("a string takes all that is written to it");
    text
}
