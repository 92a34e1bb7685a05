//! `snapshot watch`: prints the events of a snapshot line by line until it is complete or partial.

use std::io::BufRead;

use serde_json::{Value, json};

use super::{path_of, verdict};
use crate::cli::output::cell;
use crate::cli::rest::RestOptions;
use crate::cli::{CliError, OutputFormat, print};

#[derive(Debug, clap::Args)]
pub(super) struct WatchArgs {
    /// The snapshot, or `latest`.
    id: String,
    /// Resume after this event.
    #[arg(long, value_name = "EVENT")]
    after: Option<String>,
    #[command(flatten)]
    rest: RestOptions,
}

/// A server-sent event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Event {
    id: String,
    name: String,
    data: String,
}

/// Runs the command.
pub(super) fn run(args: &WatchArgs) -> Result<(), CliError> {
    let client = args.rest.client()?;
    let path = format!("{}/events", path_of(&args.id));
    let Some(lines) = client.events(&path, args.after.as_deref())? else {
        return print("no further events: the snapshot is finished");
    };
    let mut lines = lines.lines();
    let mut last = None;
    while let Some(event) = next(&mut lines).map_err(|error| client.broken_off(&error))? {
        let data: Value = serde_json::from_str(&event.data).unwrap_or(Value::Null);
        match args.rest.output {
            OutputFormat::Json => {
                let line = json!({"id": event.id, "event": event.name, "data": data});
                print(&line.to_string())?;
            }
            OutputFormat::Table => print(&line(&event, &data))?,
        }
        last = Some((event.name, data));
    }
    match last {
        Some((name, data)) if name == "published" => verdict(&data),
        _ => Err(client.broken_off(&"the node closed the stream before the snapshot was finished")),
    }
}

// Reads up to the next empty line; `None` at the end of the stream.
fn next(
    lines: &mut impl Iterator<Item = std::io::Result<String>>,
) -> std::io::Result<Option<Event>> {
    let mut event = Event::default();
    for line in lines {
        let line = line?;
        if line.is_empty() {
            if !event.name.is_empty() {
                return Ok(Some(event));
            }
            continue;
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut event.id),
            "event" => value.clone_into(&mut event.name),
            "data" => event.data.push_str(value),
            // A comment, which keeps the connection alive.
            _ => {}
        }
    }
    Ok(None)
}

fn line(event: &Event, data: &Value) -> String {
    let field = |name: &str| cell(data.get(name));
    let (at, what) = match &*event.name {
        "begun" => ("at", format!("by {}", field("initiator"))),
        "recorded" | "collected" => ("at", field("process")),
        "closed" => ("at", format!("{} → {}", field("from"), field("to"))),
        _ => (
            "finished_at",
            format!(
                "{}, revision {}, conserved {}",
                field("status"),
                field("revision"),
                cell(data.pointer("/verification/conserved"))
            ),
        ),
    };
    let name = cell(Some(&Value::from(&*event.name)));
    format!("{}  {name:<9}  {what}", field(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_parted_by_empty_lines_and_comments_are_none() {
        let sent = ":\n\nid: a-1\nevent: closed\ndata: {\"from\":\"n1\",\"to\":\"n2\",\"at\":\"t\"}\n\n: \n\nevent: cut";
        let mut lines = sent.as_bytes().lines();
        let event = next(&mut lines).expect("text").expect("an event");
        assert_eq!(event.id, "a-1");
        let data: Value = serde_json::from_str(&event.data).expect("JSON");
        assert_eq!(line(&event, &data), "t  closed     n1 → n2");
        assert_eq!(
            next(&mut lines).expect("text"),
            None,
            "the last one broke off"
        );
    }
}
