//! `bench simulate`: rings of processes with concurrent snapshots in the simulator, by number of channels.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::Bench;
use super::arguments::Listed;
use super::figures::Spread;
use super::report::{LINES, Line, Outcome, Ratio};
use crate::cli::CliError;
use crate::simulate::{Delays, Report, Scenario, Source, run};

const TOKENS: i64 = 100;
/// The minimum time of a run. A small ring is simulated repeatedly, since a single run of 20 ms would mostly measure
/// noise.
const RUN_MIN: Duration = Duration::from_millis(300);

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Processes of the ring, each with a channel to the next; give several counts to see how the time grows.
    #[arg(long, value_name = "COUNT,COUNT…", default_value = "1000,4000,16000", value_delimiter = ',', value_parser = Listed(clap::value_parser!(u32).range(2..=100_000)))]
    processes: Vec<u32>,
    /// Channels from each process to its successors.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    outgoing: u32,
    /// Concurrent snapshots, with initiators spread around the ring.
    #[arg(long, value_name = "COUNT", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    snapshots: u32,
    /// The seed of the message delays.
    #[arg(long, value_name = "NUMBER", default_value_t = 7)]
    seed: u64,
}

/// The results for one ring.
struct SimulateFigures {
    processes: u32,
    channels: u32,
    seconds: Spread,
}

/// Runs the measurement in this process.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let mut measured = Vec::new();
    for processes in &parameters.processes {
        let ring = Ring {
            processes: *processes,
            // At most one channel to each other process.
            outgoing: parameters.outgoing.min(processes - 1),
            snapshots: parameters.snapshots,
            seed: parameters.seed,
        };
        let (runs, channels) = (bench.runs, ring.processes * ring.outgoing);
        let timed = tokio::task::spawn_blocking(move || ring.time(runs)).await;
        let seconds = timed.map_err(|error| CliError::CheckFailed(error.to_string()))??;
        measured.push(SimulateFigures {
            processes: *processes,
            channels,
            seconds,
        });
    }
    Ok(outcome(bench, parameters, &measured))
}

struct Ring {
    processes: u32,
    outgoing: u32,
    snapshots: u32,
    seed: u64,
}

impl Ring {
    // Seconds per simulation in each run; one extra run is the warm-up.
    fn time(&self, runs: u16) -> Result<Spread, CliError> {
        let (topology, events) = (self.topology(), self.events());
        let mut seconds = Vec::new();
        for _ in 0..=runs {
            let started = Instant::now();
            let mut rings = 0;
            while rings == 0 || started.elapsed() < RUN_MIN {
                self.simulate(&topology, &events)?;
                rings += 1;
            }
            seconds.push(started.elapsed().as_secs_f64() / f64::from(rings));
        }
        Ok(Spread::of(seconds.into_iter().skip(1)))
    }

    fn simulate(&self, topology: &str, events: &str) -> Result<(), CliError> {
        let failed =
            |error: crate::simulate::ScenarioError| CliError::CheckFailed(error.to_string());
        let topology = source("ring", topology);
        let scenario = Scenario::parse(topology, source("events", events)).map_err(failed)?;
        let report = run(&scenario, Delays::seeded(self.seed), &mut |_| {}).map_err(failed)?;
        self.check(&report)
    }

    fn topology(&self) -> String {
        let mut text = format!("{}\n", self.processes);
        for index in 0..self.processes {
            let _ = writeln!(text, "p{index:06} {TOKENS}");
        }
        for index in 0..self.processes {
            for step in 1..=self.outgoing {
                let _ = writeln!(text, "p{index:06} p{:06}", (index + step) % self.processes);
            }
        }
        text
    }

    // Every process pays the next, so that channels carry messages, then all snapshots start at once.
    fn events(&self) -> String {
        let mut text = String::new();
        for index in 0..self.processes {
            let _ = writeln!(
                text,
                "send p{index:06} p{:06} 1",
                (index + 1) % self.processes
            );
        }
        for snapshot in 0..self.snapshots {
            let index = u64::from(snapshot) * u64::from(self.processes) / u64::from(self.snapshots);
            let _ = writeln!(text, "snapshot p{index:06}");
        }
        text
    }

    // Checks that all snapshots exist and conserve the tokens.
    fn check(&self, report: &Report) -> Result<(), CliError> {
        let expected = i64::from(self.processes) * TOKENS;
        let whole = report.snapshots.iter().all(|snapshot| {
            let processes: i64 = snapshot.tokens.iter().map(|(_, tokens)| tokens).sum();
            let messages: i64 = snapshot.messages.iter().map(|message| message.tokens).sum();
            processes + messages == expected
        });
        if whole && report.snapshots.len() as u64 == u64::from(self.snapshots) {
            return Ok(());
        }
        Err(CliError::CheckFailed(format!(
            "{} snapshots of the ring of {}, which do not all hold {expected} tokens",
            report.snapshots.len(),
            self.processes
        )))
    }
}

fn source<'a>(name: &'a str, text: &'a str) -> Source<'a> {
    Source { name, text }
}

impl SimulateFigures {
    fn us_per_channel(&self) -> f64 {
        self.seconds.median * 1e6 / f64::from(self.channels)
    }

    fn json(&self) -> Value {
        json!({
            "processes": self.processes,
            "channels": self.channels,
            "seconds": self.seconds.json(),
            "us_per_channel": self.us_per_channel(),
        })
    }
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &[SimulateFigures]) -> Outcome {
    let line = |of: &SimulateFigures| {
        let what = format!("ring of {}, seconds", of.processes);
        Line::new(what, 4, of.seconds)
    };
    let lines: Vec<Line> = measured.iter().map(line).collect();
    let growth = measured.windows(2).map(|pair| Ratio {
        name: format!(
            "time per channel, ring of {} over {}",
            pair[1].processes, pair[0].processes
        ),
        unit: "µs",
        over: pair[1].us_per_channel(),
        under: pair[0].us_per_channel(),
    });
    Outcome {
        name: "simulate",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run_min": RUN_MIN.as_secs_f64(),
            "warm_up_runs": 1,
            "processes": parameters.processes,
            "channels_from_each": parameters.outgoing,
            "snapshots": parameters.snapshots,
            "seed": parameters.seed,
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: growth.collect(),
        notes: vec![
            "reading the scenario is part of the time; every snapshot was \
             complete and held all tokens"
                .to_owned(),
        ],
        figures: measured.iter().map(SimulateFigures::json).collect(),
    }
}
