//! The results of a run: counts, sums, the first refusals, the rate.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use uuid::Uuid;

use super::amount::Units;
use crate::cli::Report;
use crate::process::ids::{Amount, ProcessId};

/// The most refusals that are kept with their reasons.
const REFUSALS_SHOWN: usize = 10;

/// An answered operation.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) process: ProcessId,
    pub(super) line: u64,
    pub(super) amount: Amount,
    /// The sentence of a refusal.
    pub(super) refusal: Option<String>,
}

/// The counts of a run.
#[derive(Debug)]
pub(super) struct RunCounts {
    started: Instant,
    took: Duration,
    processes: BTreeMap<ProcessId, ProcessCounts>,
    refusals: Vec<Answered>,
}

#[derive(Debug, Clone, Copy, Default)]
struct ProcessCounts {
    acknowledged: u64,
    refused: u64,
    /// The sum of the acknowledged operations, in hundredths.
    sum: i128,
}

impl RunCounts {
    pub(super) fn start() -> Self {
        Self {
            started: Instant::now(),
            took: Duration::ZERO,
            processes: BTreeMap::new(),
            refusals: Vec::new(),
        }
    }

    pub(super) fn count(&mut self, answered: Answered) {
        let share = self.processes.entry(answered.process.clone()).or_default();
        if answered.refusal.is_none() {
            share.acknowledged += 1;
            share.sum += i128::from(answered.amount.units());
            return;
        }
        share.refused += 1;
        if self.refusals.len() < REFUSALS_SHOWN {
            self.refusals.push(answered);
        }
    }

    /// Stops the clock.
    pub(super) fn finish(&mut self) {
        self.took = self.started.elapsed();
    }

    pub(super) fn acknowledged(&self) -> u64 {
        self.total().acknowledged
    }

    pub(super) fn refused(&self) -> u64 {
        self.total().refused
    }

    pub(super) fn answered(&self) -> u64 {
        self.acknowledged() + self.refused()
    }

    fn total(&self) -> ProcessCounts {
        self.processes
            .values()
            .fold(ProcessCounts::default(), |total, share| ProcessCounts {
                acknowledged: total.acknowledged + share.acknowledged,
                refused: total.refused + share.refused,
                sum: total.sum + share.sum,
            })
    }

    #[allow(clippy::cast_precision_loss, reason = "a pace, not money")]
    fn per_second(&self) -> f64 {
        self.answered() as f64 / self.took.as_secs_f64().max(1e-9)
    }

    /// As text.
    pub(super) fn report(&self, run_id: Uuid) -> Report {
        let row = |name: String, share: &ProcessCounts| {
            vec![
                name,
                (share.acknowledged + share.refused).to_string(),
                share.acknowledged.to_string(),
                share.refused.to_string(),
                Units(share.sum).to_string(),
            ]
        };
        let mut rows: Vec<Vec<String>> = self
            .processes
            .iter()
            .map(|(process, share)| row(process.to_string(), share))
            .collect();
        rows.push(row("all".to_owned(), &self.total()));
        let mut report = Report::default();
        let headers = [
            "process",
            "operations",
            "acknowledged",
            "refused",
            "sum in units",
        ];
        report.table(&headers, rows);
        let (seconds, pace) = (self.took.as_secs_f64(), self.per_second());
        report.line(&format!(
            "{seconds:.3} s, {pace:.0} operations/s, run {run_id}"
        ));
        for refused in &self.refusals {
            let reason = refused.refusal.as_deref().unwrap_or_default();
            report.line(&format!(
                "line {} refused by {}: {reason}",
                refused.line, refused.process
            ));
        }
        report
    }

    /// As JSON. Sums are exact: strings in units, with two decimals.
    pub(super) fn json(&self, run_id: Uuid) -> Value {
        let total = self.total();
        let processes: Vec<Value> = self
            .processes
            .iter()
            .map(|(process, share)| {
                json!({
                    "process": process.as_str(),
                    "operations": share.acknowledged + share.refused,
                    "acknowledged": share.acknowledged,
                    "refused": share.refused,
                    "sum": Units(share.sum).to_string(),
                })
            })
            .collect();
        let refusals: Vec<Value> = self
            .refusals
            .iter()
            .map(|refused| {
                json!({
                    "line": refused.line,
                    "process": refused.process.as_str(),
                    "reason": refused.refusal,
                })
            })
            .collect();
        json!({
            "run_id": run_id.to_string(),
            "operations": self.answered(),
            "acknowledged": total.acknowledged,
            "refused": total.refused,
            "sum": Units(total.sum).to_string(),
            "seconds": self.took.as_secs_f64(),
            "operations_per_second": self.per_second(),
            "processes": processes,
            "refusals": refusals,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_not_summed() {
        let mut tally = RunCounts::start();
        let answered = |line, refusal: Option<&str>| Answered {
            process: ProcessId::parse("n1").expect("an id"),
            line,
            amount: Amount::new(1250).expect("positive"),
            refusal: refusal.map(str::to_owned),
        };
        tally.count(answered(2, None));
        tally.count(answered(3, Some("insufficient funds")));
        tally.finish();
        let json = tally.json(Uuid::nil());
        assert_eq!(json["operations"], 2);
        assert_eq!(json["acknowledged"], 1);
        assert_eq!(json["sum"], "12.50");
        assert_eq!(json["processes"][0]["refused"], 1);
        assert_eq!(json["refusals"][0]["line"], 3);
    }
}
