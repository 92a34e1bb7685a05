//! `bench archive`: what an archive costs. Deposits, a stream and snapshots without an archive, and with one in each of its modes.

use std::time::Duration;

use clap::ValueEnum;
use serde_json::{Value, json};

use super::archived::{ArchiveOptions, LagWatch};
use super::arguments::seconds;
use super::caller::Caller;
use super::children::{Address, Children};
use super::figures::{Run, Series, Spread};
use super::load::{DEPOSIT, Load, scattered};
use super::report::{Outcome, Ratio};
use super::streamed::{Streamed, batches, deposit};
use super::subject::warm_up;
use super::{Bench, typed};
use crate::cli::CliError;

const HEADERS: &[&str] = &[
    "archive",
    "deposits/s",
    "p50 ms",
    "p99 ms",
    "streamed/s",
    "a batch: p50 ms",
    "greatest lag s",
    "snapshot ms",
];
/// The snapshots whose median counts, per run.
const SNAPSHOTS: u16 = 3;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    #[command(flatten)]
    archive: ArchiveOptions,
    /// The modes to measure: without an archive, and as `archive.journal` of a node.
    #[arg(
        long,
        value_name = "MODE,MODE…",
        value_delimiter = ',',
        default_value = "without,off,async,peers,sync"
    )]
    modes: Vec<Mode>,
    /// Duration of each run of deposits, and of each run of a stream.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Concurrent calls of deposits.
    #[arg(long, value_name = "COUNT", default_value_t = 512, value_parser = clap::value_parser!(u16).range(1..=4096))]
    in_flight: u16,
    /// The stream: operations in a batch.
    #[arg(long, value_name = "COUNT", default_value_t = 2048, value_parser = clap::value_parser!(u64).range(1..=8192))]
    batch: u64,
    /// The stream: unanswered batches at a time.
    #[arg(long, value_name = "COUNT", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=64))]
    batches: u16,
    /// Total accounts of the snapshots, spread over three nodes; one percent of them changes before each. 0: no snapshots.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    accounts: u64,
}

/// What a node does with its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Mode {
    Without,
    Off,
    Async,
    Peers,
    Sync,
}

impl Mode {
    /// `archive.journal`; `None` without an archive.
    fn journal(self) -> Option<&'static str> {
        match self {
            Self::Without => None,
            Self::Off => Some("off"),
            Self::Async => Some("async"),
            Self::Peers => Some("peers"),
            Self::Sync => Some("sync"),
        }
    }

    fn ships(self) -> bool {
        !matches!(self, Self::Without | Self::Off)
    }
}

/// The figures of one mode.
struct ModeFigures {
    mode: Mode,
    deposits: Series,
    batches: Series,
    lags_s: Vec<f64>,
    snapshots_ms: Vec<f64>,
}

/// The measurements of one run of one mode.
struct Ran {
    deposits: Run,
    batches: Run,
    lag_s: Option<f64>,
}

/// Runs the measurement; all servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let mut measured: Vec<ModeFigures> = parameters
        .modes
        .iter()
        .map(|mode| ModeFigures::new(*mode))
        .collect();
    // In turn, so that disturbances of the machine affect all modes.
    for run in 1..=bench.runs {
        let text = format!("run {run} of {}", bench.runs);
        bench.output.remark("note", &text);
        for figures in &mut measured {
            figures.run(bench, parameters).await?;
        }
    }
    Ok(outcome(bench, parameters, &measured))
}

impl ModeFigures {
    fn new(mode: Mode) -> Self {
        Self {
            mode,
            deposits: Series::new(),
            batches: Series::new(),
            lags_s: Vec::new(),
            snapshots_ms: Vec::new(),
        }
    }

    async fn run(&mut self, bench: &Bench, parameters: &Parameters) -> Result<(), CliError> {
        let mut bench = bench.anew()?;
        let journal = self.mode.journal();
        bench.archive = journal.map(|journal| parameters.archive.archive(&bench, journal));
        let ran = Children::during(async |children| {
            let nodes = children.cluster(&bench, 1).await?;
            let ran = Ran::of(&nodes[0], parameters, self.mode).await?;
            // What the archive lacks is discarded with the rest.
            children.kill().await?;
            Ok(ran)
        });
        let ran = ran.await?;
        self.deposits.add(&ran.deposits);
        self.batches.add(&ran.batches);
        self.lags_s.extend(ran.lag_s);
        if parameters.accounts > 0 {
            let line = format!(
                "snapshot --runs {SNAPSHOTS} --accounts {} --changed-percent 1",
                parameters.accounts
            );
            let taken = typed::measure(&bench, &line).await?;
            self.snapshots_ms.push(taken.spread(0, "/spread")?.median);
        }
        match bench.archive.take() {
            Some(archive) => archive.remove().await,
            None => Ok(()),
        }
    }

