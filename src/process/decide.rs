//! `decide`: from an input to its effects, without changing the state. This file has the rules of the bank; those of the
//! channels are in `delivery.rs` and `handshake.rs`, those of snapshots in `snapshot.rs`.

use std::sync::Arc;

use super::Process;
use super::answer::{Answer, Outcome, Receipt};
use super::clock::Lamport;
use super::effects::{Effects, Refused};
use super::ids::{AccountId, Amount, Key, ProcessId, RequestId, Seq};
use super::input::{Input, Operation};
use super::message::{Body, Message, Stamp, Transfer, VALUE_BYTES_MAX, Write, local_transfer_id};
use super::record::Record;
use super::refusal::Refusal;
use super::reply::Reply;

impl Process {
    /// The effects of an input on the present state.
    pub(super) fn decide(&self, input: Input) -> Effects {
        match input {
            Input::Operation { request, operation } => self.decide_operation(request, operation),
            Input::Initiate { snapshot, start } => self.decide_initiate(snapshot, start),
            Input::Arrived {
                from, seq, message, ..
            } => self.decide_arrived(&from, seq, message),
            Input::Called {
                from,
                message_id,
                message,
            } => self.decide_called(&from, message_id, message),
            Input::Acknowledged { to, seq } => {
                let known = self.registers.outgoing.get(&to);
                let news = known.is_some_and(|channel| {
                    channel.acknowledged < seq && seq <= channel.sent.sequence
                });
                self.quietly(news.then_some(Record::Acknowledged { to, seq }))
            }
            Input::Handshake(handshake) => self.decide_handshake(&handshake),
            Input::Forget { peer } => self.decide_forget(&peer),
            Input::PartStored { snapshot } => {
                let recording = self.registers.recordings.get(&snapshot);
                let ended = recording.is_some_and(|recording| self.registers.has_ended(recording));
                self.quietly(ended.then_some(Record::PartStored { snapshot }))
            }
            Input::Checkpoint => self.quietly(Some(Record::Checkpointed)),
            Input::Decide(decision) => self.quietly(Some(Record::Decided(decision))),
            Input::AdvanceClock { time } => {
                let is_past = self.registers.time > time || !self.turn.records.is_empty();
                self.quietly((!is_past).then_some(Record::ClockAdvanced))
            }
        }
    }

    /// Whether the input would record the state.
    pub(super) fn would_seal(&self, input: &Input) -> bool {
        match input {
            Input::Initiate { snapshot, .. } => !self.registers.snapshots.has_seen(snapshot),
            Input::Arrived { message, .. } | Input::Called { message, .. } => {
                matches!(&message.body, Body::Marker(marker) if !self.registers.snapshots.has_seen(&marker.snapshot))
            }
            Input::Checkpoint => true,
            _ => false,
        }
    }

    // The effects of an input without a reply that is no event of the Lamport clock.
    pub(super) fn quietly(&self, record: Option<Record>) -> Effects {
        Effects {
            records: record.into_iter().collect(),
            reply: Reply::Nothing,
            clock: self.registers.clock,
            refused: None,
        }
    }

    pub(super) fn saying(&self, reply: Reply) -> Effects {
        Effects {
            records: Vec::new(),
            reply,
            clock: self.registers.clock,
            refused: None,
        }
    }

    fn decide_operation(&self, request: Option<RequestId>, operation: Operation) -> Effects {
        let Some(request) = request else {
            return self.perform(operation);
        };
        let fingerprint = operation.fingerprint();
        if let Some(known) = self.requests.get(&request) {
            let answer = if known.fingerprint == fingerprint {
                known.answer.clone()
            } else {
                self.answer(Err(Refusal::RequestReused(request)))
            };
            return self.saying(Reply::Operation(answer));
        }
        let mut effects = self.perform(operation);
        match &effects.reply {
            Reply::Operation(Answer {
                outcome: Ok(receipt),
                ..
            }) => {
                let receipt = receipt.clone();
                let answered = self.remembering(request, fingerprint, receipt);
                effects.records.extend(answered);
            }
            // Once there is room, a repeat succeeds.
            Reply::Operation(Answer {
                outcome: Err(refusal),
                ..
            }) if refusal.is_of_limit() => {}
            _ => {
                effects.refused = Some(Refused {
                    request,
                    fingerprint,
                });
            }
        }
        effects
    }

    /// The records that remember a successful request, and drop the oldest answers beyond the limit.
    pub(super) fn remembering(
        &self,
        request: RequestId,
        fingerprint: u64,
        receipt: Receipt,
    ) -> impl Iterator<Item = Record> + use<> {
        let transfer = receipt.transfer_id.as_deref();
        let excess = self
            .requests
            .excess_for(&request, transfer, self.limits.requests);
        let forgotten = excess.map(Record::OldestForgotten);
        let answered = Record::Answered {
            request,
            fingerprint,
            outcome: Ok(receipt),
        };
        forgotten.into_iter().chain(std::iter::once(answered))
    }

    fn perform(&self, operation: Operation) -> Effects {
        let clock = self.registers.clock.tick();
        let performed = match operation {
            Operation::Deposit { account, amount } => self.deposit(account, amount),
            Operation::Withdraw { account, amount } => self.withdraw(account, amount),
            Operation::Transfer {
                from_account,
                to_process: Some(to),
                to_account,
                amount,
                ..
            } if to != self.me => self.send(from_account, to, to_account, amount, clock),
            Operation::Transfer {
                from_account,
                to_account,
                amount,
                is_blind,
                ..
            } => self.shift(from_account, to_account, amount, is_blind),
            Operation::Put { key, value } => self.put(key, value, clock),
        };
        match performed {
            Ok((records, receipt)) => Effects {
                records,
                reply: Reply::Operation(self.answer(Ok(receipt))),
                clock,
                refused: None,
            },
            Err(refusal) => self.saying(Reply::Operation(self.answer(Err(refusal)))),
        }
    }

