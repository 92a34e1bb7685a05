//! Questions about the whole cluster at an instant, put together as `api/audit.rs` does: every process that can be reached
//! passes the instant durably, and says what it was then. Whether a share counts is decided by the real
//! `Share::is_known` and `Audit::strangers`.

use std::collections::BTreeMap;

use snapledger::history::audit::{Absence, Absent, Audit};
use snapledger::history::share::Share;
use snapledger::process::clock::Hlc;
use snapledger::process::event::Input;
use snapledger::process::ids::{Lsn, ProcessId};

use crate::node::Asker;
use crate::plan::{MS, SECOND};
use crate::world::{Checked, Event, Life, Place, World};

/// Who has not answered by then is missing.
const ANSWER_MAX: u64 = 300 * MS;

/// A question that is being answered.
pub(crate) struct Question {
    time: Hlc,
    shares: BTreeMap<ProcessId, Share>,
}

impl World {
    /// Somebody asks about an instant: one that is just over, or one of before.
    pub(crate) fn ask_about_the_past(&mut self) {
        if self.is_healed {
            return;
        }
        let pause = self.random.below(400 * MS);
        self.after(pause, Event::Question);
        let by = self.random.index(self.nodes.len());
        if self.nodes[by].life.is_none() {
            return;
        }
        let before = self.checkers.instants();
        let time = match self.random.below(3) {
            0 if !before.is_empty() => before[self.random.index(before.len())],
            _ => {
                let ago = self.random.below(2) * self.random.below(2 * SECOND);
                let us = self.true_us().saturating_sub(ago);
                Hlc::at(us).last_of_label()
            }
        };
        let number = self.questions_asked;
        self.questions_asked += 1;
        let shares = BTreeMap::new();
        self.questions.insert(number, Question { time, shares });
        for of in 0..self.nodes.len() {
            if let Some(life) = self.life(of).filter(|_| of == by || self.reach(by, of)) {
                let input = Input::Reach { time };
                self.enqueue(life, input, Some(Asker::Question(number)));
            }
        }
        self.after(ANSWER_MAX, Event::AnswerDue(number));
    }

    /// A process has passed the instant.
    pub(crate) fn passed(&mut self, life: Life, number: u64) -> Checked {
        let Some(time) = self.questions.get(&number).map(|question| question.time) else {
            return Ok(());
        };
        let (id, share) = (
            self.id(life.place).clone(),
            self.share_at(life.place, time)?,
        );
        if let Some(question) = self.questions.get_mut(&number) {
            question.shares.insert(id, share);
        }
        Ok(())
    }

    // What the journal on a disk says.
    fn share_at(&self, place: Place, time: Hlc) -> Checked<Share> {
        let node = &self.nodes[place];
        let mut share = Share {
            store: Some(node.store),
            ..Share::default()
        };
        for turn in node.disk.turns(Lsn(1)) {
            let turn = turn?;
            if turn.time > time {
                break;
            }
            let hash = node.disk.hash_at(turn.position).unwrap_or_default();
            share.pass(&turn, hash);
        }
        Ok(share)
    }

    /// The answer is given with what has come.
    pub(crate) fn answer_question(&mut self, number: u64) -> Checked {
        let Some(Question { time, shares }) = self.questions.remove(&number) else {
            return Err("a question was answered twice".to_owned());
        };
        self.answer_with(time, shares)
    }

    fn answer_with(&mut self, time: Hlc, shares: BTreeMap<ProcessId, Share>) -> Checked {
        let mut audit = Audit {
            at: Some(time),
            channels: self.plan.topology.channels().collect(),
            shares,
            missing: BTreeMap::new(),
        };
        let is_answered = |id: &ProcessId| audit.shares.get(id).is_some_and(Share::is_known);
        let ids = self.plan.ids.iter();
        let unknown: Vec<_> = ids.filter(|id| !is_answered(id)).cloned().collect();
        miss(&mut audit, unknown);
        let strangers: Vec<_> = audit.strangers().into_keys().collect();
        if !strangers.is_empty() {
            self.sometimes.saw("instant that another journal knew");
        }
        miss(&mut audit, strangers);
        if self.checkers.audited(&audit)? {
            self.sometimes.saw("instant answered again");
        }
        Ok(())
    }

    /// Asks once more about every instant that was answered.
    pub(crate) fn ask_again_about_all(&mut self) -> Checked {
        for time in self.checkers.instants() {
            let mut shares = BTreeMap::new();
            for place in 0..self.nodes.len() {
                shares.insert(self.id(place).clone(), self.share_at(place, time)?);
            }
            self.answer_with(time, shares)?;
        }
        Ok(())
    }
}

fn miss(audit: &mut Audit, processes: Vec<ProcessId>) {
    for process in processes {
        audit.shares.remove(&process);
        let absent = Absent {
            reason: Absence::OtherJournal,
            known: None,
        };
        audit.missing.insert(process, absent);
    }
}
