//! `bench compare`: this program and PostgreSQL in alternating rounds, with the same durability.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::arguments::seconds;
use super::figures::Spread;
use super::postgres::{Postgres, Rate, Rates};
use super::report::{Outcome, Ratio};
use super::{Bench, typed};
use crate::cli::CliError;

const HEADERS: &[&str] = &[
    "what",
    "ours per second: median",
    "min",
    "max",
    "PostgreSQL: median",
    "min",
    "max",
    "clients",
    "ours / theirs",
];

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// How long each run of each workload takes; of PostgreSQL whole seconds.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// The script that measures PostgreSQL [default: benches/postgres.sh of the repository around this program or
    /// this directory].
    #[arg(long, value_name = "PATH")]
    script: Option<PathBuf>,
}

/// Runs the measurement; all servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let postgres = Postgres::find(bench, parameters.script.as_deref())?;
    let rounds = Rounds::measure(bench, parameters.seconds, Some(&postgres)).await?;
    if rounds.theirs.is_empty() {
        return Err(CliError::Refused(
            "there is no PostgreSQL 15 or newer to compare with; install one, `bench deposits`, `stream` and `transfers` \
             measure without it"
                .to_owned(),
        ));
    }
    outcome(bench, parameters, &rounds)
}

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

    // Transfers per second until all have arrived.
    fn transfers(outcomes: &[Outcome]) -> Result<Spread, CliError> {
        over(outcomes, |of| Ok(of.spread(1, "/spread")?.median))
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

    /// The version of PostgreSQL, if available.
    pub(super) fn version(&self) -> Option<&str> {
        self.theirs.first().map(|rates| rates.version.as_str())
    }
}

fn over(
    outcomes: &[Outcome],
    figure: impl Fn(&Outcome) -> Result<f64, CliError>,
) -> Result<Spread, CliError> {
    let figures: Vec<f64> = outcomes.iter().map(figure).collect::<Result<_, _>>()?;
    Ok(Spread::of(figures))
}

/// The same workload on both systems.
struct Pair {
    what: &'static str,
    unit: &'static str,
    ours: Spread,
    theirs: Rate,
}

impl Pair {
    fn ratio(&self) -> Ratio {
        Ratio {
            name: self.what.to_owned(),
            unit: self.unit,
            over: self.ours.median,
            under: self.theirs.per_second.median,
        }
    }

    fn row(&self) -> Vec<String> {
        let mut row = vec![self.what.to_owned()];
        row.extend(self.ours.cells(0));
        row.extend(self.theirs.per_second.cells(0));
        row.push(self.theirs.clients.to_string());
        row.push(format!("{:.2}", self.ratio().value()));
        row
    }
}

fn pairs(rounds: &Rounds) -> Result<Vec<Pair>, CliError> {
    let ours = [
        (
            "single deposits",
            "deposits/s",
            rounds.deposits(0)?,
            "deposits",
        ),
        (
            "deposits in batches",
            "operations/s",
            rounds.stream()?,
            "bulk",
        ),
        (
            "transfers within a process, in batches",
            "transfers/s",
            Rounds::transfers(&rounds.within)?,
            "transfers",
        ),
        (
            "transfers between processes, in batches, arrived",
            "transfers/s",
            Rounds::transfers(&rounds.between)?,
            "transfers",
        ),
    ];
    let pair = |(what, unit, ours, workload): (_, _, _, &str)| {
        let theirs = rounds.theirs(workload);
        let missing = || CliError::CheckFailed(format!("PostgreSQL: nothing of {workload}"));
        Ok(Pair {
            what,
            unit,
            ours,
            theirs: theirs.ok_or_else(missing)?,
        })
    };
    ours.into_iter().map(pair).collect()
}

fn outcome(bench: &Bench, parameters: &Parameters, rounds: &Rounds) -> Result<Outcome, CliError> {
    let pairs = pairs(rounds)?;
    let figure = |pair: &Pair| {
        json!({
            "what": pair.what,
            "unit": pair.unit,
            "ours": pair.ours.json(),
            "postgres": pair.theirs.per_second.json(),
            "postgres_clients": pair.theirs.clients,
        })
    };
    Ok(Outcome {
        name: "compare",
        parameters: json!({
            "rounds": bench.runs,
            "seconds_per_run": parameters.seconds.as_secs_f64(),
            "postgres": rounds.version(),
        }),
        headers: HEADERS,
        rows: pairs.iter().map(Pair::row).collect(),
        ratios: pairs.iter().map(Pair::ratio).collect(),
        notes: vec![
            "each round is one run of every workload here and one there, with new stores; of PostgreSQL the number of \
             clients is shown with which it does the most"
                .to_owned(),
            "ours: single deposits with 512 calls in flight, batches over one stream per node; theirs: 1 update and 1 \
             insert, 1,000 deposits in one statement, 2 updates and 1 insert, in one round trip each"
                .to_owned(),
        ],
        figures: pairs.iter().map(figure).collect(),
    })
}
