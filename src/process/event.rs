//! The inputs and outputs of a process, re-exported from the modules of their subjects.

pub use super::answer::{Answer, Outcome, Receipt};
pub use super::effects::{Effects, Refused};
pub use super::handshake::{Claim, Handshake};
pub use super::identity::Identity;
pub use super::input::{Input, Operation, Read};
pub use super::message::Way;
pub use super::record::{Record, Turn};
pub use super::reply::{Initiated, RecordedHere, Reply, Settlement};
