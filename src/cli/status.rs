//! `status`: the state of a node, its peers and its newest snapshot, through REST.

use serde_json::Value;

use super::output::{Columns, cell};
use super::rest::RestOptions;
use super::{CliError, OutputFormat, Report, print};

/// The state of a node, its peers and channels, and its newest snapshot. To query several nodes in sequence, give
/// --rest their addresses separated by commas.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    rest: RestOptions,
}

/// Runs the command.
///
/// # Errors
/// [`CliError`]: a node is not ready or does not answer; with several nodes, it names them.
pub fn run(args: &Args) -> Result<(), CliError> {
    let addresses: Vec<&str> = args.rest.rest.split(',').map(str::trim).collect();
    if addresses.len() == 1 {
        return one(&args.rest);
    }
    let mut not_well = Vec::new();
    for address in &addresses {
        let options = RestOptions {
            rest: (*address).to_owned(),
            ..args.rest.clone()
        };
        match one(&options) {
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

fn one(options: &RestOptions) -> Result<(), CliError> {
    let client = options.client()?;
    let ready = client.get("/readyz", &[]);
    if !matches!(ready, Ok(_) | Err(CliError::Answered { .. })) {
        // Without an answer here, further requests would not be answered either.
        return ready.map(|_| ());
    }
    let cluster = match (&ready, client.get("/v1/cluster", &[])) {
        // The reason for not being ready is more useful than the failed request.
        (Err(_), Err(_)) => return ready.map(|_| ()),
        (_, cluster) => cluster?,
    };
    if options.output == OutputFormat::Json {
        print(&cluster.text)?;
        return ready.map(|_| ());
    }
    let newest = match client.get("/v1/snapshots", &[("limit", "1")]) {
        Ok(list) => newest(&list.json["snapshots"][0]),
        Err(CliError::Answered { status: 403, .. }) => {
            "not shown: it needs the role auditor or operator".to_owned()
        }
        Err(error) => return Err(error),
    };
    let ready_word = if ready.is_ok() { "yes" } else { "no" };
    table(&cluster.json, ready_word, newest).print()?;
    ready.map(|_| ())
}

const PEERS: Columns = &[
    ("process", "/process"),
    ("state", "/state"),
    ("last seen", "/last_seen"),
    ("gRPC", "/grpc"),
    ("REST", "/rest"),
];

const CHANNELS: Columns = &[
    ("from", "/from"),
    ("to", "/to"),
    ("state", "/state"),
    ("sent", "/sent"),
    ("acknowledged", "/acknowledged"),
    ("delivered", "/delivered"),
    ("in flight", "/in_flight"),
    ("recording", "/recording"),
];

fn field(of: &Value, name: &str) -> String {
    cell(of.pointer(name))
}

fn newest(snapshot: &Value) -> String {
    if snapshot.is_null() {
        return "none yet".to_owned();
    }
    format!(
        "{}, {}, by {} at {}",
        field(snapshot, "/snapshot_id"),
        field(snapshot, "/status"),
        field(snapshot, "/initiator"),
        field(snapshot, "/initiated_at")
    )
}

fn table(cluster: &Value, ready: &str, newest: String) -> Report {
    let mut report = Report::default();
    let facts = [
        ("cluster", field(cluster, "/cluster")),
        ("ready", ready.to_owned()),
        ("journal position", field(cluster, "/journal_position")),
        ("newest snapshot", newest),
    ];
    let facts = facts.map(|(name, value)| vec![name.to_owned(), value]);
    report.table(&["process", &field(cluster, "/process")], facts.to_vec());
    for (name, columns) in [("peers", PEERS), ("channels", CHANNELS)] {
        let list = &cluster[name];
        if list.as_array().is_some_and(|list| !list.is_empty()) {
            report.line(&format!("\n{name}"));
            report.list(list, columns);
        }
    }
    let warnings = cluster["warnings"].as_array().into_iter().flatten();
    let warnings: Vec<String> = warnings.map(|warning| cell(Some(warning))).collect();
    for warning in &warnings {
        report.line(&format!("warning: {warning}"));
    }
    for list in ["peers", "channels"] {
        let errors = cluster[list].as_array().into_iter().flatten();
        for one in errors.filter(|one| one["error"].is_string()) {
            let subject = match list {
                "peers" => format!("process {}", field(one, "/process")),
                _ => format!("channel {}→{}", field(one, "/from"), field(one, "/to")),
            };
            let error = field(one, "/error");
            let is_said = warnings
                .iter()
                .any(|sentence| sentence.starts_with(&subject) && sentence.ends_with(&error));
            if !is_said {
                report.line(&format!("{subject}: {error}"));
            }
        }
    }
    report
}
