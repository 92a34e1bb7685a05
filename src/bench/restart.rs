//! `bench restart`: the time from the start of a killed node until it is ready, by the number of operations in its
//! journal after the last recorded state.

use std::fs::{self, File};
use std::path::Path;
use std::time::Instant;

use serde_json::{Value, json};

use super::Bench;
use super::accounts::Accounts;
use super::arguments::Listed;
use super::children::{Address, Children, Plan};
use super::figures::Spread;
use super::load::scattered;
use super::report::{LINES, Line, Outcome, Ratio};
use super::taken::{POLL, take};
use crate::cli::CliError;
use crate::cli::rest::RestClient;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Accounts in the recorded state.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
    /// Operations after that state; give several counts to see how the time grows.
    #[arg(long, value_name = "COUNT,COUNT…", default_value = "1000000", value_delimiter = ',', value_parser = Listed(clap::value_parser!(u64).range(..=1_000_000_000)))]
    operations: Vec<u64>,
}

/// The results for one number of operations.
struct RestartFigures {
    operations: u64,
    ready_ms: Spread,
    store_bytes: u64,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let mut measured = Vec::new();
    for operations in &parameters.operations {
        let bench = bench.anew()?;
        measured.push(measure_one(&bench, parameters.accounts, *operations).await?);
    }
    Ok(outcome(bench, parameters, &measured))
}

async fn measure_one(
    bench: &Bench,
    accounts: u64,
    operations: u64,
) -> Result<RestartFigures, CliError> {
    let plan = Plan::new(bench, 1)?;
    let (store, image) = (
        bench.dir.path().join(&plan.nodes[0].id),
        bench.dir.path().join("image"),
    );
    let filled = Children::during(async |children| {
        children.start(bench, &plan).await?;
        let position = fill(&plan.nodes, accounts, operations).await?;
        children.kill().await?;
        Ok(position)
    });
    let position = filled.await?;
    fs::rename(&store, &image).map_err(CliError::Runtime)?;
    let mut ready_ms = Vec::new();
    // The first run is the warm-up.
    for _ in 0..=bench.runs {
        copy(&image, &store).map_err(CliError::Runtime)?;
        ready_ms.push(restart(bench, &plan, position).await?);
        fs::remove_dir_all(&store).map_err(CliError::Runtime)?;
    }
    Ok(RestartFigures {
        operations,
        ready_ms: Spread::of(ready_ms.into_iter().skip(1)),
        store_bytes: size_of(&image).map_err(CliError::Runtime)?,
    })
}

// Creates accounts, a snapshot and operations; returns the end of the journal.
async fn fill(nodes: &[Address], accounts: u64, operations: u64) -> Result<u64, CliError> {
    let load = Accounts::connect(nodes, accounts).await?;
    load.deposit(0..accounts).await?;
    let rest = nodes[0].rest_client()?;
    take(&rest, "recorded", POLL).await?;
    let numbers = (0..operations).map(|number| scattered(number) % accounts);
    load.deposit(numbers).await?;
    position(rest).await
}

/// The end of the journal of a node.
pub(super) async fn position(rest: RestClient) -> Result<u64, CliError> {
    let asked = tokio::task::spawn_blocking(move || rest.get("/v1/cluster", &[])).await;
    let answer = asked.map_err(|error| CliError::CheckFailed(error.to_string()))??;
    let position = answer.json["journal_position"].as_u64();
    position.ok_or_else(|| CliError::CheckFailed("a node without a journal position".to_owned()))
}

// Milliseconds until ready. Fails if an acknowledged operation is missing.
async fn restart(bench: &Bench, plan: &Plan, before: u64) -> Result<f64, CliError> {
    let restarted = Children::during(async |children| {
        let started = Instant::now();
        children.start(bench, plan).await?;
        let ready_ms = started.elapsed().as_secs_f64() * 1000.0;
        let rest = plan.nodes[0].rest_client()?;
        let position = position(rest).await?;
        children.kill().await?;
        Ok((ready_ms, position))
    });
    let (ready_ms, after) = restarted.await?;
    if after < before {
        return Err(CliError::CheckFailed(format!(
            "the journal ends at {after} after the restart, and had come to {before}"
        )));
    }
    Ok(ready_ms)
}

// Copies durably, so that no pending writes disturb the measurement.
fn copy(from: &Path, to: &Path) -> std::io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)?;
            File::open(&target)?.sync_all()?;
        }
    }
    Ok(())
}

/// The bytes of all files under a directory.
pub(super) fn size_of(dir: &Path) -> std::io::Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        size += match entry.file_type()?.is_dir() {
            true => size_of(&entry.path())?,
            false => entry.metadata()?.len(),
        };
    }
    Ok(size)
}

impl RestartFigures {
    fn line(&self) -> Line {
        let what = format!("start → ready, {} operations, ms", self.operations);
        Line::new(what, 1, self.ready_ms)
    }

    fn json(&self) -> Value {
        json!({
            "operations": self.operations,
            "ready_ms": self.ready_ms.json(),
            "store_bytes": self.store_bytes,
        })
    }
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &[RestartFigures]) -> Outcome {
    let growth = measured.split_first().and_then(|(first, others)| {
        let last = others.last()?;
        Some(Ratio {
            name: format!(
                "{} operations over {} ({:.1} times as many)",
                last.operations,
                first.operations,
                last.operations as f64 / first.operations.max(1) as f64
            ),
            unit: "ms",
            over: last.ready_ms.median,
            under: first.ready_ms.median,
        })
    });
    let store = |of: &RestartFigures| {
        let RestartFigures {
            operations,
            store_bytes,
            ..
        } = of;
        format!("with {operations} operations the files of the store take {store_bytes} bytes")
    };
    let mut notes: Vec<String> = measured.iter().map(store).collect();
    notes.push(
        "a node also records its state by itself when its journal has grown long enough; each run starts from a copy of \
         the same store, left by a kill, whose files are in the page cache"
            .to_owned(),
    );
    Outcome {
        name: "restart",
        parameters: json!({
            "runs": bench.runs,
            "warm_up_runs": 1,
            "nodes": 1,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
            "operations": parameters.operations,
        }),
        headers: LINES,
        rows: Line::rows(
            &measured
                .iter()
                .map(RestartFigures::line)
                .collect::<Vec<_>>(),
        ),
        ratios: growth.into_iter().collect(),
        notes,
        figures: measured.iter().map(RestartFigures::json).collect(),
    }
}
