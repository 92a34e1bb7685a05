//! What a process knows of a snapshot that another one is about to start, and how it says so.

use super::views::{SnapshotStatus, SnapshotView};
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::ProcessId;
use crate::proto::snapledger::FoundSnapshot;

/// What is known of a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::node) enum KnownSnapshot {
    /// It was started by this process.
    Begun {
        status: SnapshotStatus,
        initiator: ProcessId,
        /// The clocks of its start, where they are known.
        started: Option<(Hlc, Lamport)>,
    },
    /// It was deleted from the history.
    Deleted,
}

impl KnownSnapshot {
    pub(in crate::node) fn of(view: &SnapshotView) -> Self {
        let state = &view.state;
        Self::Begun {
            status: view.status(),
            initiator: state.initiator.clone(),
            started: Some((state.initiated_at, state.initiated_clock)),
        }
    }

    /// As a peer has told it.
    pub(in crate::node) fn from_wire(found: FoundSnapshot) -> Option<Self> {
        let status = match found.status.as_str() {
            "" => return None,
            "deleted" => return Some(Self::Deleted),
            "complete" => SnapshotStatus::Complete,
            "partial" => SnapshotStatus::Partial,
            _ => SnapshotStatus::InProgress,
        };
        let started = (Hlc(found.initiated_at), Lamport(found.logical_clock));
        Some(Self::Begun {
            status,
            initiator: ProcessId::parse(&found.initiator).ok()?,
            started: Some(started).filter(|(time, _)| *time > Hlc(0)),
        })
    }

    /// As it is told to a peer.
    pub(in crate::node) fn to_wire(found: Option<Self>) -> FoundSnapshot {
        match found {
            None => FoundSnapshot::default(),
            Some(Self::Deleted) => FoundSnapshot {
                status: "deleted".to_owned(),
                ..FoundSnapshot::default()
            },
            Some(Self::Begun {
                status,
                initiator,
                started,
            }) => {
                let (time, clock) = started.unwrap_or_default();
                FoundSnapshot {
                    status: status.as_str().to_owned(),
                    initiator: initiator.to_string(),
                    initiated_at: time.0,
                    logical_clock: clock.0,
                }
            }
        }
    }
}

/// What the peers know of a name.
#[derive(Debug, Default)]
pub(in crate::node) struct Elsewhere {
    pub(in crate::node) found: Option<KnownSnapshot>,
    /// Whether a process did not answer that was never met on this store.
    pub(in crate::node) is_stranger_silent: bool,
    /// One that is up and has said nothing, although it was waited for.
    pub(in crate::node) live_and_silent: Option<ProcessId>,
}

impl Elsewhere {
    /// One that is there counts more than one that was deleted: it may be pinned.
    pub(in crate::node) fn take(&mut self, found: Option<KnownSnapshot>) {
        if !matches!(self.found, Some(KnownSnapshot::Begun { .. })) {
            self.found = found.or(self.found.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_found_travels_and_what_is_there_counts_more_than_what_was_deleted() {
        let begun = KnownSnapshot::Begun {
            status: SnapshotStatus::Partial,
            initiator: ProcessId::parse("n1").expect("a valid id"),
            started: Some((Hlc::at(3), Lamport(7))),
        };
        for found in [None, Some(KnownSnapshot::Deleted), Some(begun.clone())] {
            assert_eq!(
                KnownSnapshot::from_wire(KnownSnapshot::to_wire(found.clone())),
                found
            );
        }
        for order in [
            [Some(KnownSnapshot::Deleted), Some(begun.clone())],
            [Some(begun.clone()), Some(KnownSnapshot::Deleted)],
        ] {
            let mut elsewhere = Elsewhere::default();
            order.into_iter().for_each(|found| elsewhere.take(found));
            elsewhere.take(None);
            assert_eq!(elsewhere.found, Some(begun.clone()));
        }
    }
}
