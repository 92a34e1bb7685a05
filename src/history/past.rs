//! Points in the past of one process, and the balances read there.

use crate::process::clock::Hlc;
use crate::process::ids::{Hash, Lsn, SnapshotId};

/// A point in the past of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PastPoint {
    /// After the newest turn that is not later than this clock value.
    Time(Hlc),
    /// After the turn at a position.
    Place(JournalPosition),
    /// After the turn at which a state was recorded for this snapshot. A journal that begins later may still have its totals.
    Recorded(JournalPosition, SnapshotId),
}

/// A position in a particular journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPosition {
    /// The turn.
    pub position: Lsn,
    /// The hash of its entry, or a prefix of it: the same number in another journal is a different position.
    pub journal: Vec<u8>,
}

impl JournalPosition {
    /// Whether the position is one of the journal that has this hash there.
    #[must_use]
    pub fn is_in(&self, journal: &Hash) -> bool {
        journal.0.starts_with(&self.journal)
    }
}

/// The current balance of an account, and the turn in which it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceNow {
    /// Minor units; `None` if the account never existed.
    pub units: Option<i64>,
    /// The journal position of the turn.
    pub position: Lsn,
    /// The clock value of the turn.
    pub time: Hlc,
}

/// The balance of an account at an instant, as the process that keeps it reports it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceThen {
    /// Minor units; `None` if the account did not exist.
    pub units: Option<i64>,
    /// The newest turn included; 0 if the journal knows nothing of that time.
    pub position: Lsn,
    /// Whether peers not recognized by this store at the instant may have known another store of the process; an audit decides
    /// that.
    pub is_doubtful: bool,
}
