//! The properties of every snapshot, derived from the trace alone: who sent, received and recorded when.

use std::collections::BTreeMap;

use snapledger::process::Process;
use snapledger::process::ids::{ChannelId, ProcessId, Seq, SnapshotId};
use snapledger::process::message::Message;
use snapledger::process::record::Record;
use snapledger::simulate::GlobalState;

use super::case::Run;

/// The error describes a violated property.
pub(crate) type Checked = Result<(), String>;

/// The traffic of one channel. Moments count all records of the trace.
#[derive(Default)]
struct Traffic {
    sent: Vec<(usize, Message)>,
    delivered: Vec<(usize, Message)>,
}

/// The trace, by channel and by recording.
pub(crate) struct Observed {
    channels: BTreeMap<ChannelId, Traffic>,
    recorded: BTreeMap<(SnapshotId, ProcessId), usize>,
}

impl Observed {
    /// Sorts the trace and checks that every channel is FIFO: sequence numbers without gaps at both ends, and each
    /// message arrives as it was sent.
    pub(crate) fn fifo(run: &Run) -> Result<Self, String> {
        let channels = run.scenario.topology.channels();
        let mut observed = Self {
            channels: channels
                .map(|channel| (channel, Traffic::default()))
                .collect(),
            recorded: BTreeMap::new(),
        };
        let turns = run.trace.iter();
        let records = turns.flat_map(|(_, me, turn)| turn.records.iter().map(move |r| (me, r)));
        for (moment, (me, record)) in records.enumerate() {
            observed.note(moment, me, record)?;
        }
        Ok(observed)
    }

    fn note(&mut self, moment: usize, me: &ProcessId, record: &Record) -> Checked {
        match record {
            Record::Sent { to, seq, message } => {
                let traffic = self.traffic(me, to)?;
                traffic.sent.push((moment, message.clone()));
                expect(*seq, traffic.sent.len(), "sent")
            }
            Record::Delivered {
                from, seq, message, ..
            } => {
                let traffic = self.traffic(from, me)?;
                traffic.delivered.push((moment, message.clone()));
                let place = traffic.delivered.len() - 1;
                let sent = traffic.sent.get(place).map(|(_, message)| message);
                if sent != Some(message) {
                    return Err(format!(
                        "{from}→{me} #{seq}: {message:?} arrived, {sent:?} was sent"
                    ));
                }
                expect(*seq, traffic.delivered.len(), "delivered")
            }
            Record::StateRecorded { snapshot, .. } => {
                let once = self.recorded.insert((snapshot.clone(), me.clone()), moment);
                once.map_or(Ok(()), |_| Err(format!("{me} recorded {snapshot} twice")))
            }
            _ => Ok(()),
        }
    }

    fn traffic(&mut self, from: &ProcessId, to: &ProcessId) -> Result<&mut Traffic, String> {
        let channel = ChannelId {
            from: from.clone(),
            to: to.clone(),
        };
        let found = self.channels.get_mut(&channel);
        found.ok_or_else(|| format!("there is no channel {channel}"))
    }

    /// Checks that the cut of the snapshot is consistent, and that its recorded messages are exactly those sent before
    /// the sender's recording and not received before the receiver's.
    pub(crate) fn cut(&self, snapshot: &GlobalState) -> Checked {
        let id = SnapshotId::parse(&snapshot.number.to_string()).map_err(|e| e.to_string())?;
        for (channel, traffic) in &self.channels {
            let recorded_at = |process: &ProcessId| {
                let moment = self.recorded.get(&(id.clone(), process.clone()));
                moment
                    .copied()
                    .ok_or_else(|| format!("{process} never recorded {id}"))
            };
            let (sender, receiver) = (recorded_at(&channel.from)?, recorded_at(&channel.to)?);
            let sent = traffic.sent.partition_point(|(moment, _)| *moment < sender);
            let received = traffic
                .delivered
                .partition_point(|(moment, _)| *moment < receiver);
            if received > sent {
                return Err(format!(
                    "{channel}: {received} received, {sent} sent before the cut {id}"
                ));
            }
            let between = traffic.sent[received..sent].iter();
            let between = between.filter_map(|(_, message)| message.body.transfer());
            let between: Vec<_> = between.map(|transfer| transfer.amount.units()).collect();
            let recorded = snapshot.messages.iter();
            let recorded = recorded.filter(|m| m.from == channel.from && m.to == channel.to);
            let recorded: Vec<_> = recorded.map(|message| message.tokens).collect();
            if recorded != between {
                return Err(format!(
                    "{channel} in {id}: {recorded:?} recorded, {between:?} between"
                ));
            }
        }
        Ok(())
    }
}

fn expect(seq: Seq, count: usize, what: &str) -> Checked {
    if seq.0 == count as u64 {
        return Ok(());
    }
    Err(format!("#{seq} was {what} as number {count}"))
}

/// Checks that the balances and channels of the snapshot add up to all tokens of the scenario.
pub(crate) fn conserved(run: &Run, snapshot: &GlobalState) -> Checked {
    let all: i64 = run.scenario.tokens.values().sum();
    let balances: i64 = snapshot.tokens.iter().map(|(_, tokens)| tokens).sum();
    let in_flight: i64 = snapshot.messages.iter().map(|message| message.tokens).sum();
    if balances + in_flight == all {
        return Ok(());
    }
    Err(format!(
        "{}: {balances} + {in_flight} of {all} tokens",
        snapshot.number
    ))
}

/// Checks that the turns of a process, replayed, record the same states.
pub(crate) fn replayed(run: &Run) -> Checked {
    for (place, id) in run.scenario.topology.processes().enumerate() {
        let mut process = Process::new(id.clone(), run.scenario.topology.clone(), usize::MAX);
        for (_, _, turn) in run.trace.iter().filter(|(_, whose, _)| whose == id) {
            process.replay(turn);
        }
        for sealed in process.take_sealed() {
            let number = sealed
                .snapshot
                .as_ref()
                .and_then(|id| id.as_str().parse::<usize>().ok());
            let number = number.ok_or("a state without a snapshot")?;
            let (_, tokens) = run.report.snapshots[number].tokens[place];
            if sealed.balance_total != i128::from(tokens) {
                return Err(format!(
                    "{id} in {number}: {} replayed, {tokens} reported",
                    sealed.balance_total
                ));
            }
        }
    }
    Ok(())
}
