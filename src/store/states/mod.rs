//! Recorded states: one manifest per cut. The changes since the previous state are a run; runs are merged when they
//! outgrow their base.

pub(super) mod compare;
pub(super) mod composition;
pub(super) mod merge;

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Store;
use super::chunks::Chunks;
use super::engine::schema;
use super::engine::schema::{position_key, position_of};
use super::error::StoreError;
use super::stored::codec::{Secret, decode_state, encode_state};
use super::stored::frame;
use super::stored::frame::{Damage, Kind};
use super::stored::state::StoredState;
use crate::history::part::{RecordedState, Run};
use crate::process::cell::CellKey;
use crate::process::channel::Flow;
use crate::process::ids::{Hash, Lsn, ProcessId};
use crate::process::registers::Sealed;
use merge::Cells;

/// Runs of one size class are merged when there are this many; a class is this many times as large as the one below.
const FAN_IN: usize = 8;
/// The limit of the smallest size class in bytes.
const CLASS_BYTES_MIN: u64 = 4096;

/// Of the states within an interval of this many turns, the oldest is kept, and those that are needed. A question about
/// the past therefore reads at most twice as many turns after a state.
const STRETCH_TURNS: u64 = 64;
/// The number of newest states that are reconsidered when one is written: some may no longer be needed.
const LOOKED_AT: usize = 32;

/// The state recorded at this cut, from a tree of states.
pub(super) fn read(tree: &sled::Tree, cut: Lsn) -> Result<Option<StoredState>, StoreError> {
    let Some(stored) = frame::get(tree, &position_key(cut))? else {
        return Ok(None);
    };
    let state = decode_state(stored).map_err(|damage| damaged(cut, damage))?;
    Ok(Some(state))
}

/// The error for damage of the state at this cut.
pub(super) fn damaged(cut: Lsn, damage: Damage) -> StoreError {
    StoreError::damaged(schema::name(Kind::State, &position_key(cut)), damage)
}

/// The recorded states of this process.
#[derive(Clone, Copy)]
pub struct States<'a> {
    pub(super) store: &'a Store,
}

impl<'a> States<'a> {
    /// Writes a sealed state after its predecessor, when the turn that sealed it is committed. It is durable after the
    /// next [`Store::sync`]; a crash before that loses nothing, since the journal produces it again.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn write(self, sealed: Sealed) -> Result<RecordedState, StoreError> {
        let _writing = self.store.chunks.writing();
        if let Some(salting) = &self.store.chunks.salting {
            salting.begin(sealed.registers.position, || {
                self.store.engine.make_durable()
            })?;
        }
        let journal = self.store.journal.hash_up_to(sealed.registers.position)?;
        let recorded = self
            .store
            .states
            .write(&self.store.chunks, sealed, journal)?;
        // A backup in progress needs all states. They are thinned with the next state.
        if let Some(_deleting) = self.store.standstill.deleting() {
            self.store.states.thin(self.store.journal.first())?;
        }
        Ok(recorded)
    }

    /// The state recorded at a cut, if it is written. A state that [`Store::recover`] skipped does not count until it
    /// is written again.
    ///
    /// # Errors
    /// [`StoreError`]; [`StoreError::Damaged`] also if a later state is written and this one is missing.
    pub fn at(self, cut: Lsn) -> Result<Option<RecordedState>, StoreError> {
        let state = self.store.states.written(cut)?;
        if state.is_none() && self.store.states.is_behind(cut) {
            let what = schema::name(Kind::State, &position_key(cut));
            let problem = Damage::Contradiction("it is missing".to_owned());
            return Err(StoreError::damaged(what, problem));
        }
        Ok(state.map(|state| state.recorded))
    }

    /// The cells of a recorded state in ascending order from a key on; newer runs win. Reads from disk.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn cells(self, runs: &[Run], from: Option<CellKey<'_>>) -> Result<Cells<'a>, StoreError> {
        Cells::new(&self.store.chunks, runs, from)
    }
}

/// The recorded states of a store as they are stored.
pub(super) struct StateTree {
    tree: sled::Tree,
    /// The cut and the runs of the newest state, which the next one extends.
    newest: Mutex<Option<(Lsn, Vec<Run>)>>,
}

