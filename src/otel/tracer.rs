//! Where spans go: a bounded queue to the exporter, and its figures.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;
use tokio::sync::mpsc;

use super::context::SpanContext;
use super::span::Span;
use crate::config::Sampling;
use crate::process::ids::{ProcessId, SnapshotId};

/// The snapshots whose request is remembered until they are published. Beyond this number some lose their link.
const CAUSES_MAX: usize = 1024;

/// Why spans were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Dropped {
    /// The queue was full.
    QueueFull,
    /// The collector did not take them in time.
    Unsent,
    /// The collector refused them.
    Refused,
}

impl Dropped {
    const ALL: [Self; 3] = [Self::QueueFull, Self::Unsent, Self::Refused];

    const fn labels(self) -> [(&'static str, &'static str); 1] {
        [(
            "reason",
            match self {
                Self::QueueFull => "queue_full",
                Self::Unsent => "unsent",
                Self::Refused => "refused",
            },
        )]
    }
}

/// The numbers of spans.
#[derive(Debug, Clone, Default)]
pub(super) struct Figures {
    exported: Counter,
    dropped: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Figures {
    pub(super) fn export(&self, spans: usize) {
        self.exported.inc_by(spans as u64);
    }

    pub(super) fn drop(&self, spans: usize, why: Dropped) {
        let counter = self.dropped.get_or_create(&why.labels());
        counter.inc_by(spans as u64);
    }

    pub(super) fn dropped(&self) -> u64 {
        let counts = Dropped::ALL.map(|why| self.dropped.get_or_create(&why.labels()).get());
        counts.iter().sum()
    }
}

/// Takes the spans of a node. Clones share state.
#[derive(Clone)]
pub struct Tracer(Arc<Shared>);

struct Shared {
    cluster: String,
    me: ProcessId,
    sample: Sampling,
    now_us: Box<dyn Fn() -> u64 + Send + Sync>,
    queue: mpsc::Sender<Span>,
    figures: Figures,
    /// The requests that have started snapshots, until these are published.
    causes: Mutex<BTreeMap<SnapshotId, SpanContext>>,
}

impl Tracer {
    pub(super) fn new(
        cluster: &str,
        me: &ProcessId,
        sample: Sampling,
        now_us: impl Fn() -> u64 + Send + Sync + 'static,
        queue: mpsc::Sender<Span>,
    ) -> Self {
        Self(Arc::new(Shared {
            cluster: cluster.to_owned(),
            me: me.clone(),
            sample,
            now_us: Box::new(now_us),
            queue,
            figures: Figures::default(),
            causes: Mutex::default(),
        }))
    }

    /// Exports a span, or drops it if too many wait. Never blocks.
    pub fn end(&self, span: Span) {
        if self.0.queue.try_send(span).is_err() {
            self.0.figures.drop(1, Dropped::QueueFull);
        }
    }

    /// The present time of the node, microseconds since the Unix epoch.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        (self.0.now_us)()
    }

    /// Adds the figures of the exporter to the metrics.
    pub fn register(&self, registry: &mut Registry) {
        let Figures { exported, dropped } = &self.0.figures;
        let help = "Spans that the collector has taken";
        registry.register("otel_spans_exported", help, exported.clone());
        for why in Dropped::ALL {
            drop(dropped.get_or_create(&why.labels()));
        }
        let help =
            "Spans that were not exported: the queue was full, or the collector did not take them";
        registry.register("otel_spans_dropped", help, dropped.clone());
    }

    /// Notes that the present request has started a snapshot.
    pub fn started(&self, snapshot: &SnapshotId) {
        let Some(request) = super::current() else {
            return;
        };
        let mut causes = self.causes();
        if causes.len() >= CAUSES_MAX {
            causes.pop_first();
        }
        causes.insert(snapshot.clone(), request);
    }

    pub(super) fn take_cause(&self, snapshot: &SnapshotId) -> Option<SpanContext> {
        self.causes().remove(snapshot)
    }

    pub(super) fn cluster(&self) -> &str {
        &self.0.cluster
    }

    pub(super) fn me(&self) -> &ProcessId {
        &self.0.me
    }

    pub(super) fn sample(&self) -> Sampling {
        self.0.sample
    }

    pub(super) fn figures(&self) -> &Figures {
        &self.0.figures
    }

    fn causes(&self) -> MutexGuard<'_, BTreeMap<SnapshotId, SpanContext>> {
        self.0.causes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Tracer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tracer").finish_non_exhaustive()
    }
}
