//! Queries about the whole cluster at an instant, assembled as in `cluster/audit.rs`: every reachable process passes the
//! instant durably and returns its totals at it. The real `ProcessTotals::is_known` and `Audit::strangers` decide whether
//! totals count, and `Audit::take_back_doubted` which processes had not joined the cluster. Each process also returns balance
//! and statement of its accounts, as `store/past/` does: from the newest recorded state and the turns after it, by the real
//! `history::statement`. What an older copy of a store does not know follows `store/gaps/` and `node/peers/handshakes.rs`.

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::audit::{Absence, Absent, Audit};
use snapledger::history::process_totals::{ProcessTotals, StoresKnown};
use snapledger::history::statement::entries;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, Hash, Lsn, ProcessId};
use snapledger::process::input::Input;
use snapledger::process::wall::ANSWERED_AHEAD_MAX;

use crate::checkers::Told;
use crate::node::Asker;
use crate::plan::{ACCOUNTS, MS, SECOND};
use crate::sabotage::Sabotage;
use crate::world::{Checked, Event, Life, Place, World};

/// The time limit for an answer; a process that exceeds it counts as missing.
const ANSWER_MAX: u64 = 300 * MS;

/// A query that is being answered.
pub(crate) struct Question {
    time: Hlc,
    known: BTreeMap<ProcessId, Known>,
}

/// The answer of one process about an instant.
struct Known {
    share: ProcessTotals,
    /// The peers that it had recognized by then, after its newest gap.
    met: BTreeSet<ProcessId>,
    accounts: Vec<(AccountId, Told)>,
}

impl World {
    /// Asks about an instant: a very recent one, or one that was asked about before.
    pub(crate) fn ask_about_the_past(&mut self) {
        if self.is_healed {
            return;
        }
        let pause = self.random.below(self.plan.question_pause_max);
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
        let known = BTreeMap::new();
        self.questions.insert(number, Question { time, known });
        for of in 0..self.nodes.len() {
            let life = self.life(of).filter(|_| of == by || self.reach(by, of));
            if let Some(life) = life
                && self.is_followed(life, time)
            {
                let input = Input::AdvanceClock { time };
                self.enqueue(life, input, Some(Asker::Question(number)));
            }
        }
        self.after(ANSWER_MAX, Event::AnswerDue(number));
    }

    /// Handles that a process has passed the instant.
    pub(crate) fn passed(&mut self, life: Life, number: u64) -> Checked {
        let Some(time) = self.questions.get(&number).map(|question| question.time) else {
            return Ok(());
        };
        let (id, known) = (
            self.id(life.place).clone(),
            self.known_at(life.place, time)?,
        );
        if self.archive.holds() && known.share.is_known() {
            let ProcessTotals {
                position, journal, ..
            } = known.share;
            self.check_told(life, position)?;
            self.checkers.told_others(life.place, position, journal)?;
        }
        if let Some(question) = self.questions.get_mut(&number) {
            question.known.insert(id, known);
        }
        Ok(())
    }

    // The answer of a process; the account data in it must be true.
    fn known_at(&mut self, place: Place, time: Hlc) -> Checked<Known> {
        let (share, met) = self.share_at(place, time)?;
        let mut accounts = Vec::new();
        // A statement of a shortened journal lacks the beginning.
        let is_whole = self.nodes[place].disk.begins().position == Lsn(0);
        for account in ACCOUNTS.iter().filter(|_| share.is_known() && is_whole) {
            let account = AccountId::parse(account).expect("a valid id");
            let told = self.account_at(place, &account, share.position)?;
            self.checkers.held((place, &account, time), &told)?;
            accounts.push((account, told));
        }
        Ok(Known {
            share,
            met,
            accounts,
        })
    }

