//! The decisions of persons that a journal names.

use crate::process::decision::{Change, Decision};
use crate::process::record::{Record, Turn};

/// The number of decisions that a report holds.
const LINES_MAX: usize = 1000;

/// A decision as a report shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct DecisionLine {
    /// The journal position.
    pub position: u64,
    /// Microseconds since the Unix epoch.
    pub at_us: u64,
    /// `pin`, `unpin`, `forget`, `limits` or `vouch`.
    pub change: &'static str,
    /// The snapshot or process, the limits, or the boot.
    pub subject: String,
    /// The name of a token or certificate, or `os:` and that of a user of the operating system; `None` if none was proven.
    pub actor: Option<String>,
    /// The id of the request.
    pub request_id: Option<String>,
}

/// Adds the decisions of a turn; the newest remain.
pub(super) fn note(lines: &mut Vec<DecisionLine>, turn: &Turn) {
    for record in &turn.records {
        if let Record::Decided(decision) = record {
            if lines.len() == LINES_MAX {
                lines.remove(0);
            }
            lines.push(line(turn, decision));
        }
    }
}

fn line(turn: &Turn, decision: &Decision) -> DecisionLine {
    let (change, subject) = match &decision.change {
        Change::Pinned(snapshot) => ("pin", snapshot.to_string()),
        Change::Unpinned(snapshot) => ("unpin", snapshot.to_string()),
        Change::StoreForgotten(peer) => ("forget", peer.to_string()),
        Change::Limits {
            max_age_us,
            max_count,
        } => {
            let age = max_age_us.map_or("off".to_owned(), |age| format!("{}s", age / 1_000_000));
            let count = max_count.map_or("all".to_owned(), |count| count.to_string());
            ("limits", format!("max_age {age}, max_count {count}"))
        }
        Change::Vouched { boot } => ("vouch", format!("boot {boot}")),
    };
    DecisionLine {
        position: turn.position.0,
        at_us: turn.time.wall_us(),
        change,
        subject,
        actor: decision.actor.name.shown(),
        request_id: decision.actor.request.as_deref().map(str::to_owned),
    }
}
