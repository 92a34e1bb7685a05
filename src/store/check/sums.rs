//! The sums over accounts in recorded states of other processes. Their journals are not here, but their cells are, so
//! the stated sums can be recomputed.
//!
//! States share their oldest runs, so all states form a forest in which each run is the child of the run below it. A
//! walk merges many runs at once, reads each once, and notes for each how it changes the sums of the runs below. The
//! sums of a state are the changes from its base upwards. Shared runs are therefore not read again for each state.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::CheckProgress;
use super::Examiner;
use crate::history::part::{RecordedState, Run};
use crate::process::cell::Cell;
use crate::process::ids::Hash;
use crate::store::chunks::Chunks;
use crate::store::error::StoreError;
use crate::store::states::merge::Cells;

/// The number of runs merged at once, each with one chunk in memory; the runs below them are read as well.
const TOGETHER: usize = 64;

/// The recorded states whose accounts are to be added up.
#[derive(Default)]
pub(super) struct Sums {
    stacked: Vec<Stacked>,
    known: HashMap<(Option<usize>, Vec<Hash>), usize>,
}

/// A run and the run below it.
struct Stacked {
    run: Run,
    below: Option<usize>,
    above: Vec<usize>,
    /// The sums stated by states that end with this run.
    claims: Vec<Claim>,
}

struct Claim {
    /// The name of the state in findings.
    what: String,
    accounts: u64,
    balance_total: i128,
}

impl Sums {
    /// Adds the sums that a state states; `what` names it. The same sums for the same runs are added up once. Returns
    /// what is wrong with a state without cells.
    pub(super) fn expect(
        &mut self,
        what: impl FnOnce() -> String,
        state: &RecordedState,
    ) -> Option<String> {
        let stated = Sum::of(state.accounts, state.balance_total);
        let Some(top) = self.stack(&state.runs) else {
            return (stated != Sum::default()).then(|| differs(stated, Sum::default()));
        };
        let claims = &mut self.stacked[top].claims;
        let is_stated = |claim: &Claim| Sum::of(claim.accounts, claim.balance_total) == stated;
        if !claims.iter().any(is_stated) {
            claims.push(Claim {
                what: what(),
                accounts: state.accounts,
                balance_total: state.balance_total,
            });
        }
        None
    }

    // The node of the newest of these runs in the forest.
    fn stack(&mut self, runs: &[Run]) -> Option<usize> {
        let mut below = None;
        for run in runs {
            let next = self.stacked.len();
            let place = (below, run.index.clone());
            let stands = *self.known.entry(place).or_insert(next);
            if stands == next {
                self.stacked.push(Stacked {
                    run: run.clone(),
                    below,
                    above: Vec::new(),
                    claims: Vec::new(),
                });
                if let Some(below) = below {
                    self.stacked[below].above.push(next);
                }
            }
            below = Some(stands);
        }
        below
    }

    /// Adds up, and reports sums that differ from the stated ones. Returns the number of different states added up.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub(super) fn check(self, examiner: &mut Examiner) -> Result<u64, StoreError> {
        let (mut added_up, mut done) = (0, 0);
        let order = self.in_order();
        for together in order.chunks(TOGETHER) {
            let mut walk = AccountWalk::new(&self.stacked, together);
            walk.run(&examiner.opened.chunks)?;
            for place in together {
                let Some((accounts, total)) = walk.total(*place) else {
                    // A missing or damaged chunk is reported by the checks that need it.
                    continue;
                };
                for claim in &self.stacked[*place].claims {
                    added_up += 1;
                    let stated = Sum::of(claim.accounts, claim.balance_total);
                    let found = Sum::of(accounts, total);
                    if stated != found {
                        let what = claim.what.clone();
                        examiner.findings.add(what, differs(stated, found));
                    }
                }
            }
            done += together.len() as u64;
            (examiner.step)(CheckProgress {
                what: "states of other processes",
                done,
                of: order.len() as u64,
            });
        }
        Ok(added_up)
    }

    // Each run after the one below it, and close to it.
    fn in_order(&self) -> Vec<usize> {
        let bases = self.stacked.iter().enumerate();
        let bases = bases.filter(|(_, stacked)| stacked.below.is_none());
        let mut next: Vec<usize> = bases.map(|(place, _)| place).collect();
        let mut order = Vec::with_capacity(self.stacked.len());
        while let Some(place) = next.pop() {
            order.push(place);
            next.extend(&self.stacked[place].above);
        }
        order
    }
}

/// What the accounts of a state come to.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
struct Sum {
    accounts: u64,
    total: i128,
}

