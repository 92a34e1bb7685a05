//! Checks that a recorded state equals the journal applied to the previous one, at the cost of the changes between
//! them.
//!
//! By induction all cells of all states are covered. The newest verified state equals the journal applied up to its
//! cut; `changed` holds what the journal has changed since. A state shares its oldest runs with the verified one;
//! shared runs are equal because they have the same hashes. The remaining runs of the verified state, overlaid with the
//! changes, must equal the remaining runs of the new state cell for cell; then the new state equals the journal applied
//! up to its own cut. If nothing is shared, as after a merge into a new base, or if the remaining runs differ, all
//! cells are compared. A state that fails is skipped, and the changes accumulate until one holds. The cost is thus that
//! of the data newly written for each state.

use std::collections::BTreeMap;

use crate::history::part::{RecordedState, Run};
use crate::process::cell::{Cell, CellChanges, CellKey};
use crate::process::ids::{Hash, ProcessId};
use crate::process::recording::Snapshots;
use crate::process::registers::{Registers, Sealed};
use crate::store::chunks::Chunks;
use crate::store::error::StoreError;
use crate::store::states::merge::Cells;

/// The newest verified state, and the changes of the journal since.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    runs: Vec<Run>,
    changed: BTreeMap<(u8, Box<str>), Cell>,
}

/// The result of a comparison.
pub(super) struct Compared {
    /// The number of cells read from the new state.
    pub(super) cells: u64,
    /// The first difference.
    pub(super) problem: Option<String>,
}

impl Ledger {
    /// Starts from a state that replaces the turns before it.
    pub(super) fn at(runs: Vec<Run>) -> Self {
        Self {
            runs,
            changed: BTreeMap::new(),
        }
    }

    /// Adds the changes of the journal up to a cut.
    pub(super) fn change(&mut self, changes: CellChanges) {
        for cell in changes.sorted() {
            let CellKey { kind, name } = cell.key();
            self.changed.insert((kind, name.into()), cell);
        }
    }

    /// Compares the cells of a state recorded at the newest cut.
    ///
    /// # Errors
    /// [`StoreError`]: one of its chunks is damaged or missing.
    pub(super) fn verify(&mut self, chunks: &Chunks, runs: &[Run]) -> Result<Compared, StoreError> {
        let pairs = self.runs.iter().zip(runs);
        let common = pairs.take_while(|(old, new)| old == new).count();
        let mut compared = self.compare(chunks, runs, common)?;
        // A cell that changed back to its earlier value may be in the shared runs only: merging it into the base
        // produces the same base again.
        if compared.problem.is_some() && common > 0 {
            let cells = compared.cells;
            compared = self.compare(chunks, runs, 0)?;
            compared.cells += cells;
        }
        if compared.problem.is_none() {
            self.runs = runs.to_vec();
            self.changed.clear();
        }
        Ok(compared)
    }

    fn compare(
        &self,
        chunks: &Chunks,
        runs: &[Run],
        common: usize,
    ) -> Result<Compared, StoreError> {
        // A base does not contain forgotten cells; a run above a base contains them to hide those of the base.
        // Snapshots are cells only in states of formats before 6.
        let is_shown = |cell: &Cell| match cell {
            Cell::Snapshot(_) => false,
            cell => common > 0 || !cell.is_forgotten(),
        };
        let older = Cells::new(chunks, &self.runs[common..], None)?;
        let mut expected = Over::new(older, self.changed.values());
        let mut found = Cells::new(chunks, &runs[common..], None)?;
        let mut compared = Compared {
            cells: 0,
            problem: None,
        };
        loop {
            let expected = next_shown(&mut expected, is_shown)?;
            let found = next_shown(&mut found, is_shown)?;
            compared.cells += u64::from(found.is_some());
            if expected != found {
                compared.problem = difference(expected.as_ref(), found.as_ref());
                return Ok(compared);
            }
            if found.is_none() {
                return Ok(compared);
            }
        }
    }
}

fn next_shown(
    cells: &mut impl Iterator<Item = Result<Cell, StoreError>>,
    is_shown: impl Fn(&Cell) -> bool,
) -> Result<Option<Cell>, StoreError> {
    let is_shown = |cell: &Result<Cell, _>| cell.as_ref().map_or(true, &is_shown);
    cells.find(is_shown).transpose()
}

/// Older cells overlaid with newer ones, in ascending order.
struct Over<'a, N: Iterator<Item = &'a Cell>> {
    older: std::iter::Peekable<Cells<'a>>,
    newer: std::iter::Peekable<N>,
}

impl<'a, N: Iterator<Item = &'a Cell>> Over<'a, N> {
    fn new(older: Cells<'a>, newer: N) -> Self {
        Self {
            older: older.peekable(),
            newer: newer.peekable(),
        }
    }
}

impl<'a, N: Iterator<Item = &'a Cell>> Iterator for Over<'a, N> {
    type Item = Result<Cell, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Some(newer) = self.newer.peek() else {
            return self.older.next();
        };
        match self.older.peek() {
            Some(Ok(older)) if older.key() < newer.key() => return self.older.next(),
            Some(Err(_)) => return self.older.next(),
            Some(Ok(older)) if older.key() == newer.key() => {
                self.older.next();
            }
            _ => {}
        }
        self.newer.next().cloned().map(Ok)
    }
}

