//! The program on a disk that fails: it is killed at a call, refuses a write or a sync, hangs, fills up.
//!
//! What it acknowledged is there after the next start, what it did not is there wholly or not at all, and a retry is
//! harmless. Without this a node could go on after an error of its disk, and acknowledge what is lost.
//! strace makes the calls fail and kills, tmpfs is the small disk; where the machine does not allow them, a test says so.

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

mod errors;
mod full;
mod hang;
mod kills;
mod ledger;
mod leftovers;
mod program;
mod saboteur;
