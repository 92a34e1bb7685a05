//! Messages in flight in virtual time: FIFO channels, and the tick from which the head of each may be received.
//!
//! Invariant: a channel with messages is in the calendar until its head is due, then in the ready set of its sender. An
//! idle channel is in neither, so no tick visits it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// The channels of a world, identified by the indexes of their ends in the string order of the processes. `F` is the
/// type of the messages.
#[derive(Debug)]
pub(super) struct Flight<F> {
    senders: Vec<Sender<F>>,
    /// By tick: the channels whose head may be received from then on.
    calendar: BTreeMap<u64, Vec<(usize, usize)>>,
    /// Senders with a channel whose head may be received now.
    ready: BTreeSet<usize>,
}

#[derive(Debug)]
struct Sender<F> {
    /// By destination, the messages in order, each with the tick from which it may be received.
    channels: BTreeMap<usize, VecDeque<(u64, F)>>,
    /// Destinations whose head may be received now.
    ready: BTreeSet<usize>,
}

impl<F> Flight<F> {
    pub(super) fn new(processes: usize) -> Self {
        let sender = || Sender {
            channels: BTreeMap::new(),
            ready: BTreeSet::new(),
        };
        Self {
            senders: (0..processes).map(|_| sender()).collect(),
            calendar: BTreeMap::new(),
            ready: BTreeSet::new(),
        }
    }

    /// Appends a message to a channel. It may be received from tick `due`, which must be in the future.
    pub(super) fn send(&mut self, from: usize, to: usize, due: u64, message: F) {
        let channel = self.senders[from].channels.entry(to).or_default();
        channel.push_back((due, message));
        if channel.len() == 1 {
            self.calendar.entry(due).or_default().push((from, to));
        }
    }

    /// The first tick after `now` in which a message can be received; `None` if no message is in flight.
    pub(super) fn next_tick(&self, now: u64) -> Option<u64> {
        if self.ready.is_empty() {
            self.calendar.keys().next().copied()
        } else {
            Some(now + 1)
        }
    }

    /// The senders with a message that may be received at `now`, in order.
    pub(super) fn advance(&mut self, now: u64) -> Vec<usize> {
        while let Some(due) = self.calendar.first_entry().filter(|due| *due.key() <= now) {
            for (from, to) in due.remove() {
                self.senders[from].ready.insert(to);
                self.ready.insert(from);
            }
        }
        self.ready.iter().copied().collect()
    }

    /// Takes the head of the sender's first ready channel at `now`, with its destination.
    pub(super) fn take(&mut self, from: usize, now: u64) -> Option<(usize, F)> {
        let sender = &mut self.senders[from];
        let to = *sender.ready.first()?;
        let channel = sender.channels.get_mut(&to)?;
        let (_, message) = channel.pop_front()?;
        let next = channel.front().map(|(due, _)| *due);
        if next.is_none_or(|due| due > now) {
            sender.ready.remove(&to);
        }
        if sender.ready.is_empty() {
            self.ready.remove(&from);
        }
        if let Some(due) = next.filter(|due| *due > now) {
            self.calendar.entry(due).or_default().push((from, to));
        }
        Some((to, message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_that_is_not_due_blocks_its_channel() {
        let mut flight = Flight::new(2);
        flight.send(0, 1, 3, "late");
        flight.send(0, 1, 1, "early");
        assert_eq!(flight.next_tick(0), Some(3));
        assert_eq!(flight.advance(2), [0_usize; 0]);
        assert_eq!(flight.advance(3), [0]);
        assert_eq!(flight.take(0, 3), Some((1, "late")));
        assert_eq!(flight.next_tick(3), Some(4), "the next head is due already");
        assert_eq!(flight.take(0, 4), Some((1, "early")));
        assert_eq!(flight.next_tick(4), None);
    }

    #[test]
    fn the_first_destination_with_a_due_head_comes_first() {
        let mut flight = Flight::new(3);
        flight.send(0, 1, 5, "to 1");
        flight.send(0, 2, 4, "to 2");
        assert_eq!(flight.advance(4), [0]);
        assert_eq!(flight.take(0, 4), Some((2, "to 2")));
        assert_eq!(flight.advance(5), [0]);
        assert_eq!(flight.take(0, 5), Some((1, "to 1")));
    }
}