impl Sum {
    fn of(accounts: u64, total: i128) -> Self {
        Self { accounts, total }
    }
}

fn differs(stated: Sum, found: Sum) -> String {
    format!(
        "it states {} accounts with {} in total, its cells have {} and {}",
        stated.accounts, stated.total, found.accounts, found.total
    )
}

/// One walk over the accounts of some runs and of all runs below them.
struct AccountWalk<'a> {
    runs: Vec<Open<'a>>,
    /// The index in `runs` by the node of the forest.
    places: HashMap<usize, usize>,
}

struct Open<'a> {
    run: &'a Run,
    below: Option<usize>,
    /// The balance of the current account in this run.
    holds: Option<i64>,
    /// The changes of the number of accounts and of the sum of balances, relative to the runs below.
    change: (i64, i128),
    is_whole: bool,
}

impl<'a> AccountWalk<'a> {
    fn new(stacked: &'a [Stacked], together: &[usize]) -> Self {
        let mut walk = Self {
            runs: Vec::new(),
            places: HashMap::new(),
        };
        for place in together {
            walk.open(stacked, *place);
        }
        walk
    }

    fn open(&mut self, stacked: &'a [Stacked], place: usize) {
        let mut missing = Vec::new();
        let mut next = Some(place);
        while let Some(place) = next.filter(|place| !self.places.contains_key(place)) {
            missing.push(place);
            next = stacked[place].below;
        }
        for place in missing.into_iter().rev() {
            let Stacked { run, below, .. } = &stacked[place];
            self.places.insert(place, self.runs.len());
            self.runs.push(Open {
                run,
                below: below.and_then(|below| self.places.get(&below).copied()),
                holds: None,
                change: (0, 0),
                is_whole: true,
            });
        }
    }

    fn run(&mut self, chunks: &Chunks) -> Result<(), StoreError> {
        let mut cells = Vec::new();
        let mut heads = BinaryHeap::new();
        for place in 0..self.runs.len() {
            let run = std::slice::from_ref(self.runs[place].run);
            cells.push(Cells::new(chunks, run, None)?);
            heads.extend(self.next(&mut cells[place], place)?);
        }
        let mut together = Vec::new();
        while let Some(Reverse((account, place, balance))) = heads.pop() {
            self.runs[place].holds = Some(balance);
            together.push(place);
            heads.extend(self.next(&mut cells[place], place)?);
            let is_last = heads
                .peek()
                .is_none_or(|Reverse((next, ..))| *next != account);
            if is_last {
                self.take_down(&together);
                together.clear();
            }
        }
        Ok(())
    }

    // Accounts are the first cells of a run.
    fn next(&mut self, cells: &mut Cells, place: usize) -> Result<Option<NextAccount>, StoreError> {
        match cells.next() {
            Some(Ok(Cell::Account { account, balance })) => {
                Ok(Some(Reverse((account.as_str().into(), place, balance))))
            }
            Some(Err(StoreError::Damaged { .. })) => {
                self.runs[place].is_whole = false;
                Ok(None)
            }
            Some(Err(error)) => Err(error),
            Some(Ok(_)) | None => Ok(None),
        }
    }

    // Notes how each of these runs changes the current account compared with the runs below.
    fn take_down(&mut self, together: &[usize]) {
        for place in together {
            let held = self.below(*place).find_map(|below| self.runs[below].holds);
            let open = &mut self.runs[*place];
            let holds = open.holds.unwrap_or_default();
            open.change.0 += i64::from(held.is_none());
            open.change.1 += i128::from(holds) - i128::from(held.unwrap_or_default());
        }
        for place in together {
            self.runs[*place].holds = None;
        }
    }

    fn below(&self, place: usize) -> impl Iterator<Item = usize> {
        let first = self.runs[place].below;
        std::iter::successors(first, |place| self.runs[*place].below)
    }

    // The accounts and the sum of balances of the state that ends with this run; `None` if it could not be read
    // completely.
    fn total(&self, place: usize) -> Option<(u64, i128)> {
        let top = *self.places.get(&place)?;
        let (mut accounts, mut balances) = (0, 0);
        for place in std::iter::once(top).chain(self.below(top)) {
            let open = self.runs.get(place).filter(|open| open.is_whole)?;
            accounts += open.change.0;
            balances += open.change.1;
        }
        Some((u64::try_from(accounts).ok()?, balances))
    }
}

/// The next account of a run: its name, the index of the run, and its balance.
type NextAccount = Reverse<(Box<str>, usize, i64)>;
