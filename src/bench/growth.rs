//! `bench growth`: how time, bytes and pause of snapshots grow with the number of accounts, and how restarts and
//! questions about the past grow with the journal.

use indicatif::HumanCount;
use serde_json::{Value, json};

use super::figures::Spread;
use super::report::Outcome;
use super::{Bench, space, typed};
use crate::cli::CliError;

const HEADERS: &[&str] = &["what", "by", "count", "unit", "median", "min", "max"];

/// Bytes per account, or per operation in a journal, in a store and a copy of it.
const SPACE_BYTES_EACH: u64 = 400;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// The largest number of accounts; the sizes start at 10,000 and grow tenfold.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(100..=100_000_000))]
    accounts_max: u64,
    /// The largest number of operations in a journal, with the same steps.
    #[arg(long, value_name = "COUNT", default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(100..=1_000_000_000))]
    operations_max: u64,
    /// The largest number of nodes, each with a channel to every other one; they are separate programs on this machine.
    #[arg(long, value_name = "COUNT", default_value_t = 8, value_parser = clap::value_parser!(u16).range(2..=16))]
    nodes_max: u16,
    /// The largest number of processes in the simulator.
    #[arg(long, value_name = "COUNT", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    processes_max: u32,
}

/// The curves of one cause.
struct Growth {
    name: &'static str,
    title: String,
    cause: &'static str,
    unit: &'static str,
    curves: Vec<Curve>,
}

/// A curve: figures by cause.
struct Curve {
    what: String,
    points: Vec<(f64, Spread)>,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let most = parameters.accounts_max.max(parameters.operations_max);
    space::require(bench.dir.path(), most * SPACE_BYTES_EACH)?;
    let mut all = Vec::new();
    all.extend(by_accounts(bench, parameters).await?);
    all.extend(by_changes(bench, parameters).await?);
    all.extend(by_nodes(bench, parameters).await?);
    all.extend(simulated(bench, parameters).await?);
    all.extend(by_journal(bench, parameters).await?);
    Ok(outcome(bench, parameters, &all))
}

// The powers of ten from the first one that is at least `from`, and `most` itself.
fn decades(from: u64, most: u64) -> Vec<u64> {
    let mut counts = Vec::new();
    let mut count = from.min(most);
    while count < most {
        counts.push(count);
        count = count.saturating_mul(10);
    }
    counts.push(most);
    counts
}

async fn typed(bench: &Bench, line: &str) -> Result<Outcome, CliError> {
    bench.output.remark("note", &format!("bench {line}"));
    typed::measure(bench, &format!("{line} --runs {}", bench.runs)).await
}

/// The time, pause and bytes from `bench snapshot --probe`.
#[derive(Default)]
struct Snapshots {
    time: Vec<(f64, Spread)>,
    pause: Vec<(f64, Spread)>,
    bytes: Vec<(f64, Spread)>,
}

impl Snapshots {
    async fn add(&mut self, bench: &Bench, count: u64, options: &str) -> Result<(), CliError> {
        let outcome = typed(bench, &format!("snapshot --probe {options}")).await?;
        let changed = outcome.parameters["changed_accounts"][0].as_f64();
        let count = count as f64;
        let [time, bytes, pause] = [0, 3, 4].map(|row| outcome.spread(row, "/spread"));
        self.time.push((count, time?));
        self.pause.push((count, pause?));
        self.bytes
            .push((count, bytes?.times(changed.unwrap_or(f64::NAN))));
        Ok(())
    }

