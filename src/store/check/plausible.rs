//! Checks that a turn can follow the current state before it is applied, since a damaged turn could contain what no
//! process would decide. The effect of a record on balances is computed here independently of `process::postings` on
//! purpose: a shared implementation could not detect its own errors.

use std::collections::HashMap;

use crate::process::Process;
use crate::process::ids::{AccountId, Amount, ProcessId, Seq};
use crate::process::record::{Record, Turn};

/// Why a turn cannot follow the state of the process; `None` if it can.
pub(super) fn implausible(process: &Process, turn: &Turn) -> Option<String> {
    let registers = process.registers();
    if turn.time <= registers.time {
        return Some("its clock does not advance".to_owned());
    }
    if turn.clock < registers.clock {
        return Some("its Lamport clock goes backwards".to_owned());
    }
    if turn.records.is_empty() {
        return Some("it is empty".to_owned());
    }
    let mut trial = Trial {
        process,
        balances: HashMap::new(),
        sent: HashMap::new(),
        delivered: HashMap::new(),
    };
    let mut records = turn.records.iter().enumerate();
    records.find_map(|(place, record)| trial.apply(place, record).err())
}

/// The effect of the records of one turn, computed without applying them.
struct Trial<'a> {
    process: &'a Process,
    balances: HashMap<&'a AccountId, i64>,
    sent: HashMap<&'a ProcessId, Seq>,
    delivered: HashMap<&'a ProcessId, Seq>,
}

impl<'a> Trial<'a> {
    fn apply(&mut self, place: usize, record: &'a Record) -> Result<(), String> {
        match record {
            Record::Deposited { account, amount } => self.credit(account, *amount),
            Record::Withdrawn { account, amount } => self.debit(account, *amount),
            Record::Moved { from, to, amount } => {
                self.debit(from, *amount)?;
                self.credit(to, *amount)
            }
            Record::MovedToSuspense {
                from,
                suspense,
                amount,
                ..
            } => {
                self.debit(from, *amount)?;
                self.credit(suspense, *amount)
            }
            Record::Sent { to, seq, message } => {
                self.send(to, *seq)?;
                match message.body.transfer() {
                    Some(transfer) => self.debit(&transfer.from_account, transfer.amount),
                    None => Ok(()),
                }
            }
            Record::Carried { to, seq, .. } => self.send(to, *seq),
            Record::Delivered {
                from,
                seq,
                suspense,
                message,
                ..
            } => {
                self.deliver(from, *seq)?;
                match message.body.transfer() {
                    Some(transfer) => {
                        let account = suspense.as_deref().unwrap_or(&transfer.to_account);
                        self.credit(account, transfer.amount)
                    }
                    None => Ok(()),
                }
            }
            Record::StateRecorded { snapshot, .. }
                if self.process.snapshots().has_seen(snapshot) =>
            {
                Err(format!("it records snapshot {snapshot} for a second time"))
            }
            Record::StateRecorded { .. } | Record::Checkpointed if place > 0 => {
                Err("it records a state before its end".to_owned())
            }
            Record::StateRecorded { .. }
            | Record::Checkpointed
            | Record::Written(_)
            | Record::Acknowledged { .. }
            | Record::RecognizedOnce { .. }
            | Record::PartStored { .. }
            | Record::Answered { .. }
            | Record::AnswersForgotten { .. }
            | Record::OldestForgotten(_)
            | Record::Decided(_)
            | Record::Recognized { .. }
            | Record::Unfollowed { .. }
            | Record::Forgotten { .. }
            | Record::Started { .. }
            | Record::ClockAdvanced => Ok(()),
        }
    }

    fn credit(&mut self, account: &'a AccountId, amount: Amount) -> Result<(), String> {
        let after = self
            .balance(account)
            .unwrap_or(0)
            .checked_add(amount.units());
        let after = after.ok_or_else(|| format!("the balance of account {account:?} overflows"))?;
        self.balances.insert(account, after);
        Ok(())
    }

    fn debit(&mut self, account: &'a AccountId, amount: Amount) -> Result<(), String> {
        let before = self.balance(account).unwrap_or(0);
        if before < amount.units() {
            return Err(format!(
                "account {account:?} holds {before}, and it debits {amount:?}"
            ));
        }
        self.balances.insert(account, before - amount.units());
        Ok(())
    }

    fn balance(&self, account: &AccountId) -> Option<i64> {
        let tried = self.balances.get(account).copied();
        tried.or_else(|| self.process.bank().balance(account))
    }

    fn send(&mut self, to: &'a ProcessId, seq: Seq) -> Result<(), String> {
        let channel = self.process.registers().outgoing.get(to);
        let last = channel.map_or(Seq(0), |channel| channel.sent.sequence);
        follow(self.sent.entry(to).or_insert(last), seq)
            .map_err(|last| format!("it sends message {seq} to {to:?} after {last}"))
    }

    fn deliver(&mut self, from: &'a ProcessId, seq: Seq) -> Result<(), String> {
        let channel = self.process.registers().incoming.get(from);
        let last = channel.map_or(Seq(0), |channel| channel.delivered.sequence);
        follow(self.delivered.entry(from).or_insert(last), seq)
            .map_err(|last| format!("it delivers message {seq} from {from:?} after {last}"))
    }
}

fn follow(last: &mut Seq, seq: Seq) -> Result<(), Seq> {
    if seq != last.next() {
        return Err(*last);
    }
    *last = seq;
    Ok(())
}
