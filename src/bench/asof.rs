//! `bench asof`: the balance of one account at random instants within a long journal, over REST.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use serde_json::json;

use super::Bench;
use super::accounts::Accounts;
use super::children::{Address, Children};
use super::figures::{Latencies, Spread};
use super::load::{account, scattered};
use super::report::{LINES, Line, Outcome, Ratio};
use crate::cli::CliError;
use crate::cli::rest::RestClient;

const WARM_UP: u64 = 100;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Operations in the journal: deposits spread randomly over the accounts.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    operations: u64,
    /// Accounts.
    #[arg(long, value_name = "COUNT", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    accounts: u64,
    /// Sequential queries in each run.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    questions: u64,
}

/// The results: latencies of requests about instants and about now.
struct AsOfFigures {
    fill_seconds: f64,
    then: Vec<Latencies>,
    now: Vec<Latencies>,
    /// The number of answers in which the account existed.
    existed: u64,
}

/// Runs the measurement; the server has ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let measured = Children::during(async |children| {
        let nodes = children.cluster(bench, 1).await?;
        measure_with(bench, parameters, &nodes).await
    });
    Ok(outcome(bench, parameters, &measured.await?))
}

async fn measure_with(
    bench: &Bench,
    parameters: &Parameters,
    nodes: &[Address],
) -> Result<AsOfFigures, CliError> {
    let load = Accounts::connect(nodes, parameters.accounts).await?;
    let (filling, from_us) = (Instant::now(), wall_us());
    let numbers = (0..parameters.operations).map(|number| scattered(number) % parameters.accounts);
    load.deposit(numbers).await?;
    let (fill_seconds, until_us) = (filling.elapsed().as_secs_f64(), wall_us());
    let asker = Asker {
        rest: nodes[0].rest_client()?,
        operations: parameters.operations,
        accounts: parameters.accounts,
        between_us: (from_us, until_us.max(from_us + 1)),
    };
    let (runs, questions) = (u64::from(bench.runs), parameters.questions);
    let asked = tokio::task::spawn_blocking(move || {
        asker.then(0, WARM_UP.min(questions))?;
        let (mut then, mut now, mut existed) = (Vec::new(), Vec::new(), 0);
        for run in 1..=runs {
            let (latencies, open) = asker.then(run, questions)?;
            then.push(latencies);
            existed += open;
            now.push(asker.now(run, questions)?);
        }
        Ok(AsOfFigures {
            fill_seconds,
            then,
            now,
            existed,
        })
    });
    let measured = asked.await;
    measured.map_err(|error| CliError::CheckFailed(error.to_string()))?
}

struct Asker {
    rest: RestClient,
    operations: u64,
    accounts: u64,
    between_us: (u64, u64),
}

impl Asker {
    // Requests about an instant, and the number of accounts that existed then.
    fn then(&self, run: u64, questions: u64) -> Result<(Latencies, u64), CliError> {
        let (from, until) = self.between_us;
        let mut existed = 0;
        let latencies = (0..questions).map(|question| {
            let drawn = scattered(run << 32 | question);
            let at = rfc3339(from + scattered(drawn) % (until - from))?;
            let path = format!("{}/balance", self.path(drawn));
            let asked = Instant::now();
            let answer = self.rest.get(&path, &[("at", &at)])?;
            let latency = asked.elapsed();
            existed += u64::from(answer.json["existed"] == true);
            Ok(latency)
        });
        let latencies: Vec<Duration> = latencies.collect::<Result<_, CliError>>()?;
        Ok((Latencies::of(latencies), existed))
    }

    fn now(&self, run: u64, questions: u64) -> Result<Latencies, CliError> {
        let latencies = (0..questions).map(|question| {
            let path = self.path(scattered(run << 32 | question));
            let asked = Instant::now();
            self.rest.get(&path, &[])?;
            Ok(asked.elapsed())
        });
        let latencies: Vec<Duration> = latencies.collect::<Result<_, CliError>>()?;
        Ok(Latencies::of(latencies))
    }

    // The path of an account that one of the operations used, so that it exists.
    fn path(&self, drawn: u64) -> String {
        let number = scattered(drawn % self.operations) % self.accounts;
        format!("/v1/accounts/{}", account(number))
    }
}

fn rfc3339(wall_us: u64) -> Result<String, CliError> {
    let instant = i64::try_from(wall_us).ok();
    let instant = instant.and_then(|us| Timestamp::from_microsecond(us).ok());
    let instant =
        instant.ok_or_else(|| CliError::Usage("the clock of this machine is wrong".to_owned()))?;
    Ok(format!("{instant:.6}"))
}

fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

fn outcome(bench: &Bench, parameters: &Parameters, measured: &AsOfFigures) -> Outcome {
    let p = |runs: &[Latencies], percentile| {
        Spread::of(runs.iter().map(|run| run.us(percentile) / 1000.0))
    };
    let lines = [
        Line::new("balance at an instant: p50 ms", 3, p(&measured.then, 50.0)),
        Line::new("p99 ms", 3, p(&measured.then, 99.0)),
        Line::new("max ms", 3, p(&measured.then, 100.0)),
        Line::new("balance now: p50 ms", 3, p(&measured.now, 50.0)),
        Line::new("p99 ms", 3, p(&measured.now, 99.0)),
        Line::new("max ms", 3, p(&measured.now, 100.0)),
    ];
    let AsOfFigures {
        fill_seconds,
        existed,
        ..
    } = measured;
    let questions = parameters.questions * u64::from(bench.runs);
    Outcome {
        name: "asof",
        parameters: json!({
            "runs": bench.runs,
            "warm_up_questions": WARM_UP.min(parameters.questions),
            "questions_per_run": parameters.questions,
            "nodes": 1,
            "operations": parameters.operations,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: vec![Ratio {
            name: "p50 at an instant over p50 now".to_owned(),
            unit: "ms",
            over: p(&measured.then, 50.0).median,
            under: p(&measured.now, 50.0).median,
        }],
        notes: vec![
            format!(
                "the journal took {fill_seconds:.2} s to fill; at {existed} of {questions} instants the account was open"
            ),
            "one question after the other over one connection, the way over REST included; the node is a child process \
             of this program"
                .to_owned(),
        ],
        figures: Line::figures(&lines),
    }
}
