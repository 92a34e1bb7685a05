//! The channels of a cluster. They must be strongly connected, so that a marker reaches every process.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ids::{ChannelId, ProcessId};

/// The processes of a cluster and the directed channels between them.
///
/// A value of this type is strongly connected: a marker from any process reaches every other. A clone shares the channels:
/// every process of a simulated cluster holds one, and copies would cost the square of the cluster's size each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topology {
    outgoing: Arc<Neighbours>,
    incoming: Arc<Neighbours>,
}

/// For each process, the other ends of its channels of one direction.
type Neighbours = BTreeMap<ProcessId, BTreeSet<ProcessId>>;

/// Why a set of channels is not a valid topology.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TopologyError {
    /// There is no process.
    #[error("the cluster has no process; name at least one")]
    Empty,
    /// A process id occurs twice.
    #[error("process {0} is named twice; give each process its own id")]
    Twice(ProcessId),
    /// A channel starts or ends at a process that does not exist.
    #[error("channel {0} names a process that is not in the cluster")]
    Unknown(ChannelId),
    /// A channel from a process to itself.
    #[error("channel {0} leads back to its own process; remove it")]
    Loop(ChannelId),
    /// One process cannot reach another.
    #[error(
        "the channels are not strongly connected: no path leads from {from} to {to}, so a marker would never arrive; \
         add a channel"
    )]
    NotStronglyConnected {
        /// The process from which no path leads to `to`.
        from: ProcessId,
        /// The process that is not reached.
        to: ProcessId,
    },
}

impl Topology {
    /// The topology with a channel for every ordered pair of processes.
    ///
    /// # Errors
    /// [`TopologyError`] if there is no process or an id occurs twice.
    pub fn full(processes: &[ProcessId]) -> Result<Self, TopologyError> {
        let pairs = processes.iter().flat_map(|from| {
            processes
                .iter()
                .filter(move |to| *to != from)
                .map(move |to| ChannelId {
                    from: from.clone(),
                    to: to.clone(),
                })
        });
        Self::new(processes, pairs)
    }

    /// The topology with these processes and channels.
    ///
    /// # Errors
    /// [`TopologyError`] for the first fault found.
    pub fn new(
        processes: &[ProcessId],
        channels: impl IntoIterator<Item = ChannelId>,
    ) -> Result<Self, TopologyError> {
        let mut outgoing = Neighbours::new();
        for process in processes {
            if outgoing.insert(process.clone(), BTreeSet::new()).is_some() {
                return Err(TopologyError::Twice(process.clone()));
            }
        }
        let mut incoming = outgoing.clone();
        for channel in channels {
            if channel.from == channel.to {
                return Err(TopologyError::Loop(channel));
            }
            let ends = (
                outgoing.get_mut(&channel.from),
                incoming.get_mut(&channel.to),
            );
            let (Some(from), Some(to)) = ends else {
                return Err(TopologyError::Unknown(channel));
            };
            from.insert(channel.to.clone());
            to.insert(channel.from.clone());
        }
        let topology = Self {
            outgoing: Arc::new(outgoing),
            incoming: Arc::new(incoming),
        };
        topology.check_strongly_connected()?;
        Ok(topology)
    }

    /// All processes, sorted as strings.
    pub fn processes(&self) -> impl Iterator<Item = &ProcessId> {
        self.outgoing.keys()
    }

    /// Whether the process is in the cluster.
    #[must_use]
    pub fn contains(&self, process: &ProcessId) -> bool {
        self.outgoing.contains_key(process)
    }

    /// The destinations of the channels that start at `process`, sorted.
    pub fn outgoing(&self, process: &ProcessId) -> impl Iterator<Item = &ProcessId> {
        self.outgoing.get(process).into_iter().flatten()
    }

    /// The origins of the channels that end at `process`, sorted.
    pub fn incoming(&self, process: &ProcessId) -> impl Iterator<Item = &ProcessId> {
        self.incoming.get(process).into_iter().flatten()
    }

    /// Whether a channel leads from one process to the other.
    #[must_use]
    pub fn has_channel(&self, from: &ProcessId, to: &ProcessId) -> bool {
        self.outgoing
            .get(from)
            .is_some_and(|destinations| destinations.contains(to))
    }

    /// Every channel, sorted by origin, then destination.
    pub fn channels(&self) -> impl Iterator<Item = ChannelId> {
        self.outgoing.iter().flat_map(|(from, destinations)| {
            destinations.iter().map(|to| ChannelId {
                from: from.clone(),
                to: to.clone(),
            })
        })
    }

    // The topology is strongly connected exactly if one process reaches all and all reach it.
    fn check_strongly_connected(&self) -> Result<(), TopologyError> {
        let Some(root) = self.outgoing.keys().next() else {
            return Err(TopologyError::Empty);
        };
        let unreached = |edges: &Neighbours| {
            let reached = reach(edges, root);
            self.processes().find(|process| !reached.contains(*process))
        };
        if let Some(to) = unreached(&self.outgoing) {
            return Err(TopologyError::NotStronglyConnected {
                from: root.clone(),
                to: to.clone(),
            });
        }
        if let Some(from) = unreached(&self.incoming) {
            return Err(TopologyError::NotStronglyConnected {
                from: from.clone(),
                to: root.clone(),
            });
        }
        Ok(())
    }
}

fn reach<'a>(edges: &'a Neighbours, root: &'a ProcessId) -> BTreeSet<&'a ProcessId> {
    let mut reached = BTreeSet::from([root]);
    let mut frontier = vec![root];
    while let Some(process) = frontier.pop() {
        for next in edges.get(process).into_iter().flatten() {
            if reached.insert(next) {
                frontier.push(next);
            }
        }
    }
    reached
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(names: &[&str]) -> Vec<ProcessId> {
        names
            .iter()
            .map(|name| ProcessId::parse(name).expect("a valid id"))
            .collect()
    }

    fn channel(from: &str, to: &str) -> ChannelId {
        let ids = ids(&[from, to]);
        ChannelId {
            from: ids[0].clone(),
            to: ids[1].clone(),
        }
    }

    #[test]
    fn a_ring_is_strongly_connected_and_a_line_is_not() {
        let processes = ids(&["a", "b", "c"]);
        let ring = [channel("a", "b"), channel("b", "c"), channel("c", "a")];
        assert!(Topology::new(&processes, ring.clone()).is_ok());
        let line = Topology::new(&processes, ring[..2].to_vec());
        assert!(matches!(
            line,
            Err(TopologyError::NotStronglyConnected { .. })
        ));
    }

    #[test]
    fn what_does_not_exist_is_named() {
        let processes = ids(&["a", "b"]);
        assert_eq!(
            Topology::new(&processes, [channel("a", "x")]),
            Err(TopologyError::Unknown(channel("a", "x")))
        );
        assert_eq!(Topology::full(&[]), Err(TopologyError::Empty));
        assert!(Topology::full(&ids(&["a"])).is_ok(), "one process alone");
    }
}
