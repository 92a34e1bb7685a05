//! Wire forms of parts: figures and hashes.

use std::collections::BTreeMap;

use super::{Unreadable, absent};
use crate::history::part::{Closing, Part, RecordedChannel, RecordedState, Run};
use crate::process::channel::Flow;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{Hash, Lsn, ProcessId, Seq, SnapshotId};
use crate::process::start::{Start, StartedBy};
use crate::proto::snapledger as wire;

/// Encodes a part.
#[must_use]
pub fn part_to_wire(part: &Part) -> wire::Part {
    wire::Part {
        snapshot_id: part.snapshot.to_string(),
        process: part.process.to_string(),
        initiator: part.initiator.to_string(),
        state: Some(state_to_wire(&part.state)),
        channels: part.channels.iter().map(channel_to_wire).collect(),
        open: part.open.iter().map(ProcessId::to_string).collect(),
        start: part.start.map(start_to_wire),
    }
}

/// Decodes a part.
///
/// # Errors
/// [`Unreadable`] if a field is absent or malformed.
pub fn part_from_wire(part: wire::Part) -> Result<Part, Unreadable> {
    let state = part.state.ok_or_else(|| absent("the recorded state"))?;
    let open = part.open.iter().map(|from| ProcessId::parse(from));
    Ok(Part {
        snapshot: SnapshotId::parse(&part.snapshot_id)?,
        process: ProcessId::parse(&part.process)?,
        initiator: ProcessId::parse(&part.initiator)?,
        state: state_from_wire(state)?,
        channels: part
            .channels
            .into_iter()
            .map(channel_from_wire)
            .collect::<Result<_, _>>()?,
        open: open.collect::<Result<_, _>>()?,
        start: part.start.and_then(start_from_wire),
    })
}

pub(super) fn start_to_wire(start: Start) -> wire::Start {
    wire::Start {
        by: start.by.as_str().to_owned(),
        deadline_us: start.deadline_us,
    }
}

// A newer program may name what this one does not know.
pub(super) fn start_from_wire(start: wire::Start) -> Option<Start> {
    Some(Start {
        by: StartedBy::parse(&start.by)?,
        deadline_us: start.deadline_us,
    })
}

/// Encodes a recorded state.
#[must_use]
pub fn state_to_wire(state: &RecordedState) -> wire::RecordedState {
    wire::RecordedState {
        position: state.position.0,
        time: state.time.0,
        logical_clock: state.clock.0,
        accounts: state.accounts,
        balance_total: Some(wide(state.balance_total)),
        deposits: Some(wide(state.deposits)),
        withdrawals: Some(wide(state.withdrawals)),
        sent: state
            .sent
            .iter()
            .map(|(process, flow)| flow_to_wire(process, flow))
            .collect(),
        delivered: state
            .delivered
            .iter()
            .map(|(process, flow)| flow_to_wire(process, flow))
            .collect(),
        journal_hash: state.journal.0.to_vec(),
        runs: state.runs.iter().map(run_to_wire).collect(),
        state_bytes: state.state_bytes,
        new_bytes: state.new_bytes,
    }
}

/// Decodes a recorded state.
///
/// # Errors
/// [`Unreadable`] if a field is malformed.
pub fn state_from_wire(state: wire::RecordedState) -> Result<RecordedState, Unreadable> {
    Ok(RecordedState {
        position: Lsn(state.position),
        time: Hlc(state.time),
        clock: Lamport(state.logical_clock),
        accounts: state.accounts,
        balance_total: narrow(state.balance_total),
        deposits: narrow(state.deposits),
        withdrawals: narrow(state.withdrawals),
        sent: flows_from_wire(state.sent)?,
        delivered: flows_from_wire(state.delivered)?,
        journal: hash(&state.journal_hash)?,
        runs: state
            .runs
            .into_iter()
            .map(run_from_wire)
            .collect::<Result<_, _>>()?,
        state_bytes: state.state_bytes,
        new_bytes: state.new_bytes,
    })
}

fn channel_to_wire(channel: &RecordedChannel) -> wire::RecordedChannel {
    wire::RecordedChannel {
        from: channel.from.to_string(),
        first: channel.first.0,
        last: channel.last.0,
        transfers: channel.transfers,
        amount: Some(wide(channel.amount)),
        chunks: channel
            .chunks
            .iter()
            .map(|chunk| chunk.0.to_vec())
            .collect(),
        closing: channel.closing.map(|closing| wire::Closing {
            position: closing.position.0,
            time: closing.time.0,
        }),
    }
}

