//! `bench transfers`: transfers from the accounts of each process to those of all others, with all nodes loaded at
//! once; the time until they are durable at the senders and at the receivers. A single node transfers between its own
//! accounts.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Bench;
use super::accounts::Accounts;
use super::arguments::seconds;
use super::children::{Address, Children, rests};
use super::figures::{Latencies, Spread};
use super::load::{account, scattered};
use super::report::{LINES, Line, Outcome, Ratio};
use super::streamed::{Streamed, batches};
use super::subject::warm_up;
use super::taken::{POLL, take};
use crate::cli::CliError;
use crate::cli::rest::RestClient;
use crate::proto::snapledger::Payment;
use crate::proto::snapledger::operation::Body;

/// The opening balance of an account, more than it can pay in any run.
const OPENING: i64 = 1_000_000_000;
const ARRIVAL_POLL: Duration = Duration::from_millis(2);
const ARRIVAL_MAX: Duration = Duration::from_secs(120);

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Duration of sending in each run.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Number of nodes; with a single node the transfers are within its process.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// Total accounts, spread evenly over the nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(16..=100_000_000))]
    accounts: u64,
    /// Transfers in a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 1024, value_parser = clap::value_parser!(u64).range(1..=8192))]
    batch: u64,
    /// Unanswered batches at a time, per node.
    #[arg(long, value_name = "COUNT", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    in_flight: u16,
}

/// The results of one run.
struct Sent {
    transfers: f64,
    /// Until the last transfer was durable at its sender.
    durable: Duration,
    /// Until the last transfer was durable at its receiver.
    arrived: Duration,
    batch_ms: [f64; 2],
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let measured = Children::during(async |children| {
        let nodes = children.cluster(bench, parameters.nodes).await?;
        measure_with(bench, parameters, &nodes).await
    });
    Ok(outcome(bench, parameters, &measured.await?))
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    nodes: &[Address],
) -> Result<Vec<Sent>, CliError> {
    let accounts = Accounts::connect(nodes, parameters.accounts).await?;
    accounts.pay_in(0..parameters.accounts, OPENING).await?;
    let cluster = Cluster {
        streams: streams(parameters, nodes).await?,
        rests: rests(nodes)?,
        batch: parameters.batch,
    };
    cluster.send(warm_up(parameters.seconds)).await?;
    let mut runs = Vec::new();
    for _ in 0..bench.runs {
        runs.push(cluster.send(parameters.seconds).await?);
    }
    // A snapshot fails unless money is conserved; with nothing in flight, the balances equal the deposits.
    let taken = take(&cluster.rests[0], "end", POLL).await?;
    let paid_in = i128::from(OPENING) * i128::from(parameters.accounts);
    if taken.balances != Some(paid_in) {
        return Err(CliError::CheckFailed(format!(
            "all balances are {:?}, and {paid_in} was paid in",
            taken.balances
        )));
    }
    Ok(runs)
}

// From the accounts of each node to those of the others in turn; a single node to its own.
async fn streams(parameters: &Parameters, nodes: &[Address]) -> Result<Vec<Streamed>, CliError> {
    let mut streams = Vec::new();
    let count = nodes.len() as u64;
    let of_node = parameters.accounts / count;
    for (node, node_index) in nodes.iter().zip(0_u64..) {
        let others: Vec<(u64, &Address)> = (0..)
            .zip(nodes)
            .filter(|(other, _)| *other != node_index || count == 1)
            .collect();
        let requests = batches(parameters.batch, |number| {
            let (other, to) = others[usize::try_from(number).unwrap_or(0) % others.len()];
            let (from_drawn, to_drawn) = (scattered(number), scattered(!number));
            Body::Payment(Payment {
                from_account: account(from_drawn % of_node * count + node_index),
                to_process: to.id.clone(),
                to_account: account(to_drawn % of_node * count + other),
                amount: 1,
            })
        });
        streams.push(Streamed::connect(node, requests, parameters.in_flight).await?);
    }
    Ok(streams)
}

struct Cluster {
    streams: Vec<Streamed>,
    rests: Vec<RestClient>,
    batch: u64,
}

