//! The part of the queue that the clients of one address may use.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::replies::stopped;
use crate::node::error::Unavailable;
use crate::node::health::refusals::{RefusalReason, Refusals};

/// The places in the queue for the clients of one address. Clones share them.
#[derive(Clone)]
pub struct QueueShare {
    places: Arc<Semaphore>,
    /// The places for those that wait; the rest is for calls that are refused instead of waiting.
    waiters: Arc<Semaphore>,
    waiters_max: u32,
    refusals: Refusals,
}

impl QueueShare {
    /// So many places; one operation takes one, and a long value further ones.
    #[must_use]
    pub fn new(places: usize, refusals: Refusals) -> Self {
        let waiters = places / 4 * 3;
        Self {
            places: Arc::new(Semaphore::new(places)),
            waiters: Arc::new(Semaphore::new(waiters)),
            waiters_max: u32::try_from(waiters).unwrap_or(u32::MAX),
            refusals,
        }
    }

    /// Whether anything that was submitted with it is still waiting, also of clients that have gone.
    #[must_use]
    pub fn is_used(&self) -> bool {
        Arc::strong_count(&self.places) > 1
    }

    /// Places at once.
    pub(super) fn try_acquire(&self, weight: u32) -> Result<OwnedSemaphorePermit, Unavailable> {
        let places = Arc::clone(&self.places).try_acquire_many_owned(weight);
        places.map_err(|_| self.refused(Unavailable::ShareFull))
    }

    /// Places when there are some, and the permission to wait for them.
    pub(super) async fn acquire(
        &self,
        weight: u32,
    ) -> Result<[OwnedSemaphorePermit; 2], Unavailable> {
        // More than all may be waited for, alone.
        let waiters = weight.min(self.waiters_max);
        let waiters = Arc::clone(&self.waiters).acquire_many_owned(waiters).await;
        let places = Arc::clone(&self.places).acquire_many_owned(weight).await;
        Ok([
            waiters.map_err(|_| stopped())?,
            places.map_err(|_| stopped())?,
        ])
    }

    /// Counts a refusal.
    pub(super) fn refused(&self, why: Unavailable) -> Unavailable {
        self.refusals.count(RefusalReason::Operations);
        why
    }
}
