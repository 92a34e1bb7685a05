//! Wire form of the present figures of a process.

use super::part::{narrow, wide};
use super::stopped::sentence_from_wire;
use super::{Unreadable, absent};
use crate::history::vitals::{
    ChannelCondition, ChannelEnd, ChannelView, ReceivingEnd, SendingEnd, StoreSpace, Vitals,
};
use crate::process::channel::Waiting;
use crate::process::clock::Hlc;
use crate::process::ids::{ChannelId, Lsn, ProcessId, Seq};
use crate::proto::snapledger as wire;

/// The maximum number of warnings of one process.
const WARNINGS_MAX: usize = 256;

/// Encodes the figures of a process for another node.
#[must_use]
pub fn vitals_to_wire(process: &ProcessId, vitals: &Vitals) -> wire::ProcessVitals {
    let channel = |from: &ProcessId, to: &ProcessId| ChannelId {
        from: from.clone(),
        to: to.clone(),
    };
    let outgoing = vitals.outgoing.iter().map(|(to, sending)| {
        let view = ChannelView {
            sending: Some(sending),
            receiving: None,
        };
        channel_to_wire(&channel(process, to), view)
    });
    let incoming = vitals.incoming.iter().map(|(from, receiving)| {
        let view = ChannelView {
            sending: None,
            receiving: Some(receiving),
        };
        channel_to_wire(&channel(from, process), view)
    });
    let space = vitals.space.map(|space| wire::StoreSpace {
        disk_bytes: space.disk,
        free_bytes: space.free,
    });
    wire::ProcessVitals {
        process: process.to_string(),
        version: vitals.version.clone(),
        started_us: vitals.started_us,
        journal_position: vitals.position.0,
        records: vitals.records,
        accounts: vitals.accounts,
        space,
        not_ready: vitals.not_ready.clone().unwrap_or_default(),
        warnings: vitals.warnings.clone(),
        channels: outgoing.chain(incoming).collect(),
    }
}

/// Encodes a channel as far as its ends are known.
#[must_use]
pub fn channel_to_wire(channel: &ChannelId, view: ChannelView<'_>) -> wire::ChannelFigures {
    let end = view.end();
    let waiting = view.sending.and_then(|sending| sending.waiting);
    wire::ChannelFigures {
        from: channel.from.to_string(),
        to: channel.to.to_string(),
        state: end.map_or_else(String::new, |end| end.state.as_str().to_owned()),
        error: end.and_then(|end| end.error.clone()).unwrap_or_default(),
        sent: view.sending.map(|sending| sending.sent.0),
        acknowledged: view.sending.map(|sending| sending.acknowledged.0),
        delivered: view.receiving.map(|receiving| receiving.delivered.0),
        waiting: view.sending.map(SendingEnd::waiting_messages),
        waiting_amount: waiting.map(|waiting| wide(waiting.amount)),
        oldest: waiting.and_then(|waiting| Some(waiting.oldest?.0)),
        recording: view.receiving.map(|receiving| receiving.is_recording),
    }
}

/// Decodes the figures that a process gives of itself. Channels of other processes are ignored.
///
/// # Errors
/// [`Unreadable`] if an id or a state is malformed.
pub fn vitals_from_wire(
    process: &ProcessId,
    told: wire::ProcessVitals,
) -> Result<Vitals, Unreadable> {
    let warnings = told.warnings.into_iter().take(WARNINGS_MAX);
    let mut vitals = Vitals {
        version: sentence_from_wire(told.version),
        started_us: told.started_us,
        position: Lsn(told.journal_position),
        records: told.records,
        accounts: told.accounts,
        space: told.space.map(|space| StoreSpace {
            disk: space.disk_bytes,
            free: space.free_bytes,
        }),
        not_ready: said(told.not_ready),
        warnings: warnings.map(sentence_from_wire).collect(),
        outgoing: Default::default(),
        incoming: Default::default(),
    };
    for channel in told.channels {
        let (from, to) = (
            ProcessId::parse(&channel.from)?,
            ProcessId::parse(&channel.to)?,
        );
        if from == *process {
            vitals.outgoing.insert(to, sending(channel)?);
        } else if to == *process {
            vitals.incoming.insert(from, receiving(channel)?);
        }
    }
    Ok(vitals)
}

