//! A snapshot as JSON. It depends only on the global state, its root and its contents, so that a revision has the same
//! bytes on every node at any time.

use std::collections::BTreeMap;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::super::recorded::status_of;
use super::super::time::rfc3339;
use crate::history::global::{GlobalState, LeftOut, Missing, Totals};
use crate::history::part::Part;
use crate::history::verify::{Check, Verification, verify};
use crate::node::{SnapshotStatus, SnapshotView};
use crate::process::ids::{ChannelId, ProcessId};
use crate::process::start::StartedBy;

/// A snapshot; lists omit the long fields.
#[derive(Serialize)]
pub(super) struct Snapshot<'a> {
    snapshot_id: &'a str,
    status: &'static str,
    initiator: &'a str,
    initiated_at: String,
    /// How it was started. Absent from the documents of complete revisions that do not say it, which never change.
    #[serde(flatten)]
    start: Option<StartResponse>,
    finished_at: Option<String>,
    duration_ms: Option<f64>,
    revision: u32,
    root: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    processes: Option<Vec<ProcessResponse<'a>>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    channels: Option<Vec<ChannelResponse<'a>>>,
    missing: Vec<MissingResponse<'a>>,
    open_channels: Vec<Ends<'a>>,
    /// `open_channels` by a better name. Absent from complete revisions, whose documents never change.
    #[serde(skip_serializing_if = "Option::is_none")]
    unfinished_channels: Option<Vec<Ends<'a>>>,
    totals: TotalsResponse<'a>,
    verification: VerificationResponse,
}

#[derive(Serialize)]
struct StartResponse {
    started_by: Option<&'static str>,
    deadline: Option<String>,
}

#[derive(Serialize)]
struct ProcessResponse<'a> {
    process: &'a str,
    recorded_at: String,
    logical_clock: u64,
    accounts: u64,
    balance_total: i128,
    deposits: Option<i128>,
    withdrawals: Option<i128>,
    journal_position: Option<u64>,
    journal_hash: Option<String>,
    state_bytes: u64,
    /// The part of the size that is accounts; null if the contents are not here.
    account_bytes: Option<u64>,
    new_bytes: u64,
}

#[derive(Serialize)]
struct ChannelResponse<'a> {
    from: &'a str,
    to: &'a str,
    messages: u64,
    transfers: u64,
    amount: i128,
}

/// The first fields of an answer about a snapshot that is not complete.
#[derive(Serialize)]
pub(super) struct Gaps<'a> {
    status: &'static str,
    missing: Vec<MissingResponse<'a>>,
    open_channels: Vec<Ends<'a>>,
    unfinished_channels: Vec<Ends<'a>>,
}

#[derive(Serialize)]
struct MissingResponse<'a> {
    process: &'a str,
    reason: &'static str,
    last_seen: Option<String>,
    last_complete_snapshot: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

#[derive(Clone, Serialize)]
struct Ends<'a> {
    from: &'a str,
    to: &'a str,
    /// Set for unfinished channels.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

/// Sums in minor units.
#[derive(Serialize)]
pub(super) struct TotalsResponse<'a> {
    balances: i128,
    in_flight: i128,
    /// Null if a foreign process does not report its own.
    deposits: Option<i128>,
    withdrawals: Option<i128>,
    /// Absent if the sums are complete, since the bytes of a complete revision never change.
    #[serde(flatten)]
    left_out: Option<LeftOutResponse<'a>>,
}

/// What the sums leave out.
#[derive(Serialize)]
struct LeftOutResponse<'a> {
    complete: bool,
    left_out: Vec<&'a str>,
    earlier: Vec<&'a str>,
    channels_left_out: Vec<Ends<'a>>,
}

/// The checks and their figures.
#[derive(Serialize)]
pub(super) struct VerificationResponse {
    conserved: Option<bool>,
    consistent_cut: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<CheckResponse>>,
}

