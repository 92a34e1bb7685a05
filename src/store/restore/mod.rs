//! Creates new stores from a recorded global state, one per process. Each begins with the recorded state and is
//! independent of the store in which it was recorded.
//!
//! Everything is written to the new journal, so that the journal alone reproduces every balance: the identities of the
//! others, each account as a deposit, keys, remembered answers, and the messages in flight, numbered from 1. Identities
//! are drawn first, and each store knows those of the others from its first turn. A store of the old cluster, or of
//! another restore from the same snapshot, is therefore recognized as a different store. Markers are not carried over:
//! they belong to snapshots of the old cluster, whose history does not continue here.

mod archived;
pub(super) mod rebuild;
pub(super) mod unbooked;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Store;
use super::chunks::source;
use super::chunks::source::ChunkSource;
use super::copied::CopiedStore;
use super::engine::files;
use super::error::StoreError;
use super::export::Export;
use super::history::Published;
use super::opening;
use super::states::merge::Cells;
use super::stored::frame::Damage;
use super::stored::v1::state::OwnerV1;
use crate::history::global::GlobalState;
use crate::history::part::{Part, RecordedChannel};
use crate::history::process_totals::Rebooked;
use crate::process::Process;
use crate::process::cell::{Answered, Cell};
use crate::process::clock::{Hlc, Lamport};
use crate::process::identity::Identity;
use crate::process::ids::{AccountId, Amount, ProcessId, RequestId, Seq};
use crate::process::message::Body;
use crate::process::record::{Record, Turn};
use crate::process::topology::Topology;

/// The account for money whose account is unknown.
const SUSPENSE: &str = "suspense";
/// A turn is closed when its records reach this cost.
const TURN_WEIGHT: usize = 4096;
/// Lamport clocks of foreign processes are followed up to half of the range; no valid clock is beyond.
const CLOCK_MAX: Lamport = Lamport(u64::MAX / 2 + (1 << 40));

/// A created store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The process of the store.
    pub process: ProcessId,
    /// The number of its accounts.
    pub accounts: u64,
    /// The sum of their balances in minor units.
    pub balance_total: i128,
    /// The messages that wait in its outgoing channels.
    pub carried: u64,
    /// The money in these messages, in minor units.
    pub carried_amount: i128,
}

/// A rebuilt store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The store as recorded, without the difference.
    pub restored: Restored,
    /// The amount booked to the account `suspense`, or taken from it if negative.
    pub booked: i128,
}

impl Export {
    /// Creates a store for each process of the exported snapshot, in `dir/PROCESS`. The snapshot must be complete and
    /// audited.
    ///
    /// # Errors
    /// [`StoreError`]; the content of `dir` is then useless.
    pub fn restore(&self, dir: &Path) -> Result<Vec<Restored>, StoreError> {
        let (cluster, state) = (self.cluster(), &self.published().state);
        Beginning::new(self, cluster, state).all(dir)
    }
}

impl CopiedStore {
    /// Creates a store for each process of a snapshot, in `dir/PROCESS`. The snapshot must be complete and audited.
    ///
    /// # Errors
    /// [`StoreError`]; the content of `dir` is then useless.
    pub fn restore(&self, published: &Published, dir: &Path) -> Result<Vec<Restored>, StoreError> {
        Beginning::new(self.store().chunks(), self.cluster(), &published.state).all(dir)
    }
}

/// The common beginning of all stores of the new cluster.
pub(super) struct Beginning<'a> {
    source: &'a dyn ChunkSource,
    cluster: &'a str,
    state: &'a GlobalState,
    identities: BTreeMap<ProcessId, Identity>,
    /// Later than everything recorded.
    time: Hlc,
}

