//! Cells: the units of which a recorded state consists.

use std::sync::Arc;

use super::answer::Answer;
use super::ids::{AccountId, Lsn, ProcessId, RequestId, SnapshotId};
use super::message::Write;

/// One unit of a process's state. Cells are ordered by kind, then by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cell {
    /// An account and its balance.
    Account {
        /// The account id.
        account: AccountId,
        /// Its balance, minor units.
        balance: i64,
    },
    /// The newest write of a key. A deletion is kept, so that an older write cannot undo it.
    Key(Arc<Write>),
    /// A remembered answer.
    Request {
        /// The request id that the client chose.
        request: RequestId,
        /// The answer; `None` once it is forgotten.
        answered: Option<Arc<Answered>>,
    },
    /// A snapshot whose state this process has recorded. Only in states of formats before 6.
    Snapshot(Arc<SeenSnapshot>),
}

// A process with a million accounts hands over up to a million cells at once.
const _: () = assert!(
    size_of::<Cell>() <= 40,
    "a cell exceeds its size limit; box its large variants"
);

/// A snapshot whose state a process has recorded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenSnapshot {
    /// The snapshot id.
    pub snapshot: SnapshotId,
    /// The process that started it.
    pub initiator: ProcessId,
    /// The turn after which the state was recorded.
    pub cut: Lsn,
}

/// A remembered answer, with the values that identify its request and order its deletion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The fingerprint of the operation.
    pub fingerprint: u64,
    /// The order in which answers are forgotten, ascending.
    pub ordinal: u64,
    /// The answer.
    pub answer: Answer,
}

/// The key by which cells are ordered and found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct CellKey<'a> {
    /// The kind of the cell, 0 to 3.
    pub kind: u8,
    /// The account id, key, request id or snapshot id.
    pub name: &'a str,
}

impl<'a> CellKey<'a> {
    /// The key of an account's cell.
    #[must_use]
    pub fn of_account(name: &'a str) -> Self {
        Self { kind: 0, name }
    }
}

impl Cell {
    /// The key of this cell.
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

    /// Whether the cell only marks a deletion or is obsolete. A merged base does not keep such cells.
    #[must_use]
    pub fn is_forgotten(&self) -> bool {
        matches!(
            self,
            Self::Request { answered: None, .. } | Self::Snapshot(_)
        )
    }
}

/// The cells that changed between two seals: pieces in no order. If a cell occurs twice, the later one is valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CellChanges {
    /// The changed accounts. Most cells are accounts, and a pair is smaller than a [`Cell`].
    accounts: Vec<(AccountId, i64)>,
    pieces: Vec<Vec<Cell>>,
}

impl CellChanges {
    /// Wraps pieces without copying them.
    #[must_use]
    pub fn of(pieces: Vec<Vec<Cell>>) -> Self {
        Self {
            accounts: Vec::new(),
            pieces,
        }
    }

    /// The same changes with these accounts and balances, minor units.
    #[must_use]
    pub fn with(self, accounts: Vec<(AccountId, i64)>) -> Self {
        Self { accounts, ..self }
    }

    /// The number of cells; a cell that occurs twice counts twice.
    #[must_use]
    pub fn len(&self) -> usize {
        self.accounts.len() + self.pieces.iter().map(Vec::len).sum::<usize>()
    }

    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The cells in order, each once.
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
