//! What a check has found, in the order in which it was found.

use crate::store::error::StoreError;
use crate::store::frame::Damage;

/// Where a thing that many others rest on is damaged, more would tell nothing.
const LISTED_MAX: usize = 100;

/// What is wrong, and what is merely odd.
#[derive(Debug, Default)]
pub(super) struct Findings {
    wrong: Vec<StoreError>,
    left_out: u64,
    notes: Vec<String>,
}

impl Findings {
    /// Something is not what it should be.
    pub(super) fn add(&mut self, what: impl Into<String>, problem: impl Into<String>) {
        let damage = Damage::Contradiction(problem.into());
        self.push(StoreError::damaged(what, damage));
    }

    /// Takes down what went wrong.
    pub(super) fn push(&mut self, error: StoreError) {
        if self.wrong.len() < LISTED_MAX {
            self.wrong.push(error);
        } else {
            self.left_out += 1;
        }
    }

    /// The value, or takes down what went wrong.
    pub(super) fn take<T>(&mut self, result: Result<T, StoreError>) -> Option<T> {
        result.map_err(|error| self.push(error)).ok()
    }

    /// Something is odd and does no harm.
    pub(super) fn note(&mut self, sentence: String) {
        self.notes.push(sentence);
    }

    /// Takes down what explains all that was found before.
    pub(super) fn push_first(&mut self, error: StoreError) {
        self.wrong.insert(0, error);
    }

    /// What was found first.
    pub(super) fn first(&self) -> Option<&StoreError> {
        self.wrong.first()
    }

    /// What was found first, where it is all that there will be.
    pub(super) fn into_first(self) -> Option<StoreError> {
        self.wrong.into_iter().next()
    }

    /// Everything.
    pub(super) fn end(self) -> (Vec<StoreError>, u64, Vec<String>) {
        (self.wrong, self.left_out, self.notes)
    }
}
