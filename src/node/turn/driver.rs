//! The turn loop, the one thread that owns the process.
//!
//! It takes the inputs that have arrived, decides and applies them, and passes the turn to the committer. While the committer
//! writes, the next turn is already computed. The batch grows with the load, and a single operation never waits for others.

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

/// The maximum number of inputs per turn.
const BATCH_MAX: usize = 8192;
/// The approximate maximum cost of the records in one turn, which is held in memory several times while it is written.
const TURN_WEIGHT_MAX: usize = 8192;
/// The cost of records after which the state is sealed without a snapshot, which bounds the replay at a restart.
const UNSEALED_WEIGHT_MAX: usize = 1_000_000;

/// A turn that is decided and not yet durable, with everything that waits for it.
pub(in crate::node) type Step = step::Step<Waiter>;

/// The turn loop, to be run on a thread of its own. It begins once turns may be labelled.
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

/// Runs until the queue is stopped or the committer has ended.
fn run(
    mut process: Process,
    mut queue: mpsc::UnboundedReceiver<Request>,
    committer: SyncSender<Step>,
    clock: Arc<Clock>,
) {
    // The states and recordings that a restart found unfinished come before any turn.
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

// Waits for a request and takes all that have arrived, up to the limit. Returns whether to stop afterwards; `None` if the queue
// has ended.
fn take(
    queue: &mut mpsc::UnboundedReceiver<Request>,
    waiting: &mut InputQueue<Waiter>,
) -> Option<bool> {
    let mut next = Some(queue.blocking_recv()?);
    while let Some(request) = next {
        match request {
            Request::Inputs(inputs) => inputs.wait(waiting),
            Request::Query(query, _place) => waiting.push_query(query),
            Request::Stop => return Some(true),
        }
        next = (waiting.len() < BATCH_MAX)
            .then(|| queue.try_recv().ok())
            .flatten();
    }
    Some(false)
}
