//! The part of a foreign process, from its answer to `GetSnapshot`.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Foreign, Unreadable, absent};
use crate::history::reported::{ReportedFigures, ReportedState};
use crate::process::channel::Flow;
use crate::process::clock::Lamport;
use crate::process::ids::{AccountId, Key, ProcessId, Seq, SnapshotId};
use crate::process::message::VALUE_BYTES_MAX;
use crate::process::message::{Message, Stamp, Write};
use crate::proto::chandy_lamport::{ChannelState, GetSnapshotResponse, ProcessState};

/// The optional figures of a foreign process in `state_data`, as JSON; sums in minor units.
#[derive(Deserialize)]
struct StateData {
    deposits: i64,
    withdrawals: i64,
    sent: BTreeMap<String, Passed>,
    delivered: BTreeMap<String, Passed>,
}

/// The transfers that passed one end of a channel before the recording.
#[derive(Deserialize)]
struct Passed {
    transfers: u64,
    amount: i64,
}

/// Decodes the answer of a process about a snapshot that it has recorded.
///
/// # Errors
/// [`Unreadable`] if a field is absent, malformed, or of another process or snapshot.
pub fn told_from_wire(
    process: &ProcessId,
    snapshot: &SnapshotId,
    answer: GetSnapshotResponse,
) -> Result<ReportedState, Unreadable> {
    let state = answer.local_state.ok_or_else(|| absent("local_state"))?;
    if answer.snapshot_id != snapshot.as_str() {
        return Err(Unreadable(format!(
            "the part of snapshot {:?}",
            answer.snapshot_id
        )));
    }
    // An empty id means the process that was asked.
    if !["", process.as_str()].contains(&state.process_id.as_str()) {
        return Err(Unreadable(format!(
            "the state of process {:?}",
            state.process_id
        )));
    }
    let mut told = ReportedState {
        snapshot: snapshot.clone(),
        process: process.clone(),
        // The clock may have any value, and the start of a snapshot is the next one, so it is capped.
        clock: Lamport::default().reach(Lamport(state.logical_clock)),
        accounts: BTreeMap::new(),
        keys: BTreeMap::new(),
        channels: BTreeMap::new(),
        is_finished: answer.recording_complete,
        figures: figures(&state.state_data)?,
    };
    contents(&mut told, state)?;
    for channel in answer.channel_states {
        let (from, messages) = recorded(process, channel)?;
        if told.channels.insert(from.clone(), messages).is_some() {
            return Err(Unreadable(format!("the channel from {from:?} twice")));
        }
    }
    Ok(told)
}

fn contents(told: &mut ReportedState, state: ProcessState) -> Result<(), Unreadable> {
    for (account, balance) in state.account_balances {
        told.accounts.insert(AccountId::parse(&account)?, balance);
    }
    for (key, value) in state.kv_state {
        if value.len() > VALUE_BYTES_MAX {
            return Err(Unreadable(format!("a value of {} bytes", value.len())));
        }
        let stamp = Stamp {
            clock: told.clock,
            process: told.process.clone(),
        };
        let key = Key::parse(&key)?;
        let write = Write {
            key: key.clone(),
            value: Some(value.into()),
            stamp,
        };
        told.keys.insert(key, write);
    }
    Ok(())
}

fn recorded(
    process: &ProcessId,
    channel: ChannelState,
) -> Result<(ProcessId, Vec<Message>), Unreadable> {
    let from = ProcessId::parse(&channel.from_process)?;
    if channel.to_process != process.as_str() {
        return Err(Unreadable(format!("a channel to {:?}", channel.to_process)));
    }
    let mut messages = Vec::with_capacity(channel.messages.len());
    // Markers of other snapshots carry nothing to record.
    let sent = channel.messages.into_iter();
    for sent in sent.filter(|sent| sent.message_type != "marker") {
        let clock = Lamport(sent.sender_clock);
        let foreign = Foreign {
            message_type: &sent.message_type,
            payload: &sent.payload,
            from: &from,
            clock,
            fallback_id: format!("{from}>{process}/{}", sent.message_id),
        };
        let body = foreign.read().map_err(|bad| Unreadable(bad.to_string()))?;
        messages.push(Message { clock, body });
    }
    Ok((from, messages))
}

// The figures are optional: `state_data` of any other form has none. Negative figures are an error.
fn figures(state_data: &[u8]) -> Result<Option<ReportedFigures>, Unreadable> {
    let Ok(reported) = serde_json::from_slice::<StateData>(state_data) else {
        return Ok(None);
    };
    Ok(Some(ReportedFigures {
        deposits: sum(reported.deposits)?,
        withdrawals: sum(reported.withdrawals)?,
        sent: flows(reported.sent)?,
        delivered: flows(reported.delivered)?,
    }))
}

fn flows(reported: BTreeMap<String, Passed>) -> Result<BTreeMap<ProcessId, Flow>, Unreadable> {
    let flow = |(process, passed): (String, Passed)| {
        let flow = Flow {
            sequence: Seq(0),
            transfers: passed.transfers,
            amount: sum(passed.amount)?,
        };
        Ok((ProcessId::parse(&process)?, flow))
    };
    reported.into_iter().map(flow).collect()
}

fn sum(units: i64) -> Result<i128, Unreadable> {
    match units {
        0.. => Ok(i128::from(units)),
        _ => Err(Unreadable(format!("a sum of {units} in state_data"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_followed_no_further_than_there_is_room_to_tick() {
        let (x, snapshot) = (ProcessId::parse("x"), SnapshotId::parse("s"));
        let (x, snapshot) = (x.expect("a valid id"), snapshot.expect("a valid id"));
        for (logical_clock, followed) in [(7, 7), (u64::MAX, u64::MAX / 2)] {
            let answer = GetSnapshotResponse {
                snapshot_id: snapshot.to_string(),
                local_state: Some(ProcessState {
                    logical_clock,
                    ..ProcessState::default()
                }),
                ..GetSnapshotResponse::default()
            };
            let told = told_from_wire(&x, &snapshot, answer).expect("it is whole");
            assert_eq!(told.clock, Lamport(followed));
        }
    }
}
