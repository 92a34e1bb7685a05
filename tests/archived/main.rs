//! Stores that are shipped to an archive, lost, and made again: what comes back answers as before, damage is named and costs
//! nothing else, and retention leaves something consistent wherever it is interrupted. Without this, an archive would hold
//! states, parts and revisions that nobody has ever restored.

#[path = "../teller/mod.rs"]
mod teller;

mod aged;
mod damage;
mod expired;
mod oversized;
mod packed;
mod refilled;
mod repeated;
mod shipped;
