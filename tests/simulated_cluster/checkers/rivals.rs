//! Checks rival assemblers of one snapshot: before publishing a complete revision, a process must have asked the others for
//! one, and must have left the snapshot to an initiator that is up. Computed independently of the code that decides it.

use snapledger::history::global::GlobalState;

use crate::plan::SECOND;
use crate::world::{Checked, Life, Place, World};

/// How long an initiator that is up has to complete its snapshot, beyond the deadline.
const INITIATOR_HAS: u64 = 10 * SECOND;

impl World {
    /// Checks a process that is about to publish a complete revision.
    pub(crate) fn check_rivals(&mut self, life: Life, state: &GlobalState) -> Checked {
        let snapshot = &state.snapshot;
        let is_initiator = state.initiator == *self.id(life.place);
        if self.is_given_up(snapshot) {
            return Ok(());
        }
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let must_ask = collection.is_resumed || collection.assembly.state().revision > 0;
        let whole_since = collection.whole_since.unwrap_or(0);
        let question = collection.question.clone();
        let question = question.filter(|question| question.at >= whole_since);
        let follows_since = collection.follows_since.unwrap_or(collection.began);
        if !is_initiator {
            let limit = self.plan.deadline + INITIATOR_HAS;
            let Some(question) = &question else {
                return Err(format!("{} completes {snapshot} unasked", life.place));
            };
            if question.initiator_is_up && question.at < follows_since + limit {
                return Err(format!(
                    "{} completes {snapshot}, and its initiator is up",
                    life.place
                ));
            }
        }
        match (&question, must_ask) {
            (None, true) => return Err(format!("{} completes {snapshot} unasked", life.place)),
            (None, false) => return Ok(()),
            (Some(_), _) => {}
        }
        let asked_at = question
            .as_ref()
            .map_or(whole_since, |question| question.at);
        for of in (0..self.nodes.len()).filter(|of| *of != life.place) {
            let is_asked = match &question {
                Some(question) => question.asked.contains(&of),
                None => self.is_up(life.place, of),
            };
            let is_held = self.had_complete(of, state, asked_at);
            if is_asked && is_held && self.was_near(life.place, of, asked_at) {
                return Err(format!(
                    "{} completes {snapshot}, which {of} had complete at {asked_at}",
                    life.place
                ));
            }
        }
        Ok(())
    }

    // Whether a process has had the complete snapshot with all its chunks since then.
    fn had_complete(&self, place: Place, state: &GlobalState, since: u64) -> bool {
        let node = &self.nodes[place];
        if node.life.is_none() {
            return false;
        }
        let mut listed = node.disk.listed_of(&state.snapshot);
        listed.any(|one| {
            let held = node.disk.revision(&one.snapshot, one.revision);
            let is_whole = |held: &GlobalState| {
                held.is_complete() && !held.parts.values().any(|part| node.is_rotten(part))
            };
            one.since <= since && held.is_some_and(is_whole)
        })
    }

    // Whether two processes could reach each other since then.
    fn was_near(&self, one: Place, other: Place, since: u64) -> bool {
        let lived = |place: Place| {
            let life = self.nodes[place].life.as_ref();
            life.is_some_and(|alive| alive.began <= since)
        };
        let is_apart = |pair| {
            self.apart_until
                .get(&pair)
                .is_some_and(|until| *until > since)
        };
        lived(one) && lived(other) && !is_apart((one, other)) && !is_apart((other, one))
    }
}
