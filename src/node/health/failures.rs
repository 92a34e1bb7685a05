//! Reports of store failures by the threads and tasks of a node. A failure is final: the node stops.

use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::sync::{mpsc, watch};

use crate::archive::NotFenced;
use crate::node::error::{NodeError, Unavailable};
use crate::store::StoreError;

/// The nice level of background threads.
const BEHIND: i32 = 5;

/// Collects failures; cheap to clone.
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

    /// The first failure as a sentence, once there is one.
    pub(in crate::node) fn sentence(&self) -> watch::Receiver<Option<String>> {
        self.sentences.subscribe()
    }

    /// Reports that the node cannot continue.
    pub(in crate::node) fn report(&self, who: &'static str, error: StoreError) {
        tracing::error!(%error, who, "the store failed; the node stops");
        self.sentences.send_replace(Some(error.to_string()));
        // The node may be stopping already.
        let _down = self.errors.send(error.into());
    }

    /// Reports that the archive refuses this process.
    pub(in crate::node) fn report_archive(&self, error: NotFenced) {
        tracing::error!(%error, "the archive refuses this process; the node stops");
        self.sentences.send_replace(Some(error.to_string()));
        // The node may be stopping already.
        let _down = self.errors.send(NodeError::Archived(error.into()));
    }

    /// Reports that a task of the node has ended although it must not.
    pub(in crate::node) fn report_end(&self, who: &'static str) {
        tracing::error!(who, "a task has ended unexpectedly; the node stops");
        // The node may be stopping already.
        let _down = self.errors.send(NodeError::Thread(who));
    }

    /// Maps an error of the store to a refusal. Damage is named in the refusal; a fatal error also stops the node.
    pub(in crate::node) fn unavailable(&self, who: &'static str, error: StoreError) -> Unavailable {
        let unavailable = Unavailable::from(&error);
        if error.is_fatal() {
            self.report(who, error);
        }
        unavailable
    }

    /// Starts a background thread at nice +5. Its failure stops the node. The level is kept low because the thread also syncs
    /// for others, sled starts writer threads that inherit the level of the thread that first needs them, and turns wait if too
    /// many states are sealed.
    pub(in crate::node) fn thread_behind(
        &self,
        name: &'static str,
        work: impl FnOnce() -> Result<(), StoreError> + Send + 'static,
    ) -> Result<JoinHandle<()>, NodeError> {
        self.thread(name, move || {
            let this = rustix::thread::gettid();
            if let Err(error) = rustix::process::setpriority_process(Some(this), BEHIND) {
                tracing::debug!(%error, name, "cannot lower the priority of the thread");
            }
            work()
        })
    }

    /// Starts a thread whose failure stops the node.
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