#[derive(Serialize)]
struct CheckResponse {
    check: &'static str,
    subject: String,
    holds: bool,
    #[serde(serialize_with = "as_object")]
    figures: Vec<(&'static str, i128)>,
}

// Keeps the order of the comparison.
fn as_object<S: Serializer>(
    figures: &[(&'static str, i128)],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut object = serializer.serialize_map(Some(figures.len()))?;
    for (name, figure) in figures {
        object.serialize_entry(name, figure)?;
    }
    object.end()
}

impl<'a> Snapshot<'a> {
    /// A snapshot with all fields.
    pub(super) fn whole(view: &'a SnapshotView, account_bytes: &BTreeMap<ProcessId, u64>) -> Self {
        let state = &*view.state;
        let channels = state.parts.values().flat_map(|part| {
            part.channels.iter().map(|channel| ChannelResponse {
                from: channel.from.as_str(),
                to: part.process.as_str(),
                messages: channel.messages(),
                transfers: channel.transfers,
                amount: channel.amount,
            })
        });
        let verification = verify(state);
        let checks = verification.checks.iter().cloned();
        let checks = checks.map(CheckResponse::from).collect();
        let brief = Self::of(view, &verification, Some(checks));
        let is_said = !state.is_complete() || state.start.is_some();
        let processes = state.parts.values().map(|part| ProcessResponse {
            account_bytes: account_bytes.get(&part.process).copied(),
            ..ProcessResponse::from(part)
        });
        Self {
            processes: Some(processes.collect()),
            channels: Some(channels.collect()),
            start: brief.start.filter(|_| is_said),
            ..brief
        }
    }

    /// A snapshot as an entry of a list.
    pub(super) fn brief(view: &'a SnapshotView) -> Self {
        Self::of(view, &verify(&view.state), None)
    }

    fn of(
        view: &'a SnapshotView,
        verification: &Verification,
        checks: Option<Vec<CheckResponse>>,
    ) -> Self {
        let state: &GlobalState = &view.state;
        let published = view.root.is_some();
        let finished_at = || rfc3339(state.finished_at.wall_us());
        let open = state.open_channels().iter();
        let open: Vec<_> = open.map(|channel| Ends::open(state, channel)).collect();
        Self {
            snapshot_id: state.snapshot.as_str(),
            status: status_of(view),
            initiator: state.initiator.as_str(),
            initiated_at: rfc3339(state.initiated_at.wall_us()),
            start: Some(StartResponse::from(state)),
            finished_at: published.then(finished_at),
            duration_ms: published.then_some(state.duration_us as f64 / 1000.0),
            revision: state.revision,
            root: view.root.map(|root| root.to_string()),
            processes: None,
            channels: None,
            missing: state.missing().iter().map(MissingResponse::from).collect(),
            unfinished_channels: (!state.is_complete()).then(|| open.clone()),
            open_channels: open,
            totals: TotalsResponse::of_snapshot(state),
            verification: VerificationResponse {
                // An unpublished state proves nothing yet.
                conserved: verification.conserved.filter(|_| published),
                consistent_cut: verification.consistent_cut,
                checks,
            },
        }
    }
}

impl From<&GlobalState> for StartResponse {
    fn from(state: &GlobalState) -> Self {
        let deadline = state.deadline();
        Self {
            started_by: state.started_by().map(StartedBy::as_str),
            deadline: deadline.map(|deadline| rfc3339(deadline.wall_us())),
        }
    }
}

impl<'a> Gaps<'a> {
    /// The gaps of all processes or of one; `None` if there are none.
    pub(super) fn of(view: &'a SnapshotView, wanted: Option<&ProcessId>) -> Option<Self> {
        let is_wanted = |process: &ProcessId| wanted.is_none_or(|wanted| wanted == process);
        let missing = view.state.missing().iter();
        let open = view.state.open_channels().iter();
        (view.status() != SnapshotStatus::Complete).then(|| {
            let open: Vec<_> = open
                .filter(|channel| is_wanted(&channel.to))
                .map(|channel| Ends::open(&view.state, channel))
                .collect();
            Self {
                status: status_of(view),
                missing: missing
                    .filter(|missing| is_wanted(&missing.process))
                    .map(MissingResponse::from)
                    .collect(),
                unfinished_channels: open.clone(),
                open_channels: open,
            }
        })
    }
}

impl<'a> From<&'a Part> for ProcessResponse<'a> {
    fn from(part: &'a Part) -> Self {
        let state = &part.state;
        Self {
            process: part.process.as_str(),
            recorded_at: rfc3339(state.time.wall_us()),
            logical_clock: state.clock.0,
            accounts: state.accounts,
            balance_total: state.balance_total,
            deposits: state.has_figures().then_some(state.deposits),
            withdrawals: state.has_figures().then_some(state.withdrawals),
            journal_position: state.has_journal().then_some(state.position.0),
            journal_hash: state.has_journal().then(|| state.journal.to_string()),
            state_bytes: state.state_bytes,
            account_bytes: None,
            new_bytes: state.new_bytes,
        }
    }
}

impl<'a> From<&'a Missing> for MissingResponse<'a> {
    fn from(missing: &'a Missing) -> Self {
        Self {
            process: missing.process.as_str(),
            reason: missing.reason.as_str(),
            last_seen: missing.last_seen_us.map(rfc3339),
            last_complete_snapshot: missing.last_complete.as_ref().map(|id| id.as_str()),
            error: missing.reason.sentence(),
        }
    }
}

impl<'a> From<&'a ChannelId> for Ends<'a> {
    fn from(channel: &'a ChannelId) -> Self {
        Self {
            from: channel.from.as_str(),
            to: channel.to.as_str(),
            reason: None,
            error: None,
        }
    }
}