    fn answer(&self, outcome: Outcome) -> Answer {
        Answer {
            position: self.turn.position,
            time: self.turn.time,
            outcome,
        }
    }

    fn deposit(&self, account: AccountId, units: i64) -> Result<(Vec<Record>, Receipt), Refusal> {
        let amount = positive(units)?;
        let receipt = Receipt {
            balance: self.after_credit(&account, amount)?,
            ..Receipt::default()
        };
        Ok((vec![Record::Deposited { account, amount }], receipt))
    }

    fn withdraw(&self, account: AccountId, units: i64) -> Result<(Vec<Record>, Receipt), Refusal> {
        let amount = positive(units)?;
        let receipt = Receipt {
            balance: self.after_debit(&account, amount)?,
            ..Receipt::default()
        };
        Ok((vec![Record::Withdrawn { account, amount }], receipt))
    }

    fn shift(
        &self,
        from: AccountId,
        to: AccountId,
        units: i64,
        is_blind: bool,
    ) -> Result<(Vec<Record>, Receipt), Refusal> {
        let amount = positive(units)?;
        let balance = self.after_debit(&from, amount)?;
        let index = self.turn.records.len();
        let mut receipt = Receipt {
            balance,
            to_balance: None,
            transfer_id: Some(local_transfer_id(&self.me, self.turn.position, index)),
        };
        if from == to {
            receipt.balance += amount.units();
            receipt.to_balance = Some(receipt.balance);
            return Ok((vec![Record::Moved { from, to, amount }], receipt));
        }
        if is_blind && let Some(suspense) = self.suspense(&to, amount) {
            let record = Record::MovedToSuspense {
                from,
                to,
                suspense: Box::new(suspense),
                amount,
            };
            return Ok((vec![record], receipt));
        }
        receipt.to_balance = Some(self.after_credit(&to, amount)?);
        Ok((vec![Record::Moved { from, to, amount }], receipt))
    }

    fn send(
        &self,
        from_account: AccountId,
        to: ProcessId,
        to_account: AccountId,
        units: i64,
        clock: Lamport,
    ) -> Result<(Vec<Record>, Receipt), Refusal> {
        let amount = positive(units)?;
        if !self.topology.has_channel(&self.me, &to) {
            return Err(self.no_channel(&self.me, &to));
        }
        let balance = self.after_debit(&from_account, amount)?;
        let seq = self.next_seq(&to);
        let transfer_id = self.name_transfer(&to, seq);
        let body = Body::from(Transfer {
            transfer_id: transfer_id.clone(),
            from_account,
            to_account,
            amount,
        });
        let receipt = Receipt {
            balance,
            to_balance: None,
            transfer_id: Some(transfer_id),
        };
        let message = Message { clock, body };
        Ok((vec![Record::Sent { to, seq, message }], receipt))
    }

    // Two copies of one store give the same sequence number to different transfers; the run keeps their ids distinct.
    fn name_transfer(&self, to: &ProcessId, seq: Seq) -> Box<str> {
        let me = &self.me;
        match self.run & u64::from(u32::MAX) {
            0 => format!("{me}>{to}#{seq}").into(),
            run => format!("{me}>{to}#{seq}.{run:x}").into(),
        }
    }

    /// The balance after a credit, minor units.
    pub(super) fn after_credit(&self, account: &AccountId, amount: Amount) -> Result<i64, Refusal> {
        let max = self.limits.accounts;
        match self.bank.balance(account) {
            Some(balance) => balance
                .checked_add(amount.units())
                .ok_or_else(|| Refusal::Overflow(account.clone())),
            None if self.bank.len() >= max => Err(Refusal::TooManyAccounts(max)),
            None => Ok(amount.units()),
        }
    }

    fn after_debit(&self, account: &AccountId, amount: Amount) -> Result<i64, Refusal> {
        let Some(balance) = self.bank.balance(account) else {
            return Err(Refusal::UnknownAccount(account.clone()));
        };
        if balance < amount.units() {
            return Err(Refusal::InsufficientFunds {
                account: account.clone(),
                balance,
                amount: amount.units(),
            });
        }
        Ok(balance - amount.units())
    }

    fn put(
        &self,
        key: Key,
        value: Option<Box<str>>,
        clock: Lamport,
    ) -> Result<(Vec<Record>, Receipt), Refusal> {
        let bytes = value.as_deref().map_or(0, str::len);
        if bytes > VALUE_BYTES_MAX {
            return Err(Refusal::ValueTooLong(bytes as u64));
        }
        self.keys.check_room(&key, bytes, &self.limits)?;
        let stamp = Stamp {
            clock,
            process: self.me.clone(),
        };
        let write = Arc::new(Write { key, value, stamp });
        let mut records = self.forward(&write, clock, None);
        records.insert(0, Record::Written(write));
        Ok((records, Receipt::default()))
    }

    // A write floods the channels: each process that accepts it forwards it, so it reaches all processes in any topology.
    pub(super) fn forward(
        &self,
        write: &Arc<Write>,
        clock: Lamport,
        but: Option<&ProcessId>,
    ) -> Vec<Record> {
        self.topology
            .outgoing(&self.me)
            .filter(|to| Some(*to) != but)
            .map(|to| Record::Sent {
                to: to.clone(),
                seq: self.next_seq(to),
                message: Message {
                    clock,
                    body: Body::Put(Arc::clone(write)),
                },
            })
            .collect()
    }
}

fn positive(units: i64) -> Result<Amount, Refusal> {
    Amount::new(units).ok_or(Refusal::Amount(units))
}
