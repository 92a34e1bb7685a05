//! The program on a failing disk: killed at a system call, with failing writes or syncs, hanging, or full.
//!
//! Everything acknowledged is there after the next start, everything else completely or not at all, and a retry is
//! safe. Without this a node could continue after a disk error and acknowledge lost operations. strace injects errors
//! and kills; a tmpfs is the small disk. A test reports if the machine does not allow them.

#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../cluster/await_it.rs"]
mod await_it;
#[path = "../cluster/contract.rs"]
mod contract;
#[path = "../required/mod.rs"]
mod required;
#[allow(dead_code, reason = "each test program uses a part of it")]
#[path = "../cluster/rest.rs"]
mod rest;

mod busy;
mod errors;
mod full;
mod hang;
mod kills;
mod ledger;
mod leftovers;
mod program;
mod saboteur;
