//! The topology file: the number of processes, one line per process with its tokens, then the channels.

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Reason, ScenarioError};
use super::source::{Row, Source};
use crate::process::ids::{ChannelId, ProcessId};
use crate::process::topology::{Topology, TopologyError};

/// Parses the topology and the tokens of each process.
pub(super) fn parse_topology(
    source: Source<'_>,
) -> Result<(Topology, BTreeMap<ProcessId, i64>), ScenarioError> {
    let mut rows = source.rows();
    let mut next = |expected| rows.next().ok_or_else(|| source.ends(expected));
    let mut layout = Layout::default();

    let row = next("the number of processes")?;
    let count = parse_count(&row).map_err(|reason| source.refuse(row.line, reason))?;
    for _ in 0..count {
        let row = next("another process (`PROCESS TOKENS`)")?;
        let added = layout.add_process(&row);
        added.map_err(|reason| source.refuse(row.line, reason))?;
    }
    for row in rows {
        let added = layout.add_channel(&row);
        added.map_err(|reason| source.refuse(row.line, reason))?;
    }
    layout.finish(source, row.line)
}

/// The content read so far.
#[derive(Debug, Default)]
struct Layout {
    tokens: BTreeMap<ProcessId, i64>,
    tokens_total: i64,
    /// The line of each process.
    lines: BTreeMap<ProcessId, usize>,
    channels: BTreeSet<ChannelId>,
}

fn parse_count(row: &Row<'_>) -> Result<u32, Reason> {
    let [count] = row.fields[..] else {
        return Err(row.shape("the number of processes, alone in the first line"));
    };
    Reason::number("processes", count, 1, u32::MAX)
}

impl Layout {
    fn add_process(&mut self, row: &Row<'_>) -> Result<(), Reason> {
        let [name, tokens] = row.fields[..] else {
            return Err(
                row.shape("`PROCESS TOKENS`, with as many such lines as the first line states")
            );
        };
        let process = ProcessId::parse(name)?;
        let tokens = Reason::number("tokens", tokens, 0, i64::MAX)?;
        let total = self.tokens_total.checked_add(tokens);
        self.tokens_total = total.ok_or(Reason::TooManyTokens)?;
        if self.lines.insert(process.clone(), row.line).is_some() {
            return Err(TopologyError::Twice(process).into());
        }
        self.tokens.insert(process, tokens);
        Ok(())
    }

    fn add_channel(&mut self, row: &Row<'_>) -> Result<(), Reason> {
        let [from, to] = row.fields[..] else {
            return Err(row.shape("`FROM TO`: the processes are complete, channels follow"));
        };
        let channel = ChannelId {
            from: ProcessId::parse(from)?,
            to: ProcessId::parse(to)?,
        };
        if channel.from == channel.to {
            return Err(TopologyError::Loop(channel).into());
        }
        if !self.lines.contains_key(&channel.from) || !self.lines.contains_key(&channel.to) {
            return Err(TopologyError::Unknown(channel).into());
        }
        if !self.channels.insert(channel.clone()) {
            return Err(Reason::ChannelTwice(channel));
        }
        Ok(())
    }

    fn finish(
        self,
        source: Source<'_>,
        head: usize,
    ) -> Result<(Topology, BTreeMap<ProcessId, i64>), ScenarioError> {
        let processes: Vec<_> = self.tokens.keys().cloned().collect();
        let topology = Topology::new(&processes, self.channels).map_err(|error| {
            // One of the two is the first of all processes; the greater one is cut off.
            let cut_off = match &error {
                TopologyError::NotStronglyConnected { from, to } => self.lines.get(from.max(to)),
                _ => None,
            };
            source.refuse(cut_off.copied().unwrap_or(head), error.into())
        })?;
        Ok((topology, self.tokens))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> (usize, Reason) {
        let refused = parse_topology(Source { name: "t", text }).expect_err("it cannot be read");
        (refused.line, refused.reason)
    }

    #[test]
    fn comments_and_blank_lines_say_nothing() {
        let text = "# a pair\n\n2\n\nb 7\r\na#1 0 # holds nothing\n#\na#1 b\nb a#1\n";
        let (topology, tokens) = parse_topology(Source { name: "t", text }).expect("it is valid");
        assert_eq!(topology.channels().count(), 2);
        let tokens: Vec<_> = tokens
            .iter()
            .map(|(id, tokens)| (id.as_str(), *tokens))
            .collect();
        assert_eq!(tokens, [("a#1", 0), ("b", 7)]);
    }

    #[test]
    fn one_process_alone_needs_no_channel() {
        let text = "1\na 5";
        assert!(parse_topology(Source { name: "t", text }).is_ok());
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_line() {
        assert!(matches!(refused(""), (1, Reason::Ends { .. })));
        assert!(matches!(refused("# none\n0"), (2, Reason::Number { .. })));
        assert!(matches!(refused("two"), (1, Reason::Number { .. })));
        assert!(matches!(refused("2\na 1\n"), (2, Reason::Ends { .. })));
        assert!(matches!(refused("1\na -1"), (2, Reason::Number { .. })));
        assert!(matches!(
            refused("1\na 9223372036854775808"),
            (2, Reason::Number { .. })
        ));
        assert!(matches!(refused("1\na"), (2, Reason::Shape { .. })));
        assert!(matches!(
            refused("1\na 1\nb 1 a"),
            (3, Reason::Shape { .. })
        ));
    }

    #[test]
    fn what_is_no_topology_is_refused_with_its_line() {
        let topology = |text| {
            let (line, reason) = refused(text);
            let Reason::Topology(error) = reason else {
                unreachable!("{reason}");
            };
            (line, error)
        };
        assert!(matches!(
            topology("2\na 1\na 1"),
            (3, TopologyError::Twice(_))
        ));
        assert!(matches!(
            topology("1\na 1\na b"),
            (3, TopologyError::Unknown(_))
        ));
        assert!(matches!(
            topology("1\na 1\na a"),
            (3, TopologyError::Loop(_))
        ));
        let (line, error) = topology("3\na 1\nb 1\nc 1\na b\nb a\nb c");
        assert_eq!(line, 4, "{error}");
        assert!(matches!(
            refused("2\na 1\nb 1\na b\na b"),
            (5, Reason::ChannelTwice(_))
        ));
    }

    #[test]
    fn tokens_fit_one_account_together() {
        let text = format!("2\na {}\nb 1\na b\nb a", i64::MAX);
        assert_eq!(refused(&text), (3, Reason::TooManyTokens));
    }
}
