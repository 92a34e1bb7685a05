//! `bench compare`: this program and PostgreSQL in alternating rounds, with the same durability.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::json;

use super::Bench;
use super::arguments::seconds;
use super::figures::Spread;
use super::postgres::{Postgres, Rate};
use super::report::{Outcome, Ratio};
use super::rounds::Rounds;
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
    /// Duration of each run of each workload; for PostgreSQL in whole seconds.
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
    if rounds.version().is_none() {
        return Err(CliError::Refused(
            "there is no PostgreSQL 15 or newer to compare with; install one, `bench deposits`, `stream` and `transfers` \
             measure without it"
                .to_owned(),
        ));
    }
    outcome(bench, parameters, &rounds)
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
            rounds.transfers_within()?,
            "transfers",
        ),
        (
            "transfers between processes, in batches, arrived",
            "transfers/s",
            rounds.transfers_between()?,
            "transfers",
        ),
    ];
    let pair = |(what, unit, ours, workload): (_, _, _, &str)| {
        let theirs = rounds.theirs(workload);
        let missing = || CliError::CheckFailed(format!("PostgreSQL: no result for {workload}"));
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
