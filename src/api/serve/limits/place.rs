//! The place of one connection, and the counters of places.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::address_share;

/// The places in use, and how many there are.
pub(super) struct Used {
    for_all: AtomicUsize,
    for_all_max: usize,
    reserved: AtomicUsize,
    reserved_max: usize,
}

/// The place of one connection, released when dropped.
pub(in crate::api) struct Place {
    used: Arc<Used>,
    address: Arc<AddressPlaces>,
    is_reserved: bool,
    is_peer: AtomicBool,
}

/// The places of one address.
#[derive(Default)]
pub(super) struct AddressPlaces {
    for_all: AtomicUsize,
    reserved: AtomicUsize,
    /// Reserved ones of which nothing has shown that a peer uses them.
    on_trial: AtomicUsize,
}

impl Used {
    /// `for_all_max` places, and `reserved_max` ones for peers.
    pub(super) fn new(for_all_max: usize, reserved_max: usize) -> Self {
        Self {
            for_all: AtomicUsize::new(0),
            for_all_max,
            reserved: AtomicUsize::new(0),
            reserved_max,
        }
    }

    /// A place for a connection of this address; `None` if there is none for it.
    pub(super) fn place(self: &Arc<Self>, address: &Arc<AddressPlaces>) -> Option<Place> {
        Some(Place {
            is_reserved: self.take(address)?,
            used: Arc::clone(self),
            address: Arc::clone(address),
            is_peer: AtomicBool::new(false),
        })
    }

    // Whether the place that was taken is a reserved one.
    fn take(&self, address: &AddressPlaces) -> Option<bool> {
        let one = |of_address, share, of_port, limit| {
            if !added(of_address, 1, share) {
                return false;
            }
            let is_taken = added(of_port, 1, limit);
            if !is_taken {
                of_address.fetch_sub(1, Ordering::Relaxed);
            }
            is_taken
        };
        let for_all = (address_share(self.for_all_max), self.for_all_max);
        if one(&address.for_all, for_all.0, &self.for_all, for_all.1) {
            return Some(false);
        }
        if !added(&address.on_trial, 1, self.reserved_max.div_ceil(4)) {
            return None;
        }
        // One host may run several peers, but not take all of these places.
        let share = self.reserved_max.div_ceil(2);
        let is_taken = one(&address.reserved, share, &self.reserved, self.reserved_max);
        if !is_taken {
            address.on_trial.fetch_sub(1, Ordering::Relaxed);
        }
        is_taken.then_some(true)
    }
}

impl Place {
    /// Whether more than three quarters of the places for all are taken.
    pub(super) fn is_crowded(&self) -> bool {
        let used = self.used.for_all.load(Ordering::Relaxed);
        used > self.used.for_all_max / 4 * 3
    }

    /// The number of places for all.
    pub(super) fn connections_max(&self) -> usize {
        self.used.for_all_max
    }

    /// Whether this is a reserved place, and nothing has shown that a peer uses it.
    pub(in crate::api::serve) fn is_on_trial(&self) -> bool {
        self.is_reserved && !self.is_peer.load(Ordering::Relaxed)
    }

    /// Notes that a peer uses this place.
    pub(in crate::api::serve) fn is_of_peer(&self) {
        if self.is_reserved && !self.is_peer.swap(true, Ordering::Relaxed) {
            self.address.on_trial.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (of_address, of_port) = match self.is_reserved {
            false => (&self.address.for_all, &self.used.for_all),
            true => (&self.address.reserved, &self.used.reserved),
        };
        of_address.fetch_sub(1, Ordering::Relaxed);
        of_port.fetch_sub(1, Ordering::Relaxed);
        if self.is_on_trial() {
            self.address.on_trial.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

// Adds if the sum stays within the limit.
pub(super) fn added(counter: &AtomicUsize, amount: usize, limit: usize) -> bool {
    let relaxed = Ordering::Relaxed;
    let fits = |used: usize| used.checked_add(amount).filter(|sum| *sum <= limit);
    counter.fetch_update(relaxed, relaxed, fits).is_ok()
}
