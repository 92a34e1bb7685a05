//! TLS with real nodes: encryption on both ports, identities between processes, and new certificates while money moves.
//! Without this, a stranger could take part as a process, or a new certificate would need a restart.

#[path = "../cluster/await_it.rs"]
mod await_it;
mod certificates;
mod cluster;
#[path = "../interop/python.rs"]
mod python;
#[path = "../required/mod.rs"]
mod required;

mod by_address;
mod expiry;
mod figures;
mod forged;
mod issued;
mod money;
mod names;
mod other_make;
mod roles;
mod rotation;
mod strangers;
