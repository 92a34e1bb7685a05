//! `snapshot`: takes, lists, shows, compares, watches, exports, proves and pins global snapshots through REST, and
//! verifies them offline.

mod archived;
mod balances;
mod diagram;
mod export;
mod proof;
mod proven;
mod root;
mod subject;
mod verified;
pub(super) mod verify;
mod view;
mod watch;

use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::instant::{INSTANT, at};
use super::rest::{RestAnswer, RestClient, RestOptions, given, segment};
use super::{CliError, OutputFormat, print};
use crate::config::{Fault, parse_deadline};

/// The seconds that one request waits for a snapshot. A node that freezes is detected after this time.
const WAIT_S: u64 = 5;
/// The status when the snapshot existed before the request; for a new one it is 201 or 202.
const ALREADY_THERE: u16 = 200;

/// Take, list, show, compare, watch, export, verify and pin global snapshots.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a snapshot and wait until it is complete or partial
    Take(TakeArgs),
    /// The history, newest first
    List(ListArgs),
    /// One snapshot with its processes, channels and figures
    #[command(override_usage = "snapledger snapshot show [OPTIONS] <ID|latest>")]
    Show {
        /// The snapshot, or `latest`; see `snapshot list`.
        #[arg(value_name = "ID|latest")]
        id: String,
        #[command(flatten)]
        revision: Revision,
        /// Also list every figure that was compared.
        #[arg(long)]
        checks: bool,
        #[command(flatten)]
        rest: RestOptions,
    },
    /// All published revisions of a snapshot, newest first
    Revisions {
        /// The snapshot.
        id: String,
        #[command(flatten)]
        rest: RestOptions,
    },
    /// List the accounts that differ between two snapshots, or a snapshot and an instant, with the sums that explain
    /// the difference
    Diff(DiffArgs),
    /// Draw the cut of a snapshot and the messages around it, in the terminal or as SVG
    Diagram(diagram::DiagramArgs),
    /// The balances of all accounts in a snapshot, by process and account
    Balances(balances::BalancesArgs),
    /// Save the proof of one balance of a snapshot to a file that verifies without a node
    Proof(proof::ProofArgs),
    /// Follow the events of a snapshot until it is complete or partial
    Watch(watch::WatchArgs),
    /// Export a snapshot to one self-contained file for `snapshot verify` and `restore`
    Export(export::ExportArgs),
    /// Recompute all figures of a snapshot, from a file or a node, and report the first wrong one
    Verify(verify::VerifyArgs),
    /// Pin a snapshot: keep it on every node regardless of age and count
    Pin(PinArgs),
    /// Unpin a snapshot, so that retention may delete it
    Unpin(PinArgs),
}

/// Revision of a snapshot.
#[derive(Debug, clap::Args)]
struct Revision {
    /// An earlier revision; see `snapshot revisions ID` [default: the newest].
    #[arg(long, value_name = "N")]
    revision: Option<u32>,
}

