//! What is durable here and waits for the archive before it is released.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use super::watermark::Watermark;
use crate::node::turn::driver::Step;
use crate::node::turn::releaser::Releaser;
use crate::node::turn::replies::Answered;
use crate::process::record::Record;
use crate::shipping::hold::{Audience, Waits};
use crate::store::{Committed, StoreError};

/// The queue of turns that wait for the archive. New work waits for room in it before it is queued.
pub(in crate::node) struct Held {
    waiting: Sender<HeldStep>,
    watermark: Arc<Watermark>,
    waits: Waits,
}

/// A durable turn that is not released.
struct HeldStep {
    step: Step,
    committed: Committed,
    answered: Vec<Answered>,
    /// The cost of its records.
    cost: usize,
}

impl Held {
    /// The queue, and the end of it for the thread that releases.
    pub(in crate::node) fn new(
        waits: Waits,
        watermark: &Arc<Watermark>,
        releaser: Releaser,
    ) -> (Self, HeldReleases) {
        let (waiting, held) = channel();
        let this = Self {
            waiting,
            watermark: Arc::clone(watermark),
            waits,
        };
        let releases = HeldReleases {
            held,
            watermark: Arc::clone(watermark),
            releaser,
            waits,
        };
        (this, releases)
    }

    /// Holds a turn until the archive has it. Never waits: reads and acknowledgements come behind.
    pub(in crate::node) fn hold(
        &self,
        step: Step,
        committed: Committed,
        answered: impl Iterator<Item = Answered>,
    ) {
        self.watermark.committed(committed.position());
        let mut later = Vec::new();
        for answered in answered {
            match self.waits.holds(answered.audience()) {
                true => later.push(answered),
                false => answered.send(),
            }
        }
        let cost = step.turn.records.iter().map(Record::cost).sum();
        let held = HeldStep {
            step,
            committed,
            answered: later,
            cost,
        };
        self.watermark.holds(cost);
        // Without a receiver the node is stopping; what is not released is answered to nobody.
        let _gone = self.waiting.send(held);
    }
}

/// The releases behind the archive.
pub(in crate::node) struct HeldReleases {
    held: Receiver<HeldStep>,
    watermark: Arc<Watermark>,
    releaser: Releaser,
    waits: Waits,
}

impl HeldReleases {
    /// Runs until the committer has ended, or the node stops waiting for the archive.
    pub(in crate::node) fn run(self) -> Result<(), StoreError> {
        while let Ok(held) = self.held.recv() {
            let HeldStep {
                step,
                committed,
                answered,
                cost,
            } = held;
            let is_held = self.waits.holds(Audience::Processes);
            if is_held && !self.watermark.wait_for(step.position) {
                break;
            }
            self.releaser.release(step, committed, answered.into_iter());
            self.watermark.releases(cost);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::{iter, thread};

    use tokio::runtime::Handle as Runtime;
    use tokio::sync::mpsc::unbounded_channel;

    use super::*;
    use crate::node::background::recorder_queue::RecorderQueue;
    use crate::node::fixture::{Fixture, process};
    use crate::node::health::metrics::Metrics;
    use crate::process::clock::Lamport;
    use crate::process::ids::{AccountId, Amount, Key, Lsn};
    use crate::process::message::{Stamp, VALUE_BYTES_MAX, Write};
    use crate::process::record::Turn;

    fn step(record: Record, count: usize) -> Step {
        let turn = Turn {
            position: Lsn(1),
            records: vec![record; count],
            ..Turn::default()
        };
        Step {
            position: turn.position,
            time: turn.time,
            turn,
            replies: Vec::new(),
            sealed: Vec::new(),
            finished: Vec::new(),
        }
    }

    fn releaser(fixture: &Fixture) -> Releaser {
        Releaser {
            store: Arc::clone(fixture.parts.worker.store()),
            outboxes: BTreeMap::new(),
            recorder: RecorderQueue::new(1, Runtime::current()).0,
            metrics: Arc::new(Metrics::new()),
            me: process("p"),
            started: unbounded_channel().0,
            assembled: BTreeSet::new(),
            events: Arc::clone(&fixture.events),
        }
    }

    fn paid() -> Record {
        Record::Deposited {
            account: AccountId::parse("a").expect("a valid id"),
            amount: Amount::new(1).expect("it is positive"),
        }
    }

    // Without this an absent archive would end up blocking a node with `async`, or reads and acknowledgements with `peers`.
    #[tokio::test]
    async fn a_commit_does_not_wait_however_much_waits_for_the_archive() {
        for (waits, keeps) in [(Waits::Nothing, false), (Waits::Processes, true)] {
            let fixture = Fixture::new();
            let store = fixture.parts.worker.store();
            let committed = store.commit(&step(paid(), 1).turn);
            let committed = committed.expect("the disk has room");
            let watermark = Arc::new(Watermark::default());
            let room = watermark.room();
            let (held, releases) = Held::new(waits, &watermark, releaser(&fixture));
            let releasing = thread::spawn(move || releases.run());
            for _ in 0..6 {
                held.hold(step(paid(), 100_000), committed, iter::empty());
            }
            drop(held);
            if keeps {
                assert!(!*room.borrow(), "new work waits");
                watermark.close();
            }
            let released = releasing.join().expect("it does not panic");
            released.expect("nothing is written");
            assert_eq!(watermark.held() > 0, keeps, "{waits:?}");
            assert!(*room.borrow(), "{waits:?}");
        }
    }

    // Without this a few long values would fill the memory of a node whose archive is away: by their number they are little.
    #[tokio::test]
    async fn what_waits_counts_by_its_cost_until_it_is_released() {
        let fixture = Fixture::new();
        let store = fixture.parts.worker.store();
        let written = Record::Written(Arc::new(Write {
            key: Key::parse("k").expect("a valid key"),
            value: Some("v".repeat(VALUE_BYTES_MAX).into()),
            stamp: Stamp {
                clock: Lamport(1),
                process: process("p"),
            },
        }));
        let committed = store.commit(&step(paid(), 1).turn);
        let committed = committed.expect("the disk has room");
        let watermark = Arc::new(Watermark::default());
        let (held, releases) = Held::new(Waits::Everything, &watermark, releaser(&fixture));
        held.hold(step(paid(), 10), committed, iter::empty());
        assert_eq!(watermark.held(), 10);
        held.hold(step(written, 10), committed, iter::empty());
        let bytes = 10 * VALUE_BYTES_MAX;
        assert!(watermark.held() > bytes / 1024, "{}", watermark.held());
        watermark.archived(Lsn(1));
        drop(held);
        releases.run().expect("nothing is written");
        assert_eq!(watermark.held(), 0, "all is released");
    }
}
