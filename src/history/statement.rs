//! The statement of an account: what one turn did to it, record by record.

use crate::process::clock::Hlc;
use crate::process::event::{Record, Turn};
use crate::process::ids::{AccountId, Amount, Lsn, ProcessId, SnapshotId};
use crate::process::message::{Transfer, local_transfer_id};

/// What kind of operation an entry shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Op {
    /// Paid in.
    Deposit,
    /// Paid out.
    Withdrawal,
    /// Came from another account, here or on another process.
    TransferIn,
    /// Went to another account, here or on another process.
    TransferOut,
}

/// One change of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it stands: entries of an account are ordered by this.
    pub place: EntryPlace,
    /// The clock of its turn.
    pub time: Hlc,
    /// What it was.
    pub op: Op,
    /// How much, always positive; the operation says in which direction.
    pub amount: Amount,
    /// The account at the other end of a transfer.
    pub counterparty: Option<AccountId>,
    /// Its process.
    pub counterparty_process: Option<ProcessId>,
    /// The name of the transfer, the same at both ends.
    pub transfer_id: Option<Box<str>>,
    /// The account that a transfer was meant for, where that could not take it and this one did instead.
    pub meant_for: Option<AccountId>,
}

/// The place of an entry in the statement of its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryPlace {
    /// The turn.
    pub position: Lsn,
    /// Which one of the account's entries in this turn, from 0 on.
    pub ordinal: u32,
}

impl Op {
    /// The stable name on the public interface.
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
    /// What it adds to the balance, minor units; negative where it takes.
    #[must_use]
    pub fn change(&self) -> i128 {
        let units = i128::from(self.amount.units());
        match self.op {
            Op::Deposit | Op::TransferIn => units,
            Op::Withdrawal | Op::TransferOut => -units,
        }
    }
}

/// What one end of a transfer shows.
struct TransferEnd<'a> {
    op: Op,
    amount: Amount,
    counterparty: Option<(&'a AccountId, &'a ProcessId)>,
    transfer_id: Option<Box<str>>,
    meant_for: Option<&'a AccountId>,
}

/// What a turn of the process `me` did to an account, in order.
#[must_use]
pub fn entries(me: &ProcessId, turn: &Turn, account: &AccountId) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (index, record) in turn.records.iter().enumerate() {
        for end in ends(me, turn.position, index, record, account) {
            let ordinal = u32::try_from(entries.len());
            entries.push(Entry {
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
            });
        }
    }
    entries
}

// A move within one account is both of its ends.
fn ends<'a>(
    me: &'a ProcessId,
    position: Lsn,
    index: usize,
    record: &'a Record,
    account: &AccountId,
) -> impl Iterator<Item = TransferEnd<'a>> {
    let plain = |op, amount| TransferEnd {
        op,
        amount,
        counterparty: None,
        transfer_id: None,
        meant_for: None,
    };
    let (first, second) = match record {
        Record::Deposited {
            account: to,
            amount,
        } => ((to == account).then(|| plain(Op::Deposit, *amount)), None),
        Record::Withdrawn {
            account: from,
            amount,
        } => {
            let end = (from == account).then(|| plain(Op::Withdrawal, *amount));
            (end, None)
        }
        Record::Moved { from, to, amount } => {
            let end = |op, other| TransferEnd {
                counterparty: Some((other, me)),
                transfer_id: Some(local_transfer_id(me, position, index)),
                ..plain(op, *amount)
            };
            let out = (from == account).then(|| end(Op::TransferOut, to));
            (out, (to == account).then(|| end(Op::TransferIn, from)))
        }
        Record::Sent { to, message, .. } => {
            let transfer = message.body.transfer();
            let transfer = transfer.filter(|transfer| transfer.from_account == *account);
            (transfer.map(|transfer| sent(to, transfer)), None)
        }
        Record::Delivered {
            from,
            suspense,
            message,
            ..
        } => {
            let transfer = message.body.transfer();
            let end = transfer.map(|transfer| delivered(from, suspense.as_deref(), transfer));
            let end = end.filter(|(to, _)| *to == account);
            (end.map(|(_, end)| end), None)
        }
        Record::Written(_)
        | Record::Carried { .. }
        | Record::Acknowledged { .. }
        | Record::RecognizedOnce { .. }
        | Record::StateRecorded { .. }
        | Record::PartStored { .. }
        | Record::Checkpointed
        | Record::Answered { .. }
        | Record::AnswersForgotten { .. }
        | Record::Recognized { .. }
        | Record::Unfollowed { .. }
        | Record::Forgotten { .. }
        | Record::ClockAdvanced => (None, None),
    };
    first.into_iter().chain(second)
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

// With the account that is credited.
fn delivered<'a>(
    from: &'a ProcessId,
    suspense: Option<&'a AccountId>,
    transfer: &'a Transfer,
) -> (&'a AccountId, TransferEnd<'a>) {
    let end = TransferEnd {
        op: Op::TransferIn,
        amount: transfer.amount,
        counterparty: Some((&transfer.from_account, from)),
        transfer_id: Some(transfer.transfer_id.clone()),
        meant_for: suspense.map(|_| &transfer.to_account),
    };
    (suspense.unwrap_or(&transfer.to_account), end)
}

/// The snapshot that a turn recorded the state for, as it was before this turn.
#[must_use]
pub fn recorded_for(turn: &Turn) -> Option<&SnapshotId> {
    let Some(Record::StateRecorded { snapshot, .. }) = turn.records.first() else {
        return None;
    };
    Some(snapshot)
}
