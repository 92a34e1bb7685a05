//! `bench snapshot`: the time and the written bytes of a global snapshot after some accounts have changed.

use std::time::Instant;

use clap::ValueEnum;
use serde_json::json;

use super::Bench;
use super::accounts::{Accounts, Pressure};
use super::arguments::Listed;
use super::children::{Children, rests};
use super::figures::Spread;
use super::report::{LINES, Line, Outcome, Ratio};
use super::taken::{POLL, Taken, everywhere, take};
use crate::cli::CliError;
use crate::cli::rest::RestClient;

mod disk;
mod probe;

use disk::Disk;
use probe::Probe;

#[derive(Debug, clap::Args)]
pub(super) struct Parameters {
    /// Total accounts, spread evenly over the nodes; give several counts to see the cost of their number.
    #[arg(long, value_name = "COUNT,COUNT…", default_value = "1000000", value_delimiter = ',', value_parser = Listed(clap::value_parser!(u64).range(1..=100_000_000)))]
    accounts: Vec<u64>,
    /// Accounts that change before each snapshot, in percent.
    #[arg(long, value_name = "PERCENT", default_value_t = 1.0, value_parser = percent)]
    changed_percent: f64,
    /// Accounts that change before each snapshot, as a number.
    #[arg(long, value_name = "COUNT", conflicts_with = "changed_percent")]
    changed: Option<u64>,
    /// Run single deposits during snapshots, one at a time to each node, at most a thousand per second, and report the
    /// longest latency during a snapshot as the pause.
    #[arg(long)]
    probe: bool,
    /// Number of nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=16))]
    nodes: u16,
    /// Load during snapshots: deposits to the accounts that change.
    #[arg(long, value_name = "LOAD", default_value = "off")]
    load: LoadKind,
}

impl Parameters {
    // The number of changed accounts out of `accounts`.
    fn changed(&self, accounts: u64) -> u64 {
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is between nothing and the count of accounts"
        )]
        let percent = (accounts as f64 * self.changed_percent / 100.0).round() as u64;
        self.changed.unwrap_or(percent).min(accounts)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum LoadKind {
    /// No load.
    Off,
    /// Maximum load, in batches.
    On,
}

/// The measurements for one number of accounts.
struct SnapshotFigures {
    accounts: u64,
    changed: u64,
    fill_seconds: f64,
    first: Taken,
    runs: Vec<Taken>,
    /// The longest latency of a deposit during each snapshot, if a probe ran.
    pauses_ms: Vec<f64>,
    /// Bytes that all nodes wrote to disk around each snapshot.
    written: Vec<f64>,
    /// Operations per second of the concurrent load.
    load_per_second: Option<f64>,
}

/// Runs the measurement; the servers have ended when it returns.
pub(super) async fn measure(bench: &Bench, parameters: &Parameters) -> Result<Outcome, CliError> {
    let mut measured = Vec::new();
    for accounts in &parameters.accounts {
        let bench = bench.anew()?;
        let ran = Children::during(async |children| {
            let nodes = children.cluster(&bench, parameters.nodes).await?;
            let written = || written(&children.ids());
            let run = Run {
                accounts: Accounts::connect(&nodes, *accounts).await?,
                rests: rests(&nodes)?,
                changed: parameters.changed(*accounts),
                load: parameters.load,
                probe: match parameters.probe {
                    true => Some(Probe::connect(&nodes).await?),
                    false => None,
                },
            };
            Ok((run.measure(bench.runs, &written).await?, nodes))
        });
        let (of, nodes) = ran.await?;
        measured.push((of, Disk::measure(&bench, &nodes[0].id)?));
    }
    Ok(outcome(bench, parameters, &measured))
}

struct Run {
    accounts: Accounts,
    /// The first node initiates the snapshots.
    rests: Vec<RestClient>,
    changed: u64,
    load: LoadKind,
    probe: Option<Probe>,
}

impl Run {
    async fn measure(
        self,
        runs: u16,
        written: &impl Fn() -> Result<f64, CliError>,
    ) -> Result<SnapshotFigures, CliError> {
        let (accounts, rests, changed) = (&self.accounts, &self.rests, self.changed);
        let rest = &rests[0];
        let filling = Instant::now();
        accounts.deposit(0..accounts.count()).await?;
        let fill_seconds = filling.elapsed().as_secs_f64();
        let first = take(rest, "first", POLL).await?;
        accounts.change(0, changed).await?;
        take(rest, "warm-up", POLL).await?;
        everywhere(rests, "warm-up").await?;
        let loaded = self.load == LoadKind::On;
        let pressure = loaded.then(|| Pressure::start(accounts, changed));
        let mut measured = SnapshotFigures {
            accounts: accounts.count(),
            changed,
            fill_seconds,
            first,
            runs: Vec::new(),
            pauses_ms: Vec::new(),
            written: Vec::new(),
            load_per_second: None,
        };
        for run in 1..=runs {
            accounts.change(u64::from(run), changed).await?;
            let before = written()?;
            let probing = self.probe.as_ref().map(Probe::start);
            let id = format!("run-{run}");
            let taken = take(rest, &id, POLL).await?;
            measured.runs.push(taken);
            if let Some(probing) = probing {
                measured.pauses_ms.push(probing.stop().await?);
            }
            everywhere(rests, &id).await?;
            measured.written.push(written()? - before);
        }
        if let Some(pressure) = pressure {
            measured.load_per_second = Some(pressure.stop().await?);
        }
        Ok(measured)
    }
}

