//! `bench interference`: the cost of global snapshots for concurrent clients. The same load runs with and without
//! snapshots in turn: streams of batches for throughput, single deposits at a fixed rate for latency.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::Bench;
use super::accounts::{Accounts, Hit};
use super::arguments::seconds;
use super::children::{Address, Children, rests};
use super::figures::{Latencies, Spread};
use super::report::{LINES, Line, Outcome, Ratio};
use super::streamed::{Streamed, batches, deposit};
use super::subject::warm_up;
use super::taken::{POLL, everywhere, take};
use crate::cli::CliError;

mod regular;
mod singles;

use regular::{Ran, Regular};
use singles::{Call, Called, Singles};

/// The most single deposits per run; each is kept in memory until the run ends.
const CALLS_MAX: f64 = 10_000_000.0;
/// The concurrency at which the maximum rate of single deposits is measured.
const IN_FLIGHT: u64 = 512;
/// How often it is measured; the median is used.
const RATES: usize = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Throughput: duration of each run.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    seconds: Duration,
    /// Throughput: snapshot interval in the runs with snapshots.
    #[arg(long, value_name = "SECONDS", default_value = "2", value_parser = seconds)]
    every: Duration,
    /// Latency: duration of each run. Without --rate, three shorter runs, each a fifth of this, first measure the
    /// maximum rate.
    #[arg(long, value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    deposit_seconds: Duration,
    /// Latency: snapshot interval in the runs with snapshots.
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    deposit_every: Duration,
    /// Number of nodes; each has the same load.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// Total accounts, spread evenly over the nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(16..=100_000_000))]
    accounts: u64,
    /// Number of accounts under load, spread evenly [default: all].
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    changed: Option<u64>,
    /// Throughput: operations in a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=8192))]
    batch: u64,
    /// Throughput: batches without an answer at once, per node.
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=64))]
    in_flight: u16,
    /// Latency: total deposits per second, sent regardless of answers [default: half of the rate with 512 in flight].
    #[arg(long, value_name = "PER_SECOND", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rate: Option<u32>,
}

impl Parameters {
    fn changed(&self) -> u64 {
        self.changed.unwrap_or(self.accounts).min(self.accounts)
    }
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    parameters
        .rate
        .map_or(Ok(()), |rate| fits(rate, parameters.deposit_seconds))?;
    let measured = Children::during(async |children| {
        let nodes = children.cluster(bench, parameters.nodes).await?;
        measure_with(bench, parameters, &nodes).await
    });
    Ok(outcome(bench, parameters, &measured.await?))
}

// Checks that the deposits of a run fit in memory.
fn fits(rate: u32, seconds: Duration) -> Result<(), CliError> {
    if f64::from(rate) * seconds.as_secs_f64() > CALLS_MAX {
        return Err(CliError::Usage(format!(
            "--rate, --deposit-seconds: more than {CALLS_MAX} deposits in a run; give less of one"
        )));
    }
    Ok(())
}

