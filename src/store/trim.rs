//! Deletes recorded states that nobody begins from any more: those before the newest one at or before an instant.
//!
//! The journal stays whole, so nothing that can be asked is lost with a state: what was before the first that is left is
//! found from the beginning of the journal, which takes longer. A part names its chunks itself.

use super::Store;
use super::error::StoreError;
use super::frame::Kind;
use super::schema::{self, STATES_FROM};
use crate::process::clock::Hlc;
use crate::process::ids::Lsn;

/// States that go between two syncs.
const TOGETHER: usize = 64;

impl Store {
    /// Deletes the states before the newest at or before an instant; says how many went. The newest written one stays,
    /// for a restart, and those from which parts have still to be made.
    ///
    /// From where on states are left is durable before the first goes: the check must know that the rest is not lost.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn trim_states(&self, instant: Hlc) -> Result<usize, StoreError> {
        let Some(newest) = self.states.newest_written()? else {
            return Ok(0);
        };
        // Of recordings that began later the states are later, too.
        let recordings = newest.registers.recordings.values();
        let needed = recordings.map(|recording| recording.cut).min();
        let last = needed.unwrap_or(newest.recorded.position);
        let mut trimmed = 0;
        loop {
            let (going, from) = self.states_before(instant, last)?;
            if going.is_empty() {
                return Ok(trimmed);
            }
            schema::put(&self.meta, STATES_FROM, Kind::Number, &from.0)?;
            self.sync()?;
            for cut in &going {
                self.states.remove(*cut)?;
            }
            self.sync()?;
            trimmed += going.len();
        }
    }

    // The oldest states that may go, and the one behind them.
    fn states_before(&self, instant: Hlc, last: Lsn) -> Result<(Vec<Lsn>, Lsn), StoreError> {
        let mut going = Vec::new();
        let mut oldest = None;
        for state in self.states.all().take(TOGETHER + 1) {
            let recorded = state?.recorded;
            let is_enough = recorded.position <= last && recorded.time <= instant;
            match oldest.replace(recorded.position) {
                Some(before) if is_enough => going.push(before),
                Some(before) => return Ok((going, before)),
                None => {}
            }
        }
        Ok((going, oldest.unwrap_or_default()))
    }
}
