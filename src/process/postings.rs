//! What a record does to money: said here once. `apply`, the figures of a process and the statements of accounts read it from
//! here. `store check` recomputes it independently, to check this.

use super::event::{Record, Turn};
use super::ids::{AccountId, Amount, ProcessId, Seq};
use super::message::Message;

/// What a record posts: at most one account is debited and one credited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Postings<'a> {
    /// The account whose balance falls.
    pub debit: Option<Posting<'a>>,
    /// The account whose balance rises.
    pub credit: Option<Posting<'a>>,
    /// What comes into the cluster, minor units; negative for what leaves it.
    pub from_outside: i128,
}

/// One account and the amount posted to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Posting<'a> {
    /// The account.
    pub account: &'a AccountId,
    /// The amount, always positive.
    pub amount: Amount,
}

impl<'a> Postings<'a> {
    /// What is deposited in the cluster, minor units.
    #[must_use]
    pub fn deposited(self) -> i128 {
        self.from_outside.max(0)
    }

    /// What is withdrawn from the cluster, minor units.
    #[must_use]
    pub fn withdrawn(self) -> i128 {
        (-self.from_outside).max(0)
    }

    /// The accounts, and what is added to each, minor units; negative for a debit. The debit comes first.
    pub fn changes(self) -> impl Iterator<Item = (&'a AccountId, i128)> {
        let units = |posting: Posting<'a>| (posting.account, i128::from(posting.amount.units()));
        let debit = self
            .debit
            .map(units)
            .map(|(account, units)| (account, -units));
        debit.into_iter().chain(self.credit.map(units))
    }

    fn debit(account: &'a AccountId, amount: Amount) -> Self {
        let debit = Some(Posting { account, amount });
        Self {
            debit,
            ..Self::default()
        }
    }

    fn credit(account: &'a AccountId, amount: Amount) -> Self {
        let credit = Some(Posting { account, amount });
        Self {
            credit,
            ..Self::default()
        }
    }
}

/// A message that a record puts on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispatch {
    /// The receiving process.
    pub to: ProcessId,
    /// The number of the message on the channel.
    pub seq: Seq,
    /// The message.
    pub message: Message,
}

impl Record {
    /// What the record posts.
    #[must_use]
    #[inline]
    pub fn postings(&self) -> Postings<'_> {
        match self {
            Self::Deposited { account, amount } => Postings {
                from_outside: i128::from(amount.units()),
                ..Postings::credit(account, *amount)
            },
            Self::Withdrawn { account, amount } => Postings {
                from_outside: -i128::from(amount.units()),
                ..Postings::debit(account, *amount)
            },
            Self::Moved { from, to, amount } => Postings {
                credit: Postings::credit(to, *amount).credit,
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
            // No account of this cluster ever held it: what is in a new cluster was paid in.
            Self::Carried { message, .. } => Postings {
                from_outside: message.amount(),
                ..Postings::default()
            },
            Self::Forgotten { written_off, .. } => Postings {
                from_outside: -*written_off,
                ..Postings::default()
            },
            Self::Written(_)
            | Self::Acknowledged { .. }
            | Self::Met { .. }
            | Self::StateRecorded { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::Recognized { .. }
            | Self::Unfollowed { .. }
            | Self::Reached => Postings::default(),
        }
    }

    /// The message that the record puts on a channel, if it does.
    #[must_use]
    pub fn into_dispatch(self) -> Option<Dispatch> {
        match self {
            Self::Sent { to, seq, message } | Self::Carried { to, seq, message } => {
                Some(Dispatch { to, seq, message })
            }
            Self::Deposited { .. }
            | Self::Withdrawn { .. }
            | Self::Moved { .. }
            | Self::Written(_)
            | Self::Delivered { .. }
            | Self::Acknowledged { .. }
            | Self::Met { .. }
            | Self::StateRecorded { .. }
            | Self::PartStored { .. }
            | Self::Checkpointed
            | Self::Answered { .. }
            | Self::AnswersForgotten { .. }
            | Self::Recognized { .. }
            | Self::Unfollowed { .. }
            | Self::Forgotten { .. }
            | Self::Reached => None,
        }
    }
}

impl Turn {
    /// The accounts that it changes, and what it adds to each, minor units, in order; negative for a debit.
    pub fn changes(&self) -> impl Iterator<Item = (&AccountId, i128)> {
        let records = self.records.iter();
        records.flat_map(|record| record.postings().changes())
    }

    /// The messages that it puts on channels, in order.
    pub fn into_dispatches(self) -> impl Iterator<Item = Dispatch> {
        let records = self.records.into_iter();
        records.filter_map(Record::into_dispatch)
    }
}
