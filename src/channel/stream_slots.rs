//! The slots at the receiving end of a channel. One stream at a time uses it, in the order of arrival: two streams that deliver
//! at once could belong to two copies of one store. A new stream evicts those before it.

use std::collections::BTreeSet;

/// The streams of one channel, by their slot numbers. The lowest one uses the channel, the others wait.
#[derive(Debug, Default)]
pub(super) struct StreamSlots {
    /// The number of evictions: a stream with a smaller number must end.
    evictions: u64,
    present: BTreeSet<u64>,
}

impl StreamSlots {
    /// Evicts all present streams, waiting ones included.
    pub(super) fn evict(&mut self) {
        self.evictions += 1;
    }

    /// Evicts all present streams and queues behind them. Returns the slot number for the other methods.
    pub(super) fn enter(&mut self) -> u64 {
        self.evictions += 1;
        self.present.insert(self.evictions);
        self.evictions
    }

    /// A number for a stream that needs no slot and only checks whether it is evicted from now on.
    pub(super) fn ticket(&self) -> u64 {
        self.evictions
    }

    /// Releases a slot.
    pub(super) fn leave(&mut self, number: u64) {
        self.present.remove(&number);
    }

    /// Whether this stream is the lowest one.
    pub(super) fn is_first(&self, number: u64) -> bool {
        self.present.first() == Some(&number)
    }

    /// Whether a stream must end.
    pub(super) fn is_evicted(&self, number: u64) -> bool {
        self.evictions > number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this, a stream could wait behind one that is not told to end, until that one times out.
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