fn sending(channel: wire::ChannelFigures) -> Result<SendingEnd, Unreadable> {
    let sent = Seq(channel.sent.ok_or_else(|| absent("what was sent"))?);
    let acknowledged = channel.acknowledged;
    let acknowledged = Seq(acknowledged.ok_or_else(|| absent("what is acknowledged"))?);
    let counted = sent.0.saturating_sub(acknowledged.0);
    let (messages, oldest) = (channel.waiting.unwrap_or(counted), channel.oldest);
    let waiting = channel.waiting_amount.map(|amount| Waiting {
        messages,
        amount: narrow(Some(amount)),
        oldest: oldest.map(Hlc),
    });
    Ok(SendingEnd {
        end: end(channel.state, channel.error)?,
        sent,
        acknowledged,
        waiting,
    })
}

fn receiving(channel: wire::ChannelFigures) -> Result<ReceivingEnd, Unreadable> {
    let delivered = channel.delivered;
    Ok(ReceivingEnd {
        end: end(channel.state, channel.error)?,
        delivered: Seq(delivered.ok_or_else(|| absent("what was delivered"))?),
        is_recording: channel.recording.unwrap_or(false),
    })
}

fn end(state: String, error: String) -> Result<ChannelEnd, Unreadable> {
    let known = ChannelCondition::named(&state);
    let state = known.ok_or_else(|| Unreadable(format!("the state of a channel, {state:?}")))?;
    let error = said(error);
    Ok(ChannelEnd { state, error })
}

fn said(sentence: String) -> Option<String> {
    Some(sentence_from_wire(sentence)).filter(|sentence| !sentence.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    fn told() -> Vitals {
        let end = |state, error: Option<&str>| ChannelEnd {
            state,
            error: error.map(str::to_owned),
        };
        let sending = SendingEnd {
            end: end(ChannelCondition::Stopped, Some("they contradict")),
            sent: Seq(9),
            acknowledged: Seq(7),
            // Read later than the two.
            waiting: Some(Waiting {
                messages: 3,
                amount: i128::from(i64::MAX) * 2,
                oldest: Some(Hlc(5)),
            }),
        };
        let receiving = ReceivingEnd {
            end: end(ChannelCondition::Open, None),
            delivered: Seq(3),
            is_recording: true,
        };
        Vitals {
            version: "0.2.0".to_owned(),
            started_us: 1,
            position: Lsn(2),
            records: 3,
            accounts: 4,
            space: Some(StoreSpace { disk: 5, free: 6 }),
            not_ready: None,
            warnings: vec!["slow".to_owned()],
            outgoing: [(process("q"), sending)].into(),
            incoming: [(process("r"), receiving)].into(),
        }
    }

    #[test]
    fn what_is_told_is_read_again() {
        let mut vitals = told();
        let wire = vitals_to_wire(&process("p"), &vitals);
        let read = vitals_from_wire(&process("p"), wire.clone());
        assert_eq!(read.as_ref(), Ok(&vitals));
        // Without this a number is shown beside the sum of other messages.
        assert_eq!(wire.channels[0].waiting, Some(3));
        vitals.space = None;
        vitals.not_ready = Some("full".to_owned());
        let sending = vitals.outgoing.get_mut(&process("q"));
        let sending = sending.expect("it is there");
        sending.waiting = None;
        assert_eq!(sending.waiting_messages(), 2);
        let read = vitals_from_wire(&process("p"), vitals_to_wire(&process("p"), &vitals));
        assert_eq!(read, Ok(vitals));
    }

    // Without this, one node could speak for the channels of others, or draw on the terminal of an operator.
    #[test]
    fn a_process_speaks_of_itself_alone_and_in_bounded_plain_text() {
        let vitals = vitals_to_wire(&process("p"), &told());
        let read = vitals_from_wire(&process("x"), vitals.clone()).expect("valid ids");
        assert!(read.outgoing.is_empty() && read.incoming.is_empty());
        let mut odd = vitals.clone();
        odd.warnings = vec!["a\u{1b}b".to_owned() + &"ö".repeat(4096); 2 * WARNINGS_MAX];
        let read = vitals_from_wire(&process("p"), odd).expect("valid ids");
        assert_eq!(read.warnings.len(), WARNINGS_MAX);
        assert!(read.warnings[0].starts_with("abö") && read.warnings[0].len() <= 1024);
        for wrong in [
            |channel: &mut wire::ChannelFigures| channel.state = "ajar".to_owned(),
            |channel: &mut wire::ChannelFigures| channel.from = String::new(),
            |channel: &mut wire::ChannelFigures| channel.sent = None,
        ] {
            let mut odd = vitals.clone();
            wrong(&mut odd.channels[0]);
            assert!(vitals_from_wire(&process("p"), odd).is_err());
        }
    }
}
