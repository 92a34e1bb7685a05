//! `bench console`: what open consoles cost the node that they follow: the load of `bench deposits` with and without them, in
//! turn. A browser would take the processors from the node, so the consoles are clients that make the same requests.

use std::time::Duration;

use serde_json::json;
use tokio::time::sleep;

use super::Bench;
use super::arguments::seconds;
use super::caller::Caller;
use super::children::{Children, rests};
use super::figures::Spread;
use super::load::{DEPOSIT, Load};
use super::overview::Consoles;
use super::report::{LINES, Line, Outcome, Ratio};
use super::subject::warm_up;
use super::taken::{POLL, everywhere, take};
use crate::cli::CliError;

/// The unit of processor time in `/proc`, the same on every architecture that Rust has a target for today.
const TICKS_PER_SECOND: f64 = 100.0;
/// Fields of `/proc/PID/stat` behind the name of the program: user time and system time.
const TIMES: std::ops::RangeInclusive<usize> = 11..=12;

/// The time without load, in runs: processor time is counted in hundredths of a second.
const IDLE_RUNS: u32 = 2;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Duration of each run; there are as many runs with consoles as without.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Consoles, all of the node that takes the deposits.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    consoles: u16,
    /// Nodes of the cluster; a console asks its node for the state of all.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=9))]
    nodes: u16,
    /// Concurrent calls.
    #[arg(long, value_name = "COUNT", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Accounts that the deposits are spread over.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
}

/// The runs without consoles and with them, in this order.
#[derive(Default)]
struct ConsoleFigures {
    /// Processor time of the node without load, milliseconds per second.
    idle_ms: [f64; 2],
    per_second: [Vec<f64>; 2],
    /// Processor time of the node, microseconds per deposit.
    processor_us: [Vec<f64>; 2],
    /// With over without, of the two runs of each round.
    ratios: Vec<f64>,
    /// Requests of all consoles together in a run.
    requests: Vec<f64>,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let measured =
        Children::during(async |children| measure_with(bench, parameters, children).await);
    Ok(outcome(bench, parameters, &measured.await?))
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    children: &mut Children,
) -> Result<ConsoleFigures, CliError> {
    let nodes = children.cluster(bench, parameters.nodes).await?;
    let node = children.ids().first().copied().unwrap_or_default();
    let load = Load {
        caller: Caller::connect(&nodes[0], DEPOSIT).await?,
        in_flight: usize::from(parameters.in_flight),
        accounts: parameters.accounts,
    };
    let rests = rests(&nodes)?;
    take(&rests[0], "first", POLL).await?;
    load.run(warm_up(parameters.seconds)).await?;
    let mut measured = ConsoleFigures::default();
    for (with, idle_ms) in [false, true].into_iter().zip(&mut measured.idle_ms) {
        let consoles = with.then(|| Consoles::open(&rests[0], parameters.consoles));
        let (time, before) = (parameters.seconds * IDLE_RUNS, processor_seconds(node)?);
        sleep(time).await;
        *idle_ms = (processor_seconds(node)? - before) * 1000.0 / time.as_secs_f64();
        if let Some(consoles) = consoles {
            consoles.close().await?;
        }
    }
    for run in 0..bench.runs {
        // Alternate the order, so that drift affects both equally.
        for with in [run % 2 == 1, run % 2 == 0] {
            // A snapshot in each run, so that the consoles have something to follow.
            let name = format!("run-{run}-{}", if with { "with" } else { "without" });
            let consoles = with.then(|| Consoles::open(&rests[0], parameters.consoles));
            let before = processor_seconds(node)?;
            let (ran, taken) = tokio::join!(
                load.run(parameters.seconds),
                take(&rests[0], &name, parameters.seconds / 50)
            );
            let (ran, after) = (ran?, processor_seconds(node)?);
            taken?;
            everywhere(&rests, &name).await?;
            let deposits = ran.latencies_ns.len() as f64;
            let side = usize::from(with);
            measured.per_second[side].push(ran.per_second());
            measured.processor_us[side].push((after - before) * 1e6 / deposits);
            if let Some(consoles) = consoles {
                measured.requests.push(consoles.close().await? as f64);
            }
        }
        let [without, with] = measured.per_second.each_ref().map(|all| all[all.len() - 1]);
        measured.ratios.push(with / without);
    }
    Ok(measured)
}

/// The processor time of a process so far, of all its threads, in seconds.
fn processor_seconds(process: u32) -> Result<f64, CliError> {
    let path = format!("/proc/{process}/stat");
    let stat = std::fs::read_to_string(&path).map_err(CliError::Runtime)?;
    let ticks = ticks(&stat);
    let ticks = ticks.ok_or_else(|| CliError::CheckFailed(format!("{path} has no times")))?;
    Ok(ticks / TICKS_PER_SECOND)
}

// The name of the program is in parentheses and may contain anything.
fn ticks(stat: &str) -> Option<f64> {
    let (_, behind) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = behind.split_whitespace().collect();
    let times = fields.get(TIMES)?.iter().map(|field| field.parse::<f64>());
    times.sum::<Result<f64, _>>().ok()
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &ConsoleFigures) -> Outcome {
    let of = |figures: &[f64]| Spread::of(figures.iter().copied());
    let [without, with] = measured.per_second.each_ref().map(|all| of(all));
    let [us_without, us_with] = measured.processor_us.each_ref().map(|all| of(all));
    let [idle_without, idle_with] = measured.idle_ms.map(|ms| Spread::of([ms]));
    let lines = [
        Line::new("durable deposits per second, no console", 0, without),
        Line::new("durable deposits per second, consoles open", 0, with),
        Line::new("consoles over none, each round", 3, of(&measured.ratios)),
        Line::new(
            "processor time of the node, µs per deposit, no console",
            3,
            us_without,
        ),
        Line::new(
            "processor time of the node, µs per deposit, consoles open",
            3,
            us_with,
        ),
        Line::new(
            "requests of all consoles in a run",
            0,
            of(&measured.requests),
        ),
        Line::new(
            "processor time of the idle node, ms per second, no console",
            1,
            idle_without,
        ),
        Line::new(
            "processor time of the idle node, ms per second, consoles open",
            1,
            idle_with,
        ),
    ];
    Outcome {
        name: "console",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": parameters.seconds.as_secs_f64(),
            "consoles": parameters.consoles,
            "nodes": parameters.nodes,
            "in_flight": parameters.in_flight,
            "accounts": parameters.accounts,
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: vec![
            Ratio {
                name: "durable deposits with consoles over none".to_owned(),
                unit: "calls/s",
                over: with.median,
                under: without.median,
            },
            Ratio {
                name: "processor time of the node per deposit, with consoles over none".to_owned(),
                unit: "µs",
                over: us_with.median,
                under: us_without.median,
            },
        ],
        notes: vec![
            "runs with and without consoles are in turn, each with one snapshot; a console makes the requests of an open \
             Overview, without a browser"
                .to_owned(),
        ],
        figures: Line::figures(&lines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_and_system_time_are_added_whatever_the_name() {
        let stat = "7 (a b) c) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 9 0 1000";
        assert_eq!(ticks(stat), Some(300.0));
        assert_eq!((ticks("7 (a) S 1"), ticks("")), (None, None));
    }
}
