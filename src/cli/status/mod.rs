//! `status`: the state of the cluster and its newest snapshot, through REST, once or again and again.

mod own;
mod whole;

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use serde_json::Value;

use self::own::field;
use super::rest::{RestClient, RestOptions};
use super::{CliError, OutputFormat, Report, print};
use crate::config::parse_duration;

/// The member of the JSON document with the whole cluster; the others are those of the node's own view.
const WHOLE_CLUSTER: &str = "whole_cluster";
/// The number of snapshots among which the newest published one is looked for; few are in progress at once.
const NEWEST: &str = "20";

/// The state of the cluster: its processes and channels, its newest snapshot, and what is wrong. Every process is asked for its
/// own figures. To query several nodes in sequence, each for its own view, give --rest their addresses separated by commas.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Show it again and again until Ctrl-C. With --output json, one line for each look that is answered.
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
        before = loop {
            match look(&args.rest) {
                Ok(now) => break now,
                Err(error) if is_drawn => {
                    before.ready = Err(error);
                    break before;
                }
                // What was printed stands above; printed again it would seem to be seen again.
                Err(error) => args.rest.output.remark("warning", &error.to_string()),
            }
            std::thread::sleep(args.interval);
        };
    }
}

// The whole cluster.
fn look(options: &RestOptions) -> Result<Look, CliError> {
    if options.output == OutputFormat::Json {
        return look_at_own(options);
    }
    let client = options.client()?;
    let ready = ready(&client)?;
    let (ready, cluster) = unless_both_fail(ready, whole_cluster(&client))?;
    let Some(cluster) = cluster? else {
        return look_at_own(options);
    };
    let snapshots = snapshots(&client)?;
    let shown = snapshots.as_deref();
    let sentence = sentence(shown);
    let report = whole::report(&cluster, word(&ready), shown.unwrap_or_default(), sentence);
    let text = report.text().to_owned();
    Ok(Look { text, ready })
}

// One node as it sees itself and its peers. For programs, the same with the whole cluster as one more member.
fn look_at_own(options: &RestOptions) -> Result<Look, CliError> {
    let client = options.client()?;
    let ready = ready(&client)?;
    let own = client.get("/v1/cluster", &[]).map(|own| own.json);
    let (ready, own) = unless_both_fail(ready, own)?;
    let mut own = own?;
    if options.output == OutputFormat::Json {
        let whole = whole_cluster(&client).unwrap_or_else(|error| {
            options.output.remark("warning", &error.to_string());
            None
        });
        own[WHOLE_CLUSTER] = whole.unwrap_or_default();
        let text = own.to_string();
        return Ok(Look { text, ready });
    }
    let sentence = sentence(snapshots(&client)?.as_deref());
    let report: Report = own::report(&own, word(&ready), sentence);
    let text = report.text().to_owned();
    Ok(Look { text, ready })
}

// `None` if the program of the node is older and knows only its own view.
fn whole_cluster(client: &RestClient) -> Result<Option<Value>, CliError> {
    match client.get("/v1/cluster", &[("scope", "all")]) {
        Err(CliError::Answered { status: 400, .. }) => Ok(None),
        cluster => Ok(Some(cluster?.json).filter(|cluster| cluster["processes"].is_array())),
    }
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

type Answer<T> = Result<T, CliError>;

// The reason for not being ready is more useful than the failed request.
fn unless_both_fail<T>(ready: Answer<()>, cluster: Answer<T>) -> Answer<(Answer<()>, Answer<T>)> {
    match (ready, cluster) {
        (Err(why), Err(_)) => Err(why),
        both => Ok(both),
    }
}

// The newest snapshots; `None` if the caller may not see them.
fn snapshots(client: &RestClient) -> Result<Option<Vec<Value>>, CliError> {
    match client.get("/v1/snapshots", &[("limit", NEWEST)]) {
        Ok(mut list) => match list.json["snapshots"].take() {
            Value::Array(newest) => Ok(Some(newest)),
            _ => Ok(Some(Vec::new())),
        },
        Err(CliError::Answered { status: 403, .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

// About the newest snapshot.
fn sentence(newest: Option<&[Value]>) -> String {
    match newest {
        Some(newest) => newest.first().map_or("none yet".to_owned(), named),
        None => "not shown: it needs the role auditor or operator".to_owned(),
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
