//! `bench memory`: the resident memory of a node per account, relative to the same node when empty.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::Bench;
use super::accounts::Accounts;
use super::arguments::seconds;
use super::children::{Children, Plan};
use super::figures::Spread;
use super::report::{LINES, Line, Outcome, Ratio};
use super::taken::{POLL, take};
use crate::cli::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Accounts of the node.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
    #[command(flatten)]
    idle: Idle,
}

/// The time that a node is left alone before its memory is read.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Idle {
    /// Seconds without requests before memory is read.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    idle: Duration,
}

/// Resident bytes of one node at stages of its life.
struct Life {
    empty: f64,
    loaded: f64,
    recorded: f64,
    /// The peak so far.
    peak: f64,
    restarted: f64,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let mut lives = Vec::new();
    for _ in 0..bench.runs {
        let bench = bench.anew()?;
        let life = Children::during(async |children| life(&bench, parameters, children).await);
        lives.push(life.await?);
    }
    Ok(outcome(bench, parameters, &lives))
}

async fn life(
    bench: &Bench,
    parameters: &Parameters,
    children: &mut Children,
) -> Result<Life, CliError> {
    let Parameters { accounts, idle } = *parameters;
    let plan = Plan::new(bench, 1)?;
    children.start(bench, &plan).await?;
    let empty = resident(children, idle, "VmRSS").await?;
    let load = Accounts::connect(&plan.nodes, accounts).await?;
    load.deposit(0..accounts).await?;
    let loaded = resident(children, idle, "VmRSS").await?;
    let rest = plan.nodes[0].rest_client()?;
    take(&rest, "recorded", POLL).await?;
    let recorded = resident(children, idle, "VmRSS").await?;
    let peak = resident(children, idle, "VmHWM").await?;
    children.stop().await;
    children.start(bench, &plan).await?;
    let restarted = resident(children, idle, "VmRSS").await?;
    Ok(Life {
        empty,
        loaded,
        recorded,
        peak,
        restarted,
    })
}

/// A memory field of the first child as the operating system reports it, in bytes.
pub(super) async fn resident(
    children: &Children,
    idle: Idle,
    field: &str,
) -> Result<f64, CliError> {
    sleep(idle.idle).await;
    let ids = children.ids();
    let id = ids.first().copied().unwrap_or_default();
    let status =
        std::fs::read_to_string(format!("/proc/{id}/status")).map_err(CliError::Runtime)?;
    kib(&status, field).map_or_else(
        || {
            Err(CliError::CheckFailed(format!(
                "/proc/{id}/status has no field {field}"
            )))
        },
        |kib| Ok(kib * 1024.0),
    )
}

fn kib(status: &str, field: &str) -> Option<f64> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(name, _)| *name == field)?;
    value.trim().strip_suffix(" kB")?.parse().ok()
}

fn outcome(bench: &Bench, parameters: &Parameters, lives: &[Life]) -> Outcome {
    let of = |figure: fn(&Life) -> f64| Spread::of(lives.iter().map(figure));
    let per_account = |figure: fn(&Life) -> f64| {
        let accounts = parameters.accounts as f64;
        Spread::of(
            lives
                .iter()
                .map(|life| (figure(life) - life.empty) / accounts),
        )
    };
    let lines = [
        Line::new("resident bytes, empty", 0, of(|life| life.empty)),
        Line::new("with all accounts", 0, of(|life| life.loaded)),
        Line::new("after a snapshot", 0, of(|life| life.recorded)),
        Line::new("at its peak", 0, of(|life| life.peak)),
        Line::new("after a restart", 0, of(|life| life.restarted)),
        Line::new(
            "bytes per account over empty, with all accounts",
            1,
            per_account(|life| life.loaded),
        ),
        Line::new("after a snapshot", 1, per_account(|life| life.recorded)),
        Line::new("at its peak", 1, per_account(|life| life.peak)),
        Line::new("after a restart", 1, per_account(|life| life.restarted)),
    ];
    let over_empty = |what: &str, figure: fn(&Life) -> f64| Ratio {
        name: format!("{what}, over empty, by accounts"),
        unit: "bytes / accounts",
        over: of(figure).median - of(|life| life.empty).median,
        under: parameters.accounts as f64,
    };
    Outcome {
        name: "memory",
        parameters: json!({
            "runs": bench.runs,
            "nodes": 1,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: vec![
            over_empty("with all accounts", |life| life.loaded),
            over_empty("after a snapshot", |life| life.recorded),
        ],
        notes: vec![
            "each run is a new node, a child process of this program: VmRSS, and VmHWM for the peak, of the whole process"
                .to_owned(),
        ],
        figures: Line::figures(&lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_read_in_kib() {
        let status = "Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t7\n";
        assert_eq!(kib(status, "VmRSS"), Some(2048.0));
        assert_eq!((kib(status, "Threads"), kib(status, "Vm")), (None, None));
    }
}
