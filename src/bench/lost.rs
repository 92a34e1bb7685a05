//! `bench lost`: the time from the loss of a disk until the process is ready again, restored from its archive, by the number of
//! operations in its journal after the last recorded state.

use std::fs;
use std::time::Instant;

use serde_json::{Value, json};

use super::Bench;
use super::accounts::Accounts;
use super::archived::{ArchiveOptions, caught_up};
use super::arguments::Listed;
use super::children::{Children, Plan, restore};
use super::figures::Spread;
use super::load::scattered;
use super::report::{LINES, Line, Outcome};
use super::restart::{position, size_of};
use super::taken::{POLL, take};
use crate::cli::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    #[command(flatten)]
    archive: ArchiveOptions,
    /// Accounts in the recorded state.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
    /// Operations after that state; give several counts to see how the time grows.
    #[arg(long, value_name = "COUNT,COUNT…", default_value = "1000000", value_delimiter = ',', value_parser = Listed(clap::value_parser!(u64).range(..=1_000_000_000)))]
    operations: Vec<u64>,
}

/// The results for one number of operations.
struct LostFigures {
    operations: u64,
    restore_ms: Vec<f64>,
    ready_ms: Vec<f64>,
    store_bytes: u64,
}

/// Runs the measurement; all servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let mut measured = Vec::new();
    for operations in &parameters.operations {
        let mut bench = bench.anew()?;
        let archive = parameters.archive.archive(&bench, "peers");
        bench.archive = Some(archive.clone());
        measured.push(measure_one(&bench, parameters.accounts, *operations).await?);
        archive.remove().await?;
    }
    Ok(outcome(bench, parameters, &measured))
}

async fn measure_one(
    bench: &Bench,
    accounts: u64,
    operations: u64,
) -> Result<LostFigures, CliError> {
    let plan = Plan::new(bench, 1)?;
    let store = bench.dir.path().join(&plan.nodes[0].id);
    let filled = Children::during(async |children| {
        children.start(bench, &plan).await?;
        let load = Accounts::connect(&plan.nodes, accounts).await?;
        load.deposit(0..accounts).await?;
        let rest = plan.nodes[0].rest_client()?;
        take(&rest, "recorded", POLL).await?;
        let numbers = (0..operations).map(|number| scattered(number) % accounts);
        load.deposit(numbers).await?;
        caught_up(&plan.nodes[0]).await?;
        let position = position(rest).await?;
        children.kill().await?;
        Ok(position)
    });
    let before = filled.await?;
    let mut measured = LostFigures {
        operations,
        restore_ms: Vec::new(),
        ready_ms: Vec::new(),
        store_bytes: size_of(&store).map_err(CliError::Runtime)?,
    };
    for _ in 0..bench.runs {
        fs::remove_dir_all(&store).map_err(CliError::Runtime)?;
        let lost = Instant::now();
        restore(bench, &plan).await?;
        measured.restore_ms.push(milliseconds(lost));
        let ready = Children::during(async |children| {
            children.start(bench, &plan).await?;
            let ready_ms = milliseconds(lost);
            let after = position(plan.nodes[0].rest_client()?).await?;
            children.kill().await?;
            Ok((ready_ms, after))
        });
        let (ready_ms, after) = ready.await?;
        measured.ready_ms.push(ready_ms);
        if after < before {
            return Err(CliError::CheckFailed(format!(
                "the restored journal ends at {after}, the lost one had come to {before}"
            )));
        }
    }
    Ok(measured)
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

impl LostFigures {
    fn lines(&self) -> [Line; 2] {
        let of = |figures: &[f64]| Spread::of(figures.iter().copied());
        let operations = self.operations;
        [
            Line::new(
                format!("loss → restored, {operations} operations, ms"),
                1,
                of(&self.restore_ms),
            ),
            Line::new(
                format!("loss → ready, {operations} operations, ms"),
                1,
                of(&self.ready_ms),
            ),
        ]
    }
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &[LostFigures]) -> Outcome {
    let lines: Vec<Line> = measured.iter().flat_map(LostFigures::lines).collect();
    let note = |of: &LostFigures| {
        format!(
            "with {} operations the files of the lost store took {} bytes",
            of.operations, of.store_bytes
        )
    };
    let figures: Vec<Value> = Line::figures(&lines)
        .as_array()
        .cloned()
        .unwrap_or_default();
    Outcome {
        name: "lost",
        parameters: json!({
            "runs": bench.runs,
            "nodes": 1,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
            "operations": parameters.operations,
            "archive": parameters.archive.shown(),
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: Vec::new(),
        notes: measured.iter().map(note).collect(),
        figures: figures.into(),
    }
}
