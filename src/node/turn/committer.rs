//! Commit and release: nothing of a turn leaves this node before the turn is durable.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Instant;

use super::clocks::DurableClocks;
use super::driver::Step;
use super::releaser::Releaser;
use super::replies::Answers;
use crate::node::archive::held::Held;
use crate::node::health::metrics::Metrics;
use crate::node::peers::handshakes::Handshakes;
use crate::store::{Committed, Store, StoreError};

/// Makes turns durable and has them released.
pub(in crate::node) struct Committer {
    pub(in crate::node) store: Arc<Store>,
    pub(in crate::node) metrics: Arc<Metrics>,
    /// The clocks of the newest durable turn, for peers and for queries about the present.
    pub(in crate::node) clocks: Arc<DurableClocks>,
    pub(in crate::node) handshakes: Arc<Handshakes>,
    pub(in crate::node) release: Release,
}

/// When a durable turn is released.
pub(in crate::node) enum Release {
    /// At once.
    AtOnce(Releaser),
    /// Once the archive has it.
    Archived(Held),
}

impl Committer {
    /// Runs until the turn loop has ended. A failure is final: everything that waits is dropped without a reply.
    pub(in crate::node) fn run(
        self,
        steps: &Receiver<Step>,
        recovered: Committed,
    ) -> Result<(), StoreError> {
        let mut newest = recovered;
        let mut answers = Answers::default();
        while let Ok(mut step) = steps.recv() {
            if !step.turn.records.is_empty() {
                let started = Instant::now();
                newest = self.store.commit(&step.turn)?;
                self.metrics.committed(&step.turn, started.elapsed());
                self.clocks.note(&step.turn);
                for (peer, identity, since) in step.turn.recognitions() {
                    self.handshakes.note(peer, identity, since)?;
                }
            }
            assert!(
                step.position <= newest.position(),
                "what was read is durable before anybody hears of it"
            );
            let turned = (step.position, step.time);
            let replies = std::mem::take(&mut step.replies).into_iter();
            let answered = replies.filter_map(|said| answers.take(said, turned));
            match &self.release {
                Release::AtOnce(releaser) => releaser.release(step, newest, answered),
                Release::Archived(held) => held.hold(step, newest, answered),
            }
        }
        Ok(())
    }
}
