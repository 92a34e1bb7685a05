//! `store check`: everything that is stored is read, and everything that can be computed again is compared.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::error::StoreError;
use super::files::{self, Disk, Engine};
use super::frame::{Damage, Kind};
use super::merge::Cells;
use super::schema::{self, BOOT, OWNER, Trees};
use super::states::StoredState;
use super::v1::state::OwnerV1;
use super::{Store, migrate};
use crate::process::Process;
use crate::process::cell::Cell;
use crate::process::event::Identity;
use crate::process::ids::{Lsn, ProcessId};
use crate::process::registers::Registers;
use crate::process::topology::Topology;

/// What a check has read and compared.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// The cluster the store belongs to.
    pub cluster: String,
    /// The process the store belongs to.
    pub process: String,
    /// How many turns the journal holds; each was decoded, and chained to the one before.
    pub turns: u64,
    /// How many records they hold.
    pub records: u64,
    /// How many recorded states were compared with the journal applied up to their cut.
    pub states: u64,
    /// How many cells they hold.
    pub cells: u64,
    /// How many revisions of global states were read, with all their chunks.
    pub revisions: u64,
    /// Accounts at the end of the journal.
    pub accounts: u64,
    /// The sum of their balances, minor units.
    pub balance_total: i128,
}

impl Store {
    /// Reads a stopped node's store whole and compares all that can be compared.
    ///
    /// # Errors
    /// [`StoreError`]: the first thing that is wrong, by name.
    pub fn check(dir: &Path) -> Result<Report, StoreError> {
        if !files::exists(dir) {
            return Err(StoreError::Absent(dir.to_path_buf()));
        }
        let engine = Engine::open(dir, Box::new(Disk))?;
        let trees = Trees::open(&engine.db)?;
        let found = trees.format()?;
        if found > migrate::newest() {
            let known = migrate::newest();
            return Err(StoreError::NewerFormat { found, known });
        }
        let owner = schema::get::<OwnerV1>(&trees.meta, OWNER, Kind::Owner)?
            .ok_or_else(|| StoreError::Absent(dir.to_path_buf()))?;
        let boot = schema::get::<u64>(&trees.meta, BOOT, Kind::Number)?.unwrap_or(0);
        let identity = Identity {
            store: owner.store,
            boot,
        };
        let store = Self::assemble(engine, trees, identity)?;
        let mut report = Report {
            cluster: owner.cluster,
            process: owner.process.to_string(),
            turns: 0,
            records: 0,
            states: 0,
            cells: 0,
            revisions: 0,
            accounts: 0,
            balance_total: 0,
        };
        store.check_journal(owner.process, &mut report)?;
        store.check_history(&mut report)?;
        Ok(report)
    }

    // Applies the journal from its first entry, and compares at each cut what was recorded there.
    fn check_journal(&self, me: ProcessId, report: &mut Report) -> Result<(), StoreError> {
        let mut states = BTreeMap::new();
        for cut in self.states.cuts() {
            let cut = cut?;
            states.extend(self.states.get(cut)?.map(|state| (cut, state)));
        }
        let topology = known_topology(&me, states.values());
        let mut process = Process::restore(me, topology, usize::MAX, Registers::default());
        self.check_state(&mut states, &process, report)?;
        for entry in self.journal.scan(Lsn(1), None) {
            let entry = entry?;
            report.turns += 1;
            report.records += entry.turn.records.len() as u64;
            process.replay(&entry.turn);
            process.take_sealed();
            process.take_finished();
            self.check_state(&mut states, &process, report)?;
        }
        if let Some(cut) = states.keys().next() {
            let problem = format!("the journal ends at {}", self.position());
            return Err(contradiction(*cut, problem));
        }
        report.accounts = process.bank().len();
        report.balance_total = process.bank().balance_total();
        Ok(())
    }

    fn check_state(
        &self,
        states: &mut BTreeMap<Lsn, StoredState>,
        process: &Process,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let cut = process.registers().position;
        let Some(state) = states.remove(&cut) else {
            return Ok(());
        };
        let recorded = &state.recorded;
        if recorded.journal != self.journal.hash_at(cut)? {
            return Err(contradiction(
                cut,
                "the journal has another hash there".to_owned(),
            ));
        }
        let mut accounts = 0;
        let mut total = 0;
        for cell in Cells::new(&self.chunks, &recorded.runs, None)? {
            report.cells += 1;
            if let Cell::Account { account, balance } = cell? {
                accounts += 1;
                total += i128::from(balance);
                if process.bank().balance(&account) != Some(balance) {
                    let problem = format!("account {account:?} differs from the journal");
                    return Err(contradiction(cut, problem));
                }
            }
        }
        let registers = process.registers();
        let figures = [
            (
                "accounts",
                i128::from(accounts),
                i128::from(process.bank().len()),
            ),
            (
                "recorded accounts",
                i128::from(recorded.accounts),
                i128::from(accounts),
            ),
            ("balances", recorded.balance_total, total),
            ("deposits", recorded.deposits, registers.deposits),
            ("withdrawals", recorded.withdrawals, registers.withdrawals),
        ];
        if let Some((what, found, expected)) = figures.iter().find(|(_, a, b)| a != b) {
            let problem = format!("{what} are {found}, the journal makes them {expected}");
            return Err(contradiction(cut, problem));
        }
        report.states += 1;
        Ok(())
    }

    fn check_history(&self, report: &mut Report) -> Result<(), StoreError> {
        for state in self.history.revisions() {
            for part in state?.parts.values() {
                for cell in Cells::new(&self.chunks, &part.state.runs, None)? {
                    cell?;
                }
                for channel in &part.channels {
                    self.chunks.messages(channel)?;
                }
            }
            report.revisions += 1;
        }
        Ok(())
    }
}

// The configuration is not at hand: the channels are those that the recorded states name.
fn known_topology<'a>(me: &ProcessId, states: impl Iterator<Item = &'a StoredState>) -> Topology {
    let mut processes = BTreeSet::from([me.clone()]);
    for state in states {
        processes.extend(state.registers.outgoing.keys().cloned());
        processes.extend(state.registers.incoming.keys().cloned());
    }
    let processes: Vec<ProcessId> = processes.into_iter().collect();
    Topology::full(&processes).expect("every pair of different processes is strongly connected")
}

fn contradiction(cut: Lsn, problem: String) -> StoreError {
    let what = schema::name(Kind::State, &schema::position_key(cut));
    StoreError::damaged(what, Damage::Contradiction(problem))
}
