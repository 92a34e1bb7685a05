//! `bench deposits`: the cost of durability compared with a server that does nothing, in throughput and in latency.

use std::time::Duration;

use serde_json::json;

use super::Bench;
use super::arguments::seconds;
use super::caller::Caller;
use super::children::Children;
use super::load::{DEPOSIT, Load};
use super::raw::{Raw, VALUE_BYTES};
use super::report::{Outcome, Ratio};
use super::subject::{Kind, SUBJECTS, Subject, warm_up};
use crate::cli::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Duration of each run.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Concurrent calls.
    #[arg(long, value_name = "COUNT", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Accounts that the deposits are spread over.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let measured =
        Children::during(async |children| measure_with(bench, parameters, children).await);
    let subjects = measured.await?;
    Ok(outcome(bench, parameters, &subjects))
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    children: &mut Children,
) -> Result<[Subject; 5], CliError> {
    let echo = children.echo(bench)?;
    let nodes = children.cluster(bench, 1).await?;
    let node = Caller::connect(&nodes[0], DEPOSIT).await?;
    let echo = Caller::connect(&echo, DEPOSIT).await?;
    let calls = |name: &str, caller: &Caller, in_flight: u16| {
        let load = Load {
            caller: caller.clone(),
            in_flight: usize::from(in_flight),
            accounts: parameters.accounts,
        };
        Subject::new(name, Kind::Calls(load))
    };
    let raw = Subject::new(
        format!("bare sled insert + flush + sync, {VALUE_BYTES} B"),
        Kind::Inserts(Raw::open(&bench.dir.path().join("raw"))?),
    );
    let mut subjects = [
        calls("durable deposit", &node, parameters.in_flight),
        calls("bare echo", &echo, parameters.in_flight),
        calls("durable deposit", &node, 1),
        calls("bare echo", &echo, 1),
        raw,
    ];
    Subject::measure_all(&mut subjects, bench.runs, parameters.seconds).await?;
    Ok(subjects)
}

fn outcome(bench: &Bench, parameters: &Parameters, subjects: &[Subject; 5]) -> Outcome {
    let [durable, echo, durable_alone, echo_alone, raw] = subjects;
    Outcome {
        name: "deposits",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": parameters.seconds.as_secs_f64(),
            "warm_up_seconds": warm_up(parameters.seconds).as_secs_f64(),
            "in_flight": parameters.in_flight,
            "connections": 1,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
        }),
        headers: SUBJECTS,
        rows: subjects.iter().map(Subject::row).collect(),
        ratios: vec![
            Ratio {
                name: "durable deposits over bare echo".to_owned(),
                unit: "calls/s",
                over: durable.per_second().median,
                under: echo.per_second().median,
            },
            Ratio {
                name: "p50 of one durable deposit alone over (bare echo + bare insert, flush, sync)".to_owned(),
                unit: "µs",
                over: durable_alone.p(50.0),
                under: echo_alone.p(50.0) + raw.p(50.0),
            },
        ],
        notes: vec![
            "node and bare server are child processes of this program, in turn; the client is this process"
                .to_owned(),
        ],
        figures: subjects.iter().map(Subject::json).collect(),
    }
}
