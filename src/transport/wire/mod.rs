//! Wire forms of frames, messages and parts. Everything from a peer is validated like other outside input.

mod excerpt;
mod horizon;
mod known_snapshot;
mod message;
mod message_json;
mod not_kept;
mod part;
mod process_totals;
mod reported;
mod stopped;
mod stream;
mod vitals;

pub use excerpt::{
    excerpt_from_wire, excerpt_query_from_wire, excerpt_query_to_wire, excerpt_to_wire,
};
pub use horizon::{answers_since, before_horizon};
pub use known_snapshot::{
    arrival_from_wire, arrival_to_wire, known_snapshot_from_wire, known_snapshot_to_wire,
    pin_from_wire, pin_to_wire,
};
pub use message::{
    clocks_from_wire, clocks_to_wire, digest_from_wire, digest_to_wire, envelope_from_wire,
    envelope_to_wire, identity_from_wire, identity_to_wire,
};
pub use message_json::{BadMessageJson, Foreign, MessageJson};
pub use not_kept::{is_not_kept, not_kept};
pub use part::{part_from_wire, part_to_wire, state_from_wire, state_to_wire, wide};
pub use process_totals::{figures_to_wire, share_from_wire, share_to_wire};
pub use reported::told_from_wire;
pub use stopped::{stopped_from_wire, stopped_to_wire};
pub use stream::{ack_from_wire, frame_from_wire, hello_to_wire, welcome_to_wire};
pub use vitals::{channel_to_wire, vitals_from_wire, vitals_to_wire};

/// Why data from a peer is not readable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid data from the peer: {0}")]
pub struct Unreadable(pub String);

impl From<crate::process::ids::Malformed> for Unreadable {
    fn from(malformed: crate::process::ids::Malformed) -> Self {
        Self(malformed.to_string())
    }
}

fn absent(what: &str) -> Unreadable {
    Unreadable(format!("{what} is absent"))
}