    // The totals and recognized peers according to the journal on a disk.
    fn share_at(
        &mut self,
        place: Place,
        time: Hlc,
    ) -> Checked<(ProcessTotals, BTreeSet<ProcessId>)> {
        let node = &self.nodes[place];
        let mut is_behind_gap = false;
        let mut share = ProcessTotals {
            store: Some(node.store),
            given_up: Some(BTreeMap::new()),
            ..ProcessTotals::default()
        };
        if let Some(begin) = node.disk.first_state() {
            if begin.registers.time > time {
                self.sometimes.saw("instant before a shortened journal");
                return Ok((ProcessTotals::default(), BTreeSet::new()));
            }
            let store = share.store;
            share = ProcessTotals {
                store,
                ..begin.totals()
            };
        }
        let (mut met, mut passed) = (BTreeSet::new(), BTreeSet::new());
        let bound = self.plan.clock_ahead_max;
        for turn in node.disk.turns(Lsn(1)) {
            let turn = turn?;
            if turn.time > time {
                break;
            }
            let hash = node.disk.hash_at(turn.position).unwrap_or_default();
            if node.disk.is_gap(share.position) {
                is_behind_gap = true;
                (met, passed) = Default::default();
            }
            share.pass(&turn, hash);
            for (peer, _, since) in turn.recognitions().filter(|(.., since)| *since <= time) {
                met.insert(peer.clone());
                // The instants that the lost original has answered for were no further ahead of its peers.
                let is_passed = since.later_by(ANSWERED_AHEAD_MAX * bound) <= time;
                passed.extend(is_passed.then(|| peer.clone()));
            }
        }
        let is_in_gap = node.disk.is_gap(share.position);
        let has_caught_up = !is_behind_gap || passed.len() >= self.enough(place);
        let is_sabotaged = |sabotage| self.plan.is_sabotaged(sabotage);
        let is_known = (!is_in_gap || is_sabotaged(Sabotage::GapTakenForKnown))
            && (has_caught_up || is_sabotaged(Sabotage::CopyAnswersAtOnce));
        if is_in_gap {
            self.sometimes.saw("instant behind an older copy");
        } else if !has_caught_up {
            self.sometimes.saw("instant before an older copy caught up");
        } else if is_behind_gap {
            self.sometimes.saw("instant after an older copy caught up");
        }
        if !is_known {
            share = ProcessTotals::default();
        }
        Ok((share, met))
    }

    // The number of peers that, with this process, are more than half of the cluster; at most all of its peers.
    fn enough(&self, place: Place) -> usize {
        let (topology, id) = (&self.plan.topology, self.id(place));
        let peers: BTreeSet<_> = topology.outgoing(id).chain(topology.incoming(id)).collect();
        (self.plan.ids.len() - 1).div_ceil(2).min(peers.len())
    }

    /// Answers a query from the results so far.
    pub(crate) fn answer_question(&mut self, number: u64) -> Checked {
        let Some(Question { time, known }) = self.questions.remove(&number) else {
            return Err("a question was answered twice".to_owned());
        };
        self.answer_with(time, &known)
    }

    fn answer_with(&mut self, time: Hlc, known: &BTreeMap<ProcessId, Known>) -> Checked {
        let shares = known.iter().map(|(id, known)| (id, &known.share));
        let shares = shares.filter(|(_, share)| share.is_known());
        let mut audit = Audit {
            at: Some(time),
            channels: self.plan.topology.channels().collect(),
            shares: shares
                .map(|(id, share)| (id.clone(), share.clone()))
                .collect(),
            ..Audit::default()
        };
        for (id, known) in known {
            let store = known.share.begins_later();
            audit.later.extend(store.map(|store| (id.clone(), store)));
        }
        let is_unknown =
            |id: &&ProcessId| !audit.shares.contains_key(*id) && !audit.later.contains_key(*id);
        let unknown: Vec<_> = self.plan.ids.iter().filter(is_unknown).cloned().collect();
        miss(&mut audit, unknown);
        self.take_back_doubted(&mut audit)?;
        let strangers: Vec<_> = audit.strangers().into_keys().collect();
        if !strangers.is_empty() {
            self.sometimes.saw("instant that another journal knew");
        }
        miss(&mut audit, strangers);
        self.take_back_doubted(&mut audit)?;
        audit.leave_out_unused_channels();
        if !audit.later.is_empty() {
            self.sometimes.saw("instant before a process joined");
        }
        self.tell_accounts(time, known, &audit)?;
        if self.checkers.audited(&audit)? {
            self.sometimes.saw("instant answered again");
        }
        Ok(())
    }

