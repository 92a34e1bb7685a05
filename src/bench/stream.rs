//! `bench stream`: durable operations over `LedgerService.Stream`, pipelined batches.

use std::time::Duration;

use serde_json::json;

use super::Bench;
use super::arguments::seconds;
use super::children::Children;
use super::figures::Series;
use super::load::scattered;
use super::report::{LINES, Line, Outcome};
use super::streamed::{Streamed, batches, deposit};
use super::subject::warm_up;
use crate::cli::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Duration of each run.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Operations in a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=8192))]
    batch: u64,
    /// Unanswered batches at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    in_flight: u16,
    /// Accounts that the deposits are spread over.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
}

/// Runs the measurement; the server has ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let measured =
        Children::during(async |children| measure_with(bench, parameters, children).await);
    Ok(outcome(bench, parameters, &measured.await?))
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    children: &mut Children,
) -> Result<Series, CliError> {
    let nodes = children.cluster(bench, 1).await?;
    let requests = batches(parameters.batch, |number| {
        deposit(scattered(number) % parameters.accounts)
    });
    let streamed = Streamed::connect(&nodes[0], requests, parameters.in_flight).await?;
    streamed.run(warm_up(parameters.seconds)).await?;
    let mut series = Series::new();
    for _ in 0..bench.runs {
        series.add(&streamed.run(parameters.seconds).await?);
    }
    Ok(series)
}

fn outcome(bench: &Bench, parameters: &Parameters, batches: &Series) -> Outcome {
    let per_second = batches.per_second().times(parameters.batch as f64);
    let [p50, p99] = [50.0, 99.0].map(|percentile| batches.latency_us(percentile));
    let line = Line::new("durable operations per second", 0, per_second);
    Outcome {
        name: "stream",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": parameters.seconds.as_secs_f64(),
            "warm_up_seconds": warm_up(parameters.seconds).as_secs_f64(),
            "batch": parameters.batch,
            "batches_in_flight": parameters.in_flight,
            "streams": 1,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
            "request_ids": false,
        }),
        headers: LINES,
        rows: Line::rows(&[line]),
        ratios: Vec::new(),
        notes: vec![
            format!("a batch has its answer after {p50:.0} µs (p50), {p99:.0} µs (p99)"),
            "the node is a child process of this program, the client is this process".to_owned(),
        ],
        figures: json!([{
            "what": "durable operations",
            "per_second": per_second.json(),
            "batch_latency_us": {"p50": p50, "p99": p99},
        }]),
    }
}