/// The results without snapshots and with snapshots.
#[derive(Default)]
struct InterferenceFigures {
    /// Single deposits per second.
    rate: u32,
    per_second: [Vec<f64>; 2],
    latencies: [Vec<Latencies>; 2],
    /// Latencies of deposits in flight during a snapshot, and, in the run without snapshots, of those at the same
    /// times. Slow deposits overlap a time window more often, so the two sets must be selected in the same way.
    meanwhile: [Vec<Latencies>; 2],
    /// The snapshots during the streams and during the single deposits.
    snapshots: [Vec<Ran>; 2],
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    nodes: &[Address],
) -> Result<InterferenceFigures, CliError> {
    let accounts = Accounts::connect(nodes, parameters.accounts).await?;
    accounts.deposit(0..parameters.accounts).await?;
    let rests = rests(nodes)?;
    let rest = &rests[0];
    take(rest, "first", POLL).await?;
    everywhere(&rests, "first").await?;
    let hit = Hit::new(nodes.len(), parameters.accounts, parameters.changed());
    let streams = streams(parameters, nodes, hit).await?;
    let singles = Singles::connect(nodes, hit).await?;
    let before = warm_up(parameters.seconds);
    let mut measured = InterferenceFigures::default();
    stream(&streams, before).await?;
    // Alternate the order, so that drift affects both equally.
    for run in 0..bench.runs {
        for with in [run % 2 == 1, run % 2 == 0] {
            let name = format!("stream-{run}");
            let regular = with.then(|| Regular::start(rest, parameters.every, name));
            let batches = stream(&streams, parameters.seconds).await?;
            measured.per_second[usize::from(with)].push(batches * parameters.batch as f64);
            if let Some(regular) = regular {
                measured.snapshots[0].extend(regular.stop(&rests).await?);
            }
        }
    }
    // Pending work of the streams must not affect the single deposits.
    take(rest, "settled", POLL).await?;
    everywhere(&rests, "settled").await?;
    let rate = rate(parameters, &singles).await?;
    measured.rate = rate;
    singles
        .run(rate, warm_up(parameters.deposit_seconds))
        .await?;
    for run in 0..bench.runs {
        let mut called = Vec::new();
        let mut ran = Vec::new();
        for with in [run % 2 == 1, run % 2 == 0] {
            let name = format!("single-{run}");
            let regular = with.then(|| Regular::start(rest, parameters.deposit_every, name));
            called.push((with, singles.run(rate, parameters.deposit_seconds).await?));
            if let Some(regular) = regular {
                ran = regular.stop(&rests).await?;
            }
        }
        measured.take(&called, ran);
    }
    Ok(measured)
}

// Half of the measured maximum (the load of P1): close to the maximum, an open-loop load would soon queue.
async fn rate(parameters: &Parameters, singles: &Singles) -> Result<u32, CliError> {
    if let Some(rate) = parameters.rate {
        return Ok(rate);
    }
    let time = parameters.deposit_seconds / 5;
    singles.most(IN_FLIGHT, warm_up(time)).await?;
    let mut most = [0; RATES];
    for one in &mut most {
        *one = singles.most(IN_FLIGHT, time).await?;
    }
    most.sort_unstable();
    let rate = (most[RATES / 2] / 2).max(1);
    fits(rate, parameters.deposit_seconds)?;
    Ok(rate)
}

// One stream per node, into the accounts of that node.
async fn streams(
    parameters: &Parameters,
    nodes: &[Address],
    hit: Hit,
) -> Result<Vec<Streamed>, CliError> {
    let mut streams = Vec::new();
    for (node, node_index) in nodes.iter().zip(0..) {
        let requests = batches(parameters.batch, |number| {
            deposit(hit.account(number, node_index))
        });
        streams.push(Streamed::connect(node, requests, parameters.in_flight).await?);
    }
    Ok(streams)
}

// Batches per second of all streams together.
async fn stream(streams: &[Streamed], time: Duration) -> Result<f64, CliError> {
    let mut running = JoinSet::new();
    for stream in streams {
        let stream = stream.clone();
        running.spawn(async move { stream.run(time).await });
    }
    let mut per_second = 0.0;
    while let Some(run) = running.join_next().await {
        let run = run.map_err(|error| CliError::CheckFailed(error.to_string()))??;
        per_second += run.per_second();
    }
    Ok(per_second)
}

impl InterferenceFigures {
    // Adds a run with snapshots and one without.
    fn take(&mut self, called: &[(bool, Called)], ran: Vec<Ran>) {
        let with = called.iter().find(|(with, _)| *with);
        let times = with.map_or_else(Vec::new, |(_, called)| times(called.began, &ran));
        for (with, called) in called {
            let all = Latencies::of(called.calls.iter().map(Call::latency));
            self.latencies[usize::from(*with)].push(all);
            let meanwhile = Latencies::of(called.during(&times).map(Call::latency));
            if meanwhile.count() > 0 {
                self.meanwhile[usize::from(*with)].push(meanwhile);
            }
        }
        self.snapshots[1].extend(ran);
    }

