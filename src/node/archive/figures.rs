//! The metrics of the archive.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::offsite::outbound::Shipped;
use crate::process::ids::Lsn;

/// How far the archive is, and how it answers. Cheap to clone.
#[derive(Clone)]
pub(in crate::node) struct ArchiveFigures {
    lag: Gauge<f64, AtomicU64>,
    lag_bytes: Gauge,
    lag_segments: Gauge,
    lost: Gauge,
    position: Gauge,
    bytes: Counter,
    segments: Counter,
    in_flight: Gauge,
    put_seconds: Histogram,
    retries: Counter,
    states: Counter,
    parts: Counter,
    revisions: Counter,
    kept_bytes: Counter,
    deleted: Counter,
    tables_position: Gauge,
    tables_bytes: Counter,
    tables_failures: Counter,
    tables_failing: Gauge,
    tables_lost: Counter,
}

/// How far the archive is behind the journal.
pub(super) struct Behind {
    pub(super) lag: Duration,
    pub(super) archived: Lsn,
    /// Segments that are put and not archived.
    pub(super) in_flight: u64,
    /// Of all turns that are not archived.
    pub(super) bytes: u64,
    pub(super) segments: u64,
    pub(super) is_lost: bool,
}

impl Default for ArchiveFigures {
    fn default() -> Self {
        Self {
            lag: Gauge::default(),
            lag_bytes: Gauge::default(),
            lag_segments: Gauge::default(),
            lost: Gauge::default(),
            position: Gauge::default(),
            bytes: Counter::default(),
            segments: Counter::default(),
            in_flight: Gauge::default(),
            put_seconds: Histogram::new(exponential_buckets(0.000_5, 2.0, 16)),
            retries: Counter::default(),
            states: Counter::default(),
            parts: Counter::default(),
            revisions: Counter::default(),
            kept_bytes: Counter::default(),
            deleted: Counter::default(),
            tables_position: Gauge::default(),
            tables_bytes: Counter::default(),
            tables_failures: Counter::default(),
            tables_failing: Gauge::default(),
            tables_lost: Counter::default(),
        }
    }
}

impl ArchiveFigures {
    pub(in crate::node) fn register(&self, registry: &mut Registry) {
        self.register_lag(registry);
        registry.register(
            "archive_position",
            "Newest journal position that the archive has",
            self.position.clone(),
        );
        registry.register_with_unit(
            "archive_shipped",
            "Turns in archived segments",
            Unit::Bytes,
            self.bytes.clone(),
        );
        registry.register(
            "archive_segments",
            "Archived segments",
            self.segments.clone(),
        );
        registry.register(
            "archive_puts_in_flight",
            "Segments that are put and not archived",
            self.in_flight.clone(),
        );
        registry.register_with_unit(
            "archive_put",
            "Time from the first attempt to put a segment until it and all before it are archived",
            Unit::Seconds,
            self.put_seconds.clone(),
        );
        registry.register(
            "archive_retries",
            "Requests to the archive that were repeated",
            self.retries.clone(),
        );
        registry.register(
            "archive_states",
            "Recorded states shipped",
            self.states.clone(),
        );
        registry.register(
            "archive_parts",
            "Parts of snapshots shipped",
            self.parts.clone(),
        );
        registry.register(
            "archive_revisions",
            "Published revisions shipped",
            self.revisions.clone(),
        );
        registry.register_with_unit(
            "archive_kept",
            "States, parts and revisions shipped, with their chunks",
            Unit::Bytes,
            self.kept_bytes.clone(),
        );
        registry.register(
            "archive_deleted",
            "Objects deleted in the archive because of archive.keep",
            self.deleted.clone(),
        );
        self.register_tables(registry);
    }

    fn register_lag(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "archive_lag",
            "Age of the oldest durable turn that the archive does not have",
            Unit::Seconds,
            self.lag.clone(),
        );
        registry.register_with_unit(
            "archive_lag",
            "About the bytes of the durable turns that the archive does not have",
            Unit::Bytes,
            self.lag_bytes.clone(),
        );
        registry.register(
            "archive_lag_segments",
            "About the segments that these turns are or become",
            self.lag_segments.clone(),
        );
        registry.register(
            "archive_lost",
            "1 while the archive lacks what it had, or is another directory",
            self.lost.clone(),
        );
    }

    fn register_tables(&self, registry: &mut Registry) {
        registry.register(
            "archive_tables_position",
            "Newest journal position whose entries are in the tables",
            self.tables_position.clone(),
        );
        registry.register_with_unit(
            "archive_tables_written",
            "Data files of tables written",
            Unit::Bytes,
            self.tables_bytes.clone(),
        );
        registry.register(
            "archive_tables_failures",
            "Attempts to write tables that failed",
            self.tables_failures.clone(),
        );
        registry.register(
            "archive_tables_failing",
            "1 while the last attempt to write tables has failed, else 0",
            self.tables_failing.clone(),
        );
        registry.register(
            "archive_tables_lost",
            "Turns and recorded states that were deleted or damaged before the tables had them",
            self.tables_lost.clone(),
        );
    }

    pub(super) fn kept(&self, shipped: Shipped) {
        let Shipped {
            states,
            parts,
            revisions,
            bytes,
        } = shipped;
        self.states.inc_by(states);
        self.parts.inc_by(parts);
        self.revisions.inc_by(revisions);
        self.kept_bytes.inc_by(bytes);
    }

    pub(super) fn deleted(&self, objects: u64) {
        self.deleted.inc_by(objects);
    }

    pub(super) fn lags(&self, behind: Behind) {
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        self.lag.set(behind.lag.as_secs_f64());
        self.lag_bytes.set(number(behind.bytes));
        self.lag_segments.set(number(behind.segments));
        self.lost.set(i64::from(behind.is_lost));
        self.position.set(number(behind.archived.0));
        self.in_flight.set(number(behind.in_flight));
    }

    pub(super) fn was_put(&self, bytes: usize, took: Duration) {
        self.bytes.inc_by(bytes as u64);
        self.segments.inc();
        self.put_seconds.observe(took.as_secs_f64());
    }

    pub(super) fn retried(&self) {
        self.retries.inc();
    }

    pub(super) fn tables_written(&self, bytes: u64, position: Option<Lsn>) {
        self.tables_bytes.inc_by(bytes);
        if let Some(position) = position {
            self.tables_position
                .set(i64::try_from(position.0).unwrap_or(i64::MAX));
        }
    }

    pub(super) fn tables_lost(&self, turns_and_states: u64) {
        self.tables_lost.inc_by(turns_and_states);
    }

    pub(super) fn tables_failed(&self) {
        self.tables_failures.inc();
        self.tables_failing.set(1);
    }

    pub(super) fn tables_are_written(&self) {
        self.tables_failing.set(0);
    }
}
