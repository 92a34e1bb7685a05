//! `store check`: everything that is stored is read, and everything that can be computed again is compared.

use std::collections::BTreeSet;
use std::path::Path;

use super::Store;
use super::error::StoreError;
use super::files;
use super::frame::{Damage, Kind};
use super::journal::Journal;
use super::merge::Cells;
use super::open::{self, Stopped};
use super::schema;
use crate::history::part::{Part, RecordedState};
use crate::process::Process;
use crate::process::cell::Cell;
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
    /// How many chunks were read and hashed.
    pub chunks: u64,
    /// How many parts of this process were read, with the messages of their channels.
    pub parts: u64,
    /// How many revisions of global states were read, likewise.
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
        if let Some(blob) = files::blob(dir)? {
            let problem = "it lies outside of the log, where no sync reaches it".to_owned();
            let what = format!("file {}", blob.display());
            return Err(StoreError::damaged(what, Damage::Contradiction(problem)));
        }
        let Stopped {
            engine,
            trees,
            owner,
        } = open::stopped_of_newest_format(dir)?;
        let identity = open::identity(&trees, owner.store)?;
        let journal = Journal::open(trees.journal.clone())?;
        engine.witness.check(&journal)?;
        let store = Self::assemble(engine, trees, (journal, identity))?;
        let mut report = Report {
            cluster: owner.cluster,
            process: owner.process.to_string(),
            turns: 0,
            records: 0,
            states: 0,
            cells: 0,
            chunks: 0,
            parts: 0,
            revisions: 0,
            accounts: 0,
            balance_total: 0,
        };
        for hash in store.chunks.hashes() {
            store.chunks.get(&hash?)?;
            report.chunks += 1;
        }
        store.check_journal(owner.process, &mut report)?;
        store.check_history(&mut report)?;
        Ok(report)
    }

    // Applies the journal from its first entry, and compares at each cut what was recorded there.
    fn check_journal(&self, me: ProcessId, report: &mut Report) -> Result<(), StoreError> {
        let mut cuts: BTreeSet<Lsn> = self.states.cuts().collect::<Result<_, _>>()?;
        // The configuration is not at hand, and a replay needs no channels: nothing of a recording is compared.
        let topology =
            Topology::full(std::slice::from_ref(&me)).expect("one process is a topology");
        let mut process = Process::restore(me, topology, usize::MAX, Registers::default());
        self.check_state(&mut cuts, &process, report)?;
        for entry in self.journal.scan(Lsn(1), None) {
            let entry = entry?;
            report.turns += 1;
            report.records += entry.turn.records.len() as u64;
            process.replay(&entry.turn);
            process.take_sealed();
            process.take_finished();
            self.check_state(&mut cuts, &process, report)?;
        }
        if let Some(cut) = cuts.first() {
            let problem = format!("the journal ends at {}", self.position());
            return Err(contradiction(*cut, problem));
        }
        report.accounts = process.bank().len();
        report.balance_total = process.bank().balance_total();
        Ok(())
    }

    fn check_state(
        &self,
        cuts: &mut BTreeSet<Lsn>,
        process: &Process,
        report: &mut Report,
    ) -> Result<(), StoreError> {
        let cut = process.registers().position;
        if !cuts.remove(&cut) {
            return Ok(());
        }
        let missing = || contradiction(cut, "it is missing".to_owned());
        let state = self.states.get(cut)?.ok_or_else(missing)?;
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
        check_flows(recorded, registers)?;
        report.states += 1;
        Ok(())
    }

    fn check_history(&self, report: &mut Report) -> Result<(), StoreError> {
        for part in self.history.parts() {
            self.check_part(&part?)?;
            report.parts += 1;
        }
        for state in self.history.revisions() {
            for part in state?.parts.values() {
                self.check_part(part)?;
            }
            report.revisions += 1;
        }
        Ok(())
    }

    // The chunks themselves were read before.
    fn check_part(&self, part: &Part) -> Result<(), StoreError> {
        let contradiction = |problem| {
            let key = schema::snapshot_key(&part.snapshot);
            let what = schema::name(Kind::Part, &key);
            StoreError::damaged(what, Damage::Contradiction(problem))
        };
        if let Some(chunk) = self.missing_chunks(part)?.first() {
            return Err(contradiction(format!("chunk {chunk} is missing")));
        }
        for channel in &part.channels {
            let messages = self.chunks.messages(channel)?.len() as u64;
            if messages != channel.messages() {
                let (from, expected) = (&channel.from, channel.messages());
                let problem = format!("{messages} messages from {from:?}, not {expected}");
                return Err(contradiction(problem));
            }
        }
        Ok(())
    }
}

// Where nothing passed, the journal does not name the channel.
fn check_flows(recorded: &RecordedState, registers: &Registers) -> Result<(), StoreError> {
    let sent = |to: &ProcessId| registers.outgoing.get(to).map(|channel| channel.sent);
    let delivered = |from: &ProcessId| {
        registers
            .incoming
            .get(from)
            .map(|channel| channel.delivered)
    };
    let sent = recorded.sent.iter().map(|(to, flow)| (to, flow, sent(to)));
    let delivered = recorded
        .delivered
        .iter()
        .map(|(from, flow)| (from, flow, delivered(from)));
    let wrong = sent
        .chain(delivered)
        .find(|(_, found, expected)| **found != expected.unwrap_or_default());
    match wrong {
        None => Ok(()),
        Some((peer, _, _)) => {
            let problem =
                format!("what was sent to or delivered from {peer:?} differs from the journal");
            Err(contradiction(recorded.position, problem))
        }
    }
}

fn contradiction(cut: Lsn, problem: String) -> StoreError {
    let what = schema::name(Kind::State, &schema::position_key(cut));
    StoreError::damaged(what, Damage::Contradiction(problem))
}
