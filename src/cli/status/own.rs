//! One node as it sees itself, its peers and its channels, as text.

use serde_json::Value;

use crate::cli::Report;
use crate::cli::output::{Columns, cell};

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

pub(super) fn field(of: &Value, name: &str) -> String {
    cell(of.pointer(name))
}

/// The report on an answer of `GET /v1/cluster`.
pub(super) fn report(cluster: &Value, ready: &str, newest: String) -> Report {
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
