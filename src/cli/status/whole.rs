//! The whole cluster as text: processes, channels, the newest snapshot, and what is wrong.

use serde_json::Value;

use crate::cli::Report;
use crate::cli::output::{Columns, cell};

const PROCESSES: Columns = &[
    ("process", "/process"),
    ("state", "/state"),
    ("ready", "/ready"),
    ("position", "/journal_position"),
    ("accounts", "/accounts"),
    ("store bytes", "/store/disk_bytes"),
    ("free bytes", "/store/free_bytes"),
    ("version", "/version"),
    ("started", "/boot"),
    ("REST", "/rest"),
];

const CHANNELS: Columns = &[
    ("from", "/from"),
    ("to", "/to"),
    ("state", "/state"),
    ("sent", "/sent"),
    ("delivered", "/delivered"),
    ("acknowledged", "/acknowledged"),
    ("waiting", "/waiting"),
    ("oldest", "/oldest_at"),
    ("recording", "/recording"),
];

/// The report on an answer of `GET /v1/cluster?scope=all`, whether the asked node is ready, and the newest snapshot, if it may be
/// seen and there is one.
pub(super) fn report(
    cluster: &Value,
    ready: &str,
    newest: Option<&Value>,
    sentence: String,
) -> Report {
    let mut report = Report::default();
    let facts = [
        ("asked", cell(cluster.get("asked"))),
        ("at", cell(cluster.get("asked_at"))),
        ("ready", ready.to_owned()),
        ("newest snapshot", sentence),
    ];
    let facts = facts.map(|(name, value)| vec![name.to_owned(), value]);
    report.table(&["cluster", &cell(cluster.get("cluster"))], facts.to_vec());
    for (name, columns) in [("processes", PROCESSES), ("channels", CHANNELS)] {
        if !cluster[name].as_array().is_none_or(Vec::is_empty) {
            report.line(&format!("\n{name}"));
            report.list(&cluster[name], columns);
        }
    }
    let wrong = wrong(cluster, newest);
    report.line(match wrong.is_empty() {
        true => "\nnothing is wrong",
        false => "\nwhat is wrong",
    });
    for sentence in wrong {
        report.line(&format!("- {sentence}"));
    }
    report
}

/// What is wrong, a sentence each.
fn wrong(cluster: &Value, newest: Option<&Value>) -> Vec<String> {
    let list = |name: &str| cluster[name].as_array().into_iter().flatten();
    let currency = &cluster["currency"];
    let channels = list("channels").filter_map(|channel| of_channel(channel, currency));
    let channels: Vec<String> = channels.collect();
    // Both ends warn of a channel that is stopped; it is said once.
    let is_said = |text: &str| channels.iter().any(|sentence| sentence.contains(text));
    let processes = list("processes").flat_map(|process| of_process(process, is_said));
    let mut wrong: Vec<String> = processes.collect();
    wrong.extend(channels.iter().cloned());
    wrong.extend(newest.and_then(of_snapshot));
    wrong
}

fn of_process(process: &Value, is_said: impl Fn(&str) -> bool) -> Vec<String> {
    let field = |name: &str| cell(process.get(name));
    let name = format!("process {}", field("process"));
    let mut wrong = Vec::new();
    match &*field("state") {
        "down" => wrong.push(format!("{name} is down, last seen {}", field("last_seen"))),
        "never_seen" => wrong.push(format!(
            "{name} was never seen; is it started, and is its address {} right?",
            field("grpc")
        )),
        _ => {}
    }
    if process["error"].is_string() && !is_said(&field("error")) {
        wrong.push(format!("{name}: {}", field("error")));
    }
    if process["ready"] == false {
        wrong.push(format!("{name} is not ready: {}", field("not_ready")));
    }
    let warnings = process["warnings"].as_array().into_iter().flatten();
    let warnings = warnings.map(|warning| cell(Some(warning)));
    let warnings = warnings.filter(|warning| !is_said(warning));
    wrong.extend(warnings.map(|warning| format!("{name} warns: {warning}")));
    wrong
}

fn of_channel(channel: &Value, currency: &Value) -> Option<String> {
    let field = |name: &str| cell(channel.get(name));
    let name = format!("channel {}→{}", field("from"), field("to"));
    let waiting = match channel["waiting"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => {
            let messages = if count == 1 { "message" } else { "messages" };
            let amount = money(&channel["waiting_amount"], currency);
            let amount = amount.map_or_else(String::new, |amount| format!(" with {amount}"));
            let oldest = field("oldest_at");
            format!("; {count} {messages}{amount} not acknowledged, the oldest from {oldest}")
        }
    };
    match &*field("state") {
        // Unary calls have no connection; neither end may have answered.
        "open" | "unary" | "-" if !channel["error"].is_string() => None,
        state if channel["error"].is_string() => {
            Some(format!("{name} is {state}: {}{waiting}", field("error")))
        }
        state => Some(format!("{name} is {state}{waiting}")),
    }
}

