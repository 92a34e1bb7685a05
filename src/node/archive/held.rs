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

/// The queue of turns that wait for the archive, bounded by the cost of their records.
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

    /// Holds a turn until the archive has it. Waits while too much is held.
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
        self.watermark.wait_for_room();
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
