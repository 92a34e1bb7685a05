//! The store of one process, driven as a node drives it, without a node: what crashes, older formats, retention and damage leave
//! of it, and what it says of its past. Without this, faults of the store would only show in whole clusters.

mod crash;
mod formats;
mod origins;
mod past;
mod recovery;
mod retention;
mod rot;
#[path = "../teller/mod.rs"]
mod teller;
mod trimmed;
mod upgrade;
