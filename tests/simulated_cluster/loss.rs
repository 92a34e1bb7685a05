//! A lost store: wiped, refused by the peers that knew it, and given up by one after the other, as an operator does with `store
//! forget`.

use std::collections::BTreeSet;

use snapledger::process::clock::Hlc;
use snapledger::process::ids::Seq;
use snapledger::process::input::Input;
use snapledger::process::reply::Reply;

use crate::copies::Copy;
use crate::disk::Disk;
use crate::network::Route;
use crate::plan::SECOND;
use crate::world::{Checked, Event, Place, World};

/// The time within which the last peer gives the store up.
const FORGOTTEN_WITHIN: u64 = 4 * SECOND;

/// A store that was lost.
pub(crate) struct Loss {
    pub(crate) place: Place,
    store: [u8; 16],
    /// The peers that have not given it up.
    pub(crate) unaware: BTreeSet<Place>,
}

impl World {
    /// Wipes the disk of a process.
    pub(crate) fn wipe(&mut self, place: Place) -> Checked {
        self.crash(place)?;
        self.copy = Copy::None;
        self.archive.begin_anew(place);
        self.trace.say(|| format!("wipe {place}"));
        self.sometimes.saw("store wiped");
        let node = &mut self.nodes[place];
        node.disk = Disk::default();
        node.is_misled = false;
        let before = node.store;
        node.store[0] ^= 1;
        let store = node.store;
        let id = self.id(place).clone();
        let topology = &self.plan.topology;
        let peers = topology.outgoing(&id).chain(topology.incoming(&id));
        let unaware: BTreeSet<_> = peers.map(|peer| self.place_of(peer)).collect();
        self.checkers.wiped(place, store, unaware.len());
        for peer in &unaware {
            let delay = self.random.below(FORGOTTEN_WITHIN);
            self.after(delay, Event::Forget(*peer));
        }
        self.loss = Some(Loss {
            place,
            store: before,
            unaware,
        });
        Ok(())
    }

    /// Stops a peer and gives the lost store up there, if it was ever recognized.
    pub(crate) fn forget(&mut self, place: Place) -> Checked {
        self.crash(place)?;
        let Some(loss) = &mut self.loss else {
            return Err("nothing was lost".to_owned());
        };
        let (lost, store) = (loss.place, loss.store);
        loss.unaware.remove(&place);
        let (wall_us, peer) = (self.wall_us(place), self.id(lost).clone());
        let (mut process, _) = self.recover(place)?;
        let known = process.registers().peers.get(&peer);
        if known.is_none_or(|known| known.store != store) {
            self.sometimes.saw("lost store that a peer never met");
            return Ok(());
        }
        self.decided_by_wall(place);
        process.begin_turn(wall_us, Hlc::default());
        let reply = process.step(Input::Forget { peer });
        if !matches!(reply, Reply::Forgotten(Ok(_))) {
            return Err(format!("{place} does not forget {lost}: {reply:?}"));
        }
        let turn = process.end_turn();
        self.trace.say(|| format!("forget {place} {turn:?}"));
        let disk = &mut self.nodes[place].disk;
        disk.append(&turn)?;
        disk.synced(disk.stamp());
        for route in [(place, lost), (lost, place)] {
            if let Some(channel) = self.channels.get_mut(&route) {
                channel.transmitted = Seq(0);
            }
        }
        Ok(())
    }

    /// Whether the two ends of a channel may refuse each other.
    pub(crate) fn may_contradict(&self, route: Route) -> bool {
        let lost = self.loss.as_ref().map(|loss| loss.place);
        let place = lost.or(self.plan.wiped.filter(|_| self.is_put_back()));
        place == Some(route.0) || place == Some(route.1)
    }

    /// Whether a process with a new store has not been recognized by all its peers yet; until then it may repeat ids used
    /// before.
    pub(crate) fn is_stranger(&self, place: Place) -> bool {
        let Some(loss) = self.loss.as_ref().filter(|loss| loss.place == place) else {
            return false;
        };
        let topology = &self.plan.topology;
        let id = self.id(place);
        let peers = topology.outgoing(id).chain(topology.incoming(id));
        let peers: BTreeSet<_> = peers.collect();
        let life = self.nodes[place].life.as_ref();
        let met = life.map_or(0, |alive| alive.process.registers().peers.len());
        !loss.unaware.is_empty() || met < peers.len()
    }
}
