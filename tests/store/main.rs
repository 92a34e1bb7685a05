//! The store of one process, driven as a node drives it, without a node: what crashes, older formats, retention and damage leave
//! of it, and what it says of its past. Without this, faults of the store would only show in whole clusters.

mod crash;
mod formats;
mod origins;
mod past;
mod recovery;
mod retention;
mod rot;
mod tabled;
#[path = "../teller/mod.rs"]
mod teller;
mod trimmed;
mod upgrade;

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that a test runs at the same time.
const SEEDS_AT_ONCE: usize = 3;

/// Runs a test for each seed, several at a time since they wait for the disk, and returns the sum of what they count.
fn for_seeds(seeds: u64, test: impl Fn(u64) -> usize + Sync) -> usize {
    let next = AtomicU64::new(0);
    let test_some = || -> usize {
        let drawn = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        drawn.take_while(|seed| *seed < seeds).map(&test).sum()
    };
    std::thread::scope(|scope| {
        let threads = [(); SEEDS_AT_ONCE].map(|()| scope.spawn(test_some));
        let counted = threads.map(|thread| thread.join().unwrap_or_else(|why| resume_unwind(why)));
        counted.into_iter().sum()
    })
}