    fn streamed(&self, parameters: &Parameters) -> Spread {
        self.batches.per_second().times(parameters.batch as f64)
    }

    fn name(&self) -> String {
        let value = self.mode.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn row(&self, parameters: &Parameters) -> Vec<String> {
        let ms = |us: f64| format!("{:.1}", us / 1000.0);
        let of = |figures: &[f64], decimals: usize| match figures {
            [] => "-".to_owned(),
            figures => {
                let median = Spread::of(figures.iter().copied()).median;
                format!("{median:.decimals$}")
            }
        };
        vec![
            self.name(),
            format!("{:.0}", self.deposits.per_second().median),
            ms(self.deposits.latency_us(50.0)),
            ms(self.deposits.latency_us(99.0)),
            format!("{:.0}", self.streamed(parameters).median),
            ms(self.batches.latency_us(50.0)),
            of(&self.lags_s, 2),
            of(&self.snapshots_ms, 1),
        ]
    }

    fn json(&self, parameters: &Parameters) -> Value {
        let spread = |figures: &[f64]| match figures {
            [] => Value::Null,
            figures => Spread::of(figures.iter().copied()).json(),
        };
        let latencies = |series: &Series| json!({"p50": series.latency_us(50.0), "p99": series.latency_us(99.0)});
        json!({
            "archive": self.name(),
            "deposits_per_second": self.deposits.per_second().json(),
            "deposit_latency_us": latencies(&self.deposits),
            "streamed_per_second": self.streamed(parameters).json(),
            "batch_latency_us": latencies(&self.batches),
            "greatest_lag_seconds": spread(&self.lags_s),
            "snapshot_ms": spread(&self.snapshots_ms),
        })
    }
}

impl Ran {
    async fn of(node: &Address, parameters: &Parameters, mode: Mode) -> Result<Self, CliError> {
        let before = warm_up(parameters.seconds);
        let load = Load {
            caller: Caller::connect(node, DEPOSIT).await?,
            in_flight: usize::from(parameters.in_flight),
            accounts: 10_000,
        };
        load.run(before).await?;
        let deposits = load.run(parameters.seconds).await?;
        let requests = batches(parameters.batch, |number| {
            deposit(scattered(number) % 10_000)
        });
        let streamed = Streamed::connect(node, requests, parameters.batches).await?;
        streamed.run(before).await?;
        let lag = mode.ships().then(|| LagWatch::start(node)).transpose()?;
        let batches = streamed.run(parameters.seconds).await?;
        let lag_s = match lag {
            Some(lag) => Some(lag.stop().await?),
            None => None,
        };
        Ok(Self {
            deposits,
            batches,
            lag_s,
        })
    }
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &[ModeFigures]) -> Outcome {
    let without = measured.iter().find(|of| of.mode == Mode::Without);
    let over = |figure: fn(&ModeFigures, &Parameters) -> f64, name: &str, unit: &'static str| {
        let others = measured.iter().filter(|of| of.mode != Mode::Without);
        let ratios = others
            .zip(std::iter::repeat(without))
            .filter_map(|(of, without)| {
                Some(Ratio {
                    name: format!("{name}, {} over without", of.name()),
                    unit,
                    over: figure(of, parameters),
                    under: figure(without?, parameters),
                })
            });
        ratios.collect::<Vec<_>>()
    };
    let mut ratios = over(
        |of, _| of.deposits.per_second().median,
        "deposits",
        "calls/s",
    );
    ratios.extend(over(
        |of, with| of.streamed(with).median,
        "streamed",
        "operations/s",
    ));
    Outcome {
        name: "archive",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": parameters.seconds.as_secs_f64(),
            "in_flight": parameters.in_flight,
            "batch": parameters.batch,
            "batches_in_flight": parameters.batches,
            "accounts_of_snapshots": parameters.accounts,
            "archive": parameters.archive.shown(),
        }),
        headers: HEADERS,
        rows: measured.iter().map(|of| of.row(parameters)).collect(),
        ratios,
        notes: vec![
            "the modes are in turn, each with new stores and an empty archive; the lag is that of the stream".to_owned(),
        ],
        figures: measured.iter().map(|of| of.json(parameters)).collect(),
    }
}
