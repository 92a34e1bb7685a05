//! The free space on the file system of the store, and the work that it still permits.

use crate::config::{NodeConfig, show_size};
use crate::node::error::Unavailable;
use crate::store::{Store, StoreError};

/// The fraction of the minimum that is reserved for peers: one quarter.
const RESERVE: u64 = 4;

/// The free space at the last check and the configured minimum, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct DiskSpace {
    pub(in crate::node) free: u64,
    pub(in crate::node) min: u64,
}

impl DiskSpace {
    /// Measures the free space.
    pub(in crate::node) fn measure(store: &Store, config: &NodeConfig) -> Result<Self, StoreError> {
        Ok(Self {
            free: store.usage()?.free,
            min: config.store.free_space_min,
        })
    }

    /// Whether the space is short: less than twice the minimum, where the alert `SnapledgerDiskNearlyFull` begins. Deletion frees
    /// space in the files of the store for its later writes, but gives none back to the file system, so what may be deleted has to go
    /// before the minimum is reached.
    pub(in crate::node) fn is_short(self) -> bool {
        self.free < self.min.saturating_mul(2)
    }

    /// Checks that there is space for new work of clients.
    pub(in crate::node) fn for_clients(self) -> Result<(), Unavailable> {
        self.over(self.min)
    }

    /// Checks that there is space for messages of peers.
    pub(in crate::node) fn for_peers(self) -> Result<(), Unavailable> {
        self.over(self.min / RESERVE)
    }

    fn over(self, floor: u64) -> Result<(), Unavailable> {
        if self.free >= floor {
            return Ok(());
        }
        let (free, min) = (show_size(self.free), show_size(self.min));
        Err(Unavailable::NoRoom { free, min })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_refused_before_peers_wait() {
        let room = |free| DiskSpace { free, min: 400 };
        let allowed = |free| {
            (
                room(free).for_clients().is_ok(),
                room(free).for_peers().is_ok(),
            )
        };
        assert_eq!(allowed(400), (true, true));
        assert_eq!(allowed(399), (false, true));
        assert_eq!(allowed(100), (false, true));
        assert_eq!(allowed(99), (false, false));
        assert!(!room(800).is_short() && room(799).is_short());
        let none = DiskSpace { free: 0, min: 0 };
        assert!(!none.is_short());
        assert!(none.for_clients().is_ok(), "no minimum, no guard");
    }
}
