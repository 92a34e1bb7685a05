//! Wire forms of what a process contributes to a diagram.

use std::collections::BTreeMap;

use super::Unreadable;
use crate::history::diagram::excerpt::{
    Content, Direction, Excerpt, ExcerptQuery, MessageEnd, SeqRange, TurnPlace, Window,
};
use crate::history::past::JournalPosition;
use crate::process::clock::Hlc;
use crate::process::ids::{Amount, Lsn, ProcessId, Seq, SnapshotId};
use crate::process::message::is_transfer_id;
use crate::proto::snapledger as wire;

/// The largest number of ends that a process answers with, wanted ones and others each.
const ENDS_MAX: usize = 20_000;

/// Encodes a query; `cluster` is that of the caller.
#[must_use]
pub fn excerpt_query_to_wire(query: &ExcerptQuery, cluster: &str) -> wire::MessagesAroundRequest {
    wire::MessagesAroundRequest {
        cluster: cluster.to_owned(),
        cut: query.cut.as_ref().map(|cut| wire::Place {
            position: cut.position.0,
            journal_hash: cut.journal.clone(),
        }),
        from: query.window.from.0,
        to: query.window.to.0,
        limit: u32::try_from(query.limit).unwrap_or(u32::MAX),
        sent: ranges_to_wire(&query.sent),
        delivered: ranges_to_wire(&query.delivered),
    }
}

/// Decodes a query; its bounds are those of an answer.
///
/// # Errors
/// [`Unreadable`] if an id is malformed, or more messages are wanted than an answer holds.
pub fn excerpt_query_from_wire(
    query: wire::MessagesAroundRequest,
) -> Result<ExcerptQuery, Unreadable> {
    let limit = usize::try_from(query.limit).map_or(ENDS_MAX, |limit| limit.min(ENDS_MAX));
    Ok(ExcerptQuery {
        cut: query.cut.map(|cut| JournalPosition {
            position: Lsn(cut.position),
            journal: cut.journal_hash,
        }),
        window: Window {
            from: Hlc(query.from),
            to: Hlc(query.to),
        },
        limit,
        sent: ranges_from_wire(query.sent)?,
        delivered: ranges_from_wire(query.delivered)?,
    })
}

/// Encodes an answer of this process.
#[must_use]
pub fn excerpt_to_wire(me: &ProcessId, excerpt: Excerpt) -> wire::MessagesAroundAnswer {
    wire::MessagesAroundAnswer {
        process: me.to_string(),
        since: excerpt.since.map_or(0, |since| since.0),
        ends: excerpt.ends.into_iter().map(end_to_wire).collect(),
        truncated: excerpt.is_truncated,
    }
}

/// Decodes an answer.
///
/// # Errors
/// [`Unreadable`] if a field is malformed.
pub fn excerpt_from_wire(answer: wire::MessagesAroundAnswer) -> Result<Excerpt, Unreadable> {
    let ends = answer.ends.into_iter().map(end_from_wire);
    Ok(Excerpt {
        since: Some(Hlc(answer.since)).filter(|since| since.0 > 0),
        ends: ends.collect::<Result<_, _>>()?,
        is_truncated: answer.truncated,
    })
}

fn ranges_to_wire(ranges: &BTreeMap<ProcessId, SeqRange>) -> Vec<wire::MessageRange> {
    let ranges = ranges.iter().map(|(process, range)| wire::MessageRange {
        process: process.to_string(),
        first: range.first.0,
        last: range.last.0,
    });
    ranges.collect()
}

fn ranges_from_wire(
    ranges: Vec<wire::MessageRange>,
) -> Result<BTreeMap<ProcessId, SeqRange>, Unreadable> {
    let wanted = ranges.iter().try_fold(0_u64, |sum, range| {
        let count = range.last.saturating_sub(range.first).saturating_add(1);
        sum.checked_add(count).filter(|sum| *sum <= ENDS_MAX as u64)
    });
    if wanted.is_none() {
        return Err(Unreadable(format!("more than {ENDS_MAX} messages wanted")));
    }
    let read = |range: wire::MessageRange| {
        let process = ProcessId::parse(&range.process)?;
        let range = SeqRange {
            first: Seq(range.first),
            last: Seq(range.last),
        };
        Ok((process, range))
    };
    ranges.into_iter().map(read).collect()
}

