//! Shares of an audit: figures alone.

use super::Unreadable;
use super::part::{flow_to_wire, flows_from_wire, hash, narrow, wide};
use crate::history::share::Share;
use crate::process::ids::{Lsn, ProcessId};
use crate::proto::snapledger as wire;

/// A share as it travels.
#[must_use]
pub fn share_to_wire(process: &ProcessId, share: &Share) -> wire::Share {
    wire::Share {
        process: process.to_string(),
        position: share.position.0,
        journal_hash: share.journal.0.to_vec(),
        balance_total: Some(wide(share.balance_total)),
        deposits: Some(wide(share.deposits)),
        withdrawals: Some(wide(share.withdrawals)),
        sent: share.sent.iter().map(flow_to_wire).collect(),
        delivered: share.delivered.iter().map(flow_to_wire).collect(),
    }
}

/// A share that came, and whose it is.
///
/// # Errors
/// [`Unreadable`] where something is malformed.
pub fn share_from_wire(share: wire::Share) -> Result<(ProcessId, Share), Unreadable> {
    let process = ProcessId::parse(&share.process)?;
    let share = Share {
        position: Lsn(share.position),
        journal: hash(&share.journal_hash)?,
        balance_total: narrow(share.balance_total),
        deposits: narrow(share.deposits),
        withdrawals: narrow(share.withdrawals),
        sent: flows_from_wire(share.sent)?,
        delivered: flows_from_wire(share.delivered)?,
    };
    Ok((process, share))
}
