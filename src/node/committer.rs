//! Commit, then release: nothing of a turn leaves this node before the turn is durable.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender};
use std::time::Instant;

use super::driver::Step;
use super::metrics::Metrics;
use super::outbox::Outbox;
use super::recorder::Work;
use crate::process::event::Record;
use crate::process::ids::{Lsn, ProcessId};
use crate::store::{Committed, Store, StoreError};
use crate::transport::Envelope;

/// Makes turns durable and lets out what waited for them.
pub(super) struct Committer {
    pub(super) store: Arc<Store>,
    pub(super) outboxes: BTreeMap<ProcessId, Arc<Outbox>>,
    pub(super) recorder: Sender<Work>,
    pub(super) metrics: Arc<Metrics>,
    /// The Lamport clock of the newest durable turn, for greetings.
    pub(super) clock: Arc<AtomicU64>,
}

impl Committer {
    /// Runs until the turn loop has ended. A failure is final: whatever waits is dropped unanswered.
    pub(super) fn run(
        self,
        steps: &Receiver<Step>,
        recovered: Committed,
    ) -> Result<(), StoreError> {
        let mut newest = recovered;
        while let Ok(step) = steps.recv() {
            if !step.turn.records.is_empty() {
                let started = Instant::now();
                newest = self.store.commit(&step.turn)?;
                self.metrics.committed(&step.turn, started.elapsed());
                self.clock.store(step.turn.clock.0, Ordering::Relaxed);
            }
            self.release(step, &newest);
        }
        Ok(())
    }

    // `committed` is the proof; without one there is no way to call this.
    fn release(&self, step: Step, committed: &Committed) {
        let position = step.turn.position;
        assert!(
            step.turn.records.is_empty() || position == committed.position(),
            "a turn is released by its own commit"
        );
        for record in step.turn.records {
            match record {
                Record::Sent { to, seq, message } => {
                    let envelope = Envelope {
                        seq,
                        time: step.turn.time,
                        message,
                    };
                    self.outbox(&to, |outbox| outbox.push(envelope, position));
                }
                Record::Acknowledged { to, seq } => {
                    self.outbox(&to, |outbox| outbox.acknowledge(seq));
                }
                _ => {}
            }
        }
        for (asker, settled) in step.replies {
            debug_assert!(settled.position <= committed.position().max(Lsn(0)));
            asker.answer(settled);
        }
        let sealed = step.sealed.into_iter().map(Work::Sealed);
        let finished = step.finished.into_iter().map(Work::Finished);
        for work in sealed.chain(finished) {
            // The recorder outlives this thread unless it has failed, and then the node is going down.
            let _gone = self.recorder.send(work);
        }
    }

    fn outbox(&self, to: &ProcessId, act: impl FnOnce(&Outbox)) {
        if let Some(outbox) = self.outboxes.get(to) {
            act(outbox);
        }
    }
}
