//! The places for connections of a port. Some are reserved for peers, so that clients cannot take the last one: a
//! connection on a reserved place must prove soon that a peer opened it, by its certificate or by the calls it makes.

use std::net::IpAddr;
use std::sync::Arc;

use super::place::Used;
use super::usage::{ConnectionUsage, PortUsage};
use crate::node::{RefusalReason, Refusals};

/// The places of a port.
pub(in crate::api) struct Places {
    port: Arc<PortUsage>,
    used: Arc<Used>,
}

impl Places {
    /// `for_all` places, and `reserved` ones for peers.
    pub(in crate::api::serve) fn new(for_all: usize, reserved: usize, refusals: Refusals) -> Self {
        Self {
            port: PortUsage::new(refusals),
            used: Arc::new(Used::new(for_all, reserved)),
        }
    }

    /// A place for a connection from this address; `None` if there is none for it.
    pub(in crate::api::serve) fn take(&self, address: IpAddr) -> Option<Arc<ConnectionUsage>> {
        let address = self.port.of(address);
        let Some(place) = self.used.place(&address.places) else {
            self.port.count(RefusalReason::Connections);
            return None;
        };
        Some(ConnectionUsage::new(Arc::clone(&self.port), address, place))
    }

    /// A connection that is alone on its port.
    #[cfg(test)]
    pub(in crate::api) fn alone() -> Arc<ConnectionUsage> {
        let places = Self::new(1, 0, Refusals::default());
        let usage = places.take(std::net::Ipv6Addr::LOCALHOST.into());
        usage.expect("there is a place")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CLIENT_BYTES_MAX, EXPORTS_MAX, RESERVED_BYTES, Resource, address_share};
    use super::*;

    // Without this, clients could keep a peer out, or one client all others.
    #[test]
    fn one_address_leaves_a_quarter_to_others_and_clients_leave_places_to_peers() {
        let places = Places::new(8, 8, Refusals::default());
        let come = |address: [u8; 4]| places.take(IpAddr::from(address));
        let first: Vec<_> = (0..20).filter_map(|_| come([192, 0, 2, 1])).collect();
        let on_trial = |all: &[Arc<ConnectionUsage>]| {
            all.iter().filter(|usage| usage.place.is_on_trial()).count()
        };
        assert_eq!((first.len(), on_trial(&first)), (6 + 2, 2));
        let second: Vec<_> = (0..20).filter_map(|_| come([192, 0, 2, 2])).collect();
        assert_eq!((second.len(), on_trial(&second)), (2 + 2, 2));
        assert!(second[0].place.is_crowded());
        // A host with three peers, of which each shows that it is one.
        let mut peers = Vec::new();
        for _ in 0..20 {
            let Some(peer) = come([192, 0, 2, 3]) else {
                break;
            };
            peer.place.is_of_peer();
            assert!(!peer.place.is_on_trial());
            peers.push(peer);
        }
        assert_eq!(peers.len(), 4, "all that is left");
        assert!(come([192, 0, 2, 4]).is_none());
        drop(peers);
        let third: Vec<_> = (0..20).filter_map(|_| come([192, 0, 2, 3])).collect();
        assert_eq!((third.len(), on_trial(&third)), (2, 2));
        drop(first);
        assert!(!second[0].place.is_crowded());
        assert!(come([192, 0, 2, 3]).is_some());
    }

    fn connections(addresses: &[&str]) -> Vec<Arc<ConnectionUsage>> {
        let places = Places::new(1024, 0, Refusals::default());
        let taken = addresses.iter().map(|address| {
            let address = address.parse().expect("an address");
            places.take(address).expect("there are places")
        });
        taken.collect()
    }

    // Without this, a client that holds all it can get would leave nothing to the others.
    #[test]
    fn every_connection_has_its_reserve_and_every_address_finds_a_quarter() {
        let all = connections(&["192.0.2.1", "192.0.2.1", "192.0.2.2"]);
        let share = address_share(CLIENT_BYTES_MAX);
        let held = all[0].take(Resource::ClientBytes, RESERVED_BYTES + share);
        let held = held.expect("its reserve, and what one address may use");
        let own = all[1].take(Resource::ClientBytes, RESERVED_BYTES);
        let own = own.expect("its reserve");
        assert!(own.grow(1).is_err(), "its address has used its share");
        let rest = all[2].take(Resource::ClientBytes, CLIENT_BYTES_MAX - share);
        rest.expect("another address has the rest");
        drop((held, own));
        assert!(
            all[1].take(Resource::ClientBytes, share).is_ok(),
            "all was returned"
        );
    }

    #[test]
    fn what_does_not_fit_changes_nothing() {
        let all = connections(&["2001:db8::1", "2001:db8::ffff", "2001:db8:1::1"]);
        let share = address_share(EXPORTS_MAX);
        let half = all[0]
            .take(Resource::Exports, share / 2)
            .expect("there is room");
        assert!(
            all[1].take(Resource::Exports, share).is_err(),
            "one network"
        );
        assert!(half.grow(share).is_err());
        half.shrink(share / 4);
        let rest = all[1].take(Resource::Exports, share - share / 4);
        let rest = rest.expect("so much is left");
        assert!(all[2].take(Resource::Exports, EXPORTS_MAX - share).is_ok());
        drop((half, rest));
        assert!(all[1].take(Resource::Exports, share).is_ok());
    }
}
