//! The turn loop: the one thread that owns the process.
//!
//! Takes what has arrived, decides and applies it, and hands the turn to the committer. While that one is writing,
//! the next turn is computed already; the batch grows with the load, and one operation alone never waits for others.

use std::sync::mpsc::SyncSender;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::queue::Request;
use super::replies::Waiter;
use crate::process::Process;
use crate::process::clock::Hlc;
use crate::process::event::Input;
use crate::process::step::{self, Waiting};

/// Inputs of one turn at the most.
const BATCH_MAX: usize = 8192;
/// The weight of the records in one turn, roughly: it is held several times over while it is written.
const TURN_WEIGHT_MAX: usize = 8192;
/// The weight of records after which the state is sealed even without a snapshot, so that a restart stays short.
const UNSEALED_WEIGHT_MAX: usize = 1_000_000;

/// A turn that is decided and not yet durable, with everything that waits for it.
pub(super) type Step = step::Step<Waiter>;

/// Runs until the queue is stopped or the committer is gone.
pub(super) fn run(
    mut process: Process,
    mut queue: mpsc::UnboundedReceiver<Request>,
    committer: SyncSender<Step>,
) {
    // What a restart found unfinished is recorded before anything new.
    if committer.send(process.take_found()).is_err() {
        return;
    }
    let mut waiting = Waiting::default();
    while let Some(stop) = take(&mut queue, &mut waiting) {
        while !waiting.is_empty() {
            if process.unsealed() >= UNSEALED_WEIGHT_MAX {
                waiting.push_front(Input::Checkpoint);
            }
            let step = process.take_turn(wall_us(), &mut waiting, TURN_WEIGHT_MAX);
            if committer.send(step).is_err() {
                return;
            }
        }
        if stop {
            return;
        }
    }
}

// Waits for something and takes all that is there, up to the bound; says whether to stop then.
fn take(
    queue: &mut mpsc::UnboundedReceiver<Request>,
    waiting: &mut Waiting<Waiter>,
) -> Option<bool> {
    let mut next = Some(queue.blocking_recv()?);
    while let Some(request) = next {
        match request {
            Request::Inputs(inputs) => inputs.wait(waiting),
            Request::Stop => return Some(true),
        }
        next = (waiting.len() < BATCH_MAX)
            .then(|| queue.try_recv().ok())
            .flatten();
    }
    Some(false)
}

/// What the wall clock shows, microseconds since the Unix epoch. It labels; nothing is ordered by it.
pub(super) fn wall_us() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
    })
}

/// What the wall clock shows, as a hybrid clock value.
pub(super) fn now() -> Hlc {
    Hlc::at(wall_us())
}