impl Cluster {
    async fn send(&self, time: Duration) -> Result<Sent, CliError> {
        let started = Instant::now();
        let mut running = JoinSet::new();
        for stream in &self.streams {
            let stream = stream.clone();
            running.spawn(async move { stream.run(time).await });
        }
        let mut latencies = Vec::new();
        while let Some(run) = running.join_next().await {
            let run = run.map_err(|error| CliError::CheckFailed(error.to_string()))??;
            latencies.extend(run.latencies_ns.into_iter().map(Duration::from_nanos));
        }
        let durable = started.elapsed();
        self.arrived().await?;
        let arrived = started.elapsed();
        let transfers = latencies.len() as f64 * self.batch as f64;
        let latencies = Latencies::of(latencies);
        Ok(Sent {
            transfers,
            durable,
            arrived,
            batch_ms: [50.0, 99.0].map(|percentile| latencies.us(percentile) / 1000.0),
        })
    }

    // Waits until every receiver has acknowledged everything.
    async fn arrived(&self) -> Result<(), CliError> {
        let waiting = Instant::now();
        for rest in &self.rests {
            loop {
                let on_their_way = on_their_way(rest).await?;
                if on_their_way == 0 {
                    break;
                }
                if waiting.elapsed() > ARRIVAL_MAX {
                    return Err(CliError::CheckFailed(format!(
                        "{on_their_way} messages of a node do not arrive"
                    )));
                }
                sleep(ARRIVAL_POLL).await;
            }
        }
        Ok(())
    }
}

async fn on_their_way(rest: &RestClient) -> Result<u64, CliError> {
    let rest = rest.clone();
    let asked = tokio::task::spawn_blocking(move || rest.get("/v1/cluster", &[])).await;
    let answer = asked.map_err(|error| CliError::CheckFailed(error.to_string()))??;
    let channels = answer.json["channels"].as_array().into_iter().flatten();
    Ok(channels
        .filter_map(|channel| channel["in_flight"].as_u64())
        .sum())
}

fn outcome(bench: &Bench, parameters: &Parameters, runs: &[Sent]) -> Outcome {
    let of = |figure: fn(&Sent) -> f64| Spread::of(runs.iter().map(figure));
    let durable = of(|run| run.transfers / run.durable.as_secs_f64());
    let arrived = of(|run| run.transfers / run.arrived.as_secs_f64());
    let lines = [
        Line::new("transfers per second, durable at the sender", 0, durable),
        Line::new("transfers per second, until all have arrived", 0, arrived),
        Line::new(
            "last durable → last arrived, ms",
            1,
            of(|run| (run.arrived - run.durable).as_secs_f64() * 1000.0),
        ),
        Line::new(
            "a batch has its answer, p50 ms",
            1,
            of(|run| run.batch_ms[0]),
        ),
        Line::new(
            "a batch has its answer, p99 ms",
            1,
            of(|run| run.batch_ms[1]),
        ),
    ];
    Outcome {
        name: "transfers",
        parameters: described(bench, parameters),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: vec![Ratio {
            name: "until all have arrived over durable at the sender".to_owned(),
            unit: "transfers/s",
            over: arrived.median,
            under: durable.median,
        }],
        notes: vec![
            format!(
                "every transfer is {}; a snapshot at the end conserves money, and with nothing on its way all balances \
                 are what was paid in",
                match parameters.nodes {
                    1 => "within the process",
                    _ => "between two processes",
                }
            ),
            "arrived: acknowledged by the receiver, where it is durable; nodes are child processes of this program, the \
             client is this process"
                .to_owned(),
        ],
        figures: Line::figures(&lines),
    }
}

fn described(bench: &Bench, parameters: &Parameters) -> Value {
    json!({
        "runs": bench.runs,
        "seconds_per_run": parameters.seconds.as_secs_f64(),
        "warm_up_seconds": warm_up(parameters.seconds).as_secs_f64(),
        "nodes": parameters.nodes,
        "accounts": parameters.accounts,
        "account_id_bytes": 16,
        "batch": parameters.batch,
        "batches_in_flight_per_node": parameters.in_flight,
        "streams_per_node": 1,
        "request_ids": false,
    })
}
