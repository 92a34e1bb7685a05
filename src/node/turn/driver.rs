//! The turn loop: the one thread that owns the process.
//!
//! Takes what has arrived, decides and applies it, and hands the turn to the committer. While that one is writing,
//! the next turn is computed already; the batch grows with the load, and one operation alone never waits for others.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use tokio::runtime::Handle as Runtime;
use tokio::sync::mpsc;

use super::queue::Request;
use super::replies::Waiter;
use crate::node::health::wall::Clock;
use crate::process::Process;
use crate::process::input::Input;
use crate::process::step::{self, InputQueue};
use crate::store::StoreError;

/// Inputs of one turn at the most.
const BATCH_MAX: usize = 8192;
/// The weight of the records in one turn, roughly: it is held several times over while it is written.
const TURN_WEIGHT_MAX: usize = 8192;
/// The weight of records after which the state is sealed even without a snapshot, so that a restart stays short.
const UNSEALED_WEIGHT_MAX: usize = 1_000_000;

/// A turn that is decided and not yet durable, with everything that waits for it.
pub(in crate::node) type Step = step::Step<Waiter>;

/// The turn loop, for a thread of its own: it begins when turns may be labelled.
pub(in crate::node) fn when_settled(
    process: Process,
    queue: mpsc::UnboundedReceiver<Request>,
    committer: SyncSender<Step>,
    clock: Arc<Clock>,
) -> impl FnOnce() -> Result<(), StoreError> + Send + 'static {
    let runtime = Runtime::current();
    move || {
        if runtime.block_on(clock.settled()) {
            run(process, queue, committer, clock);
        }
        Ok(())
    }
}

/// Runs until the queue is stopped or the committer is gone.
fn run(
    mut process: Process,
    mut queue: mpsc::UnboundedReceiver<Request>,
    committer: SyncSender<Step>,
    clock: Arc<Clock>,
) {
    // What a restart found unfinished is recorded before anything new.
    if committer.send(process.take_found()).is_err() {
        return;
    }
    let mut waiting = InputQueue::default();
    if let Some(first) = process.take_first(clock.wall_us())
        && committer.send(first).is_err()
    {
        return;
    }
    while let Some(stop) = take(&mut queue, &mut waiting) {
        while !waiting.is_empty() {
            if process.unsealed() >= UNSEALED_WEIGHT_MAX {
                waiting.push_front(Input::Checkpoint);
            }
            let step = process.take_turn(clock.wall_us(), &mut waiting, TURN_WEIGHT_MAX);
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
    waiting: &mut InputQueue<Waiter>,
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
