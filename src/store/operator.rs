//! What an operator can decide about a stopped store where two stores contradict each other. docs/operations.md says when,
//! and what it costs.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use super::Store;
use super::error::StoreError;
use super::frame::Kind;
use super::gaps;
use super::history::Published;
use super::journal::Journal;
use super::open::{self, Stopped};
use super::schema::{self, BOOT};
use crate::process::Process;
use crate::process::channel::Flow;
use crate::process::clock::Hlc;
use crate::process::event::{Input, Reply, Settlement};
use crate::process::ids::{Lsn, ProcessId};
use crate::process::registers::Registers;
use crate::process::topology::Topology;

/// What [`Store::vouch`] adds: more starts than any copy of the store will have had.
const BOOTS_AHEAD: u64 = 1000;

/// A decision that was made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Forgotten {
    /// Whose store it was made in.
    pub process: ProcessId,
    /// The turn that holds it.
    pub position: Lsn,
    /// What was between that process and the peer; `None` where that was settled before, and nothing has passed since.
    pub settlement: Option<Settlement>,
}

/// Why the store of a peer is not forgotten.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotForgotten {
    /// It is the store itself.
    #[error(
        "this store is that of process {0:?} itself; --peer names the process whose store is lost, and the directory is that \
         of a process which goes on"
    )]
    Own(ProcessId),
    /// It was never met, and nothing has passed between the two.
    #[error(
        "this store knows no process {0:?}: it has met none of that name, and nothing was sent or delivered"
    )]
    Unknown(ProcessId),
    /// A store of it was given up before, and the two have gone on since.
    #[error("{0}")]
    InUse(Box<InUse>),
    /// `again` names another decision than the newest.
    #[error(
        "this store did not give up a store of {peer:?} in the turn at journal position {again}: nothing was booked"
    )]
    NotThen {
        /// The process.
        peer: ProcessId,
        /// The position that was given.
        again: Lsn,
    },
}

/// What a repeated command would give up: the store that has taken the place of the lost one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "this store gave up a store of {peer:?} already, in the turn at journal position {position}; nothing was booked now. \
     Since then it has {since}. Only if its store was lost once more, repeat the command with --again {position}"
)]
pub struct InUse {
    /// The process.
    pub peer: ProcessId,
    /// The turn that gave its store up.
    pub position: Lsn,
    /// What has happened since.
    pub since: Box<str>,
}

impl Store {
    /// Decides in the store of a stopped node that the store of a peer is lost: its channels begin anew. Where that was
    /// decided before, and the two have gone on since, `again` is the position of that turn: a repeated command does not give
    /// up the store that has taken the place of the lost one.
    ///
    /// # Errors
    /// [`StoreError`]; [`NotForgotten`].
    pub fn forget(
        dir: &Path,
        peer: &ProcessId,
        again: Option<Lsn>,
    ) -> Result<Result<Forgotten, NotForgotten>, StoreError> {
        let Stopped {
            engine,
            trees,
            owner,
        } = open::stopped_of_newest_format(dir)?;
        let journal = Journal::open(&trees)?;
        open::check_end(&engine, &trees, &journal)?;
        let identity = open::identity(&trees, owner.store)?;
        let me = owner.process;
        if me == *peer {
            return Ok(Err(NotForgotten::Own(me)));
        }
        let store = Self::assemble(engine, trees, (me.clone(), journal, identity))?;
        // The configuration is not at hand. A process without a channel to here is known from the history.
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
        let reply = process.step(Input::Forget { peer: peer.clone() });
        let turn = process.end_turn();
        let settlement = match reply {
            Reply::Forgotten(Ok(settlement)) => settlement,
            Reply::Forgotten(Err(_)) => return Ok(Err(NotForgotten::Unknown(peer.clone()))),
            _ => unreachable!("a decision is answered as one"),
        };
        let position = store.commit(&turn)?.position();
        Ok(Ok(Forgotten {
            process: me,
            position,
            settlement: Some(*settlement),
        }))
    }

    // This process, and those that the newest snapshot names.
    fn processes_known(&self, me: &ProcessId) -> Result<BTreeSet<ProcessId>, StoreError> {
        let mut known = BTreeSet::from([me.clone()]);
        let Some(((_, snapshot), _)) = self.lines(None, 1, |_, _| true).pop() else {
            return Ok(known);
        };
        if let Some(Published { state, .. }) = self.published(&snapshot)? {
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

    /// Counts the boot of a stopped node's store on, so that peers that have met another copy of it take this one for
    /// the newer. What passed over the channels is compared all the same. What the other copy did is in none of its turns, so
    /// it answers for no instant between its last turn and its next start. Says the new boot number.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn vouch(dir: &Path) -> Result<u64, StoreError> {
        let Stopped { engine, trees, .. } = open::stopped_of_newest_format(dir)?;
        let journal = Journal::open(&trees)?;
        engine.check_witness(&journal)?;
        let end = journal.head().position;
        gaps::note(&trees.meta, &(end..=end))?;
        let boot = schema::get::<u64>(&trees.meta, BOOT, Kind::Number)?.unwrap_or(0);
        let boot = boot + BOOTS_AHEAD;
        schema::put(&trees.meta, BOOT, Kind::Number, &boot)?;
        engine.make_durable()?;
        Ok(boot)
    }
}

// A store that was not met may have been sent something that waits for it; a process that calls this one is never met.
fn passed_since(registers: &Registers, peer: &ProcessId) -> String {
    let sent = registers.outgoing.get(peer).map(|channel| channel.sent);
    let delivered = registers.incoming.get(peer);
    let delivered = delivered.map(|channel| channel.delivered);
    let messages = |flow: Option<Flow>| flow.unwrap_or_default().sequence;
    let (sent, delivered) = (messages(sent), messages(delivered));
    format!("sent {sent} messages to it, and delivered {delivered} from it")
}

// Whether the store of a peer is to be given up that is known now.
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
                Some(met) => format!("met another one, {}", met.store_in_hexadecimal()),
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
