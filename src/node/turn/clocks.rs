//! The clocks of the newest durable turn, for readers that do not wait for a turn.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::process::Process;
use crate::process::clock::{Clocks, Hlc, Lamport};
use crate::process::record::{Record, Turn};

/// The clocks, updated by the committer after each commit, before anything of the turn is released.
#[derive(Debug, Default)]
pub(in crate::node) struct DurableClocks {
    logical: AtomicU64,
    time: AtomicU64,
    settled: AtomicU64,
}

impl DurableClocks {
    /// The clocks of a recovered process.
    pub(in crate::node) fn of(process: &Process) -> Self {
        let registers = process.registers();
        // An older copy does not know what followed its newest turn.
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

    /// Records a durable turn.
    pub(in crate::node) fn note(&self, turn: &Turn) {
        self.logical.store(turn.clock.0, Ordering::Release);
        self.time.store(turn.time.0, Ordering::Release);
        let is_reached = |record: &Record| matches!(record, Record::ClockAdvanced);
        // The first turn of a journal, or of one that was put back, is the first instant with an answer.
        let is_first = self.settled() == Hlc::default();
        if is_first || !turn.records.iter().all(is_reached) {
            self.settled.store(turn.time.0, Ordering::Release);
        }
    }

    /// Marks that the journal ends in a gap, unless a turn has been recorded since `settled`. The next turn is then the first
    /// instant with an answer.
    pub(in crate::node) fn begin_anew(&self, settled: Hlc) {
        let (before, none) = (settled.0, Hlc::default().0);
        // A failed exchange means that the gap has ended.
        let _ended =
            self.settled
                .compare_exchange(before, none, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Both clocks after the newest turn.
    pub(in crate::node) fn newest(&self) -> Clocks {
        Clocks {
            logical: Lamport(self.logical.load(Ordering::Acquire)),
            time: Hlc(self.time.load(Ordering::Acquire)),
        }
    }

    /// The clock of the newest turn that did more than pass an instant. Everything acknowledged has happened by then.
    pub(in crate::node) fn settled(&self) -> Hlc {
        Hlc(self.settled.load(Ordering::Acquire))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Without this, an audit without an instant would ask about one in the gap until the next operation.
    #[test]
    fn the_turn_that_ends_a_gap_is_the_newest_instant_with_an_answer() {
        let clocks = DurableClocks::default();
        let turn = |at, records| Turn {
            time: Hlc::at(at),
            records,
            ..Turn::default()
        };
        clocks.note(&turn(10, vec![Record::Checkpointed]));
        clocks.note(&turn(20, vec![Record::ClockAdvanced]));
        assert_eq!(clocks.settled(), Hlc::at(10));
        clocks.begin_anew(Hlc::at(9));
        assert_eq!(
            clocks.settled(),
            Hlc::at(10),
            "something has happened since"
        );
        clocks.begin_anew(Hlc::at(10));
        clocks.note(&turn(30, vec![Record::ClockAdvanced]));
        assert_eq!(clocks.settled(), Hlc::at(30));
    }
}
