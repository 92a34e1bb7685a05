//! The way of async tasks to the store: it reads and writes the disk, so work on it runs on a blocking thread.

use std::sync::Arc;

use tokio::task::JoinHandle;

use super::error::{Unanswered, Unavailable};
use super::health::failures::Failures;
use crate::store::{Store, StoreError};

/// Executes work on the store of a node on blocking threads. A fatal error of the store stops the node.
#[derive(Clone)]
pub struct StoreWorker {
    store: Arc<Store>,
    failures: Failures,
}

impl StoreWorker {
    pub(super) fn new(store: Arc<Store>, failures: Failures) -> Self {
        Self { store, failures }
    }

    /// The store, for what is in memory.
    #[must_use]
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// Starts work, which continues if its result is not awaited.
    pub fn spawn<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> JoinHandle<T> {
        let store = Arc::clone(&self.store);
        tokio::task::spawn_blocking(move || work(&store))
    }

    /// Executes work of the node itself.
    ///
    /// # Errors
    /// [`Unavailable`]: an error of the store, or the runtime is stopping.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let done = self.spawn(work).await.map_err(Unavailable::stopped)?;
        done.map_err(|error| self.failed(error))
    }

    /// Reads what was asked for. An error of what was read is passed on as it is.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let done = self.spawn(work).await.map_err(Unavailable::stopped)?;
        done.map_err(|error| match error.is_fatal() {
            true => self.failed(error).into(),
            false => Unanswered::Store(error),
        })
    }

    /// Maps an error of the store to a refusal. A fatal one also stops the node.
    #[must_use]
    pub fn failed(&self, error: StoreError) -> Unavailable {
        self.failures.unavailable("store", error)
    }
}