    fn growths(self, names: [&'static str; 2], title: &str, cause: &'static str) -> [Growth; 2] {
        let curve = |what: &str, points| Curve {
            what: what.to_owned(),
            points,
        };
        [
            Growth {
                name: names[0],
                title: format!("A snapshot: {title}"),
                cause,
                unit: "ms",
                curves: vec![
                    curve("initiate → complete", self.time),
                    curve("longest wait of a single deposit meanwhile", self.pause),
                ],
            },
            Growth {
                name: names[1],
                title: format!("What a snapshot writes: {title}"),
                cause,
                unit: "bytes",
                curves: vec![curve("new bytes of all processes", self.bytes)],
            },
        ]
    }
}

async fn by_accounts(bench: &Bench, parameters: &Parameters) -> Result<[Growth; 2], CliError> {
    let mut snapshots = Snapshots::default();
    let changed = 1000.min(parameters.accounts_max);
    for accounts in decades(10_000, parameters.accounts_max) {
        let options = format!("--accounts {accounts} --changed {changed}");
        snapshots.add(bench, accounts, &options).await?;
    }
    let title = format!("3 nodes, {} changed accounts", HumanCount(changed));
    let names = ["snapshot-accounts", "bytes-accounts"];
    Ok(snapshots.growths(names, &title, "accounts"))
}

async fn by_changes(bench: &Bench, parameters: &Parameters) -> Result<[Growth; 2], CliError> {
    let mut snapshots = Snapshots::default();
    let accounts = parameters.accounts_max.min(1_000_000);
    for changed in decades(10, accounts) {
        let options = format!("--accounts {accounts} --changed {changed}");
        snapshots.add(bench, changed, &options).await?;
    }
    let title = format!("3 nodes, {} accounts", HumanCount(accounts));
    let names = ["snapshot-changes", "bytes-changes"];
    Ok(snapshots.growths(names, &title, "changed accounts"))
}

async fn by_nodes(bench: &Bench, parameters: &Parameters) -> Result<[Growth; 2], CliError> {
    let mut snapshots = Snapshots::default();
    let accounts = parameters.accounts_max.min(100_000);
    let changed = accounts / 100;
    let most = parameters.nodes_max;
    let counts = [2, 3, 5, 8, 12, 16];
    for nodes in counts.into_iter().filter(|count| *count <= most) {
        let options = format!("--accounts {accounts} --changed {changed} --nodes {nodes}");
        snapshots.add(bench, u64::from(nodes), &options).await?;
    }
    let title = format!(
        "{} accounts in all, {changed} changed; n × (n − 1) channels",
        HumanCount(accounts)
    );
    let names = ["snapshot-nodes", "bytes-nodes"];
    Ok(snapshots.growths(names, &title, "nodes of this machine"))
}

// Rings by number of processes, and one ring by number of channels per process.
async fn simulated(bench: &Bench, parameters: &Parameters) -> Result<[Growth; 2], CliError> {
    let most = parameters.processes_max;
    let mut rings = Vec::new();
    for processes in decades(10, u64::from(most)) {
        let outcome = typed(bench, &format!("simulate --processes {processes}")).await?;
        rings.push((processes as f64, outcome.spread(0, "/seconds")?));
    }
    let mut channels = Vec::new();
    for outgoing in [1, 2, 4, 8, 16, 32]
        .into_iter()
        .filter(|count| *count < most)
    {
        let line = format!("simulate --processes {most} --outgoing {outgoing}");
        let outcome = typed(bench, &line).await?;
        channels.push((
            outcome.number(0, "/channels")?,
            outcome.spread(0, "/seconds")?,
        ));
    }
    let growth = |name, title: String, cause, points| Growth {
        name,
        title,
        cause,
        unit: "ms",
        curves: vec![Curve {
            what: "10 concurrent snapshots, from reading the scenario to the last result"
                .to_owned(),
            points: ms(points),
        }],
    };
    Ok([
        growth(
            "simulated-processes",
            "The simulator: a ring".to_owned(),
            "processes",
            rings,
        ),
        growth(
            "simulated-channels",
            format!("The simulator: {most} processes"),
            "channels",
            channels,
        ),
    ])
}

fn ms(seconds: Vec<(f64, Spread)>) -> Vec<(f64, Spread)> {
    let all = seconds.into_iter();
    all.map(|(count, of)| (count, of.times(1000.0))).collect()
}

async fn by_journal(bench: &Bench, parameters: &Parameters) -> Result<[Growth; 2], CliError> {
    let accounts = parameters.accounts_max.min(100_000);
    let (mut ready, mut asked) = (Vec::new(), Vec::new());
    for operations in decades(10_000, parameters.operations_max) {
        let count = operations as f64;
        let sizes = format!("--accounts {accounts} --operations {operations}");
        let outcome = typed(bench, &format!("restart {sizes}")).await?;
        ready.push((count, outcome.spread(0, "/ready_ms")?));
        let outcome = typed(bench, &format!("asof {sizes}")).await?;
        asked.push((count, outcome.spread(0, "/spread")?));
    }
    let growth = |name, title: &str, what: &str, points| Growth {
        name,
        title: format!("{title}: {} accounts", HumanCount(accounts)),
        cause: "operations in the journal",
        unit: "ms",
        curves: vec![Curve {
            what: what.to_owned(),
            points,
        }],
    };
    Ok([
        growth(
            "restart",
            "A restart after a kill, operations behind the first snapshot",
            "start → ready",
            ready,
        ),
        growth(
            "asof",
            "The balance of an account at an instant",
            "p50 of a question over REST",
            asked,
        ),
    ])
}

impl Growth {
    // The cells: the curve, the cause, the figures.
    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        self.curves.iter().flat_map(move |curve| {
            curve.points.iter().map(move |(count, of)| {
                let mut row = vec![format!("{}: {}", self.title, curve.what)];
                row.push(self.cause.to_owned());
                row.push(format!("{count:.0}"));
                row.push(self.unit.to_owned());
                row.extend(of.cells(if self.unit == "bytes" { 0 } else { 2 }));
                row
            })
        })
    }

    fn json(&self) -> Value {
        let point = |(count, of): &(f64, Spread)| json!({"count": count, "spread": of.json()});
        let curve = |curve: &Curve| {
            let points: Value = curve.points.iter().map(point).collect();
            json!({"what": curve.what, "points": points})
        };
        json!({
            "name": self.name,
            "title": self.title,
            "by": self.cause,
            "unit": self.unit,
            "curves": self.curves.iter().map(curve).collect::<Value>(),
        })
    }
}

fn outcome(bench: &Bench, parameters: &Parameters, all: &[Growth]) -> Outcome {
    Outcome {
        name: "growth",
        parameters: json!({
            "runs": bench.runs,
            "accounts_max": parameters.accounts_max,
            "operations_max": parameters.operations_max,
            "nodes_max": parameters.nodes_max,
            "processes_max": parameters.processes_max,
        }),
        headers: HEADERS,
        rows: all.iter().flat_map(Growth::rows).collect(),
        ratios: Vec::new(),
        notes: vec![
            "while snapshots are taken each node has single deposits, one at a time; the longest that one has waited is \
             the pause, its own way over gRPC and to the disk included"
                .to_owned(),
            "nodes are child processes of this program and share its machine".to_owned(),
        ],
        figures: all.iter().map(Growth::json).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_end_with_the_most() {
        assert_eq!(decades(10, 1000), [10, 100, 1000]);
        assert_eq!(decades(10, 250), [10, 100, 250]);
        assert_eq!(decades(10, 7), [7]);
    }
}
