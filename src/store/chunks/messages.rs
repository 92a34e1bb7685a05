//! Reads the recorded messages of a channel one chunk at a time, since those of a long outage may exceed memory.

use super::Chunks;
use super::source;
use crate::history::part::{RecordedChannel, RecordedMessage};
use crate::process::ids::Hash;
use crate::store::error::StoreError;

/// The recorded messages of one channel, in order. Ends after the first error.
pub struct Messages<'a> {
    chunks: &'a Chunks,
    /// Chunks not read yet.
    left: std::slice::Iter<'a, Hash>,
    /// The rest of the current chunk.
    read: std::vec::IntoIter<RecordedMessage>,
}

impl<'a> Messages<'a> {
    pub(in crate::store) fn new(chunks: &'a Chunks, channel: &'a RecordedChannel) -> Self {
        Self {
            chunks,
            left: channel.chunks.iter(),
            read: Vec::new().into_iter(),
        }
    }
}

impl Iterator for Messages<'_> {
    type Item = Result<RecordedMessage, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(message) = self.read.next() {
                return Some(Ok(message));
            }
            match source::messages(self.chunks, self.left.next()?) {
                Ok(messages) => self.read = messages.into_iter(),
                Err(error) => {
                    self.left = [].iter();
                    return Some(Err(error));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{chunks, put_messages};
    use super::*;
    use crate::process::ids::Seq;

    // Without this a backlog of millions of messages is in memory at once, for each reader.
    #[test]
    fn a_chunk_is_read_when_it_is_come_to_and_not_before() {
        let chunks = chunks();
        let (channel, hashes) = put_messages(&chunks, &[1..4, 4..6]);
        let seqs = |messages: Messages<'_>| {
            let seqs = messages.map(|message| message.map(|message| message.seq));
            seqs.collect::<Result<Vec<_>, _>>()
        };
        let all = seqs(Messages::new(&chunks, &channel)).expect("they are whole");
        assert_eq!(all, (1..6).map(Seq).collect::<Vec<_>>());
        chunks.spoil(&hashes[1]);
        let mut messages = Messages::new(&chunks, &channel);
        let first = messages.by_ref().take(3).collect::<Result<Vec<_>, _>>();
        assert_eq!(first.expect("the first chunk is whole").len(), 3);
        assert!(matches!(
            messages.next(),
            Some(Err(StoreError::Damaged { .. }))
        ));
        assert!(messages.next().is_none(), "nothing follows an error");
    }
}