    // Processes that may have been there before the store from which they answer are missing.
    fn take_back_doubted(&mut self, audit: &mut Audit) -> Checked {
        if audit.later.is_empty() || self.plan.is_sabotaged(Sabotage::LaterTakenAtItsWord) {
            return Ok(());
        }
        // With others missing, nothing that they know is asked for.
        if audit.is_complete() {
            for id in audit.shares.keys().chain(audit.later.keys()) {
                let stores = self.stores_known(self.place_of(id))?;
                audit.known_now.insert(id.clone(), stores);
            }
        }
        let doubted: Vec<_> = audit.take_back_doubted().into_keys().collect();
        if !doubted.is_empty() {
            self.sometimes
                .saw("instant before a store that may have replaced another");
        }
        miss(audit, doubted);
        Ok(())
    }

    // The stores of the others that a process knows by the end of its journal.
    fn stores_known(&self, place: Place) -> Checked<StoresKnown> {
        let disk = &self.nodes[place].disk;
        let mut newest = ProcessTotals {
            given_up: Some(BTreeMap::new()),
            ..ProcessTotals::default()
        };
        if let Some(begin) = disk.first_state() {
            newest = begin.totals();
        }
        for turn in disk.turns(newest.position.next()) {
            newest.pass(&turn?, Hash::default());
        }
        Ok(StoresKnown::from(&newest))
    }

    // Checks the accounts whose answer is complete: the process had recognized all its peers by the instant, or the whole
    // cluster answers it.
    fn tell_accounts(
        &mut self,
        time: Hlc,
        known: &BTreeMap<ProcessId, Known>,
        audit: &Audit,
    ) -> Checked {
        for (process, Known { met, accounts, .. }) in known {
            let is_complete = self.are_all_peers(process, met) || audit.vouches_for(process);
            for (account, told) in accounts.iter().filter(|_| is_complete) {
                let asked = (time, process.clone(), account.clone());
                self.checkers.told(asked, told)?;
            }
        }
        Ok(())
    }

    fn are_all_peers(&self, process: &ProcessId, met: &BTreeSet<ProcessId>) -> bool {
        let topology = &self.plan.topology;
        let outgoing = topology.outgoing(process);
        let mut peers = outgoing.chain(topology.incoming(process));
        peers.all(|peer| met.contains(peer))
    }

    fn account_at(&mut self, place: Place, account: &AccountId, position: Lsn) -> Checked<Told> {
        let (me, disk) = (self.id(place), &self.nodes[place].disk);
        let balance = disk.balance_at(me, account, position)?;
        let mut statement = Vec::new();
        for turn in disk.turns(Lsn(1)) {
            let turn = turn?;
            if turn.position > position {
                break;
            }
            statement.extend(entries(me, &turn, account));
        }
        let (cut, _) = disk.recorded_until(position);
        if cut > Lsn(0) && cut < position {
            self.sometimes
                .saw("balance from a recorded state and turns behind it");
        }
        Ok(Told { balance, statement })
    }

    /// Asks again about every answered instant.
    pub(crate) fn ask_again_about_all(&mut self) -> Checked {
        for time in self.checkers.instants() {
            let mut known = BTreeMap::new();
            for place in 0..self.nodes.len() {
                known.insert(self.id(place).clone(), self.known_at(place, time)?);
            }
            self.answer_with(time, &known)?;
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
