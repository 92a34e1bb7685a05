//! `bench history`: the cost of a long history of an idle cluster for each node, in memory and on disk, and the time of
//! a start, of a list, and of reading the newest and an arbitrary snapshot.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;

use super::Bench;
use super::children::{Address, Children, Plan};
use super::figures::{Latencies, Spread};
use super::load::scattered;
use super::memory::{Idle, resident};
use super::report::{LINES, Line, Outcome, Ratio};
use super::restart::size_of;
use super::taken::everywhere;
use crate::cli::CliError;
use crate::cli::rest::RestClient;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Snapshots in the history, taken on an idle cluster.
    #[arg(long, value_name = "COUNT", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    snapshots: u64,
    /// Nodes of the cluster.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Concurrent snapshots; with several, each records the markers of the others.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    in_flight: u16,
    /// Queries of each kind in each run.
    #[arg(long, value_name = "COUNT", default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    questions: u64,
    #[command(flatten)]
    idle: Idle,
}

/// The measurements at the first node.
struct HistoryFigures {
    fill_seconds: f64,
    /// Resident bytes when empty, with all snapshots, and after a restart.
    resident: [f64; 3],
    /// Bytes of the store when empty, and with all snapshots.
    disk: [f64; 2],
    ready_ms: Vec<f64>,
    list: Vec<Latencies>,
    latest: Vec<Latencies>,
    one: Vec<Latencies>,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let measured = Children::during(async |children| life(bench, parameters, children).await);
    Ok(outcome(bench, parameters, &measured.await?))
}

async fn life(
    bench: &Bench,
    parameters: &Parameters,
    children: &mut Children,
) -> Result<HistoryFigures, CliError> {
    let plan = Plan::new(bench, parameters.nodes)?;
    let store = bench.dir.path().join(&plan.nodes[0].id);
    children.start(bench, &plan).await?;
    let empty = (
        resident(children, parameters.idle, "VmRSS").await?,
        disk(&store)?,
    );
    let filling = Instant::now();
    fill(&plan.nodes, parameters).await?;
    let fill_seconds = filling.elapsed().as_secs_f64();
    let full = (
        resident(children, parameters.idle, "VmRSS").await?,
        disk(&store)?,
    );
    let mut ready_ms = Vec::new();
    for _ in 0..bench.runs {
        children.stop().await;
        let started = Instant::now();
        children.start(bench, &plan).await?;
        ready_ms.push(started.elapsed().as_secs_f64() * 1000.0);
    }
    let restarted = resident(children, parameters.idle, "VmRSS").await?;
    let asker = Asker {
        rest: client(&plan.nodes[0])?,
        snapshots: parameters.snapshots,
        questions: parameters.questions,
    };
    let runs = u64::from(bench.runs);
    let asked = tokio::task::spawn_blocking(move || {
        let mut answers = (Vec::new(), Vec::new(), Vec::new());
        // The first run is the warm-up.
        for run in 0..=runs {
            let list = asker.ask(|_| "/v1/snapshots".to_owned())?;
            let latest = asker.ask(|_| "/v1/snapshots/latest?status=complete".to_owned())?;
            let one = asker.ask(|question| {
                let number = scattered(run << 32 | question) % asker.snapshots;
                format!("/v1/snapshots/{}", name(number))
            })?;
            if run > 0 {
                answers.0.push(list);
                answers.1.push(latest);
                answers.2.push(one);
            }
        }
        Ok::<_, CliError>(answers)
    });
    let (list, latest, one) = joined(asked.await)?;
    Ok(HistoryFigures {
        fill_seconds,
        resident: [empty.0, full.0, restarted],
        disk: [empty.1, full.1],
        ready_ms,
        list,
        latest,
        one,
    })
}

fn client(node: &Address) -> Result<RestClient, CliError> {
    node.rest_client()
}

fn disk(store: &Path) -> Result<f64, CliError> {
    Ok(size_of(store).map_err(CliError::Runtime)? as f64)
}

