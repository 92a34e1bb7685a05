//! Decisions of an operator about a stopped store, for stores that contradict each other. docs/operations.md says when
//! to use them and what they cost.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Stopped;
use crate::process::Process;
use crate::process::channel::Flow;
use crate::process::clock::Hlc;
use crate::process::command::{Decide, Forget};
use crate::process::decision::{Actor, Change, Decision};
use crate::process::identity::BOOTS_AHEAD;
use crate::process::ids::{Lsn, ProcessId};
use crate::process::registers::Registers;
use crate::process::reply::Settlement;
use crate::process::topology::Topology;
use crate::store::Store;
use crate::store::archived::claimed;
use crate::store::engine::schema;
use crate::store::engine::schema::{BOOT, VOUCHED};
use crate::store::error::StoreError;
use crate::store::gaps::ranges;
use crate::store::history::{Published, Stretch};
use crate::store::journal::Journal;
use crate::store::opening;
use crate::store::stored::frame;
use crate::store::stored::frame::Kind;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v7::DecisionV7;

/// A durable decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// The process that owns the store.
    pub process: ProcessId,
    /// The turn with the decision.
    pub position: Lsn,
    /// The settled amounts between the process and the peer; `None` if they were settled before and nothing has passed
    /// since.
    pub settlement: Option<Settlement>,
}

/// Why the store of a peer is not forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotForgotten {
    /// The peer is the process of this store.
    #[error(
        "this store is that of process {0:?} itself; --peer names the process whose store is lost, and the directory \
         is the store of a continuing process"
    )]
    Own(ProcessId),
    /// The peer has never been met, and nothing has passed between the two.
    #[error(
        "this store has no process {0:?}: it had no handshake with a process of that name, and nothing was sent or delivered"
    )]
    Unknown(ProcessId),
    /// An earlier store of the peer was given up, and the two have continued since.
    #[error("{0}")]
    InUse(Box<InUse>),
    /// `again` is not the position of the newest decision.
    #[error(
        "this store did not give up a store of {peer:?} in the turn at journal position {again}, so nothing was booked"
    )]
    NotThen {
        /// The peer.
        peer: ProcessId,
        /// The given position.
        again: Lsn,
    },
}

/// The store that a repeated command would give up: the successor of the lost one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this store already gave up a store of {peer:?}, in the turn at journal position {position}; nothing was booked \
     now. Since then it has {since}. Only if that store was lost again, repeat the command with --again {position}"
)]
pub struct InUse {
    /// The peer.
    pub peer: ProcessId,
    /// The turn in which its store was given up.
    pub position: Lsn,
    /// What has happened since.
    pub since: Box<str>,
}

