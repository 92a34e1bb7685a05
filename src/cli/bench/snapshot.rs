//! `bench snapshot`: how long a global snapshot takes, and what it writes, after some of the accounts have changed.

use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde_json::{Value, json};

use super::Bench;
use super::children::{Address, Children};
use super::figures::Spread;
use super::report::Outcome;
use crate::cli::CliError;
use crate::cli::rest::RestClient;

mod accounts;
mod disk;

use accounts::{Accounts, Pressure};
use disk::Disk;

const POLL: Duration = Duration::from_millis(1);
const SNAPSHOT_MAX: Duration = Duration::from_secs(90);
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

/// What one snapshot has measured.
struct Taken {
    /// From the request to the first answer that says complete, as the client sees it.
    client_ms: f64,
    /// From its start to its publication, as the initiator says.
    server_ms: f64,
    /// That each process has written to its store.
    new_bytes: Vec<f64>,
    /// What the states of all processes take.
    state_bytes: f64,
}

impl Taken {
    fn new_bytes_total(&self) -> f64 {
        self.new_bytes.iter().sum()
    }
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
    let mut children = Children::default();
    let measured = match children.cluster(bench, parameters.nodes).await {
        Ok(nodes) => {
            let measured = measure_with(bench, parameters, &nodes).await;
            measured.map(|measured| (measured, nodes))
        }
        Err(error) => Err(error),
    };
    children.stop().await;
    let (measured, nodes) = measured?;
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
    let first = take(&rest, "first").await?;
    let warm = accounts.change(0, parameters.changed_percent).await?;
    take(&rest, "warm-up").await?;
    let pressure = (parameters.load == LoadKind::On)
        .then(|| Pressure::start(&accounts, parameters.changed_percent));
    let mut runs = Vec::new();
    for run in 1..=bench.runs {
        accounts
            .change(u64::from(run), parameters.changed_percent)
            .await?;
        runs.push(take(&rest, &format!("run-{run}")).await?);
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

async fn take(rest: &RestClient, id: &str) -> Result<Taken, CliError> {
    let (rest, id) = (rest.clone(), id.to_owned());
    let taken = tokio::task::spawn_blocking(move || take_blocking(&rest, &id)).await;
    taken.map_err(|error| CliError::CheckFailed(error.to_string()))?
}

fn take_blocking(rest: &RestClient, id: &str) -> Result<Taken, CliError> {
    let started = Instant::now();
    rest.post("/v1/snapshots", &json!({"snapshot_id": id}), None)?;
    let path = format!("/v1/snapshots/{id}");
    loop {
        let answer = rest.get(&path, &[])?.json;
        let client_ms = started.elapsed().as_secs_f64() * 1000.0;
        match answer["status"].as_str() {
            Some("complete") => return taken(&answer, client_ms),
            Some("in_progress") if started.elapsed() < SNAPSHOT_MAX => std::thread::sleep(POLL),
            _ => {
                return Err(CliError::CheckFailed(format!(
                    "snapshot {id} is not complete: {}",
                    answer["status"]
                )));
            }
        }
    }
}

fn taken(answer: &Value, client_ms: f64) -> Result<Taken, CliError> {
    if answer["verification"]["conserved"] != true {
        return Err(CliError::CheckFailed(format!(
            "snapshot {} does not conserve money",
            answer["snapshot_id"]
        )));
    }
    let of_each = |field: &'static str| {
        let processes = answer["processes"].as_array().into_iter().flatten();
        processes.filter_map(move |process| process[field].as_f64())
    };
    Ok(Taken {
        client_ms,
        server_ms: answer["duration_ms"].as_f64().unwrap_or(f64::NAN),
        new_bytes: of_each("new_bytes").collect(),
        state_bytes: of_each("state_bytes").sum(),
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