fn joined<T>(done: Result<Result<T, CliError>, tokio::task::JoinError>) -> Result<T, CliError> {
    done.map_err(|error| CliError::CheckFailed(error.to_string()))?
}

fn name(number: u64) -> String {
    format!("minute-{number:08}")
}

// Takes all snapshots, alternating between the nodes, and waits until every node has the last ones.
async fn fill(nodes: &[Address], parameters: &Parameters) -> Result<(), CliError> {
    let rests: Vec<RestClient> = nodes.iter().map(client).collect::<Result<_, _>>()?;
    let (next, all) = (Arc::new(AtomicU64::new(0)), parameters.snapshots);
    let taking = (0..parameters.in_flight).map(|_| {
        let (rests, next) = (rests.clone(), Arc::clone(&next));
        tokio::task::spawn_blocking(move || {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= all {
                    return Ok(());
                }
                let index = usize::try_from(number).unwrap_or_default() % rests.len();
                let rest = &rests[index];
                let body = json!({"snapshot_id": name(number)});
                let answer = rest.post("/v1/snapshots?wait=60", &body, None)?;
                if answer.json["status"] != "complete" {
                    let why = format!("snapshot {} is not complete", name(number));
                    return Err(CliError::CheckFailed(why));
                }
            }
        })
    });
    for taken in taking.collect::<Vec<_>>() {
        joined(taken.await)?;
    }
    let last = all.saturating_sub(u64::from(parameters.in_flight));
    for number in last..all {
        everywhere(&rests, &name(number)).await?;
    }
    Ok(())
}

struct Asker {
    rest: RestClient,
    snapshots: u64,
    questions: u64,
}

impl Asker {
    fn ask(&self, path: impl Fn(u64) -> String) -> Result<Latencies, CliError> {
        let latencies = (0..self.questions).map(|question| {
            let asked = Instant::now();
            self.rest.get(&path(question), &[])?;
            Ok(asked.elapsed())
        });
        let latencies: Vec<Duration> = latencies.collect::<Result<_, CliError>>()?;
        Ok(Latencies::of(latencies))
    }
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &HistoryFigures) -> Outcome {
    let p50 = |runs: &[Latencies]| Spread::of(runs.iter().map(|run| run.us(50.0) / 1000.0));
    let [empty, full, restarted] = measured.resident;
    let [disk_empty, disk_full] = measured.disk;
    let snapshots = parameters.snapshots as f64;
    let each = |bytes: f64| Spread::of([bytes / snapshots]);
    let lines = [
        Line::new(
            "resident bytes per snapshot over empty",
            1,
            each(full - empty),
        ),
        Line::new("after a restart", 1, each(restarted - empty)),
        Line::new(
            "bytes on disk per snapshot",
            1,
            each(disk_full - disk_empty),
        ),
        Line::new(
            "start → ready, ms",
            1,
            Spread::of(measured.ready_ms.iter().copied()),
        ),
        Line::new("list of 50: p50 ms", 3, p50(&measured.list)),
        Line::new("latest: p50 ms", 3, p50(&measured.latest)),
        Line::new("any one: p50 ms", 3, p50(&measured.one)),
    ];
    let per_snapshot = |name: &str, over: f64| Ratio {
        name: format!("{name}, by snapshots"),
        unit: "bytes / snapshots",
        over,
        under: snapshots,
    };
    Outcome {
        name: "history",
        parameters: json!({
            "runs": bench.runs,
            "nodes": parameters.nodes,
            "snapshots": parameters.snapshots,
            "in_flight": parameters.in_flight,
            "questions_per_run": parameters.questions,
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: vec![
            per_snapshot("resident over empty", full - empty),
            per_snapshot("disk over empty", disk_full - disk_empty),
        ],
        notes: vec![
            format!(
                "filled in {:.0} s, {:.0} snapshots/s; figures of the first node, with its journal and its cache of pages",
                measured.fill_seconds,
                snapshots / measured.fill_seconds.max(f64::MIN_POSITIVE)
            ),
            "start → ready is of all nodes of the cluster at once".to_owned(),
        ],
        figures: Line::figures(&lines),
    }
}
