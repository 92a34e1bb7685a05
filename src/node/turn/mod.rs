//! The turn: the queue of inputs, the thread that decides, the thread that makes durable and releases, and the replies.

pub(super) mod clocks;
pub(super) mod committer;
pub(super) mod driver;
pub(super) mod queue;
pub(super) mod releaser;
pub(super) mod replies;
pub(super) mod share;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::sync::mpsc::UnboundedReceiver;

use super::error::NodeError;
use super::health::failures::Failures;
use super::health::wall::Clock;
use crate::process::Process;
use crate::store::Committed;
use committer::Committer;
use queue::Request;

/// The number of decided turns that wait for the committer, besides the one that is decided while it writes. More would only
/// make the batches smaller.
const TURNS_WAITING: usize = 0;

/// The number of threads that [`start`] starts.
pub(super) const THREADS: usize = 2;

/// Starts the threads of the turn: one decides and applies, the other makes durable and releases.
pub(super) fn start(
    process: Process,
    requests: UnboundedReceiver<Request>,
    clock: &Arc<Clock>,
    committer: Committer,
    recovered: Committed,
    failures: &Failures,
) -> Result<Vec<JoinHandle<()>>, NodeError> {
    let (steps, step_queue) = mpsc::sync_channel(TURNS_WAITING);
    let turns = driver::when_settled(process, requests, steps, Arc::clone(clock));
    Ok(vec![
        failures.thread("turn", turns)?,
        failures.thread("commit", move || committer.run(&step_queue, recovered))?,
    ])
}