impl Revision {
    /// The revision as a query parameter.
    fn text(&self) -> Option<String> {
        self.revision.map(|revision| revision.to_string())
    }
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "snapledger snapshot diff [OPTIONS] <FROM> <TO>
       snapledger snapshot diff [OPTIONS] <FROM> --at <INSTANT>")]
struct DiffArgs {
    /// The snapshot to compare from, or `latest`.
    from: String,
    /// The snapshot to compare with; it may be the older one.
    #[arg(conflicts_with = "at")]
    to: Option<String>,
    /// Or the instant to compare with, for example 2026-01-31T12:00:00Z or -5m; it may be before the snapshot.
    #[arg(long, value_name = INSTANT, allow_hyphen_values = true, value_parser = at)]
    at: Option<String>,
    /// An earlier revision of the first snapshot [default: the newest].
    #[arg(long, value_name = "N")]
    revision: Option<u32>,
    /// An earlier revision of the second snapshot [default: the newest].
    #[arg(long, value_name = "N", conflicts_with = "at")]
    other_revision: Option<u32>,
    /// Page size in accounts, at most 1000 [default: 50].
    #[arg(long)]
    limit: Option<u16>,
    /// Cursor of the previous page.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

#[derive(Debug, clap::Args)]
struct PinArgs {
    /// The snapshot, or `latest`.
    id: String,
    /// Only show whether it is pinned, and who pinned or unpinned it last.
    #[arg(long)]
    show: bool,
    #[command(flatten)]
    rest: RestOptions,
}

#[derive(Debug, clap::Args)]
struct TakeArgs {
    /// The id of the snapshot; an existing snapshot with this id is shown instead [default: assigned by the node].
    #[arg(long)]
    id: Option<String>,
    /// Deadline, for example 500ms or 10s, at most 1h, after which the snapshot is published as partial [default: as
    /// configured on the node].
    #[arg(long, value_parser = deadline)]
    deadline: Option<String>,
    /// Wait until the snapshot is complete or partial; this is the default.
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return as soon as the snapshot has started.
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    rest: RestOptions,
}

#[derive(Debug, clap::Args)]
struct ListArgs {
    /// Only snapshots with this status: complete, partial or `in_progress`.
    #[arg(long)]
    status: Option<String>,
    /// Only snapshots started by this process.
    #[arg(long, value_name = "PROCESS")]
    initiator: Option<String>,
    /// Only snapshots with a published partial revision (true), or only those without (false).
    #[arg(long, value_name = "BOOL")]
    ever_partial: Option<bool>,
    /// Only pinned snapshots (true), or only those that are not (false).
    #[arg(long, value_name = "BOOL")]
    pinned: Option<bool>,
    /// Only snapshots that began at this instant or later, for example 2026-01-31T12:00:00Z or -5m.
    #[arg(long, value_name = INSTANT, allow_hyphen_values = true, value_parser = at)]
    from: Option<String>,
    /// Only snapshots that began before this instant.
    #[arg(long, value_name = INSTANT, allow_hyphen_values = true, value_parser = at)]
    to: Option<String>,
    /// Page size, at most 1000 [default: 50].
    #[arg(long)]
    limit: Option<u16>,
    /// Cursor of the previous page.
    #[arg(long)]
    cursor: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: the node refuses or does not answer, or the figures of a snapshot do not add up.
pub fn run(args: Args) -> Result<(), CliError> {
    match args.command {
        Command::Take(args) => take(&args),
        Command::List(args) => list(&args),
        Command::Show {
            id,
            revision,
            checks,
            rest,
        } => {
            let client = rest.client()?;
            let revision = revision.text();
            let answer = client.get(&path_of(&id), &given(&[("revision", &revision)]))?;
            show(&answer, rest.output, checks)
        }
        Command::Revisions { id, rest } => {
            let path = format!("{}/revisions", path_of(&id));
            let answer = rest.client()?.get(&path, &[])?;
            match rest.output {
                OutputFormat::Json => print(&answer.text),
                OutputFormat::Table => view::revisions(&answer.json).print(),
            }
        }
        Command::Diff(args) => diff(&args),
        Command::Diagram(args) => diagram::run(&args),
        Command::Balances(args) => balances::run(&args),
        Command::Proof(args) => proof::run(&args),
        Command::Watch(args) => watch::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Verify(args) => verify::run(&args),
        Command::Pin(args) => pin(&args, RestClient::put),
        Command::Unpin(args) => pin(&args, RestClient::delete),
    }
}

fn pin(
    args: &PinArgs,
    say: impl Fn(&RestClient, &str) -> Result<RestAnswer, CliError>,
) -> Result<(), CliError> {
    let client = args.rest.client()?;
    let path = format!("{}/pin", path_of(&args.id));
    let answer = match args.show {
        true => client.get(&path, &[])?,
        false => say(&client, &path)?,
    };
    match args.rest.output {
        OutputFormat::Json => print(&answer.text),
        OutputFormat::Table => view::pin(&answer.json).print(),
    }
}

fn path_of(id: &str) -> String {
    format!("/v1/snapshots/{}", segment(id))
}

fn take(args: &TakeArgs) -> Result<(), CliError> {
    let client = args.rest.client()?.patient(Duration::from_secs(WAIT_S))?;
    let wait = WAIT_S.to_string();
    let mut body = json!({});
    for (name, value) in [("snapshot_id", &args.id), ("deadline", &args.deadline)] {
        if let Some(value) = value {
            body[name] = json!(value);
        }
    }
    let path = match args.no_wait {
        true => "/v1/snapshots".to_owned(),
        false => format!("/v1/snapshots?wait={wait}"),
    };
    let mut answer = client.post(&path, &body, None)?;
    let Some(id) = answer.json["snapshot_id"].as_str().map(str::to_owned) else {
        return Err(CliError::Strange {
            address: args.rest.rest.clone(),
            reason: "the new snapshot has no id".to_owned(),
        });
    };
    if answer.status == ALREADY_THERE {
        let text = format!("snapshot {id} already exists; nothing was started");
        args.rest.output.remark("note", &text);
    }
    while !args.no_wait && answer.json["status"] == "in_progress" {
        answer = client.get(&path_of(&id), &[("wait", &wait)])?;
    }
    show(&answer, args.rest.output, false)
}

// Validates the deadline as the node does.
fn deadline(text: &str) -> Result<String, Fault> {
    parse_deadline(text).map(|_| text.to_owned())
}

fn list(args: &ListArgs) -> Result<(), CliError> {
    let limit = args.limit.map(|limit| limit.to_string());
    let ever_partial = args.ever_partial.map(|wanted| wanted.to_string());
    let pinned = args.pinned.map(|wanted| wanted.to_string());
    let query = [
        ("status", &args.status),
        ("initiator", &args.initiator),
        ("ever_partial", &ever_partial),
        ("pinned", &pinned),
        ("from", &args.from),
        ("to", &args.to),
        ("limit", &limit),
        ("cursor", &args.cursor),
    ];
    let answer = args.rest.client()?.get("/v1/snapshots", &given(&query))?;
    match args.rest.output {
        OutputFormat::Json => print(&answer.text),
        OutputFormat::Table => view::list(&answer.json).print(),
    }
}

fn diff(args: &DiffArgs) -> Result<(), CliError> {
    let mut path = format!("{}/diff", path_of(&args.from));
    match (&args.to, &args.at) {
        (Some(to), _) => path = format!("{path}/{}", segment(to)),
        (None, Some(_)) => {}
        (None, None) => {
            return Err(CliError::Usage(format!(
                "the second side of the comparison with snapshot {from} is missing; give a second snapshot, `snapshot \
                 diff {from} OTHER`, or an instant, `snapshot diff {from} --at 2026-01-31T12:00:00Z`",
                from = args.from
            )));
        }
    }
    let limit = args.limit.map(|limit| limit.to_string());
    let [revision, other] =
        [args.revision, args.other_revision].map(|one| one.map(|one| one.to_string()));
    let query = [
        ("at", &args.at),
        ("revision", &revision),
        ("other_revision", &other),
        ("limit", &limit),
        ("cursor", &args.cursor),
    ];
    let answer = args.rest.patient_client()?.get(&path, &given(&query))?;
    match args.rest.output {
        OutputFormat::Json => print(&answer.text)?,
        OutputFormat::Table => view::diff(&answer.json).print()?,
    }
    let totals = answer.json["totals"].as_array();
    let mut totals = totals.into_iter().flatten();
    if totals.any(|total| total["explained"] == false && total["unexplained"].is_null()) {
        return Err(CliError::CheckFailed(
            "the recorded movements do not explain the difference of the balances".to_owned(),
        ));
    }
    Ok(())
}

fn show(answer: &RestAnswer, output: OutputFormat, checks: bool) -> Result<(), CliError> {
    match output {
        OutputFormat::Json => print(&answer.text)?,
        OutputFormat::Table => view::snapshot(&answer.json, checks).print()?,
    }
    verdict(&answer.json)
}

/// Fails on a snapshot with a contradiction. A partial snapshot is not a failure.
fn verdict(snapshot: &Value) -> Result<(), CliError> {
    let failed = |check: &str| snapshot["verification"][check] == false;
    if failed("conserved") || failed("consistent_cut") {
        return Err(CliError::CheckFailed(
            "the snapshot's figures contradict each other; see its checks with `snapshot show ID --checks`"
                .to_owned(),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_contradiction_fails_the_check() {
        let with = |conserved: Value| json!({"verification": {"conserved": conserved, "consistent_cut": true}});
        assert!(verdict(&with(Value::Bool(true))).is_ok());
        assert!(verdict(&with(Value::Null)).is_ok(), "partial");
        let error = verdict(&with(Value::Bool(false))).expect_err("money was lost");
        assert_eq!(error.exit_code(), 1);
    }
}