impl StateTree {
    pub(super) fn new(tree: sled::Tree) -> Self {
        Self {
            tree,
            newest: Mutex::new(None),
        }
    }

    /// The state recorded at this cut.
    pub(super) fn get(&self, cut: Lsn) -> Result<Option<StoredState>, StoreError> {
        read(&self.tree, cut)
    }

    /// The state recorded at this cut, unless it is left over from an earlier start and recovery has skipped it.
    pub(super) fn written(&self, cut: Lsn) -> Result<Option<StoredState>, StoreError> {
        match self.newest_cut() {
            Some(newest) if cut <= newest => self.get(cut),
            _ => Ok(None),
        }
    }

    /// Whether a later state is written: a state missing at this cut will then never be written.
    pub(super) fn is_behind(&self, cut: Lsn) -> bool {
        matches!(*self.newest(), Some((newest, _)) if cut < newest)
    }

    /// The cuts of all stored states, newest first.
    pub(super) fn cuts(&self) -> impl Iterator<Item = Result<Lsn, StoreError>> {
        let keys = schema::keys(&self.tree).rev();
        keys.filter_map(|key| key.map(|key| position_of(&key)).transpose())
    }

    /// The cuts of written states up to a position, newest first.
    pub(super) fn cuts_until(
        &self,
        position: Lsn,
    ) -> impl Iterator<Item = Result<Lsn, StoreError>> + use<> {
        let newest = self.newest().as_ref().map(|(newest, _)| *newest);
        let mut end = newest.map(|newest| newest.min(position));
        let tree = self.tree.clone();
        // Jumps from key to key, since a state has many fragments.
        std::iter::from_fn(move || {
            let behind = position_key(end?.next());
            let (key, _) = match tree.get_lt(behind) {
                Ok(found) => found?,
                Err(error) => {
                    end = None;
                    return Some(Err(error.into()));
                }
            };
            let cut = position_of(frame::split_key(&key)?.0)?;
            end = cut.0.checked_sub(1).map(Lsn);
            Some(Ok(cut))
        })
    }

    /// The cut of the first written state behind a cut.
    pub(super) fn next_after(&self, cut: Option<Lsn>) -> Result<Option<Lsn>, StoreError> {
        let Some(newest) = self.newest_cut() else {
            return Ok(None);
        };
        let from = position_key(cut.map_or(Lsn(0), Lsn::next));
        let next = self.tree.range(from..).keys().next().transpose()?;
        let next = next.and_then(|key| position_of(frame::split_key(&key)?.0));
        Ok(next.filter(|next| *next <= newest))
    }

