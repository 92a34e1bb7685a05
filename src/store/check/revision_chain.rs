//! The revisions of one snapshot in the order of their numbers. Each assembler numbers without gaps from the start of
//! its own range; of revisions assembled elsewhere only the newest is replicated. Within a range, later revisions keep
//! what earlier ones published, and a complete revision is the last.

use crate::history::assembly::REVISIONS_EACH;
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::ProcessId;
use crate::store::engine::schema::snapshot_key;

/// The revisions of the current snapshot so far.
#[derive(Default)]
pub(super) struct RevisionChain {
    /// The key of the snapshot.
    snapshot: Vec<u8>,
    /// The initiator and the start, which are certain if the part of the initiator is present.
    begun: Option<(ProcessId, Hlc, Lamport)>,
    /// The newest revision number of the snapshot in the history, readable or not.
    newest: u32,
    /// The newest revision of the same range, if it was readable.
    before: Option<GlobalState>,
}

impl RevisionChain {
    /// Notes an unreadable revision, so that its successor is not reported as following a gap.
    pub(super) fn unreadable(&mut self, key: &[u8]) {
        if let Some((snapshot, revision)) = key.split_last_chunk() {
            self.turn_to(snapshot);
            self.newest = u32::from_be_bytes(*revision);
            self.before = None;
        }
    }

    /// The problems of a revision as the successor of the others. If it was assembled here, all earlier ones must be
    /// present.
    pub(super) fn follows(&mut self, state: GlobalState, is_own: bool) -> Vec<String> {
        self.turn_to(&snapshot_key(&state.snapshot));
        let mut problems = Vec::new();
        let range = |revision: u32| revision.saturating_sub(1) / REVISIONS_EACH;
        let is_in_range = range(self.newest) == range(state.revision) && self.newest > 0;
        let expected = match is_in_range {
            true => self.newest + 1,
            false => range(state.revision) * REVISIONS_EACH + 1,
        };
        if state.revision != expected && is_own {
            problems.push(format!("the previous revision {expected} is missing"));
        }
        problems.extend(self.begins_otherwise(&state));
        if let Some(before) = self.before.take().filter(|_| is_in_range) {
            problems.extend(changed(&before, &state));
        }
        self.newest = state.revision;
        self.before = Some(state);
        problems
    }

    fn turn_to(&mut self, snapshot: &[u8]) {
        if self.snapshot != snapshot {
            (self.newest, self.begun, self.before) = (0, None, None);
            self.snapshot = snapshot.to_vec();
        }
    }

    fn begins_otherwise(&mut self, state: &GlobalState) -> Option<String> {
        // A part of a foreign process does not state the start: each assembler derives it from its own part.
        let initiator = state.parts.get(&state.initiator);
        initiator.filter(|part| part.state.has_journal())?;
        let (time, clock) = (state.initiated_at, state.initiated_clock);
        let begun = (state.initiator.clone(), time, clock);
        let before = self.begun.get_or_insert_with(|| begun.clone());
        let problem = "its start differs from the previous revision";
        (*before != begun).then(|| problem.to_owned())
    }
}

fn changed(before: &GlobalState, state: &GlobalState) -> Vec<String> {
    let mut problems = Vec::new();
    if before.is_complete() {
        let last = before.revision;
        problems.push(format!("revision {last} before it is already complete"));
    }
    for (process, part) in &before.parts {
        let kept = state
            .parts
            .get(process)
            .is_some_and(|later| goes_on(part, later));
        if !kept {
            problems.push(format!(
                "the part of {process:?} changed after it was published"
            ));
        }
    }
    problems
}

/// Whether `later` keeps everything recorded in `part`; open channels may have been closed.
pub(super) fn goes_on(part: &Part, later: &Part) -> bool {
    let closed = part
        .channels
        .iter()
        .all(|channel| later.channels.contains(channel));
    let open = later.open.iter().all(|from| part.open.contains(from));
    closed && open && part.state == later.state && part.initiator == later.initiator
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::global::Completeness;
    use crate::process::ids::SnapshotId;
    use crate::store::engine::schema::revision_key;

    fn process(id: &str) -> ProcessId {
        ProcessId::parse(id).expect("a valid id")
    }

    // A revision of a snapshot that n1 initiated, assembled by a process without a part in it.
    fn revision(revision: u32, complete: bool) -> GlobalState {
        let snapshot = SnapshotId::parse("s").expect("a valid id");
        let mut state = GlobalState::begun(snapshot, process("n1"), Hlc::at(1), Lamport(1));
        state.revision = revision;
        if complete {
            state.completeness = Completeness::Complete;
        }
        state
    }

    // The problems of these revisions.
    fn told(revisions: &[(u32, bool)], are_own: bool) -> Vec<String> {
        let mut story = RevisionChain::default();
        let states = revisions
            .iter()
            .map(|(one, complete)| revision(*one, *complete));
        states
            .flat_map(|state| story.follows(state, are_own))
            .collect()
    }

    #[test]
    fn each_range_begins_anew_and_of_another_s_only_the_newest_may_be_here() {
        let good = [(1, false), (2, false), (3, true), (1_000_001, false)];
        assert_eq!(told(&good, true), [""; 0]);
        for good in [
            &[(2, false)][..],
            &[(2, true), (1_000_001, false), (1_000_003, false)],
            &[(1_000_001, false), (2_000_001, false), (3_000_007, true)],
        ] {
            assert_eq!(told(good, false), [""; 0], "{good:?}");
        }
    }

    #[test]
    fn a_gap_in_what_was_assembled_here_is_named() {
        for (bad, missing) in [
            (&[(2, false)][..], 1),
            (&[(1_000_001, false), (1_000_003, false)], 1_000_002),
            (&[(1, true), (2_000_002, false)], 2_000_001),
        ] {
            let sentence = format!("the previous revision {missing} is missing");
            assert_eq!(told(bad, true), [sentence], "{bad:?}");
        }
    }

    #[test]
    fn nothing_follows_a_complete_revision_within_its_range() {
        let told = told(&[(1, true), (2, false)], false);
        assert_eq!(told, ["revision 1 before it is already complete"]);
    }

    #[test]
    fn one_that_cannot_be_read_is_not_missed() {
        let mut story = RevisionChain::default();
        let key = |number| revision_key(&revision(number, false).snapshot, number);
        story.unreadable(&key(1));
        assert_eq!(story.follows(revision(2, false), true), [""; 0]);
        story.unreadable(&key(3));
        assert_eq!(story.follows(revision(4, true), true), [""; 0]);
        let mut another = revision(1, false);
        another.snapshot = SnapshotId::parse("t").expect("a valid id");
        story.unreadable(&key(5));
        assert_eq!(story.follows(another, true), [""; 0]);
    }
}
