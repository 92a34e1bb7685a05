//! `bench all`: measures everything that targets P1 to P12 cover, as one table that can be written into a document.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use super::claims::{HEADERS, Row, markdown};
use super::compare::Rounds;
use super::machine::Machine;
use super::marked::Marked;
use super::postgres::Postgres;
use super::report::{Outcome, build};
use super::space;
use super::targets::{Found, Sizes, rows};
use super::{Bench, typed};
use crate::cli::CliError;

/// The name in the markers of the document.
const NAME: &str = "bench all";
/// The disk space used by the streams of `bench interference`, the largest measurement, with a margin.
const SPACE_BYTES: u64 = 10 << 30;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Small sizes and short runs, to see that all works; its figures are not for publication.
    #[arg(long)]
    quick: bool,
    /// The document whose table is written, between its lines `<!-- bench all: begin -->` and `<!-- bench all: end -->`.
    #[arg(long, value_name = "PATH")]
    write: Option<PathBuf>,
    /// The script that measures PostgreSQL [default: benches/postgres.sh of the repository around this program or
    /// this directory; without one PostgreSQL is left out].
    #[arg(long, value_name = "PATH")]
    script: Option<PathBuf>,
}

/// Runs the measurement; all servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let document = parameters.write.as_deref();
    let document = document.map(|path| Marked::read(path, NAME)).transpose()?;
    if !parameters.quick {
        space::require(bench.dir.path(), SPACE_BYTES)?;
    }
    let started = Instant::now();
    let table = Table::measure(bench, parameters).await?;
    let minutes = started.elapsed().as_secs_f64() / 60.0;
    let notes = notes(parameters, &table, minutes);
    if let Some(document) = document {
        document.write(&table.markdown(bench, &notes))?;
    }
    let missing = table.missing();
    let outcome = outcome(bench, parameters, &table, notes);
    if missing.is_empty() {
        return Ok(outcome);
    }
    // Print the completed measurements before failing.
    outcome.print(bench)?;
    Err(CliError::CheckFailed(format!(
        "not everything was measured: {}",
        missing.join(", ")
    )))
}

struct Table {
    rows: Vec<Row>,
    postgres: Option<String>,
}

impl Table {
    async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Self, CliError> {
        let (sizes, seconds) = match parameters.quick {
            true => (Sizes::QUICK, Duration::from_millis(300)),
            false => (Sizes::FULL, Duration::from_secs(5)),
        };
        let postgres = postgres(bench, parameters.script.as_deref())?;
        let rounds = Rounds::measure(bench, seconds, postgres.as_ref()).await?;
        let mut found = Found::new();
        for (name, line) in sizes.lines(bench.runs) {
            bench.output.remark("note", &format!("bench {line}"));
            let outcome = typed::measure(bench, &line).await;
            found.insert(name, outcome.map_err(|error| error.to_string()));
        }
        Ok(Self {
            rows: rows(&rounds, &found),
            postgres: rounds.version().map(str::to_owned),
        })
    }

    fn missing(&self) -> Vec<&'static str> {
        let missing = self.rows.iter().filter(|row| row.claims.is_err());
        missing.map(|row| row.number).collect()
    }

    // The text between the markers.
    fn markdown(&self, bench: &Bench, notes: &[String]) -> String {
        let machine = Machine::look(bench.dir.path()).line();
        let now = Timestamp::now().strftime("%Y-%m-%d");
        let version = env!("CARGO_PKG_VERSION");
        let build = build();
        let table = markdown(&self.rows);
        let notes: String = notes.iter().map(|note| format!("- {note}\n")).collect();
        format!(
            "Measured on {now} with snapledger {version}, {build} build, {} runs: {machine}.\n\n{table}\n{notes}",
            bench.runs
        )
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

fn notes(parameters: &Parameters, table: &Table, minutes: f64) -> Vec<String> {
    let mut notes = vec![match &table.postgres {
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

fn outcome(bench: &Bench, parameters: &Parameters, table: &Table, notes: Vec<String>) -> Outcome {
    Outcome {
        name: "all",
        parameters: json!({
            "runs": bench.runs,
            "quick": parameters.quick,
            "postgres": table.postgres,
        }),
        headers: HEADERS,
        rows: table.rows.iter().map(Row::cells).collect(),
        // Ratios are part of the rows.
        ratios: Vec::new(),
        notes,
        figures: table.rows.iter().map(Row::json).collect(),
    }
}
