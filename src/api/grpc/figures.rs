//! The figures of a snapshot as messages, the same as REST returns in JSON.

use std::collections::BTreeMap;

use super::super::recorded::status_of;
use crate::history::global::{GlobalState, Missing};
use crate::history::part::{Part, RecordedMessage};
use crate::history::verify::{Check, verify};
use crate::node::SnapshotView;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, ProcessId};
use crate::proto::snapledger as wire;
use crate::transport::Envelope;
use crate::transport::wire::{envelope_to_wire, wide};

/// A snapshot with all fields.
pub(super) fn whole(
    view: &SnapshotView,
    account_bytes: &BTreeMap<ProcessId, u64>,
) -> wire::Snapshot {
    let parts = &view.state.parts;
    let process = |part: &Part| wire::SnapshotProcess {
        account_bytes: account_bytes.get(&part.process).copied(),
        ..process(part)
    };
    wire::Snapshot {
        processes: parts.values().map(process).collect(),
        channels: parts.values().flat_map(channels).collect(),
        ..brief(view)
    }
}

/// A snapshot as an entry of a list.
pub(super) fn brief(view: &SnapshotView) -> wire::Snapshot {
    let state: &GlobalState = &view.state;
    let is_published = view.root.is_some();
    let verified = verification(verify(state), is_published);
    let totals = state.totals();
    let is_stated = state.unstated().next().is_none();
    let open = state.open_channels().iter();
    let open: Vec<_> = open.map(|channel| open_ends(state, channel)).collect();
    wire::Snapshot {
        snapshot_id: state.snapshot.to_string(),
        status: status_of(view).to_owned(),
        initiator: state.initiator.to_string(),
        initiated_at: state.initiated_at.0,
        finished_at: is_published.then_some(state.finished_at.0),
        duration_us: is_published.then_some(state.duration_us),
        revision: state.revision,
        root: view.root.map(|root| root.0.to_vec()).unwrap_or_default(),
        processes: Vec::new(),
        channels: Vec::new(),
        missing: state.missing().iter().map(missing).collect(),
        unfinished_channels: open.clone(),
        open_channels: open,
        totals: Some(wire::SnapshotTotals {
            balances: Some(wide(totals.balances)),
            in_flight: Some(wide(totals.in_flight)),
            deposits: is_stated.then(|| wide(totals.deposits)),
            withdrawals: is_stated.then(|| wide(totals.withdrawals)),
        }),
        conserved: verified.conserved,
        consistent_cut: verified.consistent_cut,
        ever_partial: view.ever_partial,
        expected: count(state.expected()),
        recorded: count(state.parts.len()),
        messages: state.messages(),
        new_bytes: state.new_bytes(),
        started_by: state
            .started_by()
            .map_or_else(String::new, |by| by.as_str().to_owned()),
        deadline: state.deadline().map(|deadline| deadline.0),
    }
}

fn count(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// The certificate. An unpublished state proves nothing yet.
pub(super) fn verification(
    verified: crate::history::verify::Verification,
    is_published: bool,
) -> wire::Verification {
    wire::Verification {
        conserved: verified.conserved.filter(|_| is_published),
        consistent_cut: verified.consistent_cut,
        checks: verified.checks.into_iter().map(check).collect(),
    }
}

/// A recorded message of a channel.
pub(super) fn message(
    from: &ProcessId,
    to: &ProcessId,
    recorded: RecordedMessage,
) -> wire::RecordedChannelMessage {
    let envelope = Envelope {
        seq: recorded.seq,
        time: Hlc(0),
        message: recorded.message,
    };
    wire::RecordedChannelMessage {
        from: from.to_string(),
        to: to.to_string(),
        message: Some(envelope_to_wire(&envelope)),
    }
}

/// The two ends of a channel.
pub(super) fn ends(channel: &ChannelId) -> wire::ChannelEnds {
    wire::ChannelEnds {
        from: channel.from.to_string(),
        to: channel.to.to_string(),
        ..wire::ChannelEnds::default()
    }
}

fn open_ends(state: &GlobalState, channel: &ChannelId) -> wire::ChannelEnds {
    let (reason, error) = state.why_open(channel);
    wire::ChannelEnds {
        reason: reason.to_owned(),
        error: error.unwrap_or_default().to_owned(),
        ..ends(channel)
    }
}

fn process(part: &Part) -> wire::SnapshotProcess {
    let state = &part.state;
    wire::SnapshotProcess {
        process: part.process.to_string(),
        recorded_at: state.time.0,
        logical_clock: state.clock.0,
        accounts: state.accounts,
        balance_total: Some(wide(state.balance_total)),
        deposits: state.has_figures().then(|| wide(state.deposits)),
        withdrawals: state.has_figures().then(|| wide(state.withdrawals)),
        journal_position: state.position.0,
        journal_hash: match state.has_journal() {
            true => state.journal.0.to_vec(),
            false => Vec::new(),
        },
        state_bytes: state.state_bytes,
        account_bytes: None,
        new_bytes: state.new_bytes,
    }
}

fn channels(part: &Part) -> impl Iterator<Item = wire::SnapshotChannel> + '_ {
    part.channels.iter().map(|channel| wire::SnapshotChannel {
        from: channel.from.to_string(),
        to: part.process.to_string(),
        messages: channel.messages(),
        transfers: channel.transfers,
        amount: Some(wide(channel.amount)),
    })
}

fn missing(missing: &Missing) -> wire::MissingProcess {
    let complete = missing.last_complete.as_ref();
    wire::MissingProcess {
        process: missing.process.to_string(),
        reason: missing.reason.as_str().to_owned(),
        last_seen_us: missing.last_seen_us,
        last_complete_snapshot: complete.map(ToString::to_string).unwrap_or_default(),
        error: missing.reason.sentence().unwrap_or_default().to_owned(),
    }
}

fn check(check: Check) -> wire::Check {
    let figures = check.figures.into_iter().map(|(name, value)| wire::Figure {
        name: name.to_owned(),
        value: Some(wide(value)),
    });
    wire::Check {
        check: check.check.to_owned(),
        subject: check.subject,
        holds: check.holds,
        figures: figures.collect(),
    }
}
