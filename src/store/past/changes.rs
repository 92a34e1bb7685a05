//! The difference between a recorded state and any position: the nearest recorded state before the position is compared chunk
//! by chunk, and the turns after it are added. Accounts without a change are not visited.

use std::collections::BTreeMap;
use std::iter::Peekable;

use super::Past;
use crate::history::diff::AccountChange;
use crate::history::part::{RecordedState, Run};
use crate::history::process_totals::ProcessTotals;
use crate::process::ids::{AccountId, Hash, Lsn, SnapshotId};
use crate::store::chunks::Chunks;
use crate::store::chunks::source::ChunkSource;
use crate::store::error::StoreError;
use crate::store::states::compare::{AccountChanges, Forward, newest};
use crate::store::stored::frame::Damage;

/// The maximum number of changed accounts held at once. If there are more, the turns are read again.
const ACCOUNTS_HELD_MAX: usize = 65_536;

impl<'a> Past<'a> {
    /// Whether the state of this process in a snapshot was recorded from this journal. If the position is before the journal,
    /// this is decided by the own part of the snapshot, since another journal may have had the same position.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn is_recorded_here(
        self,
        snapshot: &SnapshotId,
        state: &RecordedState,
    ) -> Result<bool, StoreError> {
        if state.position > self.store.journal.position() {
            return Ok(false);
        }
        if state.position.next() >= self.store.journal.first() {
            return Ok(self.store.journal.hash_up_to(state.position)? == state.journal);
        }
        let own = self.store.parts().get(snapshot)?.map(|part| part.state);
        Ok(own.is_some_and(|own| (own.position, own.journal) == (state.position, state.journal)))
    }

    /// The accounts whose balance after the turn at `position` differs from that in a recorded state of this journal, ordered
    /// by account, starting after `behind`. The position may be the older one. Reads the disk.
    ///
    /// # Errors
    /// As [`Self::totals_at`].
    pub fn changes_until(
        self,
        from: &RecordedState,
        position: Lsn,
        behind: Option<&AccountId>,
    ) -> Result<impl Iterator<Item = Result<AccountChange, StoreError>> + use<'a>, StoreError> {
        self.changes_held(from, position, behind, ACCOUNTS_HELD_MAX)
    }

    fn changes_held(
        self,
        from: &RecordedState,
        position: Lsn,
        behind: Option<&AccountId>,
        held_max: usize,
    ) -> Result<Until<'a, Chunks>, StoreError> {
        self.check_range(position)?;
        let nearest = self.states_until(position).next().transpose()?;
        let nearest = nearest.map(|state| state.recorded);
        let is_nearer = |nearest: &RecordedState| nearest.position < from.position;
        let nearest = match from.position <= position && nearest.as_ref().is_none_or(is_nearer) {
            true => Some(from.clone()),
            false => nearest,
        };
        let (start, runs) = match nearest {
            Some(state) => ((state.position, state.journal), state.runs),
            None => {
                let ProcessTotals {
                    position, journal, ..
                } = self.nothing()?;
                ((position, journal), Vec::new())
            }
        };
        let turns = Turns {
            past: self,
            start,
            end: position,
            behind: behind.cloned(),
            held: BTreeMap::new(),
            held_max,
            is_all: false,
        };
        Until::new(&self.store.chunks, &from.runs, &runs, turns)
    }
}

struct Until<'a, S: ChunkSource> {
    /// The differences between the given state and the nearest recorded one.
    states: Peekable<AccountChanges<'a, S>>,
    /// The nearest recorded state, for accounts that are equal in both.
    nearest: Vec<Forward<'a, S>>,
    /// The changes by the turns after it.
    turns: Turns<'a>,
}

