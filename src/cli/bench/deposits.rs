//! `bench deposits`: what durability costs over a server that does nothing, in throughput and alone.

use std::time::Duration;

use serde_json::{Value, json};

use super::Bench;
use super::children::Children;
use super::figures::{Run, Series};
use super::load::{Load, connect};
use super::raw::{Raw, VALUE_BYTES};
use super::report::{Outcome, Ratio};
use crate::cli::CliError;
use crate::proto::chandy_lamport::bank_service_client::BankServiceClient;

const WARM_UP: Duration = Duration::from_secs(1);
const HEADERS: &[&str] = &[
    "what",
    "in flight",
    "per second: median",
    "min",
    "max",
    "latency: p50 µs",
    "p99 µs",
];

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// How long each run takes.
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Calls under way at once.
    #[arg(long, value_name = "COUNT", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    in_flight: u16,
    /// Accounts that the deposits are scattered over.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
}

/// Measures; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let measured =
        Children::during(async |children| measure_with(bench, parameters, children).await);
    let subjects = measured.await?;
    Ok(outcome(bench, parameters, &subjects))
}

/// Something that is measured.
struct Subject {
    name: String,
    kind: Kind,
    time: Duration,
    series: Series,
}

enum Kind {
    Calls(Load),
    Inserts(Raw),
}

impl Subject {
    async fn run(&self, time: Duration) -> Result<Run, CliError> {
        match &self.kind {
            Kind::Calls(load) => load.run(time).await,
            Kind::Inserts(raw) => raw.run(time).await,
        }
    }

    fn in_flight(&self) -> usize {
        match &self.kind {
            Kind::Calls(load) => load.in_flight,
            Kind::Inserts(_) => 1,
        }
    }

    fn row(&self) -> Vec<String> {
        let mut row = vec![self.name.clone(), self.in_flight().to_string()];
        row.extend(self.series.per_second().cells(0));
        row.extend([50.0, 99.0].map(|percentile| format!("{:.1}", self.p(percentile))));
        row
    }

    fn json(&self) -> Value {
        json!({
            "what": self.name,
            "in_flight": self.in_flight(),
            "per_second": self.series.per_second().json(),
            "latency_us": {"p50": self.p(50.0), "p99": self.p(99.0)},
        })
    }

    fn p(&self, percentile: f64) -> f64 {
        self.series.latency_us(percentile)
    }
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    children: &mut Children,
) -> Result<[Subject; 5], CliError> {
    let echo = children.echo(bench)?;
    let nodes = children.cluster(bench, 1).await?;
    let node = BankServiceClient::new(connect(&nodes[0].grpc).await?);
    let echo = BankServiceClient::new(connect(&echo).await?);
    let calls = |name: &str, client: &BankServiceClient<_>, in_flight: u16| Subject {
        name: name.to_owned(),
        kind: Kind::Calls(Load {
            client: client.clone(),
            in_flight: usize::from(in_flight),
            accounts: parameters.accounts,
        }),
        time: Duration::from_secs(parameters.seconds),
        series: Series::new(),
    };
    let raw = Subject {
        name: format!("bare sled insert + flush + sync, {VALUE_BYTES} B"),
        kind: Kind::Inserts(Raw::open(&bench.dir.path().join("raw"))?),
        time: Duration::from_secs(parameters.seconds),
        series: Series::new(),
    };
    let mut subjects = [
        calls("durable deposit", &node, parameters.in_flight),
        calls("bare echo", &echo, parameters.in_flight),
        calls("durable deposit", &node, 1),
        calls("bare echo", &echo, 1),
        raw,
    ];
    for subject in &subjects {
        subject.run(WARM_UP).await?;
    }
    // In turn, so that whatever else happens on the machine meets them all.
    for _ in 0..bench.runs {
        for subject in &mut subjects {
            let run = subject.run(subject.time).await?;
            subject.series.add(&run);
        }
    }
    Ok(subjects)
}

fn outcome(bench: &Bench, parameters: &Parameters, subjects: &[Subject; 5]) -> Outcome {
    let [durable, echo, durable_alone, echo_alone, raw] = subjects;
    Outcome {
        name: "deposits",
        parameters: json!({
            "runs": bench.runs,
            "seconds_per_run": parameters.seconds,
            "warm_up_seconds": WARM_UP.as_secs(),
            "in_flight": parameters.in_flight,
            "connections": 1,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
        }),
        headers: HEADERS,
        rows: subjects.iter().map(Subject::row).collect(),
        ratios: vec![
            Ratio {
                name: "durable deposits over bare echo",
                unit: "calls/s",
                over: durable.series.per_second().median,
                under: echo.series.per_second().median,
            },
            Ratio {
                name: "p50 of one durable deposit alone over (bare echo + bare insert, flush, sync)",
                unit: "µs",
                over: durable_alone.p(50.0),
                under: echo_alone.p(50.0) + raw.p(50.0),
            },
        ],
        notes: vec![
            "node and bare server are child processes of this program, in turn; the client is this process"
                .to_owned(),
        ],
        figures: subjects.iter().map(Subject::json).collect(),
    }
}
