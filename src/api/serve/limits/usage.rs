//! What a port, an address and a connection use at the moment. Counters only: no request waits for another.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::place::{AddressPlaces, Place, added};
use super::progress::Progress;
use super::{OPERATIONS_MAX, RESOURCES, Resource, address_share};
use crate::api::error::Failure;
use crate::node::{QueueShare, RefusalReason, Refusals};

/// What all connections of a port use.
pub(in crate::api) struct PortUsage {
    /// The use of the common part of each resource.
    common: [AtomicUsize; RESOURCES],
    addresses: Mutex<BTreeMap<IpAddr, Arc<AddressUsage>>>,
    refusals: Refusals,
}

/// What all connections of one address use.
pub(super) struct AddressUsage {
    common: [AtomicUsize; RESOURCES],
    pub(super) places: Arc<AddressPlaces>,
    queue: QueueShare,
}

/// What one connection uses. In the extensions of every request on it.
pub(in crate::api) struct ConnectionUsage {
    port: Arc<PortUsage>,
    address: Arc<AddressUsage>,
    used: [AtomicUsize; RESOURCES],
    pub(in crate::api::serve) progress: Progress,
    pub(in crate::api::serve) place: Place,
}

impl PortUsage {
    pub(in crate::api::serve) fn new(refusals: Refusals) -> Arc<Self> {
        Arc::new(Self {
            common: Default::default(),
            addresses: Mutex::default(),
            refusals,
        })
    }

    fn addresses(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Arc<AddressUsage>>> {
        // Every change is a single insertion or removal.
        self.addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The usage of an address, which is known while it has connections or operations.
    pub(super) fn of(&self, address: IpAddr) -> Arc<AddressUsage> {
        let mut addresses = self.addresses();
        addresses.retain(|_, usage| Arc::strong_count(usage) > 1 || usage.queue.is_used());
        let usage = addresses.entry(client(address)).or_insert_with(|| {
            Arc::new(AddressUsage {
                common: Default::default(),
                places: Arc::default(),
                queue: QueueShare::new(address_share(OPERATIONS_MAX), self.refusals.clone()),
            })
        });
        Arc::clone(usage)
    }

    pub(in crate::api::serve) fn count(&self, reason: RefusalReason) {
        self.refusals.count(reason);
    }
}

impl ConnectionUsage {
    pub(super) fn new(port: Arc<PortUsage>, address: Arc<AddressUsage>, place: Place) -> Arc<Self> {
        Arc::new(Self {
            port,
            address,
            used: Default::default(),
            progress: Progress::new(),
            place,
        })
    }

    /// Takes `amount` of a resource until the permit is dropped.
    ///
    /// # Errors
    /// [`Failure::Busy`]: the reserved part of this connection and what it may use of the common part are in use.
    pub(in crate::api) fn take(
        self: &Arc<Self>,
        resource: Resource,
        amount: usize,
    ) -> Result<Permit, Failure> {
        let permit = self.nothing(resource);
        permit.grow(amount)?;
        Ok(permit)
    }

    /// The same where less will do: what is not available is not counted as a refusal.
    pub(in crate::api::serve) fn take_if_free(
        self: &Arc<Self>,
        resource: Resource,
        amount: usize,
    ) -> Option<Permit> {
        let permit = self.nothing(resource);
        self.add(resource, amount).then(|| {
            permit.amount.store(amount, Ordering::Relaxed);
            permit
        })
    }

    /// A permit for nothing yet.
    pub(super) fn nothing(self: &Arc<Self>, resource: Resource) -> Permit {
        Permit {
            usage: Arc::clone(self),
            resource,
            amount: AtomicUsize::new(0),
        }
    }

    /// The part of the queue of operations for its address.
    pub(in crate::api) fn queue(&self) -> &QueueShare {
        &self.address.queue
    }

    /// Counts a refusal in the metrics.
    pub(in crate::api) fn count(&self, reason: RefusalReason) {
        self.port.count(reason);
    }

    // Takes from the common part first, so that the sum of all connections never exceeds it.
    fn add(&self, resource: Resource, amount: usize) -> bool {
        let index = resource as usize;
        let mut before = self.used[index].load(Ordering::Relaxed);
        loop {
            let after = before.saturating_add(amount);
            let common = over(resource, after) - over(resource, before);
            if common > 0 && !self.take_common(resource, common) {
                return false;
            }
            let (own, relaxed) = (&self.used[index], Ordering::Relaxed);
            match own.compare_exchange_weak(before, after, relaxed, relaxed) {
                Ok(_) => return true,
                Err(now) => before = now,
            }
            self.free(index, common);
        }
    }

    fn take_common(&self, resource: Resource, common: usize) -> bool {
        let index = resource as usize;
        let limit = resource.parts().common;
        if !added(&self.address.common[index], common, address_share(limit)) {
            return false;
        }
        let is_taken = added(&self.port.common[index], common, limit);
        if !is_taken {
            self.address.common[index].fetch_sub(common, Ordering::Relaxed);
        }
        is_taken
    }

    fn subtract(&self, resource: Resource, amount: usize) {
        let index = resource as usize;
        let before = self.used[index].fetch_sub(amount, Ordering::Relaxed);
        let common = over(resource, before) - over(resource, before - amount);
        self.free(index, common);
    }

    fn free(&self, index: usize, common: usize) {
        if common > 0 {
            self.address.common[index].fetch_sub(common, Ordering::Relaxed);
            self.port.common[index].fetch_sub(common, Ordering::Relaxed);
        }
    }
}

/// An amount of a resource, returned when dropped.
pub(in crate::api) struct Permit {
    usage: Arc<ConnectionUsage>,
    resource: Resource,
    amount: AtomicUsize,
}

impl Permit {
    /// Takes more of the resource.
    ///
    /// # Errors
    /// [`Failure::Busy`], with which the amount is unchanged.
    pub(in crate::api) fn grow(&self, amount: usize) -> Result<(), Failure> {
        if self.usage.add(self.resource, amount) {
            self.amount.fetch_add(amount, Ordering::Relaxed);
            return Ok(());
        }
        self.usage.count(self.resource.reason());
        Err(self.failure())
    }

    /// The refusal of more of the resource.
    pub(super) fn failure(&self) -> Failure {
        Failure::Busy(self.resource.parts().common, self.resource.name())
    }

    /// Returns a part of the amount.
    pub(super) fn shrink(&self, amount: usize) {
        self.amount.fetch_sub(amount, Ordering::Relaxed);
        self.usage.subtract(self.resource, amount);
    }

    pub(super) fn usage(&self) -> &Arc<ConnectionUsage> {
        &self.usage
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let amount = *self.amount.get_mut();
        self.usage.subtract(self.resource, amount);
    }
}

// What a connection that uses `used` takes from the common part.
const fn over(resource: Resource, used: usize) -> usize {
    used.saturating_sub(resource.parts().reserved)
}

// One customer of an IPv6 network has a whole /64 network.
fn client(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) >> 64 << 64;
            IpAddr::V6(Ipv6Addr::from(network))
        }
        address => address,
    }
}
