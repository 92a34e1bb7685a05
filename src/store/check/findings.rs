//! The findings of a check, in the order of discovery.

use crate::store::error::StoreError;
use crate::store::stored::frame::Damage;

/// If something is damaged that much else depends on, further findings add nothing.
const LISTED_MAX: usize = 100;

/// Faults, and harmless oddities.
#[derive(Debug, Default)]
pub(super) struct Findings {
    wrong: Vec<StoreError>,
    left_out: u64,
    notes: Vec<String>,
}

impl Findings {
    /// Adds a contradiction.
    pub(super) fn add(&mut self, what: impl Into<String>, problem: impl Into<String>) {
        let damage = Damage::Contradiction(problem.into());
        self.push(StoreError::damaged(what, damage));
    }

    /// Adds an error.
    pub(super) fn push(&mut self, error: StoreError) {
        if self.wrong.len() < LISTED_MAX {
            self.wrong.push(error);
        } else {
            self.left_out += 1;
        }
    }

    /// The value of `result`, or `None` after adding its error.
    pub(super) fn take<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Adds a harmless oddity.
    pub(super) fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// Inserts the cause of all earlier findings before them.
    pub(super) fn push_first(&mut self, error: StoreError) {
        self.wrong.insert(0, error);
    }

    /// The first finding.
    pub(super) fn first(&self) -> Option<&StoreError> {
        self.wrong.first()
    }

    /// The first finding, discarding the others.
    pub(super) fn into_first(self) -> Option<StoreError> {
        self.wrong.into_iter().next()
    }

    /// The findings, the number left out, and the notes.
    pub(super) fn end(self) -> (Vec<StoreError>, u64, Vec<String>) {
        (self.wrong, self.left_out, self.notes)
    }
}