fn of_snapshot(snapshot: &Value) -> Option<String> {
    if snapshot["status"] != "partial" {
        return None;
    }
    let missing = snapshot["missing"].as_array().into_iter().flatten();
    let missing: Vec<String> = missing
        .map(|one| format!("{} ({})", cell(one.get("process")), cell(one.get("reason"))))
        .collect();
    let id = cell(snapshot.get("snapshot_id"));
    Some(match missing.is_empty() {
        true => format!("snapshot {id} is partial: channels are not closed"),
        false => format!("snapshot {id} is partial without {}", missing.join(", ")),
    })
}

/// An amount as people read it; `None` if it is not known.
fn money(units: &Value, currency: &Value) -> Option<String> {
    let units = units.is_number().then(|| units.to_string())?;
    let (Some(label), Some(exponent)) = (currency["label"].as_str(), currency["exponent"].as_u64())
    else {
        return Some(format!("{units} minor units"));
    };
    let exponent = usize::try_from(exponent).ok()?;
    let label = cell(Some(&label.into()));
    let (sign, digits) = match units.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", &*units),
    };
    let digits = format!("{digits:0>width$}", width = exponent + 1);
    let (whole, minor) = digits.split_at(digits.len() - exponent);
    Some(match minor.is_empty() {
        true => format!("{sign}{whole} {label}"),
        false => format!("{sign}{whole}.{minor} {label}"),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn process(id: &str) -> Value {
        json!({"process": id, "state": "up", "ready": true, "warnings": [], "error": null})
    }

    fn channel(state: &str, waiting: u64) -> Value {
        json!({"from": "n1", "to": "n2", "state": state, "error": null, "waiting": waiting,
               "waiting_amount": 12345, "oldest_at": "T"})
    }

    #[test]
    fn a_well_cluster_has_nothing_wrong() {
        let cluster = json!({"cluster": "demo", "asked": "n1", "processes": [process("n1"), process("n2")],
                             "channels": [channel("open", 3)], "currency": null});
        let text = report(&cluster, "yes", None, "none yet".to_owned());
        let text = text.text();
        assert!(text.ends_with("nothing is wrong\n"), "{text}");
        assert!(text.contains("demo") && text.contains("n2"), "{text}");
    }

    #[test]
    fn everything_that_is_wrong_is_a_sentence() {
        let mut down = process("n2");
        down["state"] = json!("down");
        down["last_seen"] = json!("T");
        down["warnings"] = Value::Null;
        let mut unready = process("n3");
        unready["ready"] = json!(false);
        unready["not_ready"] = json!("the disk is full");
        unready["warnings"] = json!(["slow\u{1b}", "channel n1→n2 is stopped: they contradict"]);
        unready["error"] = json!("they contradict");
        let mut stopped = channel("stopped", 1);
        stopped["error"] = json!("they contradict");
        let cluster = json!({"processes": [down, unready], "channels": [channel("closed", 2), stopped],
                             "currency": {"label": "EUR", "exponent": 2}});
        let partial = json!({"snapshot_id": "s", "status": "partial", "missing": [{"process": "n2", "reason": "down"}]});
        let expected = [
            "process n2 is down, last seen T",
            "process n3 is not ready: the disk is full",
            "process n3 warns: slow\u{fffd}",
            "channel n1→n2 is closed; 2 messages with 123.45 EUR not acknowledged, the oldest from T",
            "channel n1→n2 is stopped: they contradict; 1 message with 123.45 EUR not acknowledged, the oldest from T",
            "snapshot s is partial without n2 (down)",
        ];
        assert_eq!(wrong(&cluster, Some(&partial)), expected);
    }

    // Without this, small and large amounts would be shown wrong by a factor.
    #[test]
    fn amounts_are_exact_in_every_currency() {
        let shown = |units: Value, exponent: u64| {
            money(&units, &json!({"label": "X", "exponent": exponent})).expect("it is known")
        };
        assert_eq!(shown(json!(5), 2), "0.05 X");
        assert_eq!(shown(json!(-5), 2), "-0.05 X");
        assert_eq!(shown(json!(500), 0), "500 X");
        assert_eq!(
            shown(json!(i128::MAX), 2),
            "1701411834604692317316873037158841057.27 X"
        );
        assert_eq!(
            money(&json!(5), &Value::Null).as_deref(),
            Some("5 minor units")
        );
        assert_eq!(money(&Value::Null, &Value::Null), None);
    }
}
