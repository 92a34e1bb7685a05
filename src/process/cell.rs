//! A process's state in pieces: what a recorded state is made of.

use std::sync::Arc;

use super::answer::Answer;
use super::ids::{AccountId, Lsn, ProcessId, RequestId, SnapshotId};
use super::message::Write;

/// One piece of a process's state. Cells have an order: by kind, then by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// An account and its balance.
    Account {
        /// Which account.
        account: AccountId,
        /// What it holds.
        balance: i64,
    },
    /// The newest write of a key; a deletion is kept, so that an older write cannot undo it.
    Key(Arc<Write>),
    /// A remembered answer.
    Request {
        /// What the client called it.
        request: RequestId,
        /// `None` once it is forgotten.
        answered: Option<Arc<Answered>>,
    },
    /// A snapshot whose state this process has recorded. In states of before format 6 alone.
    Snapshot(Arc<SeenSnapshot>),
}

// A process with a million accounts has a million of them on their way to the store.
const _: () = assert!(size_of::<Cell>() <= 40, "what is large is behind a pointer");

/// A snapshot whose state a process has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSnapshot {
    /// Which snapshot.
    pub snapshot: SnapshotId,
    /// Who started it.
    pub initiator: ProcessId,
    /// The turn after which the state was recorded.
    pub cut: Lsn,
}

/// A remembered answer, with what is needed to recognise its request and to forget it in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// Of the operation.
    pub fingerprint: u64,
    /// Answers are forgotten in this order.
    pub ordinal: u64,
    /// The answer.
    pub answer: Answer,
}

/// What cells are ordered and found by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellKey<'a> {
    /// The kind of the cell.
    pub kind: u8,
    /// The name within the kind.
    pub name: &'a str,
}

impl<'a> CellKey<'a> {
    /// Of an account.
    #[must_use]
    pub fn of_account(name: &'a str) -> Self {
        Self { kind: 0, name }
    }
}

impl Cell {
    /// What cells are ordered and found by.
    #[must_use]
    pub fn key(&self) -> CellKey<'_> {
        let (kind, name) = match self {
            Self::Account { account, .. } => (0, account.as_str()),
            Self::Key(write) => (1, write.key.as_str()),
            Self::Request { request, .. } => (2, request.as_str()),
            Self::Snapshot(seen) => (3, seen.snapshot.as_str()),
        };
        CellKey { kind, name }
    }

    /// Whether it says that something is gone, or nothing any more: a base does not keep such cells.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        matches!(
            self,
            Self::Request { answered: None, .. } | Self::Snapshot(_)
        )
    }
}

/// The cells that changed since a seal, as they are handed over: pieces, in no order. Where a cell is there twice, the
/// later one counts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CellChanges {
    /// The accounts among them: mostly all, and smaller than cells.
    accounts: Vec<(AccountId, i64)>,
    pieces: Vec<Vec<Cell>>,
}

impl CellChanges {
    /// Of pieces; nothing is copied.
    #[must_use]
    pub fn of(pieces: Vec<Vec<Cell>>) -> Self {
        Self {
            accounts: Vec::new(),
            pieces,
        }
    }

    /// The same with accounts and their balances.
    #[must_use]
    pub fn with(self, accounts: Vec<(AccountId, i64)>) -> Self {
        Self { accounts, ..self }
    }

    /// How many there are, counted as often as they are there.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len() + self.pieces.iter().map(Vec::len).sum::<usize>()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each once, in the order of cells.
    #[must_use]
    pub fn sorted(self) -> Vec<Cell> {
        let mut cells = Vec::with_capacity(self.len());
        let account = |(account, balance)| Cell::Account { account, balance };
        cells.extend(self.accounts.into_iter().map(account));
        cells.extend(self.pieces.into_iter().flatten());
        cells.sort_by(|a, b| a.key().cmp(&b.key()));
        cells.dedup_by(|later, earlier| {
            let is_twice = later.key() == earlier.key();
            if is_twice {
                std::mem::swap(later, earlier);
            }
            is_twice
        });
        cells
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_cell_that_is_there_twice_the_later_counts() {
        let cell = |account: &str, balance| Cell::Account {
            account: AccountId::parse(account).expect("a valid id"),
            balance,
        };
        let changes = CellChanges::of(vec![
            vec![cell("b", 1), cell("a", 2), cell("b", 3)],
            vec![cell("b", 4), cell("c", 5)],
        ]);
        assert_eq!(changes.len(), 5);
        assert_eq!(changes.sorted(), [cell("a", 2), cell("b", 4), cell("c", 5)]);
    }
}
