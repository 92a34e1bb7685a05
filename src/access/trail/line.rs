//! A line of the audit trail.

use std::net::SocketAddr;

use jiff::Timestamp;
use serde::{Serialize, Serializer};

use crate::access::caller::{Caller, Grant, Notes, Via};
use crate::access::role::Capacity;
use crate::access::table::Rule;
use crate::process::hidden::is_hidden;

/// The longest reason, in bytes.
const REASON_BYTES_MAX: usize = 1024;

/// How a call ended: the same word on REST and gRPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Ok,
    /// A stream of operations began.
    Opened,
    /// The stream ended.
    Closed,
    /// It was refused because of what it asked for, and changed nothing.
    Refused,
    /// Some operations of a batch were refused.
    PartlyRefused,
    /// The node could not do it. What it asked for may have been done if time ran out.
    Failed,
    /// Its client left, or its time ran out, before the answer. What it asked for may have been done.
    Unanswered,
    /// Its caller has not the right.
    Forbidden,
    /// Its caller has not proven its name, or the proof has ended.
    Unauthenticated,
}

/// How a call ended, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{outcome:?}")]
pub struct Ended {
    /// How.
    pub outcome: Outcome,
    /// Why, unless it was done. Never with an amount, a balance, an account or a key.
    pub reason: Option<String>,
}

impl Ended {
    /// An end that needs no reason.
    #[must_use]
    pub fn plainly(outcome: Outcome) -> Self {
        Self {
            outcome,
            reason: None,
        }
    }

    /// An end with its reason.
    #[must_use]
    pub fn because(outcome: Outcome, reason: impl Into<String>) -> Self {
        let mut reason = reason.into();
        reason.truncate(reason.floor_char_boundary(REASON_BYTES_MAX));
        Self {
            outcome,
            reason: Some(reason),
        }
    }

    /// The end of a call that was answered: its operations may be refused all the same.
    #[must_use]
    pub fn answered(caller: &Caller) -> Self {
        let notes = caller.notes();
        let refused = notes.map_or(0, Notes::refused);
        let outcome = match notes.and_then(Notes::operations) {
            _ if refused == 0 => Outcome::Ok,
            Some(operations) if refused < operations => Outcome::PartlyRefused,
            _ => Outcome::Refused,
        };
        Self {
            outcome,
            reason: notes.and_then(Notes::refusal).map(str::to_owned),
        }
    }
}

/// What a call asks for, and where it comes from.
#[derive(Debug, Clone)]
pub struct Asked {
    /// The call.
    pub rule: Rule,
    /// Where it comes from.
    pub address: Option<SocketAddr>,
    /// Its request id.
    pub request_id: Option<String>,
    /// The snapshot in its path.
    pub snapshot: Option<String>,
}

/// A line of the trail.
#[derive(Debug, Clone, Serialize)]
pub struct Line {
    /// When the call was answered, with six decimals, so that lines sort as text.
    #[serde(serialize_with = "with_six_decimals")]
    pub time: Timestamp,
    /// The name of the caller; `None` for a refused log-in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its role, or `process`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// How it proved its name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<Via>,
    /// Where it called from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<SocketAddr>,
    /// The method and the pattern of the route, or the method of gRPC.
    pub call: &'static str,
    /// What the call does.
    pub action: &'static str,
    /// How the call ended.
    pub outcome: Outcome,
    /// Why it ended so: a sentence for a caller without the right, otherwise the kind of the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The snapshot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<String>,
    /// The number of operations of a batch or a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operations: Option<u64>,
    /// How many of them were refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<u64>,
    /// The newest journal position at which one of the call's own operations was made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub journal_position: Option<u64>,
    /// The request id of the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Refused log-ins of the address since the last line about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub also_refused: Option<u64>,
}

fn with_six_decimals<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{time:.6}"))
}

impl Line {
    /// The line of a call that has ended now.
    pub(in crate::access) fn of(asked: &Asked, caller: &Caller, ended: Ended) -> Self {
        Self::noted(asked, caller.grant(), caller.notes(), ended)
    }

    /// The same, of what was noted of it.
    pub(in crate::access) fn noted(
        asked: &Asked,
        grant: Option<&Grant>,
        notes: Option<&Notes>,
        ended: Ended,
    ) -> Self {
        // What a stream has done is said when it closes.
        let has_done = |_: &&Notes| ended.outcome != Outcome::Opened;
        let done = notes.filter(has_done);
        let operations = done.and_then(Notes::operations);
        let snapshot = notes.and_then(Notes::snapshot).map(str::to_owned);
        Self {
            time: Timestamp::now(),
            name: grant.map(|grant| grant.name.clone()),
            role: grant.map(|grant| match grant.capacity {
                Capacity::Role(role) => role.as_str(),
                Capacity::Process => "process",
            }),
            via: grant.map(|grant| grant.via),
            address: asked.address,
            call: asked.rule.call,
            action: asked.rule.action,
            outcome: ended.outcome,
            reason: ended.reason,
            snapshot: snapshot.or_else(|| asked.snapshot.clone()),
            operations,
            refused: operations.and(done.map(Notes::refused).filter(|count| *count > 0)),
            journal_position: done.and_then(Notes::position),
            request_id: asked.request_id.clone(),
            also_refused: None,
        }
    }

    /// The line as JSON.
    pub(super) fn text(&self) -> String {
        escaped(serde_json::to_string(self).expect("names and numbers can be written"))
    }
}

// JSON keeps some characters as they are that end a line or reverse it where it is read, such as in an id that a client
// invents. They can only be within texts.
fn escaped(text: String) -> String {
    let is_plain = |byte: u8| (b' '..=b'~').contains(&byte);
    if text.bytes().all(is_plain) || !text.chars().any(is_hidden) {
        return text;
    }
    let mut escaped = String::with_capacity(2 * text.len());
    for letter in text.chars() {
        match is_hidden(letter) {
            true => escaped.push_str(&format!("\\u{:04x}", u32::from(letter))),
            false => escaped.push(letter),
        }
    }
    escaped
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// The line of a snapshot that was taken, with this reason.
    pub(in crate::access::trail) fn line(reason: &str) -> Line {
        Line {
            time: Timestamp::UNIX_EPOCH,
            name: Some("audit-2026".to_owned()),
            role: Some("auditor"),
            via: Some(Via::Token),
            address: None,
            call: "POST /v1/snapshots",
            action: "take snapshot",
            outcome: Outcome::Ok,
            reason: Some(reason.to_owned()),
            snapshot: Some("first".to_owned()),
            operations: None,
            refused: None,
            journal_position: None,
            request_id: None,
            also_refused: None,
        }
    }

    #[test]
    fn what_a_client_invents_neither_ends_a_line_nor_reverses_it() {
        let invented = "a\n\u{2028}b\u{202e}\u{9b}\"\\";
        let line = Line {
            snapshot: Some(invented.to_owned()),
            ..line("ok")
        };
        let text = line.text();
        assert!(!text.chars().any(is_hidden), "{text}");
        let read: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(read["snapshot"], invented);
    }

    #[test]
    fn times_sort_as_text() {
        let shown = |nanosecond| {
            let time = Timestamp::from_nanosecond(nanosecond).expect("a time");
            let line = Line { time, ..line("") };
            let line = serde_json::to_value(line).expect("a line");
            line["time"].as_str().expect("a text").to_owned()
        };
        assert_eq!(shown(0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(shown(1_200_000_999), "1970-01-01T00:00:01.200000Z");
    }
}
