//! This program and PostgreSQL in alternating rounds, with the same durability.

use std::time::Duration;

use serde_json::{Value, json};

use super::figures::Spread;
use super::postgres::{Postgres, Rate, Rates};
use super::report::{Line, Outcome};
use super::{Bench, typed};
use crate::cli::CliError;

/// Alternating rounds: each measures every workload on both systems.
#[derive(Default)]
pub(super) struct Rounds {
    deposits: Vec<Outcome>,
    stream: Vec<Outcome>,
    within: Vec<Outcome>,
    between: Vec<Outcome>,
    /// Empty if PostgreSQL is not available.
    theirs: Vec<Rates>,
}

impl Rounds {
    /// Measures as many rounds as `bench` has runs.
    pub(super) async fn measure(
        bench: &Bench,
        seconds: Duration,
        postgres: Option<&Postgres>,
    ) -> Result<Self, CliError> {
        let mut rounds = Self::default();
        for round in 1..=bench.runs {
            let text = format!(
                "round {round} of {}: deposits, stream, transfers",
                bench.runs
            );
            bench.output.remark("note", &text);
            let time = seconds.as_secs_f64();
            let line = |what: &str| format!("{what} --runs 1 --seconds {time}");
            let deposits = typed::measure(bench, &line("deposits")).await?;
            rounds.deposits.push(deposits);
            let stream = typed::measure(bench, &line("stream")).await?;
            rounds.stream.push(stream);
            let within = typed::measure(bench, &line("transfers --nodes 1")).await?;
            rounds.within.push(within);
            let between = typed::measure(bench, &line("transfers")).await?;
            rounds.between.push(between);
            if let Some(postgres) = postgres {
                let whole = format!("--runs 1 --seconds {}", time.ceil());
                let theirs = postgres.measure(&whole).await?;
                rounds.theirs.extend(theirs);
            }
        }
        Ok(rounds)
    }

    /// Operations per second of a row of `bench deposits`.
    pub(super) fn deposits(&self, row: usize) -> Result<Spread, CliError> {
        over(&self.deposits, |of| {
            Ok(of.spread(row, "/per_second")?.median)
        })
    }

    /// The sum of the median latencies of these rows of `bench deposits`, in microseconds.
    pub(super) fn deposit_p50_us(&self, rows: &[usize]) -> Result<Spread, CliError> {
        let p50 = |of: &Outcome| {
            rows.iter()
                .map(|row| of.number(*row, "/latency_us/p50"))
                .sum()
        };
        over(&self.deposits, p50)
    }

    /// Operations per second over a stream.
    pub(super) fn stream(&self) -> Result<Spread, CliError> {
        over(&self.stream, |of| Ok(of.spread(0, "/per_second")?.median))
    }

    /// Transfers within a process per second, until all have arrived.
    pub(super) fn transfers_within(&self) -> Result<Spread, CliError> {
        transfers(&self.within)
    }

    /// Transfers between processes per second, until all have arrived.
    pub(super) fn transfers_between(&self) -> Result<Spread, CliError> {
        transfers(&self.between)
    }

    /// The rate of PostgreSQL for a workload, at the number of clients with the highest throughput.
    pub(super) fn theirs(&self, what: &str) -> Option<Rate> {
        let rates = self.theirs_by_clients(what).into_iter();
        rates.max_by(|one, other| one.per_second.median.total_cmp(&other.per_second.median))
    }

    /// The rates of PostgreSQL for a workload, for each measured number of clients.
    pub(super) fn theirs_by_clients(&self, what: &str) -> Vec<Rate> {
        let of = |rates: &Rates, clients: u64| {
            let mut all = rates.all.iter();
            let found = all.find(|rate| rate.what == what && rate.clients == clients);
            found.map(|rate| rate.per_second.median)
        };
        let rates = self.theirs.first().into_iter().flat_map(|first| &first.all);
        let rates = rates.filter(|rate| rate.what == what);
        let rates = rates.map(|rate| Rate {
            what: what.to_owned(),
            clients: rate.clients,
            per_second: Spread::of(
                self.theirs
                    .iter()
                    .filter_map(|round| of(round, rate.clients)),
            ),
        });
        rates.collect()
    }

    // The rates of PostgreSQL for all workloads.
    fn all_theirs(&self) -> Vec<Rate> {
        let workloads = ["deposits", "bulk", "transfers"].into_iter();
        workloads
            .flat_map(|what| self.theirs_by_clients(what))
            .collect()
    }

    /// The table: the medians of the rounds.
    pub(super) fn lines(&self) -> Result<Vec<Line>, CliError> {
        let mut lines = vec![
            Line::new("deposits per second", 0, self.deposits(0)?),
            Line::new("echoed deposits per second", 0, self.deposits(1)?),
            Line::new(
                "a deposit, nothing else going on: p50 µs",
                1,
                self.deposit_p50_us(&[2])?,
            ),
            Line::new(
                "an echo and an insert: p50 µs",
                1,
                self.deposit_p50_us(&[3, 4])?,
            ),
            Line::new("streamed operations per second", 0, self.stream()?),
            Line::new(
                "transfers within a process per second",
                0,
                self.transfers_within()?,
            ),
            Line::new(
                "transfers between processes per second",
                0,
                self.transfers_between()?,
            ),
        ];
        lines.extend(self.all_theirs().into_iter().map(|rate| {
            let what = format!(
                "PostgreSQL, {}, {} clients: per second",
                rate.what, rate.clients
            );
            Line::new(what, 0, rate.per_second)
        }));
        Ok(lines)
    }

    /// The same as JSON.
    pub(super) fn json(&self) -> Result<Value, CliError> {
        Ok(json!({
            "deposits_per_second": self.deposits(0)?.json(),
            "echo_per_second": self.deposits(1)?.json(),
            "deposit_p50_us": self.deposit_p50_us(&[2])?.json(),
            "floor_p50_us": self.deposit_p50_us(&[3, 4])?.json(),
            "streamed_per_second": self.stream()?.json(),
            "transfers_within_per_second": self.transfers_within()?.json(),
            "transfers_between_per_second": self.transfers_between()?.json(),
            "postgres": self.all_theirs().iter().map(Rate::json).collect::<Vec<_>>(),
        }))
    }

    /// The version of PostgreSQL, if available.
    pub(super) fn version(&self) -> Option<&str> {
        self.theirs.first().map(|rates| rates.version.as_str())
    }
}

fn transfers(outcomes: &[Outcome]) -> Result<Spread, CliError> {
    over(outcomes, |of| Ok(of.spread(1, "/spread")?.median))
}

fn over(
    outcomes: &[Outcome],
    figure: impl Fn(&Outcome) -> Result<f64, CliError>,
) -> Result<Spread, CliError> {
    let figures: Vec<f64> = outcomes.iter().map(figure).collect::<Result<_, _>>()?;
    Ok(Spread::of(figures))
}
