//! Where the threads and tasks of a node say that the store has failed. It is final: the node stops.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::node::error::{NodeError, Unavailable};
use crate::store::StoreError;

/// How much nicer than the others the threads behind them are.
const BEHIND: i32 = 5;

/// Takes down failures; cheap to clone.
#[derive(Clone)]
pub(in crate::node) struct Failures {
    errors: mpsc::UnboundedSender<NodeError>,
    sentences: Arc<watch::Sender<Option<String>>>,
}

impl Failures {
    pub(in crate::node) fn new() -> (Self, mpsc::UnboundedReceiver<NodeError>) {
        let (errors, failed) = mpsc::unbounded_channel();
        let sentences = Arc::new(watch::channel(None).0);
        (Self { errors, sentences }, failed)
    }

    /// What has failed, once something has.
    pub(in crate::node) fn sentence(&self) -> watch::Receiver<Option<String>> {
        self.sentences.subscribe()
    }

    /// Says that the node cannot go on.
    pub(in crate::node) fn report(&self, who: &'static str, error: StoreError) {
        tracing::error!(%error, who, "the store failed; the node stops");
        self.sentences.send_replace(Some(error.to_string()));
        // The node may be on its way down already.
        let _down = self.errors.send(error.into());
    }

    /// Why nothing can be answered. What is damaged is named to whoever asked; what is fatal ends the node.
    pub(in crate::node) fn unavailable(&self, who: &'static str, error: StoreError) -> Unavailable {
        let unavailable = Unavailable::from(&error);
        if error.is_fatal() {
            self.report(who, error);
        }
        unavailable
    }

    /// A thread whose failure is the node's, and whose work clients do not wait for: where the processors are busy it goes
    /// behind the others. Not far: it syncs for others, too, sled starts threads for its writes that are as nice as whoever
    /// needs them first, and where too much is sealed a turn waits for it.
    pub(in crate::node) fn thread_behind(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<JoinHandle<()>, NodeError> {
        self.thread(name, move || {
            let this = rustix::thread::gettid();
            if let Err(error) = rustix::process::setpriority_process(Some(this), BEHIND) {
                tracing::debug!(%error, name, "the thread has the priority of all others");
            }
            work()
        })
    }

    /// A thread whose failure is the node's.
    pub(in crate::node) fn thread(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<JoinHandle<()>, NodeError> {
        let failures = self.clone();
        let run = move || {
            if let Err(error) = work() {
                failures.report(name, error);
            }
        };
        let builder = std::thread::Builder::new().name(name.to_owned());
        Ok(builder.spawn(run)?)
    }
}
