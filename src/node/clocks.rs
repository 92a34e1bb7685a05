//! The clocks of the newest durable turn, for readers that do not wait for a turn.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::process::Process;
use crate::process::clock::{Clocks, Hlc, Lamport};
use crate::process::event::{Record, Turn};

/// Noted by the committer after each commit, before anything of the turn is released.
#[derive(Debug, Default)]
pub(super) struct DurableClocks {
    logical: AtomicU64,
    time: AtomicU64,
    settled: AtomicU64,
}

impl DurableClocks {
    /// Those of a process that was recovered.
    pub(super) fn of(process: &Process) -> Self {
        let registers = process.registers();
        // Of what followed the newest turn of an older copy nothing is known.
        let settled = match process.is_put_back() {
            true => Hlc::default(),
            false => registers.time,
        };
        Self {
            logical: registers.clock.0.into(),
            time: registers.time.0.into(),
            settled: settled.0.into(),
        }
    }

    /// Takes note of a turn that is durable.
    pub(super) fn note(&self, turn: &Turn) {
        self.logical.store(turn.clock.0, Ordering::Release);
        self.time.store(turn.time.0, Ordering::Release);
        let is_reached = |record: &Record| matches!(record, Record::Reached);
        // The first turn of a journal, or of one that was put back, is the first instant with an answer.
        let is_first = self.settled() == Hlc::default();
        if is_first || !turn.records.iter().all(is_reached) {
            self.settled.store(turn.time.0, Ordering::Release);
        }
    }

    /// Both clocks after the newest turn.
    pub(super) fn newest(&self) -> Clocks {
        Clocks {
            logical: Lamport(self.logical.load(Ordering::Acquire)),
            time: Hlc(self.time.load(Ordering::Acquire)),
        }
    }

    /// The clock of the newest turn that did more than pass an instant. Everything that was acknowledged has happened
    /// by then.
    pub(super) fn settled(&self) -> Hlc {
        Hlc(self.settled.load(Ordering::Acquire))
    }
}