impl<'a> Ends<'a> {
    fn open(state: &'a GlobalState, channel: &'a ChannelId) -> Self {
        let (reason, error) = state.why_open(channel);
        Self {
            reason: Some(reason),
            error,
            ..Self::from(channel)
        }
    }
}

impl<'a> TotalsResponse<'a> {
    fn of_snapshot(state: &'a GlobalState) -> Self {
        let shown = Self::of(state.totals(), state.left_out());
        let is_stated = state.unstated().next().is_none();
        Self {
            deposits: shown.deposits.filter(|_| is_stated),
            withdrawals: shown.withdrawals.filter(|_| is_stated),
            ..shown
        }
    }

    /// The sums, with what they leave out.
    pub(super) fn of(totals: Totals, left_out: Option<LeftOut<'a>>) -> Self {
        Self {
            balances: totals.balances,
            in_flight: totals.in_flight,
            deposits: Some(totals.deposits),
            withdrawals: Some(totals.withdrawals),
            left_out: left_out.map(LeftOutResponse::from),
        }
    }
}

impl<'a> From<LeftOut<'a>> for LeftOutResponse<'a> {
    fn from(left_out: LeftOut<'a>) -> Self {
        let names = |processes: Vec<&'a ProcessId>| {
            let names = processes.into_iter().map(ProcessId::as_str);
            names.collect()
        };
        Self {
            complete: false,
            left_out: names(left_out.processes),
            earlier: names(left_out.earlier),
            channels_left_out: left_out.channels.into_iter().map(Ends::from).collect(),
        }
    }
}

impl From<Verification> for VerificationResponse {
    fn from(verification: Verification) -> Self {
        let checks = verification.checks.into_iter().map(CheckResponse::from);
        Self {
            conserved: verification.conserved,
            consistent_cut: verification.consistent_cut,
            checks: Some(checks.collect()),
        }
    }
}

impl From<Check> for CheckResponse {
    fn from(check: Check) -> Self {
        Self {
            check: check.check,
            subject: check.subject,
            holds: check.holds,
            figures: check.figures,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_beyond_64_bits_are_written_to_the_last_unit() {
        let shown = TotalsResponse {
            balances: i128::from(i64::MAX) * 3,
            in_flight: -1,
            deposits: Some(0),
            withdrawals: Some(0),
            left_out: None,
        };
        let json = serde_json::to_string(&shown).expect("plain fields");
        assert!(
            json.starts_with(r#"{"balances":27670116110564327421,"in_flight":-1"#),
            "{json}"
        );
    }

    #[test]
    fn figures_keep_their_order() {
        let check = CheckResponse {
            check: "conservation",
            subject: "cluster".to_owned(),
            holds: true,
            figures: vec![("z", 2), ("a", 1)],
        };
        let json = serde_json::to_string(&check).expect("plain fields");
        assert!(json.ends_with(r#""figures":{"z":2,"a":1}}"#), "{json}");
    }
}
