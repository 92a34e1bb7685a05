//! A subject that is measured repeatedly in turn with others: its rate and its latencies.

use std::time::Duration;

use serde_json::{Value, json};

use super::figures::{Run, Series, Spread};
use super::load::Load;
use super::raw::Raw;
use super::streamed::Streamed;
use crate::cli::CliError;

const WARM_UP_MAX: Duration = Duration::from_secs(1);
/// The headers of a table of subjects.
pub(super) const SUBJECTS: &[&str] = &[
    "what",
    "in flight",
    "operations per second: median",
    "min",
    "max",
    "latency: p50 µs",
    "p99 µs",
];

/// A measured subject.
pub(super) struct Subject {
    name: String,
    kind: Kind,
    series: Series,
}

pub(super) enum Kind {
    /// Single deposits.
    Calls(Load),
    /// The storage engine alone.
    Inserts(Raw),
    /// Batches as unary calls.
    Batches(Streamed),
    /// Batches over a stream.
    Streamed(Streamed),
}

impl Subject {
    pub(super) fn new(name: impl Into<String>, kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            series: Series::new(),
        }
    }

    /// Measures each subject `runs` times after a warm-up.
    pub(super) async fn measure_all(
        subjects: &mut [Self],
        runs: u16,
        time: Duration,
    ) -> Result<(), CliError> {
        for subject in &*subjects {
            subject.run(warm_up(time)).await?;
        }
        // In turn, so that disturbances of the machine affect all subjects.
        for _ in 0..runs {
            for subject in &mut *subjects {
                let run = subject.run(time).await?;
                subject.series.add(&run);
            }
        }
        Ok(())
    }

    async fn run(&self, time: Duration) -> Result<Run, CliError> {
        match &self.kind {
            Kind::Calls(load) => load.run(time).await,
            Kind::Inserts(raw) => raw.run(time).await,
            Kind::Batches(streamed) => streamed.call(time).await,
            Kind::Streamed(streamed) => streamed.run(time).await,
        }
    }

    fn in_flight(&self) -> usize {
        match &self.kind {
            Kind::Calls(load) => load.in_flight,
            Kind::Inserts(_) => 1,
            Kind::Batches(streamed) | Kind::Streamed(streamed) => streamed.in_flight(),
        }
    }

    /// Operations per second.
    pub(super) fn per_second(&self) -> Spread {
        let operations = match &self.kind {
            Kind::Calls(_) | Kind::Inserts(_) => 1,
            Kind::Batches(streamed) | Kind::Streamed(streamed) => streamed.batch(),
        };
        self.series.per_second().times(operations as f64)
    }

    /// A latency percentile in microseconds.
    pub(super) fn p(&self, percentile: f64) -> f64 {
        self.series.latency_us(percentile)
    }

    /// A table row.
    pub(super) fn row(&self) -> Vec<String> {
        let mut row = vec![self.name.clone(), self.in_flight().to_string()];
        row.extend(self.per_second().cells(0));
        row.extend([50.0, 99.0].map(|percentile| format!("{:.1}", self.p(percentile))));
        row
    }

    /// The subject as JSON.
    pub(super) fn json(&self) -> Value {
        json!({
            "what": self.name,
            "in_flight": self.in_flight(),
            "per_second": self.per_second().json(),
            "latency_us": {"p50": self.p(50.0), "p99": self.p(99.0)},
        })
    }
}

/// The duration of the warm-up before runs of this length.
pub(super) fn warm_up(time: Duration) -> Duration {
    WARM_UP_MAX.min(time)
}