impl<'a> Beginning<'a> {
    pub(super) fn new(
        source: &'a dyn ChunkSource,
        cluster: &'a str,
        state: &'a GlobalState,
    ) -> Self {
        let identity = |process: &ProcessId| {
            let store = *uuid::Uuid::new_v4().as_bytes();
            // Boot 0 has never run, so every other boot is newer.
            let (boot, run) = (0, 0);
            (process.clone(), Identity { store, boot, run })
        };
        let newest = state.parts.values().map(|part| part.state.time).max();
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall_us = since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0));
        let time = Hlc::default().receive(newest.unwrap_or_default());
        Self {
            source,
            cluster,
            state,
            identities: state.parts.keys().map(identity).collect(),
            time: time.tick(wall_us),
        }
    }

    fn all(&self, dir: &Path) -> Result<Vec<Restored>, StoreError> {
        let parts = self.state.parts.values();
        parts
            .map(|part| self.one(part, &dir.join(part.process.as_str())))
            .collect()
    }

    /// The store of one process among others that continue: without messages in flight, and with the known difference
    /// of money received and sent since.
    pub(super) fn alone(
        &self,
        part: &Part,
        difference: i128,
        dir: &Path,
    ) -> Result<Rebuilt, StoreError> {
        let mut life = self.begin(part, dir)?;
        self.cells(part, &mut life)?;
        let (booked, opened) = life.book(difference)?;
        let expected = Expected {
            accounts: part.state.accounts + u64::from(opened),
            balance_total: part.state.balance_total + booked,
            carried_amount: 0,
        };
        let restored = Restored {
            process: part.process.clone(),
            accounts: expected.accounts,
            balance_total: expected.balance_total,
            carried: 0,
            carried_amount: 0,
        };
        let unbooked = difference - booked;
        life.store.note_rebooked(Rebooked { booked, unbooked })?;
        life.end(&expected)?;
        files::await_release(dir)?;
        Ok(Rebuilt { restored, booked })
    }

    fn begin(&self, part: &Part, dir: &Path) -> Result<Life, StoreError> {
        let me = &part.process;
        if part.state.clock > CLOCK_MAX {
            return Err(contradiction(me, "its clock is outside of the valid range"));
        }
        let owner = OwnerV1 {
            cluster: self.cluster.to_owned(),
            process: me.clone(),
            store: self.identities[me].store,
        };
        Ok(Life::begin(opening::create(dir, &owner)?, part, self.time))
    }

    fn one(&self, part: &Part, dir: &Path) -> Result<Restored, StoreError> {
        let me = &part.process;
        let mut life = self.begin(part, dir)?;
        for (peer, identity) in self.identities.iter().filter(|(peer, _)| *peer != me) {
            life.push(Record::Recognized {
                peer: peer.clone(),
                identity: *identity,
            })?;
        }
        self.cells(part, &mut life)?;
        let carried = self.carry(me, &mut life)?;
        life.end(&Expected {
            accounts: part.state.accounts,
            balance_total: part.state.balance_total,
            carried_amount: carried.1,
        })?;
        // The caller may move the directory, and the engine completes its last writes on its own threads.
        files::await_release(dir)?;
        Ok(Restored {
            process: me.clone(),
            accounts: part.state.accounts,
            balance_total: part.state.balance_total,
            carried: carried.0,
            carried_amount: carried.1,
        })
    }

    fn cells(&self, part: &Part, life: &mut Life) -> Result<(), StoreError> {
        let mut answers: Vec<(RequestId, Arc<Answered>)> = Vec::new();
        for cell in Cells::new(self.source, &part.state.runs, None)? {
            match cell? {
                Cell::Account { account, balance } => life.open_account(account, balance)?,
                Cell::Key(write) => life.push(Record::Written(write))?,
                Cell::Request {
                    request,
                    answered: Some(answered),
                } => answers.push((request, answered)),
                Cell::Request { answered: None, .. } | Cell::Snapshot(_) => {}
            }
        }
        // They are forgotten in the order in which they are remembered.
        answers.sort_by_key(|(_, answered)| answered.ordinal);
        for (request, answered) in answers {
            let fingerprint = answered.fingerprint;
            let outcome = Arc::unwrap_or_clone(answered).answer.outcome;
            // Only states of format 4 or earlier contain refusals.
            if outcome.is_ok() {
                life.push(Record::Answered {
                    request,
                    fingerprint,
                    outcome,
                })?;
            }
        }
        Ok(())
    }

    // Returns the number of messages carried over and their money.
    fn carry(&self, me: &ProcessId, life: &mut Life) -> Result<(u64, i128), StoreError> {
        let (mut count, mut amount) = (0, 0);
        for part in self.state.parts.values() {
            let mut seq = Seq(0);
            let from_me = |channel: &&RecordedChannel| channel.from == *me;
            for hash in part
                .channels
                .iter()
                .filter(from_me)
                .flat_map(|one| &one.chunks)
            {
                for recorded in source::messages(self.source, hash)? {
                    let message = recorded.message;
                    if matches!(message.body, Body::Marker(_)) {
                        continue;
                    }
                    seq = seq.next();
                    count += 1;
                    let transfer = message.body.transfer();
                    amount += transfer.map_or(0, |transfer| i128::from(transfer.amount.units()));
                    let to = part.process.clone();
                    life.push(Record::Carried { to, seq, message })?;
                }
            }
        }
        Ok((count, amount))
    }
}

