//! Statistics of runs: median, minimum, maximum, and latency percentiles.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

/// One minute in nanoseconds, the upper limit of the histogram; no answer takes longer.
const LATENCY_MAX_NS: u64 = 60_000_000_000;

/// One figure over several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Spread {
    pub(super) median: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

impl Spread {
    /// Of at least one run.
    pub(super) fn of(figures: impl IntoIterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let middle = figures.len() / 2;
        let median = if figures.len() % 2 == 1 {
            figures[middle]
        } else {
            (figures[middle - 1] + figures[middle]) / 2.0
        };
        Self {
            median,
            min: figures[0],
            max: figures[figures.len() - 1],
        }
    }

    /// All figures multiplied by `factor`.
    pub(super) fn times(self, factor: f64) -> Self {
        Self {
            median: self.median * factor,
            min: self.min * factor,
            max: self.max * factor,
        }
    }

    /// Parses the output of [`json`](Self::json).
    pub(super) fn read(value: &Value) -> Option<Self> {
        Some(Self {
            median: value["median"].as_f64()?,
            min: value["min"].as_f64()?,
            max: value["max"].as_f64()?,
        })
    }

    pub(super) fn json(&self) -> Value {
        json!({"median": self.median, "min": self.min, "max": self.max})
    }

    /// Three table cells with `decimals` decimals.
    pub(super) fn cells(&self, decimals: usize) -> [String; 3] {
        [self.median, self.min, self.max].map(|figure| format!("{figure:.decimals$}"))
    }
}

/// The measurements of one run.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) took: Duration,
    /// The latency of each call in nanoseconds.
    pub(super) latencies_ns: Vec<u64>,
}

impl Run {
    pub(super) fn per_second(&self) -> f64 {
        self.latencies_ns.len() as f64 / self.took.as_secs_f64()
    }
}

/// A latency histogram.
#[derive(Debug)]
pub(super) struct Latencies(Histogram<u64>);

impl Latencies {
    pub(super) fn of(latencies: impl IntoIterator<Item = Duration>) -> Self {
        let mut all = Self::default();
        for latency in latencies {
            all.add_ns(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        }
        all
    }

    fn add_ns(&mut self, latency: u64) {
        self.0.saturating_record(latency);
    }

    pub(super) fn count(&self) -> u64 {
        self.0.len()
    }

    /// A percentile in microseconds.
    pub(super) fn us(&self, percentile: f64) -> f64 {
        self.0.value_at_percentile(percentile) as f64 / 1000.0
    }
}

impl Default for Latencies {
    fn default() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_MAX_NS, 3);
        Self(histogram.expect("the bounds are in order"))
    }
}

/// The measurements of all counted runs of one subject.
#[derive(Debug, Default)]
pub(super) struct Series {
    per_second: Vec<f64>,
    latencies: Latencies,
}

impl Series {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn add(&mut self, run: &Run) {
        self.per_second.push(run.per_second());
        for latency in &run.latencies_ns {
            self.latencies.add_ns(*latency);
        }
    }

    /// Calls per second.
    pub(super) fn per_second(&self) -> Spread {
        Spread::of(self.per_second.iter().copied())
    }

    /// A latency percentile over all runs, in microseconds.
    pub(super) fn latency_us(&self, percentile: f64) -> f64 {
        self.latencies.us(percentile)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_between_the_two_middles() {
        let odd = Spread::of([3.0, 1.0, 2.0]);
        assert_eq!((odd.median, odd.min, odd.max), (2.0, 1.0, 3.0));
        assert_eq!(Spread::of([4.0, 1.0, 2.0, 3.0]).median, 2.5);
        assert_eq!(Spread::of([7.0]).cells(1), ["7.0", "7.0", "7.0"]);
    }

    #[test]
    fn a_series_counts_calls_over_the_time_they_took() {
        let mut series = Series::new();
        series.add(&Run {
            took: Duration::from_millis(500),
            latencies_ns: vec![1000; 100],
        });
        assert_eq!(series.per_second().median, 200.0);
        assert!((series.latency_us(99.0) - 1.0).abs() < 0.01);
    }
}
