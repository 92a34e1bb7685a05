//! The statement of an account: the changes that one turn made to it, record by record.

use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Amount, Lsn, ProcessId, SnapshotId};
use crate::process::message::{Transfer, local_transfer_id};
use crate::process::record::{Record, Turn};

/// The kind of operation of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Money paid in.
    Deposit,
    /// Money paid out.
    Withdrawal,
    /// A transfer from another account, on this or another process.
    TransferIn,
    /// A transfer to another account, on this or another process.
    TransferOut,
}

/// One change of the balance of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The place in the order of the account's entries.
    pub place: EntryPlace,
    /// The clock of its turn.
    pub time: Hlc,
    /// The kind of operation.
    pub op: Op,
    /// The amount, always positive; `op` gives the direction.
    pub amount: Amount,
    /// The account at the other end of a transfer.
    pub counterparty: Option<AccountId>,
    /// The process of that account.
    pub counterparty_process: Option<ProcessId>,
    /// The id of the transfer, the same at both ends.
    pub transfer_id: Option<Box<str>>,
    /// The intended account of a transfer, if that would have overflowed and this account was credited instead.
    pub meant_for: Option<AccountId>,
}

/// The place of an entry in the statement of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPlace {
    /// The turn.
    pub position: Lsn,
    /// The index among the account's entries in this turn, from 0.
    pub ordinal: u32,
}

impl Op {
    /// The stable name in the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Deposit => "deposit",
            Self::Withdrawal => "withdrawal",
            Self::TransferIn => "transfer_in",
            Self::TransferOut => "transfer_out",
        }
    }
}

impl Entry {
    /// The change of the balance, minor units; negative for a debit.
    #[must_use]
    pub fn change(&self) -> i128 {
        let units = i128::from(self.amount.units());
        match self.op {
            Op::Deposit | Op::TransferIn => units,
            Op::Withdrawal | Op::TransferOut => -units,
        }
    }
}

/// One end of a transfer as an entry shows it.
struct TransferEnd<'a> {
    op: Op,
    amount: Amount,
    counterparty: Option<(&'a AccountId, &'a ProcessId)>,
    transfer_id: Option<Box<str>>,
    meant_for: Option<&'a AccountId>,
}

/// The changes that a turn of the process `me` made to an account, in order.
#[must_use]
pub fn entries(me: &ProcessId, turn: &Turn, account: &AccountId) -> Vec<Entry> {
    let entries = entries_where(me, turn, |changed| changed == account);
    entries.into_iter().map(|(_, entry)| entry).collect()
}

/// The changes that a turn of the process `me` made to all accounts, in order, each with its account. The ordinals count all of
/// them.
#[must_use]
pub fn all_entries<'a>(me: &'a ProcessId, turn: &'a Turn) -> Vec<(&'a AccountId, Entry)> {
    entries_where(me, turn, |_| true)
}

fn entries_where<'a>(
    me: &'a ProcessId,
    turn: &'a Turn,
    is_wanted: impl Fn(&AccountId) -> bool + Copy,
) -> Vec<(&'a AccountId, Entry)> {
    let mut entries = Vec::new();
    for (index, record) in turn.records.iter().enumerate() {
        for (account, end) in ends(me, turn.position, index, record, is_wanted) {
            let ordinal = u32::try_from(entries.len());
            let entry = Entry {
                place: EntryPlace {
                    position: turn.position,
                    ordinal: ordinal.expect("a turn has far fewer records"),
                },
                time: turn.time,
                op: end.op,
                amount: end.amount,
                counterparty: end.counterparty.map(|(account, _)| account.clone()),
                counterparty_process: end.counterparty.map(|(_, process)| process.clone()),
                transfer_id: end.transfer_id,
                meant_for: end.meant_for.cloned(),
            };
            entries.push((account, entry));
        }
    }
    entries
}

fn plain<'a>(op: Op, amount: Amount) -> TransferEnd<'a> {
    TransferEnd {
        op,
        amount,
        counterparty: None,
        transfer_id: None,
        meant_for: None,
    }
}

/// An end of a transfer, or all of another operation, with the account that it changes.
type Change<'a> = (&'a AccountId, TransferEnd<'a>);

