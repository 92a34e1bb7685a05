//! `bench stream`: durable operations over `LedgerService.Stream`, batch after batch without waiting for answers.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::Bench;
use super::children::Children;
use super::figures::{Run, Series, Spread};
use super::load::{account, connect, scattered};
use super::report::Outcome;
use crate::cli::CliError;
use crate::proto::snapledger::ledger_service_client::LedgerServiceClient;
use crate::proto::snapledger::operation::Body;
use crate::proto::snapledger::{ApplyRequest, ApplyResponse, Deposit, Operation};

const WARM_UP: Duration = Duration::from_secs(1);
/// Different batches that are sent in turn; they are made before anything is measured.
const BATCHES: u64 = 64;
const HEADERS: &[&str] = &["what", "median", "min", "max"];

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// How long each run takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Operations in a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=8192))]
    batch: u64,
    /// Batches without an answer at once.
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    in_flight: u16,
    /// Accounts that the deposits are scattered over.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
}

/// Measures; the server has ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let mut children = Children::default();
    let measured = measure_with(bench, parameters, &mut children).await;
    children.stop().await;
    Ok(outcome(bench, parameters, &measured?))
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    children: &mut Children,
) -> Result<Series, CliError> {
    let nodes = children.cluster(bench, 1).await?;
    let client = LedgerServiceClient::new(connect(&nodes[0].grpc).await?);
    let requests: Vec<ApplyRequest> = (0..BATCHES)
        .map(|batch| request(parameters, batch))
        .collect();
    run(client.clone(), (parameters, &requests), WARM_UP).await?;
    let mut batches = Series::new();
    for _ in 0..bench.runs {
        let time = Duration::from_secs(parameters.seconds);
        batches.add(&run(client.clone(), (parameters, &requests), time).await?);
    }
    Ok(batches)
}

fn request(parameters: &Parameters, batch: u64) -> ApplyRequest {
    let numbers = (0..parameters.batch).map(|place| batch * parameters.batch + place);
    let operations = numbers.map(|number| Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit {
            account: account(scattered(number) % parameters.accounts),
            amount: 1,
        })),
    });
    ApplyRequest {
        operations: operations.collect(),
    }
}

async fn run(
    mut client: LedgerServiceClient<tonic::transport::Channel>,
    (parameters, requests): (&Parameters, &[ApplyRequest]),
    time: Duration,
) -> Result<Run, CliError> {
    let (batches, sent) = mpsc::channel(usize::from(parameters.in_flight));
    let failed = |status: tonic::Status| CliError::CheckFailed(status.to_string());
    let answers = client.stream(ReceiverStream::new(sent)).await;
    let mut answers = answers.map_err(failed)?.into_inner();
    let started = Instant::now();
    let mut unanswered = VecDeque::new();
    let mut latencies_ns = Vec::new();
    for request in requests.iter().cycle() {
        if started.elapsed() >= time {
            break;
        }
        if unanswered.len() == usize::from(parameters.in_flight) {
            latencies_ns.push(answered(&mut answers, &mut unanswered).await?);
        }
        unanswered.push_back(Instant::now());
        let sent = batches.send(request.clone()).await;
        sent.map_err(|_| CliError::CheckFailed("the stream has ended".to_owned()))?;
    }
    drop(batches);
    while !unanswered.is_empty() {
        latencies_ns.push(answered(&mut answers, &mut unanswered).await?);
    }
    let took = started.elapsed();
    Ok(Run { took, latencies_ns })
}

async fn answered(
    answers: &mut Streaming<ApplyResponse>,
    unanswered: &mut VecDeque<Instant>,
) -> Result<u64, CliError> {
    let answer = answers.message().await;
    let answer = answer.map_err(|status| CliError::CheckFailed(status.to_string()))?;
    let answer = answer.ok_or_else(|| CliError::CheckFailed("an answer is missing".to_owned()))?;
    if let Some(refused) = answer.results.iter().find(|result| !result.success) {
        return Err(CliError::CheckFailed(refused.error.clone()));
    }
    let sent = unanswered.pop_front().unwrap_or_else(Instant::now);
    Ok(u64::try_from(sent.elapsed().as_nanos()).unwrap_or(u64::MAX))
}

fn outcome(bench: &Bench, parameters: &Parameters, batches: &Series) -> Outcome {
    let Spread { median, min, max } = batches.per_second();
    let operations = |batches: f64| batches * parameters.batch as f64;
    let per_second = Spread {
        median: operations(median),
        min: operations(min),
        max: operations(max),
    };
    let [p50, p99] = [50.0, 99.0].map(|percentile| batches.latency_us(percentile));
    let mut row = vec!["durable operations per second".to_owned()];
    row.extend(per_second.cells(0));
    Outcome {
        name: "stream",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": parameters.seconds,
            "warm_up_seconds": WARM_UP.as_secs(),
            "batch": parameters.batch,
            "batches_in_flight": parameters.in_flight,
            "streams": 1,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
            "request_ids": false,
        }),
        headers: HEADERS,
        rows: vec![row],
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