fn difference(expected: Option<&Cell>, found: Option<&Cell>) -> Option<String> {
    Some(match (expected, found) {
        (None, None) => return None,
        (Some(expected), None) => format!("{} is missing", name(expected)),
        (None, Some(found)) => format!("the journal has no {}", name(found)),
        (Some(expected), Some(found)) if expected.key() < found.key() => {
            format!("{} is missing", name(expected))
        }
        (Some(expected), Some(found)) if expected.key() > found.key() => {
            format!("the journal has no {}", name(found))
        }
        (
            Some(Cell::Account { balance, .. }),
            Some(Cell::Account {
                account,
                balance: held,
            }),
        ) => format!("account {account:?} holds {held}, expected from the journal: {balance}"),
        (Some(_), Some(found)) => format!("{} differs from the journal", name(found)),
    })
}

fn name(cell: &Cell) -> String {
    let CellKey { kind, name } = cell.key();
    let kinds = ["account", "key", "the answer to request", "snapshot"];
    format!(
        "{} {name:?}",
        kinds.get(usize::from(kind)).unwrap_or(&"cell")
    )
}

/// The differences between the figures of a recorded state and those sealed by the journal; `journal` is the hash of
/// the entry at the cut.
pub(super) fn differences(recorded: &RecordedState, sealed: &Sealed, journal: Hash) -> Vec<String> {
    let registers = &sealed.registers;
    let number = i128::from;
    let figures = [
        (
            "position",
            number(recorded.position.0),
            number(registers.position.0),
        ),
        ("time", number(recorded.time.0), number(sealed.time.0)),
        ("clock", number(recorded.clock.0), number(registers.clock.0)),
        (
            "accounts",
            number(recorded.accounts),
            number(sealed.accounts),
        ),
        ("balances", recorded.balance_total, sealed.balance_total),
        ("deposits", recorded.deposits, registers.deposits),
        ("withdrawals", recorded.withdrawals, registers.withdrawals),
    ];
    let figures = figures
        .iter()
        .filter(|(_, found, expected)| found != expected);
    let sentence = |(what, found, expected): &(&str, i128, i128)| {
        format!("its {what} are {found}, expected from the journal: {expected}")
    };
    let mut problems: Vec<String> = figures.map(sentence).collect();
    if recorded.journal != journal {
        problems.push("the journal has another hash at its position".to_owned());
    }
    let bytes: u64 = recorded.runs.iter().map(|run| run.bytes).sum();
    if recorded.state_bytes != bytes {
        problems.push(format!(
            "its size is {}, its runs have {bytes}",
            recorded.state_bytes
        ));
    }
    problems.extend(flows(recorded, registers).map(|peer| {
        format!("the messages sent to or delivered from {peer:?} differ from the journal")
    }));
    problems
}

// The journal does not know channels that never carried anything; the state may contain them or not.
fn flows<'a>(
    recorded: &'a RecordedState,
    registers: &'a Registers,
) -> impl Iterator<Item = &'a ProcessId> {
    let sent = |to| recorded.sent.get(to).copied().unwrap_or_default();
    let delivered = |from| recorded.delivered.get(from).copied().unwrap_or_default();
    let outgoing = registers.outgoing.iter();
    let outgoing = outgoing.filter(move |(to, channel)| sent(*to) != channel.sent);
    let incoming = registers.incoming.iter();
    let incoming = incoming.filter(move |(from, channel)| delivered(*from) != channel.delivered);
    let unsent = recorded
        .sent
        .iter()
        .filter(|(to, flow)| flow.sequence.0 > 0 && !registers.outgoing.contains_key(*to));
    let undelivered = recorded
        .delivered
        .iter()
        .filter(|(from, flow)| flow.sequence.0 > 0 && !registers.incoming.contains_key(*from));
    let outgoing = outgoing.map(|(to, _)| to).chain(unsent.map(|(to, _)| to));
    let incoming = incoming
        .map(|(from, _)| from)
        .chain(undelivered.map(|(from, _)| from));
    outgoing.chain(incoming)
}

/// The registers without unused channels, which depend on the configuration.
pub(super) fn of_journal(registers: &Registers) -> Registers {
    let mut registers = registers.clone();
    // Snapshots are compared separately: how many older ones are still known depends on restarts.
    registers.snapshots = Snapshots::default();
    registers
        .outgoing
        .retain(|_, channel| *channel != Default::default());
    registers
        .incoming
        .retain(|_, channel| *channel != Default::default());
    registers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::ids::AccountId;
    use crate::store::fixture;

    // Without this a store is reported as damaged because an account has the same balance again as in the state before.
    #[test]
    fn a_cell_that_came_back_to_what_it_was_is_found_in_the_common_base() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = fixture::open(dir.path());
        let cash = |balance| Cell::Account {
            account: AccountId::parse("cash").expect("a valid id"),
            balance,
        };
        let written = store.chunks.write_run([Ok(cash(5))].into_iter(), None);
        let (base, _) = written.expect("there is room");
        for (balance, is_whole) in [(5, true), (6, false)] {
            let mut ledger = Ledger::at(vec![base.clone()]);
            let changed = cash(balance);
            let CellKey { kind, name } = changed.key();
            ledger.changed.insert((kind, name.into()), changed);
            let compared = ledger.verify(&store.chunks, std::slice::from_ref(&base));
            let problem = compared.expect("it is whole").problem;
            assert_eq!(problem.is_none(), is_whole, "{problem:?}");
        }
    }
}
