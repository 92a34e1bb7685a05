//! The receiving end of a channel is used by one stream at a time, in the order of arrival: two streams that deliver at once
//! could be of two copies of one store. A stream that arrives evicts those before it.

use std::collections::BTreeSet;

/// The streams of one channel, by the numbers that they drew on arrival: the first uses the channel, the others wait.
#[derive(Debug, Default)]
pub(super) struct StreamSlots {
    /// Counts the evictions: a stream with a smaller number is to end.
    evictions: u64,
    present: BTreeSet<u64>,
}

impl StreamSlots {
    /// Evicts all streams that are present, waiting ones included.
    pub(super) fn evict(&mut self) {
        self.evictions += 1;
    }

    /// Evicts all streams that are present and takes the place behind them. The number is for the other methods.
    pub(super) fn enter(&mut self) -> u64 {
        self.evictions += 1;
        self.present.insert(self.evictions);
        self.evictions
    }

    /// The number of a stream that needs no place and only wants to know whether it is evicted from now on.
    pub(super) fn ticket(&self) -> u64 {
        self.evictions
    }

    /// Gives a place up.
    pub(super) fn leave(&mut self, number: u64) {
        self.present.remove(&number);
    }

    /// Whether no stream is in front of this one.
    pub(super) fn is_first(&self, number: u64) -> bool {
        self.present.first() == Some(&number)
    }

    /// Whether a stream is to end.
    pub(super) fn is_evicted(&self, number: u64) -> bool {
        self.evictions > number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this a stream could wait behind one that is not told to leave, until that one times out.
    #[test]
    fn the_order_is_that_of_arrival_and_each_arrival_evicts_those_before() {
        let mut slots = StreamSlots::default();
        let first = slots.enter();
        let second = slots.enter();
        assert!(slots.is_first(first) && !slots.is_first(second));
        assert!(slots.is_evicted(first) && !slots.is_evicted(second));
        slots.leave(first);
        assert!(slots.is_first(second));
        let third = slots.enter();
        assert!(slots.is_evicted(second) && !slots.is_first(third));
        slots.evict();
        assert!(slots.is_evicted(third));
        assert!(!slots.is_evicted(slots.ticket()));
    }

    #[test]
    fn a_stream_that_gives_up_waiting_blocks_no_other() {
        let mut slots = StreamSlots::default();
        let [first, second, third] = [(); 3].map(|()| slots.enter());
        slots.leave(second);
        assert!(!slots.is_first(third));
        slots.leave(first);
        assert!(slots.is_first(third));
    }
}