impl<'a, S: ChunkSource> Until<'a, S> {
    fn new(
        shelf: &'a S,
        from: &[Run],
        nearest: &[Run],
        turns: Turns<'a>,
    ) -> Result<Self, StoreError> {
        let states = AccountChanges::new(shelf, from, nearest, turns.behind.as_ref())?;
        let nearest = nearest.iter().map(|run| Forward::whole(shelf, run));
        Ok(Self {
            states: states.peekable(),
            nearest: nearest.collect(),
            turns,
        })
    }

    fn next_change(&mut self) -> Result<Option<AccountChange>, StoreError> {
        loop {
            let touched = self.turns.first()?.cloned();
            let is_next = |change: &AccountChange| {
                let first = touched.as_ref();
                first.is_none_or(|first| change.account <= *first)
            };
            let recorded = self
                .states
                .next_if(|next| next.as_ref().map_or(true, is_next));
            let mut change = match (recorded.transpose()?, touched) {
                (Some(change), _) => change,
                (None, Some(account)) => {
                    let recorded = newest(&mut self.nearest, &account)?;
                    AccountChange {
                        account,
                        before: recorded,
                        after: recorded,
                    }
                }
                (None, None) => return Ok(None),
            };
            if let Some(units) = self.turns.take(&change.account) {
                change.after = Some(self.turns.sum(&change, units)?);
            }
            if change.before != change.after {
                return Ok(Some(change));
            }
        }
    }
}

impl<S: ChunkSource> Iterator for Until<'_, S> {
    type Item = Result<AccountChange, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_change().transpose()
    }
}

/// The changes that turns make to accounts, by account.
struct Turns<'a> {
    past: Past<'a>,
    /// The position and hash after which the turns begin.
    start: (Lsn, Hash),
    /// The last of the turns.
    end: Lsn,
    /// The account after which the held ones begin.
    behind: Option<AccountId>,
    /// The first changed accounts, each with its total change.
    held: BTreeMap<AccountId, i128>,
    /// The maximum number of accounts held.
    held_max: usize,
    /// Whether no further accounts are changed.
    is_all: bool,
}

