//! Background threads: they write states, parts and indexes, and return free memory to the system.

pub(super) mod indexer;
pub(super) mod memory;
pub(super) mod part_writer;
pub(super) mod recorder;
pub(super) mod recorder_queue;

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use tokio::runtime::Handle as Runtime;
use tokio::sync::watch;

use super::error::NodeError;
use super::health::failures::Failures;
use super::health::metrics::Metrics;
use super::turn::queue::Queue;
use crate::process::ids::ProcessId;
use crate::store::Store;
use part_writer::PartWriter;
use recorder::Recorder;
use recorder_queue::RecorderQueue;

/// The maximum number of cells in sealed states that wait to be written, some hundred bytes each; a checkpoint has up to a
/// million.
const SEALED_CELLS_MAX: u32 = 4_000_000;

/// The running recorder and part writer.
pub(super) struct Background {
    pub(super) threads: Vec<JoinHandle<()>>,
    /// The queue of the recorder. Both threads end when this is dropped.
    pub(super) recorder: RecorderQueue,
    /// Changes with every written state and part.
    pub(super) written: watch::Receiver<u64>,
}

/// Starts the recorder and the part writer.
pub(super) fn start(
    me: &ProcessId,
    store: &Arc<Store>,
    queue: &Queue,
    failures: &Failures,
    metrics: &Arc<Metrics>,
) -> Result<Background, NodeError> {
    let (work, work_queue) = RecorderQueue::new(SEALED_CELLS_MAX, Runtime::current());
    let (finished, finished_queue) = mpsc::channel();
    let (written, writes) = watch::channel(0);
    let recorder = Recorder {
        store: Arc::clone(store),
        finished,
        written: written.clone(),
        metrics: Arc::clone(metrics),
    };
    let part_writer = PartWriter {
        me: me.clone(),
        store: Arc::clone(store),
        queue: queue.clone(),
        written,
    };
    let threads = vec![
        failures.thread_behind("record", move || recorder.run(&work_queue))?,
        failures.thread_behind("part", move || part_writer.run(&finished_queue))?,
    ];
    Ok(Background {
        threads,
        recorder: work,
        written: writes,
    })
}
