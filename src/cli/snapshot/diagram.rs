//! `snapshot diagram`: the space-time diagram of a snapshot in the terminal, or as an SVG file.

use std::collections::BTreeMap;
use std::io::IsTerminal as _;
use std::path::PathBuf;

use serde::Deserialize;
use serde_json::Value;

use super::{Revision, path_of};
use crate::api::time::read;
use crate::cli::output::{columns, print, write_file};
use crate::cli::rest::{RestAnswer, RestClient, RestOptions, given};
use crate::cli::{CliError, OutputFormat};
use crate::picture::{Amounts, Axis, Cut, Lane, Marker, Message, Picture, Recording, Unit};

#[derive(Debug, clap::Args)]
pub(super) struct DiagramArgs {
    /// The snapshot, or `latest`.
    #[arg(value_name = "ID|latest")]
    id: String,
    #[command(flatten)]
    revision: Revision,
    /// Write the picture to this file as SVG.
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// How long before the first recording to begin, at most 1h [default: 20ms].
    #[arg(long, value_name = "DURATION")]
    before: Option<String>,
    /// How long behind the last recording or closing to end, at most 1h [default: 20ms].
    #[arg(long, value_name = "DURATION")]
    after: Option<String>,
    /// The most messages, at most 10000 [default: 2000].
    #[arg(long)]
    limit: Option<u16>,
    #[command(flatten)]
    rest: RestOptions,
}

/// Runs the command.
pub(super) fn run(args: &DiagramArgs) -> Result<(), CliError> {
    let limit = args.limit.map(|limit| limit.to_string());
    let revision = args.revision.text();
    let query = [
        ("revision", &revision),
        ("before", &args.before),
        ("after", &args.after),
        ("limit", &limit),
    ];
    let client = args.rest.patient_client()?;
    let path = format!("{}/diagram", path_of(&args.id));
    let answer = client.get(&path, &given(&query))?;
    let is_json = args.rest.output == OutputFormat::Json;
    if is_json {
        print(&answer.text)?;
    }
    if is_json && args.svg.is_none() {
        return Ok(());
    }
    let amounts = amounts(&client);
    let picture = picture(&answer, amounts).map_err(|reason| CliError::Strange {
        address: args.rest.rest.clone(),
        reason,
    })?;
    match &args.svg {
        Some(path) => {
            write_file(path, &picture.svg())?;
            let text = format!("{} shows the snapshot", path.display());
            args.rest.output.remark("note", &text);
            Ok(())
        }
        None => {
            let is_coloured =
                std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            print(picture.text(columns(), is_coloured).trim_end())
        }
    }
}

// How the cluster writes amounts; in minor units where it does not say.
fn amounts(client: &RestClient) -> Amounts {
    let answer = client.get("/v1/cluster", &[]);
    let currency = answer.map_or(Value::Null, |answer| answer.json["currency"].clone());
    let exponent = currency["exponent"]
        .as_u64()
        .and_then(|one| u8::try_from(one).ok());
    Amounts {
        exponent: exponent.filter(|exponent| *exponent <= 18).unwrap_or(0),
        label: currency["label"].as_str().unwrap_or_default().to_owned(),
    }
}

/// The answer of the node, as far as it is drawn.
#[derive(Deserialize)]
struct Diagram {
    snapshot_id: String,
    revision: u32,
    status: String,
    from: String,
    to: String,
    processes: Vec<Process>,
    channels: Vec<Channel>,
    messages: Vec<Sent>,
    truncated: bool,
    messages_total: u64,
}

#[derive(Deserialize)]
struct Process {
    process: String,
    recorded_at: Option<String>,
    journal: String,
}

#[derive(Deserialize)]
struct Channel {
    from: String,
    to: String,
    closed_at: Option<String>,
    messages: Option<u64>,
}

#[derive(Deserialize)]
struct Sent {
    from: String,
    to: String,
    #[serde(default)]
    amount: Option<i64>,
    sent_at: Option<String>,
    delivered_at: Option<String>,
    crosses: bool,
}

// The picture of an answer; an error is a sentence about what is wrong in it.
fn picture(answer: &RestAnswer, amounts: Amounts) -> Result<Picture, String> {
    let read: Diagram = serde_json::from_str(&answer.text).map_err(|error| error.to_string())?;
    let points = read.processes.iter();
    let points = points.map(|one| optional_us(one.recorded_at.as_deref()));
    let points: Vec<Option<i64>> = points.collect::<Result<_, _>>()?;
    let (from, to) = (us(&read.from)?, us(&read.to)?);
    let axis = Axis {
        from,
        to,
        origin: points.iter().flatten().min().copied().unwrap_or(from),
        unit: Unit::Us,
    };
    let status = read.status.replace('_', " ");
    let mut picture = Picture {
        title: format!(
            "Snapshot {}, revision {}, {status}",
            read.snapshot_id, read.revision
        ),
        axis,
        lanes: read
            .processes
            .iter()
            .zip(&points)
            .map(|(one, at)| lane_of(one, *at, axis))
            .collect(),
        amounts,
        remarks: remarks(&read),
        ..Picture::default()
    };
    let lanes = Lanes::of(&read.processes);
    for channel in &read.channels {
        add_channel(&mut picture, channel, &lanes, &points)?;
    }
    for message in &read.messages {
        picture.messages.push(Message {
            from: lanes.get(&message.from)?,
            to: lanes.get(&message.to)?,
            sent: optional_us(message.sent_at.as_deref())?,
            delivered: optional_us(message.delivered_at.as_deref())?,
            amount: message.amount,
            crosses: message.crosses,
        });
    }
    picture.cuts.push(Cut {
        name: read.snapshot_id,
        points,
        is_complete: read.status == "complete",
    });
    Ok(picture)
}

