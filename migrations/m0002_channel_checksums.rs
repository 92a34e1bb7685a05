//! Format 2: a recorded state has a checksum of each channel and the run of each peer.
//!
//! The journal stays unchanged: its entries are chained by hash, and published data refers to those hashes. The states
//! are rewritten into another tree. Until the format number is raised (one batch in one tree) the store is entirely of
//! format 1, afterwards entirely of format 2. States, and what this step adds to them, are derived from the journal.

use std::collections::BTreeMap;

use super::{Damage, Migration, StoreError, Trees, has_tree};
use crate::process::channel::{Incoming, Outgoing};
use crate::process::ids::{Lsn, ProcessId};
use crate::process::record::{Record, Turn};
use crate::store::engine::schema;
use crate::store::engine::schema::{position_key, position_of};
use crate::store::journal::Journal;
use crate::store::stored::frame::Kind;
use crate::store::stored::v1::Frozen;
use crate::store::stored::v1::state::{IdentityV1, IncomingV1, OutgoingV1, StateV1};
use crate::store::stored::v2::identity::IdentityV2;
use crate::store::stored::v2::{IncomingV2, OutgoingV2, RegistersV2, StateV2};

pub(super) const MIGRATION: Migration = Migration {
    to: 2,
    name: "channel checksums",
    run,
    retired: Some(STATES),
};

/// The tree of states of format 1.
const STATES: &str = "states";

fn run(db: &sled::Db, trees: &Trees) -> Result<(), StoreError> {
    if !has_tree(db, STATES) {
        return Ok(());
    }
    let old = db.open_tree(STATES)?;
    let mut cuts: Vec<Lsn> = Vec::new();
    for key in schema::keys(&old) {
        cuts.extend(position_of(&key?));
    }
    let Some(last) = cuts.last().copied() else {
        return Ok(());
    };
    let journal = Journal::open(trees)?;
    let mut channels = Channels::default();
    let mut cuts = cuts.into_iter().peekable();
    if cuts.next_if_eq(&Lsn(0)).is_some() {
        channels.convert(&old, &trees.states, Lsn(0))?;
    }
    for entry in journal.scan(Lsn(1), None) {
        let turn = entry?.turn;
        channels.replay(&turn);
        if cuts.next_if_eq(&turn.position).is_some() {
            channels.convert(&old, &trees.states, turn.position)?;
        }
        if turn.position == last {
            break;
        }
    }
    Ok(())
}

/// The channels as of the end of the journal.
#[derive(Default)]
struct Channels {
    outgoing: BTreeMap<ProcessId, Outgoing>,
    incoming: BTreeMap<ProcessId, Incoming>,
}

impl Channels {
    fn replay(&mut self, turn: &Turn) {
        for record in &turn.records {
            match record {
                Record::Sent { to, seq, message } => {
                    let channel = self.outgoing.entry(to.clone()).or_default();
                    channel.send(*seq, message, turn.position);
                }
                Record::Acknowledged { to, seq } => {
                    let channel = self.outgoing.entry(to.clone()).or_default();
                    channel.acknowledge(*seq);
                }
                Record::Delivered {
                    from, seq, message, ..
                } => {
                    let channel = self.incoming.entry(from.clone()).or_default();
                    channel.deliver(*seq, message);
                }
                _ => {}
            }
        }
    }

    // A damaged state is omitted, since every start has skipped it: the journal produces it again.
    fn convert(&self, old: &sled::Tree, new: &sled::Tree, cut: Lsn) -> Result<(), StoreError> {
        let key = position_key(cut);
        let state = match schema::get::<StateV1>(old, &key, Kind::State) {
            Ok(Some(state)) => state,
            Ok(None) => return Ok(()),
            Err(StoreError::Damaged { what, damage }) => {
                tracing::warn!(%cut, what, %damage, "left out a recorded state that is not whole");
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let contradiction = |peer: &ProcessId| {
            let problem = format!("the journal makes another channel with {peer:?}");
            let what = schema::name(Kind::State, &key);
            StoreError::damaged(what, Damage::Contradiction(problem))
        };
        let outgoing = state.registers.outgoing.into_iter().map(|(to, channel)| {
            let found = self.outgoing(&to, &channel);
            found
                .map(|found| (to.clone(), found))
                .ok_or_else(|| contradiction(&to))
        });
        let outgoing = outgoing.collect::<Result<_, _>>()?;
        let incoming = state.registers.incoming.into_iter().map(|(from, channel)| {
            let found = self.incoming(&from, channel);
            found
                .map(|found| (from.clone(), found))
                .ok_or_else(|| contradiction(&from))
        });
        let incoming = incoming.collect::<Result<_, _>>()?;
        let identify = |(peer, IdentityV1 { store, boot })| {
            let run = 0;
            (peer, IdentityV2 { store, boot, run })
        };
        let registers = RegistersV2 {
            position: state.registers.position,
            time: state.registers.time,
            clock: state.registers.clock,
            deposits: state.registers.deposits,
            withdrawals: state.registers.withdrawals,
            outgoing,
            incoming,
            recordings: state.registers.recordings,
            peers: state.registers.peers.into_iter().map(identify).collect(),
            forgotten: BTreeMap::new(),
            newest: state.registers.newest,
            snapshots_initiated: state.registers.snapshots_initiated,
            snapshots_participated: state.registers.snapshots_participated,
        };
        let recorded = state.recorded;
        schema::put(
            new,
            &key,
            Kind::State,
            &StateV2 {
                registers,
                recorded,
            },
        )
    }

    fn outgoing(&self, to: &ProcessId, stored: &OutgoingV1) -> Option<OutgoingV2> {
        let channel = self.outgoing.get(to).cloned().unwrap_or_default();
        let channel = OutgoingV2::freeze(&channel);
        (channel.sent == stored.sent).then_some(channel)
    }

    fn incoming(&self, from: &ProcessId, stored: IncomingV1) -> Option<IncomingV2> {
        let channel = self.incoming.get(from).copied().unwrap_or_default();
        let channel = IncomingV2 {
            way: stored.way,
            ..IncomingV2::freeze(&channel)
        };
        (channel.delivered == stored.delivered).then_some(channel)
    }
}