    /// The stored form of the state at a cut.
    pub(super) fn stored(&self, cut: Lsn) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(frame::get(&self.tree, &position_key(cut))?)
    }

    /// Stores the stored form of a state. It counts as written from the next recovery on.
    pub(super) fn put_stored(&self, cut: Lsn, stored: &[u8]) -> Result<(), StoreError> {
        Ok(frame::replace_all(
            &self.tree,
            &[(position_key(cut), stored)],
        )?)
    }

    /// The cuts of stored states before a position, oldest first.
    pub(super) fn before(
        &self,
        position: Lsn,
    ) -> impl Iterator<Item = Result<Lsn, StoreError>> + use<> {
        let keys = schema::keys(&self.tree);
        let cuts = keys.filter_map(|key| key.map(|key| position_of(&key)).transpose());
        cuts.take_while(move |cut| cut.as_ref().map_or(true, |cut| *cut < position))
    }

    /// The cut of the newest written state.
    pub(super) fn newest_cut(&self) -> Option<Lsn> {
        self.newest().as_ref().map(|(cut, _)| *cut)
    }

    /// The newest written state.
    pub(super) fn newest_written(&self) -> Result<Option<StoredState>, StoreError> {
        self.newest_cut().map_or(Ok(None), |cut| self.get(cut))
    }

    /// Deletes the state at this cut. The caller makes it durable.
    pub(super) fn remove(&self, cut: Lsn) -> Result<(), StoreError> {
        schema::remove_all(&self.tree, &position_key(cut))
    }

    /// All states, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = Result<StoredState, StoreError>> + '_ {
        schema::keys(&self.tree).filter_map(|key| {
            let read = |key: Vec<u8>| match position_of(&key) {
                Some(cut) => self.get(cut),
                None => Ok(None),
            };
            // A state deleted after its key was read needs nothing.
            key.and_then(read).transpose()
        })
    }

    /// Sets the state from which the next one continues.
    pub(super) fn continue_from(&self, state: Option<&StoredState>) {
        let newest = state.map(|state| (state.recorded.position, state.recorded.runs.clone()));
        *self.newest() = newest;
    }

    fn newest(&self) -> MutexGuard<'_, Option<(Lsn, Vec<Run>)>> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a sealed state after the newest one. There is one writer at a time, in the order of sealing. `journal` is
    /// the hash of the entry at the cut.
    pub(super) fn write(
        &self,
        chunks: &Chunks,
        sealed: Sealed,
        journal: Hash,
    ) -> Result<RecordedState, StoreError> {
        let cut = sealed.registers.position;
        if let Some(stored) = self.written(cut)? {
            // Replayed after a crash: the state had already been written.
            return Ok(stored.recorded);
        }
        let newest = self.newest().clone();
        let mut runs = newest.map(|(_, runs)| runs).unwrap_or_default();
        let secret = chunks.secret_at(cut);
        let cells = sealed.cells.sorted();
        let (run, mut new_bytes) = chunks.write_run(cells.into_iter().map(Ok), secret)?;
        if run.cells > 0 {
            runs.push(run);
        }
        if let Some(secret) = secret {
            new_bytes += salt_all(chunks, &mut runs, secret)?;
        }
        new_bytes += merge(chunks, &mut runs, secret)?;
        let registers = sealed.registers;
        let recorded = RecordedState {
            position: cut,
            time: sealed.time,
            clock: registers.clock,
            accounts: sealed.accounts,
            balance_total: sealed.balance_total,
            deposits: registers.deposits,
            withdrawals: registers.withdrawals,
            sent: flows(&registers.outgoing, |channel| channel.sent),
            delivered: flows(&registers.incoming, |channel| channel.delivered),
            journal,
            state_bytes: runs.iter().map(|run| run.bytes).sum(),
            runs: runs.clone(),
            new_bytes,
        };
        let stored = StoredState {
            registers,
            recorded,
        };
        frame::put(&self.tree, &position_key(cut), &encode_state(&stored))?;
        *self.newest() = Some((cut, runs));
        Ok(stored.recorded)
    }

    /// Deletes redundant states: in a quiet cluster each snapshot leaves a state almost equal to the previous one. Of
    /// the states before the two newest, only the oldest of each interval and those that a recording needs for its part
    /// are kept. Of the two newest the older one is durable, and a restart may begin there. `first` is the beginning of
    /// the journal: the state before it is kept, and older ones are left to the interrupted trim.
    pub(super) fn thin(&self, first: Lsn) -> Result<(), StoreError> {
        let Some(newest) = self.newest_written()? else {
            return Ok(());
        };
        let registers = &newest.registers;
        let cuts = self.cuts_until(newest.recorded.position);
        let older = cuts.skip(2).take(LOOKED_AT);
        let older = older.collect::<Result<Vec<_>, _>>()?;
        let is_needed = |cut: Lsn| {
            let mut recordings = registers.recordings.values();
            recordings.any(|recording| recording.cut == cut)
        };
        for pair in older.windows(2) {
            let [cut, before] = [pair[0], pair[1]];
            if cut.next() <= first {
                break;
            }
            if is_one_stretch(before, cut) && !is_needed(cut) {
                self.remove(cut)?;
            }
        }
        Ok(())
    }
}

/// Whether two states are in the same interval, of which only the first is certain to be kept.
pub(super) fn is_one_stretch(one: Lsn, other: Lsn) -> bool {
    one.0 / STRETCH_TURNS == other.0 / STRETCH_TURNS
}

fn flows<C>(
    channels: &BTreeMap<ProcessId, C>,
    flow: impl Fn(&C) -> Flow,
) -> BTreeMap<ProcessId, Flow> {
    let copy = |(process, channel): (&ProcessId, &C)| (process.clone(), flow(channel));
    channels.iter().map(copy).collect()
}

