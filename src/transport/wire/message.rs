//! Wire forms of messages, clocks and identities.

use super::part::{narrow, wide};
use super::{Unreadable, absent};
use crate::process::channel::{ChannelDigest, Flow};
use crate::process::clock::{Clocks, Hlc, Lamport};
use crate::process::identity::Identity;
use crate::process::ids::{AccountId, Amount, Key, ProcessId, Seq, SnapshotId};
use crate::process::message::VALUE_BYTES_MAX;
use crate::process::message::{
    Body, Marker, Message, Stamp, TRANSFER_ID_BYTES_MAX, Transfer, Write, is_transfer_id,
};
use crate::proto::snapledger as wire;
use crate::transport::Envelope;

/// Encodes a message.
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

/// Decodes a message.
///
/// # Errors
/// [`Unreadable`] if a field is absent or malformed.
pub fn envelope_from_wire(message: wire::Message) -> Result<Envelope, Unreadable> {
    let body = match message
        .body
        .ok_or_else(|| absent("the body of a message"))?
    {
        wire::message::Body::Transfer(transfer) => Body::from(Transfer {
            amount: Amount::new(transfer.amount)
                .ok_or_else(|| Unreadable(format!("an amount of {}", transfer.amount)))?,
            transfer_id: transfer_id(transfer.transfer_id)?,
            from_account: AccountId::parse(&transfer.from_account)?,
            to_account: AccountId::parse(&transfer.to_account)?,
        }),
        wire::message::Body::Put(put) => Body::from(Write {
            key: Key::parse(&put.key)?,
            value: put.value.map(value).transpose()?,
            stamp: Stamp {
                clock: Lamport(put.clock),
                process: ProcessId::parse(&put.process)?,
            },
        }),
        wire::message::Body::Marker(marker) => Body::from(Marker {
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

fn transfer_id(text: String) -> Result<Box<str>, Unreadable> {
    if is_transfer_id(&text) {
        return Ok(text.into());
    }
    Err(Unreadable(format!(
        "a transfer id of {} bytes; 1 to {TRANSFER_ID_BYTES_MAX} without control characters are allowed",
        text.len()
    )))
}

// A longer value must be refused here: this process would forward it, and no receiver takes a frame that it fills.
fn value(text: String) -> Result<Box<str>, Unreadable> {
    if text.len() <= VALUE_BYTES_MAX {
        return Ok(text.into());
    }
    let bytes = text.len();
    Err(Unreadable(format!(
        "a value of {bytes} bytes; at most {VALUE_BYTES_MAX} are allowed"
    )))
}

/// Encodes a digest of a channel.
#[must_use]
pub fn digest_to_wire(tally: ChannelDigest) -> wire::Tally {
    wire::Tally {
        sequence: tally.flow.sequence.0,
        transfers: tally.flow.transfers,
        amount: Some(wide(tally.flow.amount)),
        checksum: tally.checksum,
    }
}

/// Decodes a digest of a channel.
#[must_use]
pub fn digest_from_wire(tally: Option<wire::Tally>) -> ChannelDigest {
    let tally = tally.unwrap_or_default();
    ChannelDigest {
        flow: Flow {
            sequence: Seq(tally.sequence),
            transfers: tally.transfers,
            amount: narrow(tally.amount),
        },
        checksum: tally.checksum,
    }
}

/// Encodes clocks.
#[must_use]
pub fn clocks_to_wire(clocks: Clocks) -> wire::Clocks {
    wire::Clocks {
        logical: clocks.logical.0,
        time: clocks.time.0,
        present: 0,
    }
}

/// Decodes the clocks of a peer; absent clocks are zero, which is behind all others.
#[must_use]
pub fn clocks_from_wire(clocks: Option<wire::Clocks>) -> Clocks {
    let clocks = clocks.unwrap_or_default();
    Clocks {
        logical: Lamport(clocks.logical),
        time: Hlc(clocks.time),
    }
}

/// Encodes an identity.
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

/// Decodes an identity: the process and its store, if it belongs to `cluster`.
///
/// # Errors
/// [`Unreadable`] if it belongs to another cluster or a field is malformed.
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

#[cfg(test)]
mod tests {
    use super::*;

    fn put(bytes: usize) -> wire::message::Body {
        wire::message::Body::Put(wire::Put {
            key: "k".to_owned(),
            value: Some("v".repeat(bytes)),
            clock: 1,
            process: "n2".to_owned(),
        })
    }

    fn transfer(id: &str) -> wire::message::Body {
        wire::message::Body::Transfer(wire::Transfer {
            transfer_id: id.to_owned(),
            from_account: "a".to_owned(),
            to_account: "b".to_owned(),
            amount: 1,
        })
    }

    fn read(body: wire::message::Body) -> Result<Envelope, String> {
        let message = wire::Message {
            sequence: 1,
            logical_clock: 1,
            time: 1,
            body: Some(body),
        };
        envelope_from_wire(message).map_err(|error| error.to_string())
    }

    // Without this, a peer could send a value that every receiver refuses when it is forwarded, which would stop that channel
    // for good.
    #[test]
    fn what_is_longer_than_a_client_may_send_is_refused_with_its_length() {
        assert!(read(put(VALUE_BYTES_MAX)).is_ok());
        let sentence = read(put(VALUE_BYTES_MAX + 1)).expect_err("it is too long");
        assert!(sentence.contains("a value of 32769 bytes"), "{sentence}");
        assert!(read(transfer(&"t".repeat(TRANSFER_ID_BYTES_MAX))).is_ok());
        for id in [&"t".repeat(TRANSFER_ID_BYTES_MAX + 1), "", "t\n"] {
            let sentence = read(transfer(id)).expect_err("it cannot be one");
            assert!(sentence.contains("a transfer id of "), "{sentence}");
        }
    }
}
