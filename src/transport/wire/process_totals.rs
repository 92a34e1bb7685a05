//! Wire forms of a process's totals.

use std::collections::BTreeMap;

use super::part::{flow_to_wire, flows_from_wire, hash, narrow, wide};
use super::{Unreadable, absent};
use crate::history::process_totals::{
    KnownStore, ProcessTotals, Rebooked, StoreId, StoresKnown, ToldTotals,
};
use crate::process::ids::{Lsn, ProcessId};
use crate::proto::snapledger as wire;

/// Encodes the totals of a process for another node.
#[must_use]
pub fn share_to_wire(process: &ProcessId, told: &ToldTotals) -> wire::Share {
    let share = &told.totals;
    wire::Share {
        store_uuid: share.store.map_or_else(Vec::new, |store| store.to_vec()),
        peers: peers_to_wire(&share.peers),
        given_up: share.given_up.as_ref().map(given_up_to_wire),
        now: told.stores.as_ref().map(now_to_wire),
        ..figures_to_wire(process, share)
    }
}

/// Encodes only the figures of the totals, for clients.
#[must_use]
pub fn figures_to_wire(process: &ProcessId, share: &ProcessTotals) -> wire::Share {
    wire::Share {
        process: process.to_string(),
        position: share.position.0,
        journal_hash: share.journal.0.to_vec(),
        balance_total: Some(wide(share.balance_total)),
        deposits: Some(wide(share.deposits)),
        withdrawals: Some(wide(share.withdrawals)),
        sent: share
            .sent
            .iter()
            .map(|(process, flow)| flow_to_wire(process, flow))
            .collect(),
        delivered: share
            .delivered
            .iter()
            .map(|(process, flow)| flow_to_wire(process, flow))
            .collect(),
        store_uuid: Vec::new(),
        peers: Vec::new(),
        given_up: None,
        now: None,
        booked: Some(wide(share.rebuilt.booked)),
        unbooked: Some(wide(share.rebuilt.unbooked)),
    }
}

/// Decodes totals and the process they belong to.
///
/// # Errors
/// [`Unreadable`] if a field is malformed.
pub fn share_from_wire(share: wire::Share) -> Result<(ProcessId, ToldTotals), Unreadable> {
    let process = ProcessId::parse(&share.process)?;
    let stores = share.now.map(now_from_wire).transpose()?;
    let totals = ProcessTotals {
        position: Lsn(share.position),
        journal: hash(&share.journal_hash)?,
        balance_total: narrow(share.balance_total),
        deposits: narrow(share.deposits),
        withdrawals: narrow(share.withdrawals),
        sent: flows_from_wire(share.sent)?,
        delivered: flows_from_wire(share.delivered)?,
        store: store_from_wire(&share.store_uuid)?,
        peers: peers_from_wire(share.peers)?,
        given_up: share.given_up.map(given_up_from_wire).transpose()?,
        rebuilt: Rebooked {
            booked: narrow(share.booked),
            unbooked: narrow(share.unbooked),
        },
    };
    Ok((process, ToldTotals { totals, stores }))
}

fn now_to_wire(stores: &StoresKnown) -> wire::StoresNow {
    let given_up = stores.given_up.iter();
    wire::StoresNow {
        peers: peers_to_wire(&stores.peers),
        given_up: given_up.map(ToString::to_string).collect(),
    }
}

fn now_from_wire(stores: wire::StoresNow) -> Result<StoresKnown, Unreadable> {
    let given_up = stores.given_up.iter();
    Ok(StoresKnown {
        peers: peers_from_wire(stores.peers)?,
        given_up: given_up
            .map(|process| ProcessId::parse(process))
            .collect::<Result<_, _>>()?,
    })
}

fn peers_to_wire(peers: &BTreeMap<ProcessId, KnownStore>) -> Vec<wire::KnownStore> {
    let peers = peers.iter();
    peers
        .map(|(process, known)| known_to_wire(process, known))
        .collect()
}

fn peers_from_wire(
    peers: Vec<wire::KnownStore>,
) -> Result<BTreeMap<ProcessId, KnownStore>, Unreadable> {
    peers.into_iter().map(known_from_wire).collect()
}

fn given_up_to_wire(given_up: &BTreeMap<ProcessId, Lsn>) -> wire::GivenUp {
    let store = |(process, turn): (&ProcessId, &Lsn)| wire::GivenUpStore {
        process: process.to_string(),
        position: turn.0,
    };
    wire::GivenUp {
        stores: given_up.iter().map(store).collect(),
    }
}

fn given_up_from_wire(given_up: wire::GivenUp) -> Result<BTreeMap<ProcessId, Lsn>, Unreadable> {
    let stores = given_up.stores.into_iter();
    let stores = stores.map(|store| Ok((ProcessId::parse(&store.process)?, Lsn(store.position))));
    stores.collect()
}

fn known_to_wire(process: &ProcessId, known: &KnownStore) -> wire::KnownStore {
    wire::KnownStore {
        process: process.to_string(),
        store_uuid: known.store.to_vec(),
        given_up: known.is_given_up,
    }
}

fn known_from_wire(known: wire::KnownStore) -> Result<(ProcessId, KnownStore), Unreadable> {
    let store = store_from_wire(&known.store_uuid)?;
    let store = KnownStore {
        store: store.ok_or_else(|| absent("a store uuid"))?,
        is_given_up: known.given_up,
    };
    Ok((ProcessId::parse(&known.process)?, store))
}

// Older versions do not send the store id.
fn store_from_wire(bytes: &[u8]) -> Result<Option<StoreId>, Unreadable> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let store = StoreId::try_from(bytes);
    store
        .map(Some)
        .map_err(|_| Unreadable("a store uuid of other than 16 bytes".to_owned()))
}
