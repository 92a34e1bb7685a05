//! The initiator of a snapshot that several processes may have started, and the numbering of revisions.
//!
//! One id can be started at several processes at once. Their markers belong to one recording, so there is one consistent cut;
//! only the initiator must be agreed on. Each part names the initiator for which its process recorded: the process itself if it
//! started the snapshot, else the one named by its first marker, for which the sender of that marker had recorded. So every
//! named process started the snapshot, and each process that started it names itself in its own part: all parts together name
//! all of them. The initiator is the one with the least id.
//!
//! Revisions are numbered so that no two assemblers use the same number. The initiator numbers from 1, but only once it has the
//! part of every process with a lesser id (or the snapshot id excludes them): then none of those started the snapshot, and the
//! initiator named in a part never changes. At most one process can reach this conclusion. Every other assembler, and the
//! initiator before that, uses a range of numbers that belongs to its process alone.

use crate::history::global::GlobalState;
use crate::process::clock::Lamport;
use crate::process::ids::ProcessId;
use crate::process::snapshot::is_drawn_by;
use crate::process::topology::Topology;

/// The size of a range of revision numbers. Each revision of a snapshot has more parts or closed channels than the one before,
/// so only a cluster of a thousand processes could exhaust a range.
pub const REVISIONS_EACH: u32 = 1_000_000;

impl GlobalState {
    /// Sets the initiator and the start from the parts that are present.
    pub fn settle_initiator(&mut self) {
        let named = self.parts.values().map(|part| &part.initiator);
        if let Some(least) = named.min().filter(|least| **least < self.initiator) {
            self.initiator = least.clone();
            self.start = None;
        }
        if let Some(part) = self.parts.get(&self.initiator) {
            // The report of a foreign process carries a later time, that of its arrival.
            if part.state.has_journal() {
                self.initiated_at = part.state.time;
            }
            self.initiated_clock = Lamport::default().receive(part.state.clock);
            self.start = part.start;
        }
    }

    /// The number after which process `me` numbers its revisions of this state. `assembles` returns whether a process publishes
    /// revisions at all.
    #[must_use]
    pub fn numbers_after(
        &self,
        me: &ProcessId,
        topology: &Topology,
        assembles: impl Fn(&ProcessId) -> bool,
    ) -> u32 {
        let lesser = || {
            let lesser = topology.processes().filter(|process| *process < me);
            lesser.filter(|process| assembles(process))
        };
        let is_first = self.initiator == *me
            && (is_drawn_by(&self.snapshot, me)
                || lesser().all(|process| self.parts.contains_key(process)));
        match is_first {
            true => 0,
            false => own_numbers_after(me, topology),
        }
    }
}

/// The number before the range that belongs to this process alone.
#[must_use]
pub fn own_numbers_after(me: &ProcessId, topology: &Topology) -> u32 {
    let before = topology.processes().take_while(|process| *process < me);
    let index = u32::try_from(before.count()).unwrap_or(u32::MAX);
    index.saturating_add(1).saturating_mul(REVISIONS_EACH)
}

/// Whether a number is in the range that belongs to this process alone.
#[must_use]
pub fn is_own_number(revision: u32, me: &ProcessId, topology: &Topology) -> bool {
    let before = own_numbers_after(me, topology);
    revision > before && revision - before <= REVISIONS_EACH
}

/// The process that assigns this number to a revision of a snapshot with this initiator.
#[must_use]
pub fn numbered_by<'a>(
    revision: u32,
    initiator: &'a ProcessId,
    topology: &'a Topology,
) -> Option<&'a ProcessId> {
    let range = usize::try_from(revision.checked_sub(1)? / REVISIONS_EACH).ok()?;
    match range.checked_sub(1) {
        None => Some(initiator),
        Some(index) => topology.processes().nth(index),
    }
}