// Merges all runs into the base when they exceed a quarter of it, and before that small runs with each other, so that a
// state never has many runs. Returns the bytes written.
fn merge(chunks: &Chunks, runs: &mut Vec<Run>, secret: Option<&Secret>) -> Result<u64, StoreError> {
    let Some((base, rest)) = runs.split_first() else {
        return Ok(0);
    };
    let above_base: u64 = rest.iter().map(|run| run.bytes).sum();
    if above_base * 4 > base.bytes {
        return merge_all(chunks, runs, secret);
    }
    let mut new_bytes = 0;
    while let Some(from) = mergeable(runs) {
        let small = &runs[from..];
        let cells = Cells::new(chunks, small, None)?;
        let (merged, bytes) = chunks.write_merged(cells, secret, chunks.of_runs(small)?)?;
        runs.truncate(from);
        runs.push(merged);
        new_bytes += bytes;
    }
    Ok(new_bytes)
}

// Merges all runs into a base. Returns the bytes written.
fn merge_all(
    chunks: &Chunks,
    runs: &mut Vec<Run>,
    secret: Option<&Secret>,
) -> Result<u64, StoreError> {
    let kept = Cells::new(chunks, runs, None)?
        .filter(|cell| !matches!(cell, Ok(cell) if cell.is_forgotten()));
    let (merged, new_bytes) = chunks.write_merged(kept, secret, chunks.of_runs(runs)?)?;
    *runs = vec![merged];
    // A base from before format 6 may have contained nothing but snapshots, which are not kept.
    runs.retain(|run| run.cells > 0);
    Ok(new_bytes)
}

// Merges all runs if the base is from before its store salted chunks, so that no chunk without salts is left. Damage in it
// does not keep the state from being written. Returns the bytes written.
fn salt_all(chunks: &Chunks, runs: &mut Vec<Run>, secret: &Secret) -> Result<u64, StoreError> {
    let Some(base) = runs.first().and_then(|base| base.index.first()) else {
        return Ok(0);
    };
    let salted = match chunks.is_salted(base) {
        Ok(true) => Ok(0),
        Ok(false) => merge_all(chunks, runs, Some(secret)),
        Err(error) => Err(error),
    };
    match salted {
        Err(error @ StoreError::Damaged { .. }) => {
            tracing::warn!(%error, "a recorded state keeps chunks without salts");
            Ok(0)
        }
        salted => salted,
    }
}

// The index of the first of the newest runs that are at most of the size class of the newest, if there are enough of
// them.
fn mergeable(runs: &[Run]) -> Option<usize> {
    let class = |run: &Run| (run.bytes / CLASS_BYTES_MIN).max(1).ilog(FAN_IN as u64);
    let newest = class(runs.last()?);
    let same = runs[1..]
        .iter()
        .rev()
        .take_while(|run| class(run) <= newest)
        .count();
    (same >= FAN_IN).then(|| runs.len() - same)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cell::Cell;
    use crate::process::ids::AccountId;
    use crate::store::chunks::tests::chunks;

    // Without this, a store whose base is damaged records no state any more, and its node ends.
    #[test]
    fn a_base_without_salts_is_merged_and_a_damaged_one_keeps_nothing_back() {
        let chunks = chunks();
        let run = |account: &str, secret: Option<&Secret>| {
            let account = AccountId::parse(account).expect("a valid id");
            let cell = Cell::Account {
                account,
                balance: 1,
            };
            let written = chunks.write_run(std::iter::once(Ok(cell)), secret);
            written.expect("there is room").0
        };
        let secret = Secret::new([7; 32]);
        let before = vec![run("a", None), run("b", Some(&secret))];
        let salted = || {
            let mut runs = before.clone();
            let written = salt_all(&chunks, &mut runs, &secret).expect("there is room");
            (runs, written)
        };
        let (mut runs, _) = salted();
        assert_eq!((runs.len(), runs[0].cells), (1, 2));
        assert!(chunks.is_salted(&runs[0].index[0]).expect("it is here"));
        assert_eq!(
            salt_all(&chunks, &mut runs, &secret).expect("nothing is left"),
            0
        );
        chunks.spoil(&before[0].index[0]);
        assert_eq!(salted(), (before.clone(), 0));
    }
}
