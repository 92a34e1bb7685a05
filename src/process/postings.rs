//! The effects of a record on money, said once: [`Process`](super::Process) applies them, and the totals of a process,
//! differences and the account index are computed from them. Statements add how each record is shown. `store check` computes
//! the effects independently.

use super::ids::{AccountId, Amount, ProcessId, Seq};
use super::message::Message;
use super::record::{Record, Turn};

/// The accounts that a record changes: at most one debit and one credit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Postings<'a> {
    /// The debited account.
    pub debit: Option<Posting<'a>>,
    /// The credited account.
    pub credit: Option<Posting<'a>>,
}

/// An account and the amount posted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The amount.
    pub amount: Amount,
}

impl<'a> Postings<'a> {
    /// The accounts, the debited one first.
    pub fn accounts(self) -> impl Iterator<Item = &'a AccountId> {
        let both = self.debit.into_iter().chain(self.credit);
        both.map(|posting| posting.account)
    }

    /// The accounts, each with the change of its balance in minor units; the debit comes first and is negative.
    pub fn changes(self) -> impl Iterator<Item = (&'a AccountId, i128)> {
        let units = |posting: Posting<'a>| (posting.account, i128::from(posting.amount.units()));
        let debit = self.debit.map(units);
        let debit = debit.map(|(account, units)| (account, -units));
        debit.into_iter().chain(self.credit.map(units))
    }

    fn debit(account: &'a AccountId, amount: Amount) -> Self {
        let debit = Some(Posting { account, amount });
        Self {
            debit,
            credit: None,
        }
    }

    fn credit(account: &'a AccountId, amount: Amount) -> Self {
        let credit = Some(Posting { account, amount });
        Self {
            debit: None,
            credit,
        }
    }
}

/// A message that a record puts on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// The receiving process.
    pub to: ProcessId,
    /// The sequence number of the message on the channel.
    pub seq: Seq,
    /// The message.
    pub message: Message,
}

impl Record {
    /// The postings of the record.
    #[must_use]
    #[inline]
    pub fn postings(&self) -> Postings<'_> {
        match self {
            Self::Deposited { account, amount } => Postings::credit(account, *amount),
            Self::Withdrawn { account, amount } => Postings::debit(account, *amount),
            Self::Moved { from, to, amount } => Postings {
                credit: Postings::credit(to, *amount).credit,
                ..Postings::debit(from, *amount)
            },
            Self::MovedToSuspense {
                from,
                suspense,
                amount,
                ..
            } => Postings {
                credit: Postings::credit(suspense, *amount).credit,
                ..Postings::debit(from, *amount)
            },
            Self::Sent { message, .. } => match message.body.transfer() {
                Some(transfer) => Postings::debit(&transfer.from_account, transfer.amount),
                None => Postings::default(),
            },
            Self::Delivered {
                suspense, message, ..
            } => match message.body.transfer() {
                Some(transfer) => {
                    let account = suspense.as_deref().unwrap_or(&transfer.to_account);
                    Postings::credit(account, transfer.amount)
                }
                None => Postings::default(),
            },
            // A carried transfer was debited from no account of this cluster.
            Self::Carried { .. }
            | Self::Forgotten { .. }
            | Self::Written(_)
            | Self::Acknowledged { .. }
            | Self::RecognizedOnce { .. }
            | Self::StateRecorded { .. }
            | Self::Started { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::OldestForgotten(_)
            | Self::Decided(_)
            | Self::Recognized { .. }
            | Self::Unfollowed { .. }
            | Self::ClockAdvanced => Postings::default(),
        }
    }

    /// The money that enters the cluster with the record, minor units: positive for a deposit, negative for a withdrawal.
    #[must_use]
    #[inline]
    pub fn from_outside(&self) -> i128 {
        match self {
            Self::Deposited { amount, .. } => i128::from(amount.units()),
            Self::Withdrawn { amount, .. } => -i128::from(amount.units()),
            // The messages in the channels of a restored cluster count as deposits.
            Self::Carried { message, .. } => message.amount(),
            Self::Forgotten { written_off, .. } => -*written_off,
            Self::Moved { .. }
            | Self::MovedToSuspense { .. }
            | Self::Sent { .. }
            | Self::Delivered { .. }
            | Self::Written(_)
            | Self::Acknowledged { .. }
            | Self::RecognizedOnce { .. }
            | Self::StateRecorded { .. }
            | Self::Started { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::OldestForgotten(_)
            | Self::Decided(_)
            | Self::Recognized { .. }
            | Self::Unfollowed { .. }
            | Self::ClockAdvanced => 0,
        }
    }

    /// The message that the record puts on a channel, if any.
    #[must_use]
    pub fn into_dispatch(self) -> Option<Dispatch> {
        match self {
            Self::Sent { to, seq, message } | Self::Carried { to, seq, message } => {
                Some(Dispatch { to, seq, message })
            }
            Self::Deposited { .. }
            | Self::Withdrawn { .. }
            | Self::Moved { .. }
            | Self::MovedToSuspense { .. }
            | Self::Written(_)
            | Self::Delivered { .. }
            | Self::Acknowledged { .. }
            | Self::RecognizedOnce { .. }
            | Self::StateRecorded { .. }
            | Self::Started { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::OldestForgotten(_)
            | Self::Decided(_)
            | Self::Recognized { .. }
            | Self::Unfollowed { .. }
            | Self::Forgotten { .. }
            | Self::ClockAdvanced => None,
        }
    }
}

impl Turn {
    /// The accounts that the turn changes, in order.
    pub fn accounts(&self) -> impl Iterator<Item = &AccountId> {
        let records = self.records.iter();
        records.flat_map(|record| record.postings().accounts())
    }

    /// The accounts that the turn changes, each with the change of its balance in minor units, in order; negative for a debit.
    pub fn changes(&self) -> impl Iterator<Item = (&AccountId, i128)> {
        let records = self.records.iter();
        records.flat_map(|record| record.postings().changes())
    }

    /// The messages that the turn puts on channels, in order.
    pub fn into_dispatches(self) -> impl Iterator<Item = Dispatch> {
        let records = self.records.into_iter();
        records.filter_map(Record::into_dispatch)
    }
}
