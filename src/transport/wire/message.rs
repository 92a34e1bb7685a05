//! Messages and identities.

use super::part::{narrow, wide};
use super::{Unreadable, absent};
use crate::process::channel::{Flow, Tally};
use crate::process::clock::{Hlc, Lamport};
use crate::process::event::Identity;
use crate::process::ids::{AccountId, Amount, Key, ProcessId, Seq, SnapshotId};
use crate::process::message::{Body, Marker, Message, Stamp, Transfer, Write};
use crate::proto::snapledger as wire;
use crate::transport::Envelope;

/// A message as it travels.
#[must_use]
pub fn envelope_to_wire(envelope: &Envelope) -> wire::Message {
    let body = match &envelope.message.body {
        Body::Transfer(transfer) => wire::message::Body::Transfer(wire::Transfer {
            transfer_id: transfer.transfer_id.to_string(),
            from_account: transfer.from_account.to_string(),
            to_account: transfer.to_account.to_string(),
            amount: transfer.amount.units(),
        }),
        Body::Put(write) => wire::message::Body::Put(wire::Put {
            key: write.key.to_string(),
            value: write.value.as_deref().map(str::to_owned),
            clock: write.stamp.clock.0,
            process: write.stamp.process.to_string(),
        }),
        Body::Marker(marker) => wire::message::Body::Marker(wire::Marker {
            snapshot_id: marker.snapshot.to_string(),
            initiator: marker.initiator.to_string(),
        }),
    };
    wire::Message {
        sequence: envelope.seq.0,
        logical_clock: envelope.message.clock.0,
        time: envelope.time.0,
        body: Some(body),
    }
}

/// A message that came.
///
/// # Errors
/// [`Unreadable`] where something is absent or malformed.
pub fn envelope_from_wire(message: wire::Message) -> Result<Envelope, Unreadable> {
    let body = match message
        .body
        .ok_or_else(|| absent("the body of a message"))?
    {
        wire::message::Body::Transfer(transfer) => Body::Transfer(Transfer {
            amount: Amount::new(transfer.amount)
                .ok_or_else(|| Unreadable(format!("an amount of {}", transfer.amount)))?,
            transfer_id: transfer.transfer_id.into(),
            from_account: AccountId::parse(&transfer.from_account)?,
            to_account: AccountId::parse(&transfer.to_account)?,
        }),
        wire::message::Body::Put(put) => Body::Put(Write {
            key: Key::parse(&put.key)?,
            value: put.value.map(Into::into),
            stamp: Stamp {
                clock: Lamport(put.clock),
                process: ProcessId::parse(&put.process)?,
            },
        }),
        wire::message::Body::Marker(marker) => Body::Marker(Marker {
            snapshot: SnapshotId::parse(&marker.snapshot_id)?,
            initiator: ProcessId::parse(&marker.initiator)?,
        }),
    };
    Ok(Envelope {
        seq: Seq(message.sequence),
        time: Hlc(message.time),
        message: Message {
            clock: Lamport(message.logical_clock),
            body,
        },
    })
}

/// What passed one end of a channel, as it travels.
#[must_use]
pub fn tally_to_wire(tally: Tally) -> wire::Tally {
    wire::Tally {
        sequence: tally.flow.sequence.0,
        transfers: tally.flow.transfers,
        amount: Some(wide(tally.flow.amount)),
        checksum: tally.checksum,
    }
}

/// What passed the other end of a channel.
#[must_use]
pub fn tally_from_wire(tally: Option<wire::Tally>) -> Tally {
    let tally = tally.unwrap_or_default();
    Tally {
        flow: Flow {
            sequence: Seq(tally.sequence),
            transfers: tally.transfers,
            amount: narrow(tally.amount),
        },
        checksum: tally.checksum,
    }
}

/// Who a node is, as it travels.
#[must_use]
pub fn identity_to_wire(cluster: &str, process: &ProcessId, identity: Identity) -> wire::Identity {
    wire::Identity {
        cluster: cluster.to_owned(),
        process: process.to_string(),
        store_uuid: identity.store.to_vec(),
        boot: identity.boot,
        run: identity.run,
    }
}

/// Who a node says it is: its process and store, if it belongs to `cluster`.
///
/// # Errors
/// [`Unreadable`] where it belongs to another cluster, or something is malformed.
pub fn identity_from_wire(
    cluster: &str,
    identity: Option<wire::Identity>,
) -> Result<(ProcessId, Identity), Unreadable> {
    let identity = identity.ok_or_else(|| absent("the identity"))?;
    if identity.cluster != cluster {
        let theirs = identity.cluster;
        return Err(Unreadable(format!(
            "it belongs to cluster {theirs:?}, this node to {cluster:?}"
        )));
    }
    let store = <[u8; 16]>::try_from(&identity.store_uuid[..])
        .map_err(|_| Unreadable("a store uuid of other than 16 bytes".to_owned()))?;
    let process = ProcessId::parse(&identity.process)?;
    let (boot, run) = (identity.boot, identity.run);
    Ok((process, Identity { store, boot, run }))
}