impl SnapshotFigures {
    fn spread(&self, figure: impl Fn(&Taken) -> f64) -> Spread {
        Spread::of(self.runs.iter().map(figure))
    }

    fn new_bytes(&self) -> Spread {
        self.spread(Taken::new_bytes_total)
    }

    fn written(&self) -> Spread {
        Spread::of(self.written.iter().copied())
    }

    fn client_ms(&self) -> Spread {
        self.spread(|taken| taken.client_ms)
    }

    fn per_changed(&self, bytes: Spread) -> Spread {
        bytes.times(1.0 / self.changed.max(1) as f64)
    }

    fn lines(&self) -> Vec<Line> {
        let of = self.accounts;
        let each = self.runs.iter().flat_map(|taken| taken.new_bytes.clone());
        let mut lines = vec![
            Line::new(
                format!("{of} accounts: initiate → complete, client, ms"),
                2,
                self.client_ms(),
            ),
            Line::new(
                "initiate → complete, server, ms",
                2,
                self.spread(|taken| taken.server_ms),
            ),
            Line::new("bytes new per process", 0, Spread::of(each)),
            Line::new(
                "bytes new per changed account",
                1,
                self.per_changed(self.new_bytes()),
            ),
        ];
        if !self.pauses_ms.is_empty() {
            let pauses = Spread::of(self.pauses_ms.iter().copied());
            let what = "longest wait of a single deposit meanwhile, ms";
            lines.push(Line::new(what, 2, pauses));
        }
        lines.push(match self.load_per_second {
            Some(rate) => Line::new(
                "durable operations per second meanwhile",
                0,
                Spread::of([rate]),
            ),
            None => Line::new("bytes written to the disk by all nodes", 0, self.written()),
        });
        lines
    }

    fn ratios(&self, disk: &Disk) -> Vec<Ratio> {
        let mut ratios = vec![Ratio {
            name: format!(
                "{} accounts: bytes new over 64 per changed account and 16 KiB",
                self.accounts
            ),
            unit: "bytes",
            over: self.new_bytes().median,
            under: 64.0 * self.changed as f64 + 16384.0,
        }];
        if self.load_per_second.is_none() {
            ratios.push(Ratio {
                name: "bytes written to the disk by all nodes over bytes new".to_owned(),
                unit: "bytes",
                over: self.written().median,
                under: self.new_bytes().median,
            });
        }
        ratios.extend(disk.ratios(self));
        ratios
    }

    fn notes(&self, disk: &Disk) -> Vec<String> {
        let Self {
            accounts,
            changed,
            fill_seconds,
            first,
            ..
        } = self;
        let mut notes = vec![format!(
            "{accounts} accounts were opened in {fill_seconds:.2} s; their first snapshot, everything new, took {:.2} ms \
             client, {:.2} ms server, {:.0} bytes in all; before each other one {changed} of them change",
            first.client_ms,
            first.server_ms,
            first.new_bytes_total()
        )];
        notes.push(disk.note());
        notes
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let percent = text.parse::<f64>().ok();
    let percent = percent.filter(|percent| (0.0..=100.0).contains(percent));
    percent.ok_or_else(|| "give a number from 0 to 100".to_owned())
}

// Bytes that these processes have caused to be written to disk.
fn written(processes: &[u32]) -> Result<f64, CliError> {
    let mut bytes = 0.0;
    for process in processes {
        let io =
            std::fs::read_to_string(format!("/proc/{process}/io")).map_err(CliError::Runtime)?;
        let mut lines = io
            .lines()
            .filter_map(|line| line.strip_prefix("write_bytes: "));
        bytes += lines
            .next()
            .and_then(|bytes| bytes.parse::<f64>().ok())
            .unwrap_or(0.0);
    }
    Ok(bytes)
}

fn outcome(
    bench: &Bench,
    parameters: &Parameters,
    measured: &[(SnapshotFigures, Disk)],
) -> Outcome {
    let lines: Vec<Line> = measured.iter().flat_map(|(of, _)| of.lines()).collect();
    let growth = measured.split_first().and_then(|((first, _), others)| {
        let (last, _) = others.last()?;
        Some(Ratio {
            name: format!(
                "initiate → complete, {} accounts over {}",
                last.accounts, first.accounts
            ),
            unit: "ms",
            over: last.client_ms().median,
            under: first.client_ms().median,
        })
    });
    let own = measured.iter().flat_map(|(of, disk)| of.ratios(disk));
    let mut notes: Vec<String> = measured
        .iter()
        .flat_map(|(of, disk)| of.notes(disk))
        .collect();
    notes.push(
        "nodes are child processes of this program; the client polls the initiator every millisecond"
            .to_owned(),
    );
    Outcome {
        name: "snapshot",
        parameters: json!({
            "runs": bench.runs,
            "warm_up_runs": 1,
            "nodes": parameters.nodes,
            "accounts": parameters.accounts,
            "account_id_bytes": 16,
            "changed_accounts": measured.iter().map(|(of, _)| of.changed).collect::<Vec<_>>(),
            "probe": parameters.probe,
            "load": if parameters.load == LoadKind::On { "on" } else { "off" },
        }),
        headers: LINES,
        rows: Line::rows(&lines),
        ratios: growth.into_iter().chain(own).collect(),
        notes,
        figures: Line::figures(&lines),
    }
}