fn channel_from_wire(channel: wire::RecordedChannel) -> Result<RecordedChannel, Unreadable> {
    Ok(RecordedChannel {
        from: ProcessId::parse(&channel.from)?,
        first: Seq(channel.first),
        last: Seq(channel.last),
        transfers: channel.transfers,
        amount: narrow(channel.amount),
        chunks: hashes(&channel.chunks)?,
        closing: channel.closing.map(|closing| Closing {
            position: Lsn(closing.position),
            time: Hlc(closing.time),
        }),
    })
}

fn run_to_wire(run: &Run) -> wire::Run {
    wire::Run {
        cells: run.cells,
        bytes: run.bytes,
        index: run.index.iter().map(|chunk| chunk.0.to_vec()).collect(),
    }
}

fn run_from_wire(run: wire::Run) -> Result<Run, Unreadable> {
    Ok(Run {
        cells: run.cells,
        bytes: run.bytes,
        index: hashes(&run.index)?,
    })
}

pub(super) fn flow_to_wire(process: &ProcessId, flow: &Flow) -> wire::Flow {
    wire::Flow {
        process: process.to_string(),
        sequence: flow.sequence.0,
        transfers: flow.transfers,
        amount: Some(wide(flow.amount)),
    }
}

pub(super) fn flows_from_wire(
    flows: Vec<wire::Flow>,
) -> Result<BTreeMap<ProcessId, Flow>, Unreadable> {
    let read = |flow: wire::Flow| {
        let passed = Flow {
            sequence: Seq(flow.sequence),
            transfers: flow.transfers,
            amount: narrow(flow.amount),
        };
        Ok((ProcessId::parse(&flow.process)?, passed))
    };
    flows.into_iter().map(read).collect()
}

fn hashes(hashes: &[Vec<u8>]) -> Result<Vec<Hash>, Unreadable> {
    hashes.iter().map(|bytes| hash(bytes)).collect()
}

pub(super) fn hash(bytes: &[u8]) -> Result<Hash, Unreadable> {
    let bytes = <[u8; 32]>::try_from(bytes);
    bytes
        .map(Hash)
        .map_err(|_| Unreadable("a hash of other than 32 bytes".to_owned()))
}

/// Encodes a sum.
#[must_use]
pub fn wide(value: i128) -> wire::Int128 {
    let [a, b, c, d, e, f, g, h, low @ ..] = value.to_be_bytes();
    wire::Int128 {
        high: i64::from_be_bytes([a, b, c, d, e, f, g, h]),
        low: u64::from_be_bytes(low),
    }
}

pub(super) fn narrow(value: Option<wire::Int128>) -> i128 {
    let value = value.unwrap_or_default();
    (i128::from(value.high) << 64) | i128::from(value.low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::tests::part_of;

    #[test]
    fn sums_of_any_size_and_sign_come_through() {
        for sum in [0, 1, -1, i128::from(i64::MAX) * 5, i128::MIN, i128::MAX] {
            assert_eq!(narrow(Some(wide(sum))), sum);
        }
    }

    // Without this, the nodes would say different things of one start, or a newer peer's part could not be collected.
    #[test]
    fn a_start_comes_through_and_one_of_an_unknown_kind_is_not_known() {
        let [q, p] = ["q", "p"].map(|id| ProcessId::parse(id).expect("a valid id"));
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        for by in StartedBy::ALL {
            let start = Start { by, deadline_us: 7 };
            let part = Part {
                start: Some(start),
                ..part_of(&snapshot, &q, &p)
            };
            let mut sent = part_to_wire(&part);
            assert_eq!(part_from_wire(sent.clone()), Ok(part));
            sent.start = Some(wire::Start {
                by: "tide".to_owned(),
                deadline_us: 7,
            });
            assert_eq!(
                part_from_wire(sent.clone()).map(|part| part.start),
                Ok(None)
            );
            sent.start = None;
            assert_eq!(part_from_wire(sent).map(|part| part.start), Ok(None));
        }
    }
}