impl Store {
    /// Decides in the store of a stopped node that the store of a peer is lost, so that its channels start again at 1. If
    /// that was decided before and the two have continued since, `again` must be the position of that decision: a
    /// repeated command must not give up the successor of the lost store. The journal names the actor.
    ///
    /// # Errors
    /// [`StoreError`]; [`NotForgotten`].
    pub fn forget(
        dir: &Path,
        peer: &ProcessId,
        again: Option<Lsn>,
        actor: Actor,
    ) -> Result<Result<Forgotten, NotForgotten>, StoreError> {
        let Stopped {
            engine,
            trees,
            owner,
        } = opening::stopped_of_newest_format(dir)?;
        let journal = Journal::open(&trees)?;
        opening::check_end(&engine, &trees, &journal)?;
        let identity = opening::identity(&trees, owner.store)?;
        let me = owner.process;
        if me == *peer {
            return Ok(Err(NotForgotten::Own(me)));
        }
        let store = Self::assemble(engine, trees, me.clone(), journal, identity)?;
        // The configuration is not available. Processes without a channel to this one are known from the history.
        let known: Vec<ProcessId> = store.processes_known(&me)?.into_iter().collect();
        let topology = Topology::full(&known).expect("distinct processes are a topology");
        let (mut process, _) = store.recover(&me, &topology, usize::MAX)?;
        // A repeated command books nothing again.
        if let Some(position) = process.has_forgotten(peer) {
            return Ok(Ok(Forgotten {
                process: me,
                position,
                settlement: None,
            }));
        }
        if let Err(why) = is_meant(&process, peer, again) {
            return Ok(Err(why));
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let wall_us = since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0));
        process.begin_turn(wall_us, Hlc::default());
        let settled = process.execute(Forget { peer: peer.clone() });
        let change = Change::StoreForgotten(peer.clone());
        process.execute(Decide(Decision { actor, change }));
        let turn = process.end_turn();
        let Ok(settlement) = settled else {
            return Ok(Err(NotForgotten::Unknown(peer.clone())));
        };
        let position = store.commit(&turn)?.position();
        Ok(Ok(Forgotten {
            process: me,
            position,
            settlement: Some(settlement),
        }))
    }

    // This process, and those named in the newest snapshot.
    fn processes_known(&self, me: &ProcessId) -> Result<BTreeSet<ProcessId>, StoreError> {
        let mut known = BTreeSet::from([me.clone()]);
        let Some(((_, snapshot), _)) = self
            .history()
            .lines(&Stretch::default(), 1, |_, _| true)
            .pop()
        else {
            return Ok(known);
        };
        if let Some(Published { state, .. }) = self.history().published(&snapshot)? {
            known.extend(state.parts.keys().cloned());
            known.extend(
                state
                    .missing()
                    .iter()
                    .map(|missing| missing.process.clone()),
            );
        }
        Ok(known)
    }

    /// Advances the boot of a stopped node's store, so that peers that have met another copy of it take this one for
    /// newer. Channel contents are compared all the same. The operations of the other copy are in none of its turns, so
    /// it does not answer for instants between its last turn and its next start. The decision of the actor is kept for the
    /// journal, which names it from the next start on. Returns the new boot number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn vouch(dir: &Path, actor: Actor) -> Result<u64, StoreError> {
        let Stopped { engine, trees, .. } = opening::stopped_of_newest_format(dir)?;
        let journal = Journal::open(&trees)?;
        engine.check_witness(&journal)?;
        let end = journal.head().position;
        ranges::note(&trees.meta, &(end..=end))?;
        let boot = schema::get::<u64>(&trees.meta, BOOT, Kind::Number)?.unwrap_or(0);
        let boot = boot + BOOTS_AHEAD;
        let change = Change::Vouched { boot };
        let decision = DecisionV7::freeze(&Decision { actor, change });
        let decision = frame::wrap(Kind::Decision, &frame::encode(&decision));
        let number = frame::wrap(Kind::Number, &frame::encode(&boot));
        let mut batch = sled::Batch::default();
        frame::insert(&mut batch, VOUCHED, &decision);
        frame::insert(&mut batch, BOOT, &number);
        trees.meta.apply_batch(batch)?;
        // The archive compares the boots alone from now on.
        claimed::forget(&trees.meta)?;
        engine.make_durable()?;
        Ok(boot)
    }

    /// The newest decision that this store is the right one, if the journal does not name it yet.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn vouched(&self) -> Result<Option<Decision>, StoreError> {
        vouched(&self.meta)
    }

    /// Notes durably that the journal names this decision.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn note_vouched(&self) -> Result<(), StoreError> {
        schema::remove_all(&self.meta, VOUCHED)?;
        self.sync()
    }
}

/// See [`Store::vouched`].
pub(in crate::store) fn vouched(meta: &sled::Tree) -> Result<Option<Decision>, StoreError> {
    let decision = schema::get::<DecisionV7>(meta, VOUCHED, Kind::Decision)?;
    Ok(decision.map(Frozen::thaw))
}

// A store that was never met may have been sent messages that wait for it; a unary process is never met.
fn passed_since(registers: &Registers, peer: &ProcessId) -> String {
    let sent = registers.outgoing.get(peer).map(|channel| channel.sent);
    let delivered = registers.incoming.get(peer);
    let delivered = delivered.map(|channel| channel.delivered);
    let messages = |flow: Option<Flow>| flow.unwrap_or_default().sequence;
    let (sent, delivered) = (messages(sent), messages(delivered));
    format!("sent {sent} messages to it, and delivered {delivered} from it")
}

// Whether the current store of a peer is the one to be given up.
fn is_meant(process: &Process, peer: &ProcessId, again: Option<Lsn>) -> Result<(), NotForgotten> {
    let registers = process.registers();
    let peer = peer.clone();
    match (registers.forgotten.get(&peer).copied(), again) {
        (None, None) => Ok(()),
        (Some(position), Some(again)) if position == again => Ok(()),
        (_, Some(again)) => Err(NotForgotten::NotThen { peer, again }),
        (Some(position), None) => {
            let known = registers.peers.get(&peer);
            let met = known.filter(|known| !known.is_given_up());
            let since = match met {
                Some(met) => format!(
                    "had a handshake with another store, {}",
                    met.store_in_hexadecimal()
                ),
                None => passed_since(registers, &peer),
            };
            Err(NotForgotten::InUse(Box::new(InUse {
                peer,
                position,
                since: since.into(),
            })))
        }
    }
}
