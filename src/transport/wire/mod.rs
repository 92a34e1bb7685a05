//! Frame ⇄ message, and part ⇄ what travels. What comes from a peer is checked like everything from outside.

mod horizon;
mod message;
mod part;
mod payload;
mod share;
mod stopped;
mod told;

pub use horizon::{answers_since, before_horizon};
pub use message::{
    clocks_from_wire, clocks_to_wire, envelope_from_wire, envelope_to_wire, identity_from_wire,
    identity_to_wire, tally_from_wire, tally_to_wire,
};
pub use part::{part_from_wire, part_to_wire, state_from_wire, state_to_wire, wide};
pub use payload::{BadPayload, Foreign, Payload};
pub use share::{figures_to_wire, share_from_wire, share_to_wire};
pub use stopped::{stopped_from_wire, stopped_to_wire};
pub use told::told_from_wire;

/// Why something from a peer is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the peer sent something that cannot be: {0}")]
pub struct Unreadable(pub String);

impl From<crate::process::ids::Malformed> for Unreadable {
    fn from(malformed: crate::process::ids::Malformed) -> Self {
        Self(malformed.to_string())
    }
}

fn absent(what: &str) -> Unreadable {
    Unreadable(format!("{what} is absent"))
}
