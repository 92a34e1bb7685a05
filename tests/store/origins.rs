//! A store knows whether a state was recorded from its journal, even if that journal begins later. Without this, the
//! state of a process whose store was lost would be compared with the actions of another incarnation.

use crate::teller::{Teller, open, recover};
use snapledger::history::part::RecordedState;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{Hash, Lsn, SnapshotId};
use snapledger::store::Store;

// For every snapshot with a part, checks the state, the same state with other turns before it, and the same state under
// a snapshot that was never recorded here. Returns how many lie before the beginning of the journal.
fn check(teller: &Teller, store: &Store) -> usize {
    let first = store.past().horizon().map_or(Lsn(1), |(first, _)| first);
    let nobody = SnapshotId::parse("nobody").expect("a valid id");
    let is_here = |snapshot: &SnapshotId, state: &RecordedState| {
        let is_here = store.past().is_recorded_here(snapshot, state);
        is_here.expect("it is readable")
    };
    let mut before = 0;
    for (snapshot, ..) in teller.process.snapshots().iter() {
        let Some(part) = store.parts().get(snapshot).expect("it is readable") else {
            continue;
        };
        let state = part.state;
        let goes_back = state.position.next() >= first;
        assert!(is_here(snapshot, &state), "{snapshot} is its own");
        assert_eq!(is_here(&nobody, &state), goes_back, "{snapshot}");
        let journal = Hash([7; 32]);
        let other = RecordedState { journal, ..state };
        assert!(!is_here(snapshot, &other), "{snapshot} of another journal");
        before += usize::from(!goes_back);
    }
    before
}

#[test]
fn a_state_of_another_journal_is_told_also_before_the_horizon() {
    let before = crate::for_seeds(24, |seed| {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = open(dir.path());
        let mut teller = Teller::new(seed, recover(&store));
        for _ in 0..160 {
            teller.random_turn(&store);
            teller.work(&store);
        }
        assert_eq!(check(&teller, &store), 0, "all of the journal is there");
        // Unacknowledged messages hold the horizon back.
        for round in 0..240 {
            teller.random_turn(&store);
            teller.work(&store);
            if round % 16 == 0 {
                teller.catch_up(&store);
            }
            let trimmed = store
                .retention()
                .trim(Hlc::at(u64::from(u32::MAX)), || true);
            trimmed.expect("the state is whole");
        }
        check(&teller, &store)
    });
    assert!(before > 2, "hardly any snapshot was older: {before}");
}
