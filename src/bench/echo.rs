//! `bench echo`: the transport alone, with single calls and batches. It is an upper bound of the speed of a node.

use std::time::Duration;

use serde_json::json;

use super::Bench;
use super::arguments::{Listed, seconds};
use super::caller::Caller;
use super::children::{Address, Children};
use super::load::{DEPOSIT, Load, scattered};
use super::report::{Outcome, Ratio};
use super::streamed::{Streamed, batches, deposit};
use super::subject::{Kind, SUBJECTS, Subject, warm_up};
use crate::cli::CliError;

/// The server ignores the accounts; their ids are as long as in other measurements.
const ACCOUNTS: u64 = 10_000;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Duration of each run.
    #[arg(long, value_name = "SECONDS", default_value = "3", value_parser = seconds)]
    seconds: Duration,
    /// Concurrent single calls.
    #[arg(long, value_name = "COUNT,COUNT…", default_value = "1,64,512", value_delimiter = ',', value_parser = Listed(clap::value_parser!(u16).range(1..=1024)))]
    in_flight: Vec<u16>,
    /// Operations in a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=8192))]
    batch: u64,
    /// Unanswered batches at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    batches_in_flight: u16,
}

/// Runs the measurement; the server has ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let subjects = Children::during(async |children| {
        let address = children.echo(bench)?;
        let mut subjects = subjects(parameters, &address).await?;
        Subject::measure_all(&mut subjects, bench.runs, parameters.seconds).await?;
        Ok(subjects)
    });
    Ok(outcome(bench, parameters, &subjects.await?))
}

// Single calls, then batches, as calls and as a stream.
async fn subjects(parameters: &Parameters, address: &Address) -> Result<Vec<Subject>, CliError> {
    let caller = Caller::connect(address, DEPOSIT).await?;
    let calls = parameters.in_flight.iter().map(|in_flight| {
        let load = Load {
            caller: caller.clone(),
            in_flight: usize::from(*in_flight),
            accounts: ACCOUNTS,
        };
        Subject::new("single calls", Kind::Calls(load))
    });
    let mut subjects: Vec<Subject> = calls.collect();
    let size = parameters.batch;
    let requests = batches(size, |number| deposit(scattered(number) % ACCOUNTS));
    let batches = Streamed::connect(address, requests, parameters.batches_in_flight).await?;
    let called = Kind::Batches(batches.clone());
    subjects.push(Subject::new(format!("batches of {size}, called"), called));
    let streamed = Kind::Streamed(batches);
    subjects.push(Subject::new(
        format!("batches of {size}, streamed"),
        streamed,
    ));
    Ok(subjects)
}

fn outcome(bench: &Bench, parameters: &Parameters, subjects: &[Subject]) -> Outcome {
    let ratio = match subjects {
        [.., called, streamed] => Some(Ratio {
            name: "batches streamed over called".to_owned(),
            unit: "operations/s",
            over: streamed.per_second().median,
            under: called.per_second().median,
        }),
        _ => None,
    };
    Outcome {
        name: "echo",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": parameters.seconds.as_secs_f64(),
            "warm_up_seconds": warm_up(parameters.seconds).as_secs_f64(),
            "in_flight": parameters.in_flight,
            "batch": parameters.batch,
            "batches_in_flight": parameters.batches_in_flight,
            "connections": 1,
            "account_id_bytes": 16,
        }),
        headers: SUBJECTS,
        rows: subjects.iter().map(Subject::row).collect(),
        ratios: ratio.into_iter().collect(),
        notes: vec![
            "the bare server is a child process of this program and does nothing; the client is this process; the latency \
             of a batch is that of the whole"
                .to_owned(),
        ],
        figures: subjects.iter().map(Subject::json).collect(),
    }
}