/// Whether a revision with this number can no longer be published: the newest one is complete and has a smaller number of the
/// same range.
#[must_use]
pub fn is_over(revision: u32, newest: &GlobalState) -> bool {
    let range = |revision: u32| revision.saturating_sub(1) / REVISIONS_EACH;
    newest.is_complete() && newest.revision < revision && range(newest.revision) == range(revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::global::Completeness;
    use crate::history::part::tests::part_of;
    use crate::process::clock::Hlc;
    use crate::process::ids::SnapshotId;

    fn ids() -> [ProcessId; 3] {
        ["n1", "n2", "n3"].map(|id| ProcessId::parse(id).expect("a valid id"))
    }

    // The state of a snapshot at `me`: its own start, and parts that name these initiators.
    fn begun(name: &str, me: &ProcessId, parts: &[(usize, usize)]) -> GlobalState {
        let snapshot = SnapshotId::parse(name).expect("a valid id");
        let mut state = GlobalState::begun(snapshot.clone(), me.clone(), Hlc::at(9), Lamport(9));
        for (process, initiator) in parts {
            let part = part_of(&snapshot, &ids()[*process], &ids()[*initiator]);
            state.parts.insert(part.process.clone(), part);
        }
        state.settle_initiator();
        state
    }

    #[test]
    fn the_least_process_that_started_it_is_the_initiator() {
        let [n1, n2, n3] = ids();
        assert_eq!(begun("s", &n3, &[(2, 2)]).initiator, n3);
        assert_eq!(begun("s", &n3, &[(2, 2), (0, 1)]).initiator, n2);
        let all = begun("s", &n3, &[(2, 2), (1, 1), (0, 0)]);
        assert_eq!(all.initiator, n1);
        let start = (all.initiated_at, all.initiated_clock);
        let part = &all.parts[&n1].state;
        assert_eq!(start, (part.time, part.clock.tick()), "its start");
    }

    #[test]
    fn a_clock_without_room_to_tick_is_followed_as_far_as_there_is() {
        let [n1, ..] = ids();
        let mut state = begun("s", &n1, &[(0, 0)]);
        let part = state.parts.get_mut(&n1).expect("its part is there");
        part.state.clock = Lamport(u64::MAX);
        state.settle_initiator();
        assert_eq!(state.initiated_clock, Lamport(u64::MAX / 2 + 1));
    }

    #[test]
    fn only_the_initiator_numbers_from_one_on_and_only_when_it_is_certain() {
        let [n1, n2, n3] = ids();
        let topology = Topology::full(&ids()).expect("three processes");
        let after = |state: &GlobalState, me| state.numbers_after(me, &topology, |_| true);
        assert_eq!(after(&begun("s", &n1, &[]), &n1), 0, "no process is less");
        let alone = begun("s", &n3, &[(2, 2)]);
        assert_eq!(after(&alone, &n3), 3_000_000);
        assert_eq!(after(&begun("s", &n3, &[(0, 2)]), &n3), 3_000_000);
        assert_eq!(after(&begun("s", &n3, &[(0, 2), (1, 2)]), &n3), 0);
        let other = begun("s", &n3, &[(0, 0), (1, 0), (2, 2)]);
        assert_eq!(after(&other, &n3), 3_000_000, "it lost to n1");
        assert_eq!(after(&other, &n1), 0);
        assert_eq!(after(&other, &n2), 2_000_000, "a stand-in");
        assert_eq!(after(&begun("n3-17", &n3, &[]), &n3), 0, "its own name");
        assert_eq!(after(&begun("n2-17", &n3, &[]), &n3), 3_000_000);
        let only_n3 = alone.numbers_after(&n3, &topology, |process| *process == n3);
        assert_eq!(only_n3, 0, "the others never assemble");
    }

    // Without this, a client would be told to wait for a revision that cannot come.
    #[test]
    fn nothing_follows_a_complete_revision_in_its_range() {
        let [n1, ..] = ids();
        let mut newest = begun("s", &n1, &[]);
        newest.revision = 2;
        newest.completeness = Completeness::Complete;
        assert!(is_over(3, &newest) && is_over(1_000_000, &newest));
        assert!(!is_over(1, &newest), "it may come from a peer");
        assert!(
            !is_over(1_000_001, &newest),
            "another process may have given it"
        );
        newest.completeness = Completeness::Partial {
            missing: Vec::new(),
            open_channels: Vec::new(),
            stopped: Vec::new(),
        };
        assert!(!is_over(3, &newest), "it may be completed");
    }

    #[test]
    fn every_process_has_a_range_of_its_own() {
        let [n1, n2, _] = ids();
        let topology = Topology::full(&ids()).expect("three processes");
        let is_own = |revision, me| is_own_number(revision, me, &topology);
        assert!(is_own(1_000_001, &n1) && is_own(2_000_000, &n1));
        assert!(is_own(2_000_001, &n2) && !is_own(2_000_000, &n2));
        assert!(!is_own(1, &n1) && !is_own(3_000_001, &n2));
        let by = |revision| numbered_by(revision, &n2, &topology);
        assert_eq!((by(1), by(1_000_001)), (Some(&n2), Some(&n1)));
        assert_eq!((by(0), by(4_000_001)), (None, None));
    }
}
