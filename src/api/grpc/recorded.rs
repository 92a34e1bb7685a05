//! Recorded parts in the published interface, within the size of one answer.

use serde::Serialize;

use super::super::error::Failure;
use super::super::time::rfc3339;
use super::sizes::ANSWER_BYTES_MAX;
use crate::history::global::GlobalState;
use crate::history::part::{Part, RecordedChannel, RecordedMessage, RecordedState};
use crate::process::cell::Cell;
use crate::process::ids::{ChannelId, SnapshotId};
use crate::proto::chandy_lamport::{ApplicationMessage, ChannelState, ProcessState};
use crate::store::Store;
use crate::transport::wire::MessageJson;

/// Reads parts and stops as soon as they exceed one answer, so a large state is never collected only to be refused.
pub(super) struct Reader<'a> {
    store: &'a Store,
    snapshot: &'a SnapshotId,
    bytes_left: usize,
}

impl<'a> Reader<'a> {
    /// Starts an answer.
    pub(super) fn new(store: &'a Store, snapshot: &'a SnapshotId) -> Self {
        Self {
            store,
            snapshot,
            bytes_left: ANSWER_BYTES_MAX,
        }
    }

    /// The failure for an answer that exceeds the limit.
    pub(super) fn too_large(&self) -> Failure {
        Failure::AnswerTooLarge(self.snapshot.clone())
    }

    // Counts no more than the encoded size: an answer that fits is never refused.
    fn take(&mut self, bytes: usize) -> Result<(), Failure> {
        let left = self.bytes_left.checked_sub(bytes);
        self.bytes_left = left.ok_or_else(|| self.too_large())?;
        Ok(())
    }

    /// The recorded state of a process.
    pub(super) fn process_state(&mut self, part: &Part) -> Result<ProcessState, Failure> {
        let mut shown = ProcessState {
            process_id: part.process.to_string(),
            state_data: state_data(&part.state),
            logical_clock: part.state.clock.0,
            ..ProcessState::default()
        };
        for cell in self.store.states().cells(&part.state.runs, None)? {
            match cell? {
                Cell::Account { account, balance } => {
                    self.take(account.as_str().len() + 4)?;
                    shown.account_balances.insert(account.to_string(), balance);
                }
                Cell::Key(write) => {
                    if let Some(value) = &write.value {
                        self.take(write.key.as_str().len() + value.len() + 4)?;
                        shown
                            .kv_state
                            .insert(write.key.to_string(), value.to_string());
                    }
                }
                // Accounts and keys sort first; the remaining cells are not part of the answer.
                Cell::Request { .. } | Cell::Snapshot(_) => break,
            }
        }
        Ok(shown)
    }

    /// The closed recorded channels of a process.
    pub(super) fn channel_states(&mut self, part: &Part) -> Result<Vec<ChannelState>, Failure> {
        let mut shown = Vec::with_capacity(part.channels.len());
        for channel in &part.channels {
            let ends = ChannelId {
                from: channel.from.clone(),
                to: part.process.clone(),
            };
            let messages = self.messages(&ends, channel)?;
            shown.push(ChannelState {
                from_process: ends.from.to_string(),
                to_process: ends.to.to_string(),
                messages,
            });
        }
        Ok(shown)
    }

    fn messages(
        &mut self,
        ends: &ChannelId,
        channel: &RecordedChannel,
    ) -> Result<Vec<ApplicationMessage>, Failure> {
        let mut messages = Vec::new();
        for recorded in self.store.chunks().messages(channel) {
            let message = message(ends, &recorded?);
            self.take(message.payload.len() + message.message_id.len())?;
            messages.push(message);
        }
        Ok(messages)
    }
}

#[derive(Serialize)]
struct StateData {
    position: u64,
    recorded_at: String,
    accounts: u64,
    balance_total: i128,
    deposits: i128,
    withdrawals: i128,
    journal_hash: String,
}

fn state_data(state: &RecordedState) -> Vec<u8> {
    json(&StateData {
        position: state.position.0,
        recorded_at: rfc3339(state.time.wall_us()),
        accounts: state.accounts,
        balance_total: state.balance_total,
        deposits: state.deposits,
        withdrawals: state.withdrawals,
        journal_hash: state.journal.to_string(),
    })
}

