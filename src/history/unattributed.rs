//! Money that moves without an account of this process: entries that no statement has, and that sums over a whole journal need.

use super::statement::{Entry, EntryPlace, Op};
use crate::process::ids::{Amount, ProcessId};
use crate::process::message::Transfer;
use crate::process::record::{Record, Turn};

/// What a turn moves without an account, in order; `first` is the ordinal of the first entry. Sums over these and the entries of
/// all accounts obey: balances = deposits - withdrawals + transfers in - transfers out.
///
/// - What a restored cluster carries in its channels comes in and is sent.
/// - What was sent to a peer whose store is given up comes back and leaves; what was delivered beyond that comes in and is sent.
#[must_use]
pub fn entries_without_account(turn: &Turn, first: u32) -> Vec<Entry> {
    let mut moved = Moved {
        turn,
        first,
        entries: Vec::new(),
    };
    for record in &turn.records {
        moved.add(record);
    }
    moved.entries
}

struct Moved<'a> {
    turn: &'a Turn,
    first: u32,
    entries: Vec<Entry>,
}

impl Moved<'_> {
    fn add(&mut self, record: &Record) {
        match record {
            Record::Carried { to, message, .. } => {
                if let Some(transfer) = message.body.transfer() {
                    self.push(Op::Deposit, transfer.amount, None, None);
                    self.push(Op::TransferOut, transfer.amount, Some(to), Some(transfer));
                }
            }
            Record::Forgotten { peer, written_off } => {
                for amount in amounts(written_off.unsigned_abs()) {
                    if *written_off > 0 {
                        self.push(Op::TransferIn, amount, Some(peer), None);
                        self.push(Op::Withdrawal, amount, None, None);
                    } else {
                        self.push(Op::Deposit, amount, None, None);
                        self.push(Op::TransferOut, amount, Some(peer), None);
                    }
                }
            }
            Record::Deposited { .. }
            | Record::Withdrawn { .. }
            | Record::Moved { .. }
            | Record::MovedToSuspense { .. }
            | Record::Sent { .. }
            | Record::Delivered { .. }
            | Record::Written(_)
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
            | Record::ClockAdvanced => {}
        }
    }

    fn push(
        &mut self,
        op: Op,
        amount: Amount,
        peer: Option<&ProcessId>,
        transfer: Option<&Transfer>,
    ) {
        let ordinal = u32::try_from(self.entries.len()).expect("a turn has far fewer records");
        self.entries.push(Entry {
            place: EntryPlace {
                position: self.turn.position,
                ordinal: self.first.saturating_add(ordinal),
            },
            time: self.turn.time,
            op,
            amount,
            counterparty: transfer.map(|transfer| transfer.to_account.clone()),
            counterparty_process: peer.cloned(),
            transfer_id: transfer.map(|transfer| transfer.transfer_id.clone()),
            meant_for: None,
        });
    }
}

// A sum may exceed one amount.
fn amounts(sum: u128) -> impl Iterator<Item = Amount> {
    let mut rest = sum;
    std::iter::from_fn(move || {
        let units = i64::try_from(rest).unwrap_or(i64::MAX);
        let amount = Amount::new(units)?;
        rest -= u128::from(units.unsigned_abs());
        Some(amount)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::statement::all_entries;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::{AccountId, Lsn, Seq};
    use crate::process::message::Message;

    fn process(text: &str) -> ProcessId {
        ProcessId::parse(text).expect("a valid id")
    }

    fn account(text: &str) -> AccountId {
        AccountId::parse(text).expect("a valid id")
    }

    fn amount(units: i64) -> Amount {
        Amount::new(units).expect("positive")
    }

    fn turn(records: Vec<Record>) -> Turn {
        Turn {
            position: Lsn(7),
            time: Hlc::at(1),
            clock: Lamport(1),
            records,
        }
    }

    fn transfer(units: i64) -> Message {
        let transfer = Transfer {
            transfer_id: "t".into(),
            from_account: account("a"),
            to_account: account("b"),
            amount: amount(units),
        };
        Message {
            clock: Lamport(1),
            body: transfer.into(),
        }
    }

    // The records that no statement shows; the sums of entries over a journal with them would not add up otherwise.
    #[test]
    fn sums_over_all_entries_are_the_balances_and_what_came_from_outside() {
        let me = process("n1");
        let records = vec![
            Record::Deposited {
                account: account("a"),
                amount: amount(100),
            },
            Record::Sent {
                to: process("n2"),
                seq: Seq(1),
                message: transfer(30),
            },
            Record::Carried {
                to: process("n2"),
                seq: Seq(2),
                message: transfer(5),
            },
            Record::Forgotten {
                peer: process("n2"),
                written_off: i128::from(i64::MAX) + 9,
            },
            Record::Forgotten {
                peer: process("n3"),
                written_off: -4,
            },
        ];
        let outside: i128 = records.iter().map(Record::from_outside).sum();
        let balances: i128 = records
            .iter()
            .flat_map(|record| record.postings().changes())
            .map(|(_, units)| units)
            .sum();
        let turn = turn(records);
        let of_accounts = all_entries(&me, &turn);
        let of_accounts: Vec<Entry> = of_accounts.into_iter().map(|(_, entry)| entry).collect();
        assert_eq!(of_accounts.len(), 2);
        let others = entries_without_account(&turn, 2);
        let mut all = of_accounts;
        all.extend(others);
        let ordinals = all.iter().map(|entry| entry.place.ordinal);
        assert!(ordinals.eq((0..).take(all.len())), "{all:?}");
        let sum = |op: Op| -> i128 {
            let of_op = all.iter().filter(|entry| entry.op == op);
            of_op.map(|entry| i128::from(entry.amount.units())).sum()
        };
        assert_eq!(sum(Op::Deposit) - sum(Op::Withdrawal), outside);
        let changes: i128 = all.iter().map(Entry::change).sum();
        assert_eq!(changes, balances);
    }
}
