//! The whole cluster as text: processes, channels, the newest snapshot, and what is wrong.

use jiff::Timestamp;
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

/// A message that has waited for longer is wrong, whatever the state of its channel; that of the alert.
const WAIT_MAX_US: i64 = 60_000_000;

/// The report on an answer of `GET /v1/cluster?scope=all`, whether the asked node is ready, and the newest snapshots, as far as
/// they may be seen.
pub(super) fn report(cluster: &Value, ready: &str, newest: &[Value], sentence: String) -> Report {
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
fn wrong(cluster: &Value, newest: &[Value]) -> Vec<String> {
    let list = |name: &str| cluster[name].as_array().into_iter().flatten();
    let channels = list("channels").filter_map(|channel| of_channel(channel, cluster));
    let channels: Vec<String> = channels.collect();
    // Both ends warn of a channel that is stopped; it is said once.
    let is_said = |text: &str| channels.iter().any(|sentence| sentence.contains(text));
    let processes = list("processes").flat_map(|process| of_process(process, is_said));
    let mut wrong: Vec<String> = processes.collect();
    wrong.extend(channels.iter().cloned());
    let mut published = newest.iter().filter(|one| one["status"] != "in_progress");
    wrong.extend(published.next().into_iter().flat_map(of_snapshot));
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

fn of_channel(channel: &Value, cluster: &Value) -> Option<String> {
    let field = |name: &str| cell(channel.get(name));
    let name = format!("channel {}→{}", field("from"), field("to"));
    let waiting = match channel["waiting"].as_u64() {
        None | Some(0) => String::new(),
        Some(count) => {
            let messages = if count == 1 { "message" } else { "messages" };
            let amount = money(&channel["waiting_amount"], &cluster["currency"]);
            let amount = amount.map_or_else(String::new, |amount| format!(" with {amount}"));
            let oldest = match channel["oldest_at"].is_string() {
                true => format!("the oldest from {}", field("oldest_at")),
                false => "since when is not known".to_owned(),
            };
            format!("; {count} {messages}{amount} not acknowledged, {oldest}")
        }
    };
    let waited_us = us(&cluster["asked_at"]).zip(us(&channel["oldest_at"]));
    let waits_long = waited_us.is_some_and(|(now, oldest)| now - oldest > WAIT_MAX_US);
    match &*field("state") {
        // Unary calls have no connection; neither end may have answered.
        "open" | "unary" | "-" if !channel["error"].is_string() && !waits_long => None,
        state if channel["error"].is_string() => {
            Some(format!("{name} is {state}: {}{waiting}", field("error")))
        }
        state => Some(format!("{name} is {state}{waiting}")),
    }
}

// The instant in an answer of a node, microseconds since the Unix epoch.
fn us(instant: &Value) -> Option<i64> {
    let instant: Timestamp = instant.as_str()?.parse().ok()?;
    Some(instant.as_microsecond())
}

fn of_snapshot(snapshot: &Value) -> Vec<String> {
    let id = cell(snapshot.get("snapshot_id"));
    let verification = &snapshot["verification"];
    let failed = [
        ("conserved", "its money does not add up"),
        ("consistent_cut", "its cut is not consistent"),
    ];
    let failed = failed.into_iter().filter_map(|(check, what)| {
        let has_failed = verification[check] == false;
        has_failed.then(|| {
            format!("snapshot {id} fails verification: {what}; see `snapledger snapshot verify`")
        })
    });
    failed.chain(is_partial(snapshot, &id)).collect()
}

fn is_partial(snapshot: &Value, id: &str) -> Option<String> {
    if snapshot["status"] != "partial" {
        return None;
    }
    let missing = snapshot["missing"].as_array().into_iter().flatten();
    let missing: Vec<String> = missing
        .map(|one| format!("{} ({})", cell(one.get("process")), cell(one.get("reason"))))
        .collect();
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
        let text = report(&cluster, "yes", &[], "none yet".to_owned());
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
        let begun = json!({"snapshot_id": "t", "status": "in_progress"});
        assert_eq!(wrong(&cluster, &[begun, partial]), expected);
    }

    // Without this the status says that nothing is wrong while money is missing or a message waits for hours.
    #[test]
    fn failed_checks_and_long_waits_are_wrong() {
        let complete = |conserved: Value, consistent: bool| {
            json!({"snapshot_id": "s", "status": "complete",
                   "verification": {"conserved": conserved, "consistent_cut": consistent}})
        };
        let wrong_of = |snapshot: Value| wrong(&json!({}), &[snapshot]);
        assert!(wrong_of(complete(json!(true), true)).is_empty());
        assert!(wrong_of(complete(Value::Null, true)).is_empty());
        let [sentence] = &wrong_of(complete(json!(false), true))[..] else {
            panic!("one sentence");
        };
        assert!(
            sentence.starts_with("snapshot s fails verification: its money"),
            "{sentence}"
        );
        assert_eq!(wrong_of(complete(json!(false), false)).len(), 2);

        let waits = |oldest: Value| {
            let mut waits = channel("open", 3);
            waits["oldest_at"] = oldest;
            let cluster = json!({"asked_at": "2026-01-31T12:01:00.000001Z", "channels": [waits]});
            wrong(&cluster, &[])
        };
        assert!(waits(json!("2026-01-31T12:00:00.000001Z")).is_empty());
        let expected = "channel n1→n2 is open; 3 messages with 12345 minor units not acknowledged, the oldest from \
                        2026-01-31T12:00:00.000000Z";
        assert_eq!(waits(json!("2026-01-31T12:00:00.000000Z")), [expected]);
        assert!(waits(Value::Null).is_empty(), "its age is not known");
        let mut closed = channel("closed", 1);
        closed["oldest_at"] = Value::Null;
        let sentence = of_channel(&closed, &json!({})).expect("it is closed");
        assert!(
            sentence.ends_with("not acknowledged, since when is not known"),
            "{sentence}"
        );
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
