//! The ends of messages around a recorded state, read from the journal in both directions, for a diagram.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::Past;
use crate::history::diagram::excerpt::{Collector, Excerpt, ExcerptQuery};
use crate::process::ids::Lsn;
use crate::store::error::StoreError;

/// The most turns read in each direction. Recorded messages were sent shortly before the cut, unless their receiver was away.
const TURNS_MAX: usize = 50_000;

impl Past<'_> {
    /// The ends of messages, as asked for; reads for at most `time`. `None` if the cut is one of another journal.
    ///
    /// # Errors
    /// [`StoreError::BeforeHorizon`] if nothing around the cut is kept; [`StoreError::Damaged`].
    pub fn excerpt(
        self,
        query: &ExcerptQuery,
        time: Duration,
    ) -> Result<Option<Excerpt>, StoreError> {
        let end = Instant::now() + time;
        let journal = &self.store.journal;
        let cut = match &query.cut {
            Some(cut) if cut.position > journal.position() => return Ok(None),
            Some(cut) => match cut.is_in(&journal.hash_up_to(cut.position)?) {
                true => cut.position,
                false => return Ok(None),
            },
            None => self.beginning(query)?,
        };
        let newest = journal.position();
        let mut forward = Collector::forward(query);
        let later = (cut.0.saturating_add(1)..=newest.0).map(Lsn);
        let reached_end = self.read(later, &mut forward, end)?;
        let mut backward = Collector::backward(query, &forward);
        let earlier = (1..=cut.0).rev().map(Lsn);
        let reached_beginning = self.read(earlier, &mut backward, end)?;
        let is_full = forward.is_full || backward.is_full;
        let mut ends = forward.ends;
        ends.append(&mut backward.ends);
        Ok(Some(Excerpt {
            since: self.horizon().map(|(_, since)| since),
            ends,
            is_truncated: is_full || !reached_end || !reached_beginning,
        }))
    }

    // The turn before those to show of a process that has recorded no state.
    fn beginning(self, query: &ExcerptQuery) -> Result<Lsn, StoreError> {
        match self.position_at(query.window.from) {
            Err(StoreError::BeforeHorizon { first, since }) if since <= query.window.to => {
                Ok(Lsn(first.0.saturating_sub(1)))
            }
            found => found,
        }
    }

    // Returns whether it has read as far as the collector wants and the journal goes.
    fn read(
        self,
        positions: impl Iterator<Item = Lsn>,
        collector: &mut Collector<'_>,
        end: Instant,
    ) -> Result<bool, StoreError> {
        for (count, position) in positions.enumerate() {
            if count == TURNS_MAX || Instant::now() >= end {
                return Ok(false);
            }
            let entry = match self.store.journal.entry(position) {
                Err(StoreError::BeforeHorizon { .. }) => return Ok(true),
                entry => entry?,
            };
            if let ControlFlow::Break(()) = collector.take(&entry.turn) {
                break;
            }
        }
        Ok(true)
    }
}
