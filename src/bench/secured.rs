//! `bench tls`: what security costs. Each round measures deposits, a stream and snapshots with TLS and a token, and without
//! both.

use std::time::Duration;

use serde_json::json;

use super::arguments::seconds;
use super::figures::Spread;
use super::report::{LINES, Line, Outcome, Ratio};
use super::{Bench, typed};
use crate::cli::CliError;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Duration of each run of deposits and streams.
    #[arg(long, value_name = "SECONDS", default_value = "5", value_parser = seconds)]
    seconds: Duration,
    /// Total accounts of the snapshots, spread over three nodes; one percent of them changes before each.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
}

/// A figure with TLS and a token, and without both, of each round.
struct Pair {
    what: &'static str,
    unit: &'static str,
    decimals: usize,
    plain: Vec<f64>,
    secured: Vec<f64>,
}

impl Pair {
    fn new(what: &'static str, unit: &'static str, decimals: usize) -> Self {
        let (plain, secured) = (Vec::new(), Vec::new());
        Self {
            what,
            unit,
            decimals,
            plain,
            secured,
        }
    }

    fn spreads(&self) -> [Spread; 2] {
        [&self.secured, &self.plain].map(|figures| Spread::of(figures.iter().copied()))
    }

    fn lines(&self) -> [Line; 2] {
        let [secured, plain] = self.spreads();
        [
            Line::new(
                format!("{}, TLS and token", self.what),
                self.decimals,
                secured,
            ),
            Line::new(format!("{}, without", self.what), self.decimals, plain),
        ]
    }

    fn ratio(&self) -> Ratio {
        let [secured, plain] = self.spreads();
        Ratio {
            name: format!("{}, TLS and token over without", self.what),
            unit: self.unit,
            over: secured.median,
            under: plain.median,
        }
    }
}

/// Runs the measurement; all servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let seconds = parameters.seconds.as_secs_f64();
    let accounts = parameters.accounts;
    let mut pairs = [
        Pair::new("durable deposits per second", "calls/s", 0),
        Pair::new("streamed operations per second", "operations/s", 0),
        Pair::new("snapshot, initiate → complete, ms", "ms", 1),
    ];
    let lines = [
        (
            format!("deposits --runs 1 --seconds {seconds}"),
            "/per_second",
        ),
        (
            format!("stream --runs 1 --seconds {seconds}"),
            "/per_second",
        ),
        (
            format!("snapshot --runs 3 --accounts {accounts} --changed-percent 1"),
            "/spread",
        ),
    ];
    for round in 1..=bench.runs {
        let text = format!("round {round} of {}", bench.runs);
        bench.output.remark("note", &text);
        for (pair, (line, path)) in pairs.iter_mut().zip(&lines) {
            let plain = typed::measure(bench, line).await?;
            pair.plain.push(plain.spread(0, path)?.median);
            let secured = typed::measure(&bench.secured()?, line).await?;
            pair.secured.push(secured.spread(0, path)?.median);
        }
    }
    let shown: Vec<Line> = pairs.iter().flat_map(Pair::lines).collect();
    Ok(Outcome {
        name: "tls",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": seconds,
            "accounts": accounts,
        }),
        headers: LINES,
        rows: Line::rows(&shown),
        ratios: pairs.iter().map(Pair::ratio).collect(),
        notes: vec![
            "clients and nodes share the machine, so the ratios count the work of both ends"
                .to_owned(),
        ],
        figures: Line::figures(&shown),
    })
}
