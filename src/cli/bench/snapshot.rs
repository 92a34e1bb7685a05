//! `bench snapshot`: how long a global snapshot takes, and what it writes, after some of the accounts have changed.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::json;

use super::Bench;
use super::accounts::{Accounts, Pressure};
use super::children::{Address, Children};
use super::figures::Spread;
use super::report::Outcome;
use super::taken::{Taken, take};
use crate::cli::CliError;
use crate::cli::rest::RestClient;

mod disk;

use disk::Disk;

const POLL: Duration = Duration::from_millis(1);
const HEADERS: &[&str] = &["what", "median", "min", "max"];

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Accounts in all, spread evenly over the nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 300_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
    /// How many of them change before each snapshot, percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0)]
    changed_percent: f64,
    /// How many nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// Whether deposits go on to the accounts that change while snapshots are taken.
    #[arg(long, value_name = "LOAD", default_value = "off")]
    load: LoadKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoadKind {
    /// Nothing else goes on.
    Off,
    /// As many as the nodes take, in batches.
    On,
}

/// Everything that was measured.
struct Measured {
    fill_seconds: f64,
    first: Taken,
    runs: Vec<Taken>,
    changed: u64,
    /// Operations per second of the load while snapshots were taken.
    load_per_second: Option<f64>,
}

/// Measures; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    if !(0.0..=100.0).contains(&parameters.changed_percent) {
        return Err(CliError::Usage(
            "--changed-percent: give a number from 0 to 100".to_owned(),
        ));
    }
    let measured = Children::during(async |children| {
        let nodes = children.cluster(bench, parameters.nodes).await?;
        Ok((measure_with(bench, parameters, &nodes).await?, nodes))
    });
    let (measured, nodes) = measured.await?;
    let disk = Disk::measure(bench, &nodes[0].id)?;
    Ok(outcome(bench, parameters, (&measured, &disk)))
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    nodes: &[Address],
) -> Result<Measured, CliError> {
    let accounts = Accounts::connect(nodes, parameters.accounts).await?;
    let rest = RestClient::new(&format!("http://{}", nodes[0].rest))?;
    let filling = Instant::now();
    accounts.deposit(0..parameters.accounts).await?;
    let fill_seconds = filling.elapsed().as_secs_f64();
    let first = take(&rest, "first", POLL).await?;
    let warm = accounts.change(0, parameters.changed_percent).await?;
    take(&rest, "warm-up", POLL).await?;
    let pressure = (parameters.load == LoadKind::On)
        .then(|| Pressure::start(&accounts, parameters.changed_percent));
    let mut runs = Vec::new();
    for run in 1..=bench.runs {
        accounts
            .change(u64::from(run), parameters.changed_percent)
            .await?;
        runs.push(take(&rest, &format!("run-{run}"), POLL).await?);
    }
    let load_per_second = match pressure {
        Some(pressure) => Some(pressure.stop().await?),
        None => None,
    };
    Ok(Measured {
        fill_seconds,
        first,
        runs,
        changed: warm,
        load_per_second,
    })
}

fn outcome(
    bench: &Bench,
    parameters: &Parameters,
    (measured, disk): (&Measured, &Disk),
) -> Outcome {
    let runs = &measured.runs;
    let per_account = |taken: &Taken| taken.new_bytes_total() / measured.changed.max(1) as f64;
    let series = [
        (
            "initiate → complete, client, ms",
            2,
            Spread::of(runs.iter().map(|taken| taken.client_ms)),
        ),
        (
            "initiate → complete, server, ms",
            2,
            Spread::of(runs.iter().map(|taken| taken.server_ms)),
        ),
        (
            "bytes new per process",
            0,
            Spread::of(runs.iter().flat_map(|taken| taken.new_bytes.clone())),
        ),
        (
            "bytes new per changed account",
            1,
            Spread::of(runs.iter().map(per_account)),
        ),
    ];
    let row = |(what, decimals, spread): &(&str, usize, Spread)| {
        let mut row = vec![(*what).to_owned()];
        row.extend(spread.cells(*decimals));
        row
    };
    let figure =
        |(what, _, spread): &(&str, usize, Spread)| json!({"what": what, "spread": spread.json()});
    Outcome {
        name: "snapshot",
        parameters: json!({
            "runs": bench.runs,
            "warm_up_runs": 1,
            "nodes": parameters.nodes,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
            "changed_percent": parameters.changed_percent,
            "changed_accounts": measured.changed,
            "load": if parameters.load == LoadKind::On { "on" } else { "off" },
        }),
        headers: HEADERS,
        rows: series.iter().map(row).collect(),
        ratios: disk.ratios(measured),
        notes: notes(measured, disk),
        figures: series.iter().map(figure).collect(),
    }
}

fn notes(measured: &Measured, disk: &Disk) -> Vec<String> {
    let Measured {
        fill_seconds,
        first,
        load_per_second,
        ..
    } = measured;
    let mut notes = vec![
        format!("accounts opened in {fill_seconds:.2} s"),
        format!(
            "first snapshot, everything new: {:.2} ms client, {:.2} ms server, {:.0} bytes in all",
            first.client_ms,
            first.server_ms,
            first.new_bytes_total()
        ),
    ];
    notes.extend(
        load_per_second.map(|rate| format!("load: {rate:.0} durable operations/s meanwhile")),
    );
    notes.push(disk.note());
    notes.push(
        "nodes are child processes of this program; the client polls the initiator every millisecond"
            .to_owned(),
    );
    notes
}