fn message(ends: &ChannelId, recorded: &RecordedMessage) -> ApplicationMessage {
    ApplicationMessage {
        message_id: format!("{}>{}#{}", ends.from, ends.to, recorded.seq),
        from_process: ends.from.to_string(),
        to_process: ends.to.to_string(),
        payload: json(&MessageJson::from(&recorded.message.body)),
        message_type: recorded.message.body.kind().to_owned(),
        sender_clock: recorded.message.clock.0,
    }
}

fn json(shown: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(shown).expect("a struct of strings and numbers is always JSON")
}

/// The missing processes with reasons, and the unfinished channels, as a sentence.
pub(super) fn what_is_missing(state: &GlobalState) -> String {
    let missing = state.missing().iter().map(|missing| {
        let seen = missing.last_seen_us.map_or_else(
            || "never seen".to_owned(),
            |us| format!("last seen {}", rfc3339(us)),
        );
        let complete = missing.last_complete.as_ref().map_or_else(
            || "in no complete snapshot".to_owned(),
            |snapshot| format!("last complete in {snapshot:?}"),
        );
        let why = missing.reason.sentence();
        let why = why.map(|why| format!("; {why}")).unwrap_or_default();
        format!(
            "{} ({}{why}; {seen}; {complete})",
            missing.process,
            missing.reason.as_str()
        )
    });
    let missing: Vec<String> = missing.collect();
    let open: Vec<String> = state
        .open_channels()
        .iter()
        .map(|channel| match state.why_open(channel) {
            (reason, Some(why)) => format!("{channel} ({reason}; {why})"),
            (reason, None) => format!("{channel} ({reason})"),
        })
        .collect();
    let named = |what: &str, names: &[String]| match names {
        [] => String::new(),
        names => format!("; {what}: {}", names.join(", ")),
    };
    named("missing", &missing) + &named("open channels", &open)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::part::Chunk;
    use crate::process::clock::Lamport;
    use crate::process::ids::{Hash, Key, ProcessId, Seq};
    use crate::process::message::VALUE_BYTES_MAX;
    use crate::process::message::{Body, Message, Stamp, Write};
    use crate::store::codec::encode_chunk;

    fn put(seq: Seq) -> RecordedMessage {
        let process = ProcessId::parse("q").expect("a valid id");
        let body = Body::from(Write {
            key: Key::parse("k").expect("a valid key"),
            value: Some("v".repeat(VALUE_BYTES_MAX).into()),
            stamp: Stamp {
                clock: Lamport(1),
                process,
            },
        });
        let message = Message {
            clock: Lamport(1),
            body,
        };
        RecordedMessage { seq, message }
    }

    // Without this, a channel of any length is collected in memory before it is refused.
    #[test]
    fn what_passes_the_limit_is_refused_before_the_rest_is_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let me = ProcessId::parse("p").expect("a valid id");
        let store = Store::open(dir.path(), "c", &me).expect("a new store");
        let enough = ANSWER_BYTES_MAX / VALUE_BYTES_MAX + 1;
        let messages: Vec<_> = (1..=enough as u64).map(|seq| put(Seq(seq))).collect();
        let (stored, hash) = encode_chunk(&Chunk::Messages(messages), None);
        let adopted = store.chunks().adopt([(hash, stored)]);
        adopted.expect("it is whole");
        let channel = RecordedChannel {
            from: ProcessId::parse("q").expect("a valid id"),
            first: Seq(1),
            last: Seq(2 * enough as u64),
            transfers: 0,
            amount: 0,
            // The second chunk is absent and must not be requested.
            chunks: vec![hash, Hash::default()],
            closing: None,
        };
        let ends = ChannelId {
            from: channel.from.clone(),
            to: me,
        };
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let read = Reader::new(&store, &snapshot).messages(&ends, &channel);
        assert!(matches!(read, Err(Failure::AnswerTooLarge(_))));
    }
}
