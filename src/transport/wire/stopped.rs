//! Wire form of the stopped channels of a node.

use super::Unreadable;
use crate::process::hidden::is_hidden;
use crate::process::ids::{ChannelId, ProcessId};
use crate::proto::snapledger::StoppedChannel;

/// The maximum length of a sentence on the wire, bytes.
const WHY_BYTES_MAX: usize = 1024;

/// Encodes stopped channels.
#[must_use]
pub fn stopped_to_wire(stopped: Vec<(ChannelId, String)>) -> Vec<StoppedChannel> {
    let stopped = stopped.into_iter().map(|(channel, mut why)| {
        bound(&mut why);
        StoppedChannel {
            from: channel.from.to_string(),
            to: channel.to.to_string(),
            why,
        }
    });
    stopped.collect()
}

/// Decodes the stopped channels that a process reports. Channels of other processes are ignored.
///
/// # Errors
/// [`Unreadable`] if an id is malformed.
pub fn stopped_from_wire(
    process: &ProcessId,
    stopped: Vec<StoppedChannel>,
) -> Result<Vec<(ChannelId, String)>, Unreadable> {
    let mut channels = Vec::new();
    for StoppedChannel { from, to, why } in stopped {
        let channel = ChannelId {
            from: ProcessId::parse(&from)?,
            to: ProcessId::parse(&to)?,
        };
        if channel.from == *process || channel.to == *process {
            channels.push((channel, sentence_from_wire(why)));
        }
    }
    Ok(channels)
}

/// A sentence of a peer without invisible characters, cut at its maximum length.
pub(super) fn sentence_from_wire(mut sentence: String) -> String {
    sentence.retain(|char| !is_hidden(char));
    bound(&mut sentence);
    sentence
}

fn bound(sentence: &mut String) {
    sentence.truncate(sentence.floor_char_boundary(WHY_BYTES_MAX));
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this, one node could report the channels of all others as stopped and end their snapshots.
    #[test]
    fn a_process_speaks_of_its_own_channels_alone() {
        let process = |id: &str| ProcessId::parse(id).expect("a valid id");
        let channel = |from: &str, to: &str| ChannelId {
            from: process(from),
            to: process(to),
        };
        let long = "ö".repeat(WHY_BYTES_MAX);
        let channels = [("p", "q"), ("q", "r"), ("r", "p")]
            .map(|(from, to)| (channel(from, to), long.clone()));
        let read = stopped_from_wire(&process("p"), stopped_to_wire(channels.to_vec()));
        let why = "ö".repeat(WHY_BYTES_MAX / 2);
        let own = [("p", "q"), ("r", "p")].map(|(from, to)| (channel(from, to), why.clone()));
        assert_eq!(read, Ok(own.to_vec()));
        let odd = StoppedChannel::default();
        assert!(stopped_from_wire(&process("p"), vec![odd]).is_err());
    }
}
