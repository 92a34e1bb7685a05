//! What a check has found, in the order in which it was found.

use std::path::Path;

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

    /// Everything, with the store's own directory instead of the copy's.
    pub(super) fn end(self, copy: &Path, dir: &Path) -> (Vec<StoreError>, u64, Vec<String>) {
        let (copy, dir) = (copy.display().to_string(), dir.display().to_string());
        let named = |error| match error {
            StoreError::Damaged {
                what,
                damage: Damage::Contradiction(problem),
            } => StoreError::damaged(what, Damage::Contradiction(problem.replace(&copy, &dir))),
            other => other,
        };
        let wrong = self.wrong.into_iter().map(named).collect();
        (wrong, self.left_out, self.notes)
    }
}
