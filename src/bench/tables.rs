//! `bench tables`: the bytes of history as tables against full copies, and the time to write them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use serde_json::{Value, json};

use super::accounts::Accounts;
use super::children::{Address, Children, rests, run_program};
use super::figures::Spread;
use super::report::{LINES, Line, Outcome, Ratio};
use super::taken::{POLL, everywhere, take};
use super::{Bench, space};
use crate::cli::CliError;

/// Bytes per account, and per change of one, in a store and its copy.
const SPACE_BYTES_EACH: u64 = 400;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Total accounts, spread evenly over the nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    accounts: u64,
    /// Number of snapshots after the first.
    #[arg(long, value_name = "COUNT", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    snapshots: u16,
    /// Accounts that change before each snapshot, per thousand.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    changed_per_mille: u64,
    /// Number of nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// Leave the tables of the last run in this new directory, for queries.
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
}

impl Parameters {
    fn changed(&self) -> u64 {
        (self.accounts * self.changed_per_mille / 1000).max(1)
    }
}

/// One export of all stores.
struct Exported {
    seconds: f64,
    /// The bytes of the files of balances with all accounts at the first snapshot.
    first: f64,
    balances: f64,
    entries: f64,
    /// Of all files and logs.
    all: f64,
    balance_rows: f64,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    if let Some(keep) = parameters.keep.as_ref().filter(|keep| keep.exists()) {
        let keep = keep.display();
        return Err(CliError::Usage(format!(
            "--keep: {keep} exists; name a new directory"
        )));
    }
    let changes = parameters.changed() * u64::from(parameters.snapshots);
    space::require(
        bench.dir.path(),
        (parameters.accounts + changes) * SPACE_BYTES_EACH,
    )?;
    let filled = Children::during(async |children| {
        let nodes = children.cluster(bench, parameters.nodes).await?;
        fill(parameters, &nodes).await?;
        Ok(nodes)
    });
    let nodes = filled.await?;
    let mut runs = Vec::new();
    for run in 0..bench.runs {
        let into = bench.dir.path().join(format!("tables-{run}"));
        runs.push(export(bench, &nodes, &into).await?);
        match &parameters.keep {
            Some(keep) if run + 1 == bench.runs => copy(&into, keep)?,
            _ => std::fs::remove_dir_all(&into).map_err(CliError::Runtime)?,
        }
    }
    Ok(outcome(bench, parameters, &runs))
}

async fn fill(parameters: &Parameters, nodes: &[Address]) -> Result<(), CliError> {
    let accounts = Accounts::connect(nodes, parameters.accounts).await?;
    let rests = rests(nodes)?;
    accounts.deposit(0..accounts.count()).await?;
    for snapshot in 0..=parameters.snapshots {
        if snapshot > 0 {
            accounts
                .change(u64::from(snapshot), parameters.changed())
                .await?;
        }
        let id = format!("s{snapshot:05}");
        take(&rests[0], &id, POLL).await?;
        everywhere(&rests, &id).await?;
    }
    Ok(())
}

// Runs the command that users run.
async fn export(bench: &Bench, nodes: &[Address], into: &Path) -> Result<Exported, CliError> {
    let mut arguments: Vec<String> = vec!["tables".to_owned(), "export".to_owned()];
    for node in nodes {
        let dir = bench.dir.path().join(&node.id);
        arguments.extend(["--dir".to_owned(), dir.display().to_string()]);
    }
    let scratch = bench.dir.path().display().to_string();
    arguments.extend(["--into".to_owned(), into.display().to_string()]);
    arguments.extend(["--scratch".to_owned(), scratch]);
    arguments.extend(["--output".to_owned(), "json".to_owned()]);
    let began = Instant::now();
    let said: Value = run_program(&arguments).await?;
    let seconds = began.elapsed().as_secs_f64();
    let rows = said["processes"].as_array().into_iter().flatten();
    let rows = rows.filter_map(|process| process["added"]["balances"].as_f64());
    let balances = files(&into.join("balances"))?;
    let mut first = 0.0;
    for node in nodes {
        let of_node = files(&into.join("balances").join(&node.id))?;
        let cut = of_node.iter().map(|(path, _)| cut_of(path)).min();
        let of_cut = of_node.iter().filter(|(path, _)| Some(cut_of(path)) == cut);
        first += of_cut.map(|(_, bytes)| bytes).sum::<f64>();
    }
    let sum = |files: &[(PathBuf, f64)]| files.iter().map(|(_, bytes)| bytes).sum::<f64>();
    Ok(Exported {
        seconds,
        first,
        balances: sum(&balances),
        entries: sum(&files(&into.join("entries"))?),
        all: sum(&files(into)?),
        balance_rows: rows.sum(),
    })
}

// The cut in the name of a file.
fn cut_of(path: &Path) -> String {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    name.chars().take_while(char::is_ascii_digit).collect()
}

// All files below a directory with their sizes.
fn files(dir: &Path) -> Result<Vec<(PathBuf, f64)>, CliError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(CliError::Runtime)? {
        let path = entry.map_err(CliError::Runtime)?.path();
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            let size = path.metadata().map_err(CliError::Runtime)?.len();
            found.push((path, size as f64));
        }
    }
    Ok(found)
}

// The directory of the measurement may be on another file system.
fn copy(from: &Path, to: &Path) -> Result<(), CliError> {
    for (path, _) in files(from)? {
        let relative = path.strip_prefix(from).unwrap_or(&path);
        let target = to.join(relative);
        if let Some(parent) = target.parent() {
            std::fs::create_dir_all(parent).map_err(CliError::Runtime)?;
        }
        std::fs::copy(&path, target).map_err(CliError::Runtime)?;
    }
    Ok(())
}

fn outcome(bench: &Bench, parameters: &Parameters, runs: &[Exported]) -> Outcome {
    let of = |figure: fn(&Exported) -> f64| Spread::of(runs.iter().map(figure));
    let snapshots = f64::from(parameters.snapshots);
    let lines = vec![
        Line::new("seconds to write all tables", 2, of(|run| run.seconds)),
        Line::new(
            "bytes of balances at the first snapshot",
            0,
            of(|run| run.first),
        ),
        Line::new(
            "bytes of balances at all snapshots",
            0,
            of(|run| run.balances),
        ),
        Line::new("rows of balances", 0, of(|run| run.balance_rows)),
        Line::new("bytes of entries", 0, of(|run| run.entries)),
        Line::new("bytes of all files, logs included", 0, of(|run| run.all)),
    ];
    let ratios = vec![Ratio {
        name: format!(
            "a full copy of the balances at each of {} snapshots over what there is",
            parameters.snapshots + 1
        ),
        unit: "bytes",
        over: of(|run| run.first).median * (snapshots + 1.0),
        under: of(|run| run.balances).median,
    }];
    Outcome {
        name: "tables",
        parameters: json!({
            "runs": bench.runs,
            "nodes": parameters.nodes,
            "accounts": parameters.accounts,
            "snapshots": parameters.snapshots + 1,
            "changed_accounts": parameters.changed(),
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios,
        notes: vec![
            "each run writes all tables anew from the stopped stores, copies of the stores included"
                .to_owned(),
        ],
        figures: Line::figures(&lines),
    }
}
