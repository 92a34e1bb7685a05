//! `bench all`: every measurement at its standard sizes, with PostgreSQL in turn if it is available.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};

use super::postgres::Postgres;
use super::report::{Line, Outcome};
use super::rounds::Rounds;
use super::{Bench, space, typed};
use crate::cli::CliError;

const HEADERS: &[&str] = &["measurement", "what", "median", "min", "max"];
/// The disk space used by the streams of `bench interference`, the largest measurement, with a margin.
const SPACE_BYTES: u64 = 10 << 30;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Small sizes and short runs, as a smoke test; the figures are not for publication.
    #[arg(long)]
    quick: bool,
    /// The script that measures PostgreSQL [default: benches/postgres.sh of the repository around this program or
    /// this directory; without one PostgreSQL is left out].
    #[arg(long, value_name = "PATH")]
    script: Option<PathBuf>,
}

/// The sizes of the measurements.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    accounts: u64,
    accounts_few: u64,
    accounts_many: u64,
    journal: u64,
    restarted: u64,
    ring: u64,
    /// The seconds of a run of each workload in the rounds.
    round_seconds: f64,
    /// The seconds per run of `bench interference`: of streams, and of single deposits.
    seconds: [u64; 2],
    every: [f64; 2],
    /// The seconds without requests before memory is read.
    idle: f64,
}

/// Measurements by name, or why they failed.
type Parts = Vec<(&'static str, Result<Outcome, String>)>;

/// Runs the measurements; all servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let sizes = match parameters.quick {
        true => Sizes::QUICK,
        false => Sizes::FULL,
    };
    if !parameters.quick {
        space::require(bench.dir.path(), SPACE_BYTES)?;
    }
    let started = Instant::now();
    let postgres = postgres(bench, parameters.script.as_deref())?;
    let seconds = Duration::from_secs_f64(sizes.round_seconds);
    let rounds = Rounds::measure(bench, seconds, postgres.as_ref()).await?;
    let mut parts = Parts::new();
    for (name, line) in sizes.lines(bench.runs) {
        bench.output.remark("note", &format!("bench {line}"));
        let outcome = typed::measure(bench, &line).await;
        parts.push((name, outcome.map_err(|error| error.to_string())));
    }
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let mut outcome = outcome(&rounds, &parts)?;
    outcome.parameters = json!({
        "runs": bench.runs,
        "quick": parameters.quick,
        "postgres": rounds.version(),
    });
    outcome.notes = notes(parameters, rounds.version(), minutes);
    let failed = parts.iter().filter(|(_, part)| part.is_err());
    let failed: Vec<&str> = failed.map(|(name, _)| *name).collect();
    if failed.is_empty() {
        return Ok(outcome);
    }
    // Print the completed measurements before failing.
    outcome.print(bench)?;
    Err(CliError::CheckFailed(format!(
        "not everything was measured: {}",
        failed.join(", ")
    )))
}

impl Sizes {
    /// The sizes for which targets are set.
    const FULL: Self = Self {
        accounts: 1_000_000,
        accounts_few: 100_000,
        accounts_many: 10_000_000,
        journal: 10_000_000,
        restarted: 1_000_000,
        ring: 1000,
        round_seconds: 5.0,
        seconds: [6, 20],
        every: [2.0, 1.0],
        idle: 3.0,
    };
    /// Small sizes, to check that all measurements work.
    const QUICK: Self = Self {
        accounts: 20_000,
        accounts_few: 2000,
        accounts_many: 20_000,
        journal: 50_000,
        restarted: 20_000,
        ring: 50,
        round_seconds: 0.3,
        seconds: [1, 1],
        every: [0.3, 0.3],
        idle: 0.2,
    };

    /// The measurements besides the rounds: a name and the arguments of `bench`.
    fn lines(&self, runs: u16) -> [(&'static str, String); 8] {
        let Self {
            accounts,
            accounts_few,
            accounts_many,
            journal,
            restarted,
            ring,
            round_seconds: _,
            seconds: [seconds, deposit_seconds],
            every: [every, deposit_every],
            idle,
        } = self;
        let changed = accounts / 100;
        let lines = [
            (
                "snapshot_idle",
                format!("snapshot --accounts {accounts} --changed {changed}"),
            ),
            (
                "snapshot_loaded",
                format!("snapshot --accounts {accounts} --changed {changed} --load on"),
            ),
            (
                "interference",
                format!(
                    "interference --accounts {accounts} --changed {changed} --seconds {seconds} --every {every} \
                     --deposit-seconds {deposit_seconds} --deposit-every {deposit_every}"
                ),
            ),
            (
                "snapshot_by_accounts",
                format!("snapshot --accounts {accounts_few},{accounts_many} --changed {changed}"),
            ),
            (
                "restart",
                format!("restart --accounts {accounts} --operations {restarted}"),
            ),
            (
                "asof",
                format!("asof --accounts {accounts} --operations {journal}"),
            ),
            (
                "memory",
                format!("memory --accounts {accounts} --idle {idle}"),
            ),
            (
                "simulate",
                format!("simulate --processes {ring},{},{}", ring * 4, ring * 16),
            ),
        ];
        lines.map(|(name, line)| (name, format!("{line} --runs {runs}")))
    }
}

// The requested script, or the default one if it exists.
fn postgres(bench: &Bench, script: Option<&Path>) -> Result<Option<Postgres>, CliError> {
    match (Postgres::find(bench, script), script) {
        (Ok(postgres), _) => Ok(Some(postgres)),
        (Err(error), Some(_)) => Err(error),
        (Err(error), None) => {
            let text = format!("PostgreSQL is left out: {error}");
            bench.output.remark("note", &text);
            Ok(None)
        }
    }
}

fn notes(parameters: &Parameters, postgres: Option<&str>, minutes: f64) -> Vec<String> {
    let mut notes = vec![match postgres {
        Some(version) => format!(
            "PostgreSQL {version}, in turn with this program; single deposits with the clients with which it does the most, \
             batches with one connection beside one stream and, to be seen, with more"
        ),
        None => "no PostgreSQL 15 or newer here: what is compared with it is left out".to_owned(),
    }];
    notes.push(format!("it took {minutes:.1} minutes"));
    if parameters.quick {
        notes.push("quick: small sizes and short runs, not for publication".to_owned());
    }
    if cfg!(debug_assertions) {
        notes.push("a debug build: its figures mean nothing".to_owned());
    }
    notes
}

fn outcome(rounds: &Rounds, parts: &Parts) -> Result<Outcome, CliError> {
    let named = |name: &str, row: Vec<String>| [vec![name.to_owned()], row].concat();
    let mut rows: Vec<Vec<String>> = Line::rows(&rounds.lines()?)
        .into_iter()
        .map(|row| named("rounds", row))
        .collect();
    let mut figures = Map::new();
    for (name, part) in parts {
        let part = match part {
            Ok(outcome) => {
                rows.extend(outcome.rows.iter().map(|row| named(name, row.clone())));
                outcome.part()
            }
            Err(why) => {
                let dash = || "-".to_owned();
                rows.push(named(name, vec![why.clone(), dash(), dash(), dash()]));
                json!({"not_measured": why})
            }
        };
        figures.insert((*name).to_owned(), part);
    }
    Ok(Outcome {
        name: "all",
        parameters: Value::Null,
        headers: HEADERS,
        rows,
        // Ratios are those of the parts.
        ratios: Vec::new(),
        notes: Vec::new(),
        figures: json!({"rounds": rounds.json()?, "parts": figures}),
    })
}