/// The figures that a new store must reach.
struct Expected {
    accounts: u64,
    balance_total: i128,
    carried_amount: i128,
}

/// A new store and its process, until the first start of its node.
struct Life {
    store: Store,
    process: Process,
    time: Hlc,
    clock: Lamport,
    records: Vec<Record>,
    weight: usize,
}

impl Life {
    fn begin(store: Store, part: &Part, time: Hlc) -> Self {
        let me = &part.process;
        // Channels arrive with their messages; others come from the configuration.
        let alone = Topology::full(std::slice::from_ref(me)).expect("one process is a topology");
        Self {
            store,
            process: Process::new(me.clone(), alone, usize::MAX),
            time,
            clock: part.state.clock,
            records: Vec::new(),
            weight: 0,
        }
    }

    fn push(&mut self, record: Record) -> Result<(), StoreError> {
        self.weight += record.cost();
        self.records.push(record);
        if self.weight < TURN_WEIGHT {
            return Ok(());
        }
        self.commit()
    }

    // A credit opens an account; an empty account is credited and debited.
    fn open_account(&mut self, account: AccountId, balance: i64) -> Result<(), StoreError> {
        let Some(amount) = Amount::new(balance.max(1)).filter(|_| balance >= 0) else {
            let problem = format!("account {account:?} holds {balance}");
            return Err(contradiction(self.process.id(), problem));
        };
        let emptied = (balance == 0).then(|| Record::Withdrawn {
            account: account.clone(),
            amount,
        });
        self.push(Record::Deposited { account, amount })?;
        emptied.map_or(Ok(()), |emptied| self.push(emptied))
    }

    // Books to the account `suspense`, or takes from it as far as its balance goes. Returns the amount booked, and
    // whether the account was opened.
    fn book(&mut self, difference: i128) -> Result<(i128, bool), StoreError> {
        if !self.records.is_empty() {
            self.commit()?;
        }
        let account = AccountId::parse(SUSPENSE).expect("a valid id");
        let held = self.process.bank().balance(&account);
        let room = i128::from(i64::MAX) - i128::from(held.unwrap_or(0));
        let booked = difference.clamp(-i128::from(held.unwrap_or(0)), room);
        let amount = i64::try_from(booked.abs()).ok().and_then(Amount::new);
        let Some(amount) = amount else {
            return Ok((0, false));
        };
        self.push(match booked {
            0.. => Record::Deposited { account, amount },
            _ => Record::Withdrawn { account, amount },
        })?;
        Ok((booked, held.is_none()))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        self.weight = 0;
        let registers = self.process.registers();
        let turn = Turn {
            position: registers.position.next(),
            time: self.time,
            clock: self.clock,
            records: std::mem::take(&mut self.records),
        };
        self.time = self.time.tick(0);
        self.process.replay(&turn);
        self.store.commit(&turn)?;
        Ok(())
    }

    // Compares with the recorded figures and writes the state, so that the first start need not apply the whole
    // journal.
    fn end(mut self, expected: &Expected) -> Result<(), StoreError> {
        if !self.records.is_empty() {
            self.commit()?;
        }
        let (bank, registers) = (self.process.bank(), self.process.registers());
        let found = (bank.len(), bank.balance_total());
        let paid_in = registers.deposits - registers.withdrawals;
        if found != (expected.accounts, expected.balance_total)
            || paid_in != found.1 + expected.carried_amount
        {
            let problem = format!(
                "{} accounts with {} in total were restored, {} with {} were recorded",
                found.0, found.1, expected.accounts, expected.balance_total
            );
            return Err(contradiction(self.process.id(), problem));
        }
        if registers.position.0 > 0 {
            self.records.push(Record::Checkpointed);
            self.commit()?;
        }
        for sealed in self.process.take_sealed() {
            self.store.states().write(sealed)?;
        }
        self.store.sync()
    }
}

fn contradiction(process: &ProcessId, problem: impl ToString) -> StoreError {
    let what = format!("recorded state of process {process}");
    StoreError::damaged(what, Damage::Contradiction(problem.to_string()))
}