// A transfer from an account to itself yields both ends.
fn ends<'a>(
    me: &'a ProcessId,
    position: Lsn,
    index: usize,
    record: &'a Record,
    is_wanted: impl Fn(&AccountId) -> bool,
) -> impl Iterator<Item = Change<'a>> {
    let wanted = |account: &'a AccountId| is_wanted(account).then_some(account);
    let (first, second) = match record {
        Record::Deposited { account, amount } => {
            let end = |account| (account, plain(Op::Deposit, *amount));
            (wanted(account).map(end), None)
        }
        Record::Withdrawn { account, amount } => {
            let end = |account| (account, plain(Op::Withdrawal, *amount));
            (wanted(account).map(end), None)
        }
        Record::Moved { from, to, amount } => {
            Moved::new(from, to, None, *amount).ends(me, position, index, wanted)
        }
        Record::MovedToSuspense {
            from,
            to,
            suspense,
            amount,
        } => Moved::new(from, to, Some(suspense), *amount).ends(me, position, index, wanted),
        Record::Sent { to, message, .. } => {
            let transfer = message.body.transfer();
            let end = transfer.and_then(|transfer| {
                let account = wanted(&transfer.from_account)?;
                Some((account, sent(to, transfer)))
            });
            (end, None)
        }
        Record::Delivered {
            from,
            suspense,
            message,
            ..
        } => {
            let transfer = message.body.transfer();
            let end = transfer.and_then(|transfer| {
                let suspense = suspense.as_deref();
                let account = wanted(suspense.unwrap_or(&transfer.to_account))?;
                Some((account, delivered(from, suspense, transfer)))
            });
            (end, None)
        }
        Record::Written(_)
        | Record::Carried { .. }
        | Record::Acknowledged { .. }
        | Record::RecognizedOnce { .. }
        | Record::StateRecorded { .. }
        | Record::Started { .. }
        | Record::PartStored { .. }
        | Record::Checkpointed
        | Record::Answered { .. }
        | Record::AnswersForgotten { .. }
        | Record::OldestForgotten(_)
        | Record::Decided(_)
        | Record::Recognized { .. }
        | Record::Unfollowed { .. }
        | Record::Forgotten { .. }
        | Record::ClockAdvanced => (None, None),
    };
    first.into_iter().chain(second)
}

/// A transfer within a process.
struct Moved<'a> {
    from: &'a AccountId,
    /// The account that was named.
    to: &'a AccountId,
    /// The account that was credited instead.
    suspense: Option<&'a AccountId>,
    amount: Amount,
}

impl<'a> Moved<'a> {
    fn new(
        from: &'a AccountId,
        to: &'a AccountId,
        suspense: Option<&'a AccountId>,
        amount: Amount,
    ) -> Self {
        Self {
            from,
            to,
            suspense,
            amount,
        }
    }

    // The payer reads the account that was named.
    fn ends(
        self,
        me: &'a ProcessId,
        position: Lsn,
        index: usize,
        wanted: impl Fn(&'a AccountId) -> Option<&'a AccountId>,
    ) -> (Option<Change<'a>>, Option<Change<'a>>) {
        let end = |op, other, meant_for| TransferEnd {
            op,
            amount: self.amount,
            counterparty: Some((other, me)),
            transfer_id: Some(local_transfer_id(me, position, index)),
            meant_for,
        };
        let meant_for = self.suspense.map(|_| self.to);
        let out = wanted(self.from);
        let out = out.map(|account| (account, end(Op::TransferOut, self.to, None)));
        let into = wanted(self.suspense.unwrap_or(self.to));
        let into = into.map(|account| (account, end(Op::TransferIn, self.from, meant_for)));
        (out, into)
    }
}

fn sent<'a>(to: &'a ProcessId, transfer: &'a Transfer) -> TransferEnd<'a> {
    TransferEnd {
        op: Op::TransferOut,
        amount: transfer.amount,
        counterparty: Some((&transfer.to_account, to)),
        transfer_id: Some(transfer.transfer_id.clone()),
        meant_for: None,
    }
}

fn delivered<'a>(
    from: &'a ProcessId,
    suspense: Option<&AccountId>,
    transfer: &'a Transfer,
) -> TransferEnd<'a> {
    TransferEnd {
        op: Op::TransferIn,
        amount: transfer.amount,
        counterparty: Some((&transfer.from_account, from)),
        transfer_id: Some(transfer.transfer_id.clone()),
        meant_for: suspense.map(|_| &transfer.to_account),
    }
}

/// The snapshot for which a turn recorded the state before it.
#[must_use]
pub fn recorded_for(turn: &Turn) -> Option<&SnapshotId> {
    let Some(Record::StateRecorded { snapshot, .. }) = turn.records.first() else {
        return None;
    };
    Some(snapshot)
}