impl Turns<'_> {
    /// The next changed account.
    fn first(&mut self) -> Result<Option<&AccountId>, StoreError> {
        if self.held.is_empty() && !self.is_all {
            self.read()?;
        }
        Ok(self.held.first_key_value().map(|(account, _)| account))
    }

    /// Takes the next account if it is this one.
    fn take(&mut self, account: &AccountId) -> Option<i128> {
        let units = self.held.remove(account)?;
        self.behind = Some(account.clone());
        Some(units)
    }

    // An account that is dropped once stays greater than all held ones, so no account is held with a partial sum.
    fn read(&mut self) -> Result<(), StoreError> {
        self.is_all = true;
        let (position, journal) = self.start;
        for entry in self.past.entries_behind(position, journal, self.end) {
            let turn = entry?.turn;
            for (account, units) in turn.changes() {
                if self.behind.as_ref().is_some_and(|behind| account <= behind) {
                    continue;
                }
                match self.held.get_mut(account) {
                    Some(sum) => *sum += units,
                    None => _ = self.held.insert(account.clone(), units),
                }
                if self.held.len() > self.held_max {
                    self.held.pop_last();
                    self.is_all = false;
                }
            }
        }
        Ok(())
    }

    fn sum(&self, change: &AccountChange, units: i128) -> Result<i64, StoreError> {
        let sum = i128::from(change.after.unwrap_or(0)) + units;
        i64::try_from(sum).map_err(|_| {
            let what = format!("account {:?} at journal entry {}", change.account, self.end);
            let problem = format!("it differs from the journal, which gives {sum}");
            StoreError::damaged(what, Damage::Contradiction(problem))
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::store::Store;
    use std::sync::{Mutex, PoisonError};

    use proptest::prelude::*;

    use super::*;
    use crate::history::part::Chunk;
    use crate::process::cell::Cell;
    use crate::process::clock::{Hlc, Lamport};
    use crate::process::ids::{Amount, ProcessId};
    use crate::process::record::{Record, Turn};

    fn account(number: u8) -> AccountId {
        AccountId::parse(&format!("a{number:03}")).expect("a valid id")
    }

    fn turn(position: u64, paid: &[(u8, i64)]) -> Turn {
        let deposited = |(number, units): &(u8, i64)| Record::Deposited {
            account: account(*number),
            amount: Amount::new(*units).expect("it is positive"),
        };
        Turn {
            position: Lsn(position),
            time: Hlc(position),
            clock: Lamport(position),
            records: paid.iter().map(deposited).collect(),
        }
    }

    /// A chunk source that counts the chunks of cells read.
    struct Counting<'a>(&'a Chunks, Mutex<usize>);

    impl ChunkSource for Counting<'_> {
        fn chunk(&self, hash: &Hash) -> Result<Chunk, StoreError> {
            let chunk = self.0.chunk(hash)?;
            if let Chunk::Cells(_) = chunk {
                *self.1.lock().unwrap_or_else(PoisonError::into_inner) += 1;
            }
            Ok(chunk)
        }
    }

    // Without this, the difference of one account could cost as much as all accounts.
    #[test]
    fn of_a_state_that_both_begin_with_only_the_chunks_of_touched_accounts_are_read() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let me = ProcessId::parse("p").expect("a valid id");
        let store = Store::open(dir.path(), "test", &me).expect("the store opens");
        let cells = (0..50_000).map(|number| {
            let account = AccountId::parse(&format!("a{:03}/{number:05}", number / 200));
            let account = account.expect("a valid id");
            Ok(Cell::Account {
                account,
                balance: 1,
            })
        });
        let (run, _) = store
            .chunks
            .write_run(cells, None)
            .expect("the disk has room");
        assert!(run.bytes > 10 * 64 * 1024, "there are many chunks");
        // Neither account is in the state; the chunks around their keys show it.
        let paid = turn(1, &[(7, 5), (150, 6)]);
        store.commit(&paid).expect("the disk has room");
        let counting = Counting(&store.chunks, Mutex::new(0));
        let turns = Turns {
            past: store.past(),
            start: (Lsn(0), Hash::default()),
            end: Lsn(1),
            behind: None,
            held: BTreeMap::new(),
            held_max: ACCOUNTS_HELD_MAX,
            is_all: false,
        };
        let runs = std::slice::from_ref(&run);
        let until = Until::new(&counting, runs, runs, turns).expect("it is whole");
        let found: Vec<_> = until
            .map(|change| change.expect("it is whole").after)
            .collect();
        assert_eq!(found, [Some(5), Some(6)]);
        let read = counting.1.into_inner();
        assert_eq!(read.expect("nobody panicked"), 2);
    }

    // Without this, an account that did not fit at first could be shown with only part of its changes.
    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn however_few_accounts_are_held_all_are_shown_with_all_that_was_added(
            turns in prop::collection::vec(prop::collection::vec((0u8..20, 1i64..9), 1..5), 1..12),
            held_max in 1usize..6,
            behind in prop::option::of(0u8..20),
        ) {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let me = ProcessId::parse("p").expect("a valid id");
            let store = Store::open(dir.path(), "test", &me).expect("the store opens");
            let mut expected = BTreeMap::<AccountId, i64>::new();
            for (position, paid) in (1..).zip(&turns) {
                store.commit(&turn(position, paid)).expect("the disk has room");
                for (number, units) in paid {
                    *expected.entry(account(*number)).or_default() += units;
                }
            }
            let behind = behind.map(account);
            expected.retain(|account, _| behind.as_ref().is_none_or(|behind| account > behind));
            let from = RecordedState::default();
            let found = store.past().changes_held(&from, store.journal().position(), behind.as_ref(), held_max);
            let found = found.expect("it is whole").map(|change| {
                let change = change.expect("it is whole");
                (change.account, change.before, change.after)
            });
            let expected = expected.into_iter().map(|(account, units)| (account, None, Some(units)));
            prop_assert_eq!(found.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
        }
    }
}
