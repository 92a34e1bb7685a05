//! For any topology, script and delays, every snapshot is a consistent cut that contains all the money. Without this,
//! only the event orders written by hand would be covered.

mod case;
mod checkers;
mod diagrams;
mod reference;
mod scenarios;

use case::{Case, cases};
use checkers::{Checked, Observed, conserved, replayed};
use proptest::prelude::*;

fn check(case: &mut Case) -> Checked {
    let run = case.run();
    let observed = Observed::fifo(&run)?;
    for snapshot in &run.report.snapshots {
        observed.cut(snapshot)?;
        conserved(&run, snapshot)?;
    }
    replayed(&run)?;
    let again = case.run();
    if again.trace != run.trace || again.report != run.report {
        return Err("the second run differs from the first".to_owned());
    }
    let (printed, expected) = (run.report.to_string(), reference::report(case));
    if printed != expected {
        return Err(format!("printed:\n{printed}\nexpected:\n{expected}"));
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 1000,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn every_snapshot_is_a_consistent_cut_that_holds_all_tokens(mut case in cases()) {
        check(&mut case).map_err(|why| TestCaseError::fail(format!("{why}\n{case:?}")))?;
    }
}

/// The checkers can fail: a report with a lost, moved or invented message is rejected.
#[test]
fn a_wrong_report_is_noticed() {
    let mut case = Case {
        topology: "2\np0 9\np1 9\np0 p1\np1 p0\n".to_owned(),
        events: ["send p0 p1 3", "snapshot p1", "send p1 p0 4"]
            .map(str::to_owned)
            .into(),
        seed: 1,
    };
    assert_eq!(check(&mut case), Ok(()));
    let run = case.run();
    let observed = Observed::fifo(&run).expect("the trace is right");
    let right = &run.report.snapshots[0];
    assert_eq!(right.messages.len(), 1, "{right}");

    let mut lost = right.clone();
    lost.messages.clear();
    assert!(observed.cut(&lost).is_err() && conserved(&run, &lost).is_err());

    let mut moved = right.clone();
    let message = &mut moved.messages[0];
    std::mem::swap(&mut message.from, &mut message.to);
    assert!(observed.cut(&moved).is_err() && conserved(&run, &moved).is_ok());

    let mut invented = right.clone();
    invented.tokens[0].1 += 1;
    assert!(conserved(&run, &invented).is_err());
}