fn end_to_wire(end: MessageEnd) -> wire::MessageEnd {
    let named = wire::MessageEnd {
        process: end.other.to_string(),
        delivered: end.direction == Direction::Delivered,
        sequence: end.seq.0,
        position: end.place.position.0,
        time: end.place.time.0,
        ..wire::MessageEnd::default()
    };
    match end.content {
        Content::Transfer { id, amount } => wire::MessageEnd {
            transfer_id: id.into(),
            amount: amount.units(),
            ..named
        },
        Content::Write => named,
        Content::Marker(snapshot) => wire::MessageEnd {
            snapshot_id: snapshot.to_string(),
            ..named
        },
    }
}

fn end_from_wire(end: wire::MessageEnd) -> Result<MessageEnd, Unreadable> {
    let content = if end.amount != 0 {
        if !is_transfer_id(&end.transfer_id) {
            return Err(Unreadable("an invalid transfer id".to_owned()));
        }
        Content::Transfer {
            amount: Amount::new(end.amount)
                .ok_or_else(|| Unreadable(format!("an amount of {}", end.amount)))?,
            id: end.transfer_id.into(),
        }
    } else if end.snapshot_id.is_empty() {
        Content::Write
    } else {
        Content::Marker(SnapshotId::parse(&end.snapshot_id)?)
    };
    Ok(MessageEnd {
        other: ProcessId::parse(&end.process)?,
        direction: match end.delivered {
            true => Direction::Delivered,
            false => Direction::Sent,
        },
        seq: Seq(end.sequence),
        place: TurnPlace {
            position: Lsn(end.position),
            time: Hlc(end.time),
        },
        content,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    #[test]
    fn a_query_and_an_answer_come_through() {
        let range = SeqRange {
            first: Seq(3),
            last: Seq(9),
        };
        let query = ExcerptQuery {
            cut: Some(JournalPosition {
                position: Lsn(5),
                journal: vec![7; 32],
            }),
            window: Window {
                from: Hlc(1),
                to: Hlc(2),
            },
            limit: 77,
            sent: BTreeMap::from([(process("q"), range)]),
            delivered: BTreeMap::from([(process("r"), range)]),
        };
        let read = excerpt_query_from_wire(excerpt_query_to_wire(&query, "demo"));
        assert_eq!(read.expect("it is valid"), query);
        let transfer = Content::Transfer {
            id: "t".into(),
            amount: Amount::new(5).expect("positive"),
        };
        let marker = Content::Marker(SnapshotId::parse("s").expect("a valid id"));
        let end = |direction, content| MessageEnd {
            other: process("q"),
            direction,
            seq: Seq(1),
            place: TurnPlace {
                position: Lsn(2),
                time: Hlc(3),
            },
            content,
        };
        let excerpt = Excerpt {
            since: Some(Hlc(4)),
            ends: vec![
                end(Direction::Sent, transfer),
                end(Direction::Delivered, marker),
                end(Direction::Sent, Content::Write),
            ],
            is_truncated: true,
        };
        let read = excerpt_from_wire(excerpt_to_wire(&process("p"), excerpt.clone()));
        assert_eq!(read.expect("it is valid"), excerpt);
    }

    // Without this a peer could make this process hold any number of messages in memory.
    #[test]
    fn a_query_is_bounded() {
        let query = |first, last| wire::MessagesAroundRequest {
            limit: u32::MAX,
            sent: vec![wire::MessageRange {
                process: "q".to_owned(),
                first,
                last,
            }],
            ..wire::MessagesAroundRequest::default()
        };
        let read = excerpt_query_from_wire(query(1, ENDS_MAX as u64));
        assert_eq!(read.expect("it fits").limit, ENDS_MAX);
        for (first, last) in [(1, ENDS_MAX as u64 + 1), (0, u64::MAX)] {
            let refused = excerpt_query_from_wire(query(first, last));
            refused.expect_err("it is too much");
        }
    }
}
