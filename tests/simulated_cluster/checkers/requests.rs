//! Checks that a request is done once: every answer to a done request is the first one, and the journal has it in the turn that
//! the answer names. A refusal is not journaled and never follows a success. In the same life it is repeated, unless it is
//! because of a limit.

use std::collections::BTreeMap;

use snapledger::process::answer::{Answer, Outcome};
use snapledger::process::ids::{Lsn, RequestId};
use snapledger::process::record::{Record, Turn};

use crate::world::{Checked, Place};

/// The answers given, and the requests done.
#[derive(Default)]
pub(super) struct Requests {
    answers: BTreeMap<RequestId, Answer>,
    happened: BTreeMap<RequestId, (Lsn, Outcome)>,
    /// The requests of each process.
    of: BTreeMap<Place, Vec<RequestId>>,
    /// The refusals of each process in its present life.
    refused: BTreeMap<Place, BTreeMap<RequestId, Answer>>,
}

impl Requests {
    /// Takes the answers of a turn that no crash can lose.
    pub(super) fn happened(&mut self, place: Place, turn: &Turn) -> Checked {
        for record in &turn.records {
            let Record::Answered {
                request, outcome, ..
            } = record
            else {
                continue;
            };
            if outcome.is_err() {
                return Err(format!(
                    "process {place} journaled that it refused {request}"
                ));
            }
            self.of.entry(place).or_default().push(request.clone());
            let answered = (turn.position, outcome.clone());
            if let Some((before, _)) = self.happened.insert(request.clone(), answered) {
                return Err(format!(
                    "process {place} did {request} in turn {before} and in {}",
                    turn.position
                ));
            }
        }
        Ok(())
    }

    /// A process has lost all its answers.
    pub(super) fn wiped(&mut self, place: Place) {
        for request in self.of.remove(&place).unwrap_or_default() {
            self.happened.remove(&request);
            self.answers.remove(&request);
        }
    }

    /// A process has lost the answers after a position.
    pub(super) fn put_back(&mut self, place: Place, until: Lsn) {
        let Self {
            answers,
            happened,
            of,
            ..
        } = self;
        of.entry(place).or_default().retain(|request| {
            let is_kept = happened.get(request).is_some_and(|(at, _)| *at <= until);
            if !is_kept {
                happened.remove(request);
                answers.remove(request);
            }
            is_kept
        });
    }

    /// Takes an answer that was released.
    pub(super) fn answered(
        &mut self,
        place: Place,
        request: &RequestId,
        answer: Answer,
    ) -> Checked {
        let happened = self.happened.get(request);
        if let (Err(refusal), None) = (&answer.outcome, happened) {
            return match refusal.is_of_limit() {
                // It is not remembered.
                true => Ok(()),
                false => self.refused(place, request, answer),
            };
        }
        if happened != Some(&(answer.position, answer.outcome.clone())) {
            return Err(format!(
                "process {place} answered {request} with {answer:?}, and {happened:?} happened"
            ));
        }
        match self.answers.get(request) {
            Some(first) if *first != answer => Err(format!(
                "process {place} answered {request} with {first:?}, then with {answer:?}"
            )),
            Some(_) => Ok(()),
            None => {
                self.answers.insert(request.clone(), answer);
                Ok(())
            }
        }
    }

    fn refused(&mut self, place: Place, request: &RequestId, answer: Answer) -> Checked {
        let refused = self.refused.entry(place).or_default();
        let first = refused.entry(request.clone()).or_insert(answer.clone());
        if *first != answer {
            return Err(format!(
                "process {place} refused {request} with {first:?}, then with {answer:?}"
            ));
        }
        Ok(())
    }

    /// A process has recovered; requests that it had refused are decided again.
    pub(super) fn recovered(&mut self, place: Place) {
        self.refused.remove(&place);
    }
}
