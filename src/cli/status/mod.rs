//! `status`: the state of the cluster and its newest snapshot, through REST, once or again and again.

mod own;
mod whole;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::Value;

use self::own::field;
use super::rest::{RestAnswer, RestClient, RestOptions};
use super::{CliError, OutputFormat, Report, print};
use crate::config::parse_duration;

/// The state of the cluster: its processes and channels, its newest snapshot, and what is wrong. Every process is asked for its
/// own figures. To query several nodes in sequence, each for its own view, give --rest their addresses separated by commas.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show it again and again until Ctrl-C. With --output json, one line each time.
    #[arg(long)]
    watch: bool,
    /// With --watch: the time between two looks.
    #[arg(long, value_name = "DURATION", default_value = "2s", value_parser = parse_duration, requires = "watch")]
    interval: Duration,
    #[command(flatten)]
    rest: RestOptions,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: a node is not ready or does not answer; with several nodes, it names them.
pub fn run(args: &Args) -> Result<(), CliError> {
    let addresses: Vec<&str> = args.rest.rest.split(',').map(str::trim).collect();
    match (&addresses[..], args.watch) {
        ([_], true) => return watch(args),
        ([_], false) => return look(&args.rest)?.print(),
        (_, true) => {
            let why = "--watch shows the cluster as one node sees it; give --rest one address";
            return Err(CliError::Usage(why.to_owned()));
        }
        (_, false) => {}
    }
    let mut not_well = Vec::new();
    for address in &addresses {
        let options = RestOptions {
            rest: (*address).to_owned(),
            ..args.rest.clone()
        };
        match look_at_own(&options).and_then(Look::print) {
            Ok(()) => {}
            Err(error @ (CliError::Output(_) | CliError::Usage(_))) => return Err(error),
            Err(error) => {
                let sentence = error.to_string();
                let sentence = match sentence.contains(address) {
                    true => sentence,
                    false => format!("{address}: {sentence}"),
                };
                args.rest.output.remark("warning", &sentence);
                not_well.push(*address);
            }
        }
    }
    if not_well.is_empty() {
        return Ok(());
    }
    Err(CliError::CheckFailed(format!(
        "of {} nodes, these do not answer or are not ready: {}",
        addresses.len(),
        not_well.join(", ")
    )))
}

/// What was seen.
struct Look {
    text: String,
    /// Whether the node is ready; otherwise the error says why not.
    ready: Result<(), CliError>,
}

impl Look {
    fn print(self) -> Result<(), CliError> {
        print(&self.text)?;
        self.ready
    }
}

// Shows the cluster until the program is ended. A failed look leaves what was seen before, and says so.
fn watch(args: &Args) -> Result<(), CliError> {
    let is_drawn = io::stdout().is_terminal() && args.rest.output == OutputFormat::Table;
    let mut before = look(&args.rest)?;
    loop {
        if is_drawn {
            // To the top left corner, and clear what is below.
            io::stdout().write_all(b"\x1b[H\x1b[2J")?;
        }
        print(&before.text)?;
        if let Err(error) = &before.ready {
            args.rest.output.remark("warning", &error.to_string());
        }
        std::thread::sleep(args.interval);
        match look(&args.rest) {
            Ok(now) => before = now,
            Err(error) => before.ready = Err(error),
        }
    }
}

// The whole cluster.
fn look(options: &RestOptions) -> Result<Look, CliError> {
    let client = options.client()?;
    let ready = ready(&client)?;
    let cluster = client.get("/v1/cluster", &[("scope", "all")]);
    let (ready, cluster) = unless_both_fail(ready, cluster)?;
    let cluster = match cluster {
        // An older program knows only its own view.
        Err(CliError::Answered { status: 400, .. }) => return look_at_own(options),
        cluster => cluster?,
    };
    if !cluster.json["processes"].is_array() {
        return look_at_own(options);
    }
    if options.output == OutputFormat::Json {
        let text = cluster.text;
        return Ok(Look { text, ready });
    }
    let (newest, sentence) = newest(&client)?;
    let report = whole::report(&cluster.json, word(&ready), newest.as_ref(), sentence);
    let text = report.text().to_owned();
    Ok(Look { text, ready })
}

// One node as it sees itself and its peers.
fn look_at_own(options: &RestOptions) -> Result<Look, CliError> {
    let client = options.client()?;
    let ready = ready(&client)?;
    let (ready, cluster) = unless_both_fail(ready, client.get("/v1/cluster", &[]))?;
    let cluster = cluster?;
    if options.output == OutputFormat::Json {
        let text = cluster.text;
        return Ok(Look { text, ready });
    }
    let (_, sentence) = newest(&client)?;
    let report: Report = own::report(&cluster.json, word(&ready), sentence);
    let text = report.text().to_owned();
    Ok(Look { text, ready })
}

// Whether the node is ready. Without an answer here, further requests would not be answered either.
fn ready(client: &RestClient) -> Result<Result<(), CliError>, CliError> {
    match client.get("/readyz", &[]) {
        Ok(_) => Ok(Ok(())),
        Err(error @ CliError::Answered { .. }) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

fn word(ready: &Result<(), CliError>) -> &'static str {
    if ready.is_ok() { "yes" } else { "no" }
}

type Got = Result<RestAnswer, CliError>;

// The reason for not being ready is more useful than the failed request.
fn unless_both_fail(
    ready: Result<(), CliError>,
    cluster: Got,
) -> Result<(Result<(), CliError>, Got), CliError> {
    match (ready, cluster) {
        (Err(why), Err(_)) => Err(why),
        both => Ok(both),
    }
}

// The newest snapshot, and a sentence about it.
fn newest(client: &RestClient) -> Result<(Option<Value>, String), CliError> {
    match client.get("/v1/snapshots", &[("limit", "1")]) {
        Ok(list) => {
            let newest = list.json["snapshots"].get(0).cloned();
            let sentence = newest.as_ref().map_or("none yet".to_owned(), named);
            Ok((newest, sentence))
        }
        Err(CliError::Answered { status: 403, .. }) => {
            let sentence = "not shown: it needs the role auditor or operator";
            Ok((None, sentence.to_owned()))
        }
        Err(error) => Err(error),
    }
}

fn named(snapshot: &Value) -> String {
    format!(
        "{}, {}, by {} at {}",
        field(snapshot, "/snapshot_id"),
        field(snapshot, "/status"),
        field(snapshot, "/initiator"),
        field(snapshot, "/initiated_at")
    )
}
