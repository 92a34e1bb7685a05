//! Who may use the receiving end of a channel: one stream at a time, in the order in which they came. Two that deliver at
//! once could be of two copies of one store.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::watch;

/// Where the streams of one channel queue, and are told to leave.
#[derive(Debug, Clone, Default)]
pub(super) struct StreamSlots(Arc<watch::Sender<WaitingStreams>>);

/// A number is drawn and its place taken under one lock: whoever has to wait for a stream has the greater number.
#[derive(Debug, Default)]
struct WaitingStreams {
    /// Counts who wants the streams before to end.
    wanted: u64,
    /// The streams that are here, by their numbers: the first uses the channel, the others wait.
    present: BTreeSet<u64>,
}

/// A place in the queue, given up when it is dropped.
#[derive(Debug)]
pub struct StreamSlot {
    entrance: StreamSlots,
    eviction: Eviction,
}

/// Whether a stream is to end: as soon as somebody who came later wants it.
#[derive(Debug)]
pub struct Eviction {
    queue: watch::Receiver<WaitingStreams>,
    came: u64,
}

impl StreamSlots {
    /// Wants whoever is here to leave, also who still waits.
    pub(super) fn want(&self) {
        self.0.send_modify(|queue| queue.wanted += 1);
    }

    /// Wants whoever is here to leave, and takes the place behind them.
    pub(super) fn come(&self) -> StreamSlot {
        let mut came = 0;
        self.0.send_modify(|queue| {
            queue.wanted += 1;
            came = queue.wanted;
            queue.present.insert(came);
        });
        StreamSlot {
            entrance: self.clone(),
            eviction: Eviction {
                queue: self.0.subscribe(),
                came,
            },
        }
    }

    /// For a stream that only wants to be told.
    pub(super) fn eviction(&self) -> Eviction {
        let queue = self.0.subscribe();
        let came = queue.borrow().wanted;
        Eviction { queue, came }
    }
}

impl StreamSlot {
    /// Resolves when nobody is in front any more.
    pub(super) async fn first(&mut self) {
        let came = self.eviction.came;
        let first = |queue: &WaitingStreams| queue.present.first() == Some(&came);
        let waited = self.eviction.queue.wait_for(first).await;
        debug_assert!(waited.is_ok(), "the entrance lives as long as this place");
    }

    /// Resolves when the stream is to end.
    pub async fn evicted(&mut self) {
        self.eviction.evicted().await;
    }
}

impl Drop for StreamSlot {
    fn drop(&mut self) {
        let came = self.eviction.came;
        self.entrance.0.send_modify(|queue| {
            queue.present.remove(&came);
        });
    }
}

impl Eviction {
    /// Resolves when the stream is to end.
    pub async fn evicted(&mut self) {
        let came = self.came;
        let later = |queue: &WaitingStreams| queue.wanted > came;
        if self.queue.wait_for(later).await.is_err() {
            // Nobody can want it any more.
            std::future::pending().await
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn is_ready(waiting: impl Future<Output = ()>) -> bool {
        tokio::select! {
            biased;
            () = waiting => true,
            () = tokio::task::yield_now() => false,
        }
    }

    // Without this, a stream could wait behind one that nobody tells to leave, until that one times out.
    #[tokio::test]
    async fn the_turn_goes_by_the_numbers_whoever_asks_for_it_first() {
        let entrance = StreamSlots::default();
        let mut first = entrance.come();
        let mut second = entrance.come();
        assert!(!is_ready(second.first()).await, "the first is here");
        assert!(is_ready(first.first()).await);
        assert!(is_ready(first.evicted()).await, "the second wants it");
        assert!(!is_ready(second.evicted()).await, "nobody came later");
        drop(first);
        assert!(is_ready(second.first()).await);
        let third = entrance.come();
        assert!(is_ready(second.evicted()).await);
        drop(third);
    }

    #[tokio::test]
    async fn who_gives_up_waiting_is_in_nobodys_way() {
        let entrance = StreamSlots::default();
        let first = entrance.come();
        let second = entrance.come();
        let mut third = entrance.come();
        drop(second);
        assert!(!is_ready(third.first()).await);
        drop(first);
        assert!(is_ready(third.first()).await);
    }
}