    fn lines(&self) -> Vec<Line> {
        let [all_without, all_with] = &self.latencies;
        let [without, with] = &self.meanwhile;
        vec![
            Line::new(
                "durable operations per second, no snapshots",
                0,
                self.per_second(0),
            ),
            Line::new(
                "durable operations per second, snapshots",
                0,
                self.per_second(1),
            ),
            Line::new("a snapshot beside them, ms", 1, self.snapshots_ms(0)),
            Line::new(
                "deposit p50 µs, at the same times without",
                1,
                us(without, 50.0),
            ),
            Line::new("deposit p50 µs, while a snapshot runs", 1, us(with, 50.0)),
            Line::new(
                "deposit p99 µs, at the same times without",
                1,
                us(without, 99.0),
            ),
            Line::new("deposit p99 µs, while a snapshot runs", 1, us(with, 99.0)),
            Line::new(
                "deposit p99 µs, whole runs without",
                1,
                us(all_without, 99.0),
            ),
            Line::new(
                "deposit p99 µs, whole runs with snapshots",
                1,
                us(all_with, 99.0),
            ),
            Line::new("a snapshot beside them, ms", 1, self.snapshots_ms(1)),
        ]
    }

    fn per_second(&self, with: usize) -> Spread {
        Spread::of(self.per_second[with].iter().copied())
    }

    fn snapshots_ms(&self, beside: usize) -> Spread {
        let ran = self.snapshots[beside].iter();
        Spread::of(ran.map(|ran| ran.taken.server_ms))
    }
}

// A percentile per run; NaN if no deposit overlapped a snapshot.
fn us(runs: &[Latencies], percentile: f64) -> Spread {
    let figures = runs.iter().map(|run| run.us(percentile));
    Spread::of(figures.chain(runs.is_empty().then_some(f64::NAN)))
}

// The time ranges of the snapshots, relative to `began`.
fn times(began: Instant, ran: &[Ran]) -> Vec<Range<Duration>> {
    let since = |instant: Instant| instant.saturating_duration_since(began);
    ran.iter()
        .map(|ran| since(ran.from)..since(ran.until))
        .collect()
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &InterferenceFigures) -> Outcome {
    let lines = measured.lines();
    let [without, with] = &measured.meanwhile;
    let runs = f64::from(bench.runs);
    let [streams_due, deposits_due] = [
        (parameters.seconds, parameters.every),
        (parameters.deposit_seconds, parameters.deposit_every),
    ]
    .map(|(seconds, every)| due(seconds, every) * runs);
    let met: u64 = with.iter().map(Latencies::count).sum();
    Outcome {
        name: "interference",
        parameters: described(bench, parameters, measured.rate),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: vec![
            Ratio {
                name: "throughput with snapshots over none".to_owned(),
                unit: "operations/s",
                over: measured.per_second(1).median,
                under: measured.per_second(0).median,
            },
            Ratio {
                name: "p99 of a deposit while a snapshot runs over the same times without".to_owned(),
                unit: "µs",
                over: us(with, 99.0).median,
                under: us(without, 99.0).median,
            },
        ],
        notes: vec![
            format!(
                "{} of {streams_due:.0} snapshots that were due beside streams and {} of {deposits_due:.0} beside single \
                 deposits: one that takes longer puts off the next; {met} of the deposits met one; a deposit is late from \
                 the instant at which it was to leave, and those of a millisecond leave together",
                measured.snapshots[0].len(),
                measured.snapshots[1].len(),
            ),
            "runs with and without snapshots are in turn; nodes are child processes of this program, the client is this \
             process"
                .to_owned(),
        ],
        figures: Line::figures(&lines),
    }
}

// The expected number of snapshots in a run: the first starts after half an interval; at least one.
fn due(seconds: Duration, every: Duration) -> f64 {
    let until_last = seconds.saturating_sub(every / 2);
    until_last.div_duration_f64(every).ceil().max(1.0)
}

fn described(bench: &Bench, parameters: &Parameters, rate: u32) -> Value {
    json!({
        "runs": bench.runs,
        "seconds_per_run": parameters.seconds.as_secs_f64(),
        "snapshot_every_seconds": parameters.every.as_secs_f64(),
        "deposit_seconds_per_run": parameters.deposit_seconds.as_secs_f64(),
        "deposit_snapshot_every_seconds": parameters.deposit_every.as_secs_f64(),
        "nodes": parameters.nodes,
        "accounts": parameters.accounts,
        "accounts_of_the_load": parameters.changed(),
        "account_id_bytes": 16,
        "batch": parameters.batch,
        "batches_in_flight_per_node": parameters.in_flight,
        "deposits_per_second": rate,
    })
}
