//! Wire forms of the frames and answers on a channel's stream.

use super::{
    Unreadable, clocks_from_wire, clocks_to_wire, digest_from_wire, digest_to_wire,
    envelope_from_wire, identity_from_wire, identity_to_wire,
};
use crate::channel::{Ack, Frame, Hello, Local, ShownClocks, Welcome};
use crate::process::clock::Hlc;
use crate::process::identity::Identity;
use crate::process::ids::{ProcessId, Seq};
use crate::proto::snapledger as wire;
use crate::proto::snapledger::{ack, frame};

/// Encodes a hello.
#[must_use]
pub fn hello_to_wire(local: &Local, hello: &Hello) -> wire::Hello {
    wire::Hello {
        sender: Some(identity_to_wire(
            &local.cluster,
            &local.process,
            hello.identity,
        )),
        receiver: hello.receiver.to_string(),
        sent: Some(digest_to_wire(hello.sent)),
        acknowledged: hello.acknowledged.0,
        clocks: Some(shown_to_wire(hello.clocks)),
        known: known_to_wire(local, &hello.receiver, hello.known),
    }
}

/// Encodes a welcome to the sending process.
#[must_use]
pub fn welcome_to_wire(local: &Local, to: &ProcessId, welcome: &Welcome) -> wire::Welcome {
    wire::Welcome {
        receiver: Some(identity_to_wire(
            &local.cluster,
            &local.process,
            welcome.identity,
        )),
        delivered: Some(digest_to_wire(welcome.delivered)),
        clocks: Some(shown_to_wire(welcome.clocks)),
        known: known_to_wire(local, to, welcome.known),
    }
}

/// Decodes a frame from the sending end.
#[must_use]
pub fn frame_from_wire(local: &Local, frame: wire::Frame) -> Frame {
    match frame.body {
        Some(frame::Body::Messages(messages)) => {
            let envelopes = messages.messages.into_iter().map(envelope_from_wire);
            let envelopes = envelopes.collect::<Result<Vec<_>, _>>();
            Frame::Messages(envelopes.map_err(|error| error.to_string()))
        }
        Some(frame::Body::Hello(hello)) => Frame::Hello(hello_from_wire(local, hello)),
        Some(frame::Body::Agreed(wire::Agreed {})) => Frame::Agreed,
        Some(frame::Body::Refusal(refusal)) => Frame::Refusal(refusal.reason),
        None => Frame::Unknown,
    }
}

/// Decodes an answer from the receiving end.
#[must_use]
pub fn ack_from_wire(local: &Local, ack: wire::Ack) -> Ack {
    match ack.body {
        Some(ack::Body::Delivered(seq)) => Ack::Delivered(Seq(seq)),
        Some(ack::Body::Welcome(welcome)) => {
            let welcome = welcome_from_wire(local, welcome);
            Ack::Welcome(welcome.map_err(|error| error.to_string()))
        }
        Some(ack::Body::Refusal(refusal)) => Ack::Refusal(refusal.reason),
        None => Ack::Unknown,
    }
}

// Refuses a hello for another cluster or process before its record of this store is read.
fn hello_from_wire(local: &Local, hello: wire::Hello) -> Result<Hello, String> {
    let me = &local.process;
    if hello.receiver != me.as_str() {
        return Err(format!("this is process {me:?}, not {:?}", hello.receiver));
    }
    let (sender, identity) =
        identity_from_wire(&local.cluster, hello.sender).map_err(|error| error.to_string())?;
    Ok(Hello {
        sender,
        identity,
        receiver: me.clone(),
        sent: digest_from_wire(hello.sent),
        acknowledged: Seq(hello.acknowledged),
        clocks: shown_from_wire(hello.clocks),
        known: known_from_wire(local, hello.known),
    })
}

fn welcome_from_wire(local: &Local, welcome: wire::Welcome) -> Result<Welcome, Unreadable> {
    let (receiver, identity) = identity_from_wire(&local.cluster, welcome.receiver)?;
    Ok(Welcome {
        receiver,
        identity,
        delivered: digest_from_wire(welcome.delivered),
        clocks: shown_from_wire(welcome.clocks),
        known: known_from_wire(local, welcome.known),
    })
}

// Encodes this process's record of a peer's store, for that peer.
fn known_to_wire(
    local: &Local,
    peer: &ProcessId,
    known: Option<Identity>,
) -> Option<wire::Identity> {
    Some(identity_to_wire(&local.cluster, peer, known?))
}

// Decodes a peer's record of the store of this process. A record about another process is ignored.
fn known_from_wire(local: &Local, known: Option<wire::Identity>) -> Option<Identity> {
    let (process, known) = identity_from_wire(&local.cluster, known).ok()?;
    (process == local.process).then_some(known)
}

fn shown_to_wire(shown: ShownClocks) -> wire::Clocks {
    wire::Clocks {
        present: shown.present.0,
        ..clocks_to_wire(shown.newest)
    }
}

fn shown_from_wire(clocks: Option<wire::Clocks>) -> ShownClocks {
    let present = Hlc(clocks.as_ref().map_or(0, |clocks| clocks.present));
    let newest = clocks_from_wire(clocks);
    ShownClocks { newest, present }
}
