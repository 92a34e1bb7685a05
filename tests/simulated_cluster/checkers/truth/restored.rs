//! A process that continues from an earlier turn because its disk was lost, as if it had done nothing since.

use snapledger::process::ids::Lsn;

use super::{Happened, Truth};
use crate::world::{Checked, Place};

impl Truth {
    /// What had happened in a process by a turn.
    pub(in crate::checkers) fn happened_by(&self, place: Place, position: Lsn) -> Happened {
        let before = position.0.checked_sub(1);
        let kept = before.and_then(|before| self.turns[place].get(usize::try_from(before).ok()?));
        kept.cloned().unwrap_or_default()
    }

    /// A process continues from an earlier turn. Nothing that it has done since was noticed by another one.
    pub(in crate::checkers) fn restored(&mut self, place: Place, end: Lsn) -> Checked {
        let happened = self.happened_by(place, end);
        for other in 0..self.processes.len() {
            let sent = happened.now.sent.get(&other).copied().unwrap_or(0);
            let delivered = self.processes[other].now.delivered.get(&place);
            if delivered.is_some_and(|delivered| *delivered > sent) {
                return Err(format!(
                    "{other} received {delivered:?} messages of {place}, whose restored journal has sent {sent}"
                ));
            }
            let life = self.life(place, other);
            if let Some(messages) = self.sent.get_mut(&((place, other), life)) {
                messages.truncate(usize::try_from(sent).unwrap_or(usize::MAX));
            }
        }
        self.processes[place] = happened;
        self.turns[place].truncate(usize::try_from(end.0).unwrap_or(usize::MAX));
        Ok(())
    }
}