/// The number of the line of each process.
struct Lanes<'a>(BTreeMap<&'a str, usize>);

impl<'a> Lanes<'a> {
    fn of(processes: &'a [Process]) -> Self {
        let names = processes.iter().map(|one| &*one.process);
        Self(names.zip(0..).collect())
    }

    fn get(&self, name: &str) -> Result<usize, String> {
        let lane = self.0.get(name).copied();
        lane.ok_or_else(|| format!("{name:?} is no process of the diagram"))
    }
}

// The marker of a channel, and its recording. The end of a recording that closed is drawn only where it is known.
fn add_channel(
    picture: &mut Picture,
    channel: &Channel,
    lanes: &Lanes<'_>,
    points: &[Option<i64>],
) -> Result<(), String> {
    let (from, to) = (lanes.get(&channel.from)?, lanes.get(&channel.to)?);
    let closed = optional_us(channel.closed_at.as_deref())?;
    if let (Some(sent), Some(delivered)) = (points[from], closed) {
        picture.markers.push(Marker {
            from,
            to,
            sent,
            delivered,
        });
    }
    let is_drawn = closed.is_some() || channel.messages.is_none();
    if let Some(recorded) = points[to].filter(|_| is_drawn) {
        picture.recordings.push(Recording {
            lane: to,
            from: recorded,
            to: closed,
            label: format!("{}→{}", channel.from, channel.to),
        });
    }
    Ok(())
}

fn lane_of(process: &Process, recorded: Option<i64>, axis: Axis) -> Lane {
    let note = match recorded {
        Some(at) if at == axis.origin => "recorded first".to_owned(),
        Some(at) => format!("recorded {}", axis.distance(at)),
        None => "no part".to_owned(),
    };
    Lane {
        name: process.process.clone(),
        note,
        is_absent: recorded.is_none(),
    }
}

fn remarks(read: &Diagram) -> Vec<String> {
    let mut remarks = Vec::new();
    if read.truncated {
        let (shown, all) = (read.messages.len(), read.messages_total);
        remarks.push(format!(
            "Not all messages of this time are shown ({shown} of at least {all}); those that cross the cut come first."
        ));
    }
    for (journal, what) in [
        ("begins_later", "reaches back only to a part of this time"),
        ("gone", "no longer reaches back to this time"),
        (
            "unreachable",
            "was not read, because the process does not answer",
        ),
        ("none", "does not exist: another program hosts the process"),
    ] {
        let of = read.processes.iter().filter(|one| one.journal == journal);
        let of: Vec<&str> = of.map(|one| &*one.process).collect();
        if !of.is_empty() {
            remarks.push(format!("The journal of {} {what}.", of.join(", ")));
        }
    }
    remarks
}

fn optional_us(text: Option<&str>) -> Result<Option<i64>, String> {
    text.map(us).transpose()
}

fn us(text: &str) -> Result<i64, String> {
    let instant = read(text).ok_or_else(|| format!("{text:?} is no instant"))?;
    i64::try_from(instant.bound().wall_us()).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_answer_becomes_a_picture_and_says_what_is_missing() {
        let instant = |ms: u32| format!("2026-01-31T12:00:00.{ms:03}000Z");
        let body = json!({
            "snapshot_id": "first", "revision": 2, "status": "partial", "from": instant(0), "to": instant(90),
            "processes": [
                { "process": "n1", "recorded_at": instant(20), "position": 7, "journal": "whole", "journal_from": null },
                { "process": "n2", "recorded_at": instant(24), "position": 5, "journal": "gone", "journal_from": null },
                { "process": "n3", "recorded_at": null, "position": null, "journal": "unreachable", "journal_from": null }
            ],
            "channels": [
                { "from": "n2", "to": "n1", "closed_at": instant(30), "closed_position": 9, "messages": 1, "amount": 5 },
                { "from": "n3", "to": "n1", "closed_at": null, "closed_position": null, "messages": null, "amount": null }
            ],
            "messages": [{
                "from": "n2", "to": "n1", "sequence": 3, "kind": "transfer", "transfer_id": "t", "amount": 5,
                "sent_at": null, "sent_position": null, "delivered_at": instant(28), "delivered_position": 8, "crosses": true
            }],
            "truncated": true, "messages_total": 4
        });
        let answer = RestAnswer {
            status: 200,
            text: body.to_string(),
            json: body,
        };
        let picture = picture(&answer, Amounts::default()).expect("it is whole");
        assert_eq!(
            picture.cuts[0].points[1].map(|at| at - picture.axis.origin),
            Some(4_000)
        );
        assert_eq!((picture.markers.len(), picture.recordings.len()), (1, 2));
        assert_eq!(picture.recordings[1].to, None);
        assert_eq!(picture.lanes[1].note, "recorded +4.0 ms");
        let remarks = picture.remarks.join(" ");
        for part in ["1 of at least 4", "of n2 no longer", "of n3 was not read"] {
            assert!(remarks.contains(part), "{remarks}");
        }
        let text = answer.text.replace("\"to\":\"n1\"", "\"to\":\"n9\"");
        let refused = super::picture(&RestAnswer { text, ..answer }, Amounts::default());
        assert!(refused.expect_err("n9 has no line").contains("n9"));
    }
}
