//! The parts of other processes, whose journals are elsewhere: their cells must add up to the figures they state.
//! Without this, the money in another process's part could change without a check of the history noticing.

use std::collections::BTreeMap;
use std::path::Path;

use snapledger::history::global::{Completeness, GlobalState};
use snapledger::history::part::Part;
use snapledger::process::Process;
use snapledger::process::clock::{Hlc, Lamport};
use snapledger::process::ids::{ProcessId, Seq, SnapshotId};
use snapledger::process::input::Input;
use snapledger::process::message::Message;
use snapledger::process::record::Record;
use snapledger::process::topology::Topology;
use snapledger::store::Store;

use crate::sample::{CLUSTER, Sample, leave_unsalted, me, paid_in};
use crate::teller::process_id;
use crate::{examine, findings};

/// Amounts that occur nowhere else, in minor units; each is stored in one run.
const FAR: i64 = 0x0022_4466_88aa;
const LATER: i64 = 0x0033_5577_99bb;
const PADDING: u64 = 200;
const SNAPSHOTS: [&str; 3] = ["s1", "s2", "s3"];

/// One of two processes.
struct Seat {
    id: ProcessId,
    store: Store,
    process: Process,
    turns: u64,
}

impl Seat {
    fn new(id: ProcessId, dir: &Path) -> Self {
        let topology = Topology::full(&[me(), peer()]).expect("two processes");
        Self {
            store: Store::open(dir, CLUSTER, &id).expect("a new store"),
            process: Process::new(id.clone(), topology, 8),
            id,
            turns: 0,
        }
    }

    // Runs one turn and writes everything that follows from it; returns the messages it sends and the parts it
    // finishes.
    fn turn(&mut self, inputs: Vec<Input>) -> (Vec<(Seq, Message)>, Vec<Part>) {
        self.turns += 1;
        self.process.begin_turn(self.turns * 1000, Hlc::default());
        for input in inputs {
            self.process.step(input);
        }
        let turn = self.process.end_turn();
        self.store.commit(&turn).expect("it is durable");
        for sealed in self.process.take_sealed() {
            self.store.states().write(sealed).expect("it is written");
        }
        let mut parts = Vec::new();
        for recording in self.process.take_finished() {
            let part = self.store.parts().build(&self.id, &recording);
            let part = part.expect("it is whole").expect("its state is written");
            self.store.parts().put(&part).expect("it is written");
            parts.push(part);
        }
        let sent = turn.records.into_iter().filter_map(|record| match record {
            Record::Sent { seq, message, .. } => Some((seq, message)),
            _ => None,
        });
        (sent.collect(), parts)
    }

    fn arrive(
        &mut self,
        from: &ProcessId,
        sent: Vec<(Seq, Message)>,
    ) -> (Vec<(Seq, Message)>, Vec<Part>) {
        let arrived = |(seq, message)| Input::Arrived {
            from: from.clone(),
            seq,
            time: Hlc::default(),
            message,
        };
        self.turn(sent.into_iter().map(arrived).collect())
    }
}

fn pay_in(name: &str, amount: i64) -> Input {
    Input::Operation {
        request: None,
        operation: paid_in(name, amount),
    }
}

fn peer() -> ProcessId {
    process_id("n2")
}

// The store of n1, with three complete snapshots; before each, an account of n2 is opened.
fn kept_by_n1() -> Sample {
    let (dir, far_dir) = (
        tempfile::tempdir().expect("a temporary directory"),
        tempfile::tempdir().expect("a temporary directory"),
    );
    // Balances of chunks without salts can be edited; see `Sample::without_salts`.
    leave_unsalted(dir.path(), &me());
    leave_unsalted(far_dir.path(), &peer());
    let mut near = Seat::new(me(), dir.path());
    let mut far = Seat::new(peer(), far_dir.path());
    near.turn(vec![pay_in("alice", 1)]);
    let padding = (0..PADDING).map(|number| pay_in(&format!("padding-{number}"), 1));
    far.turn(padding.collect());
    for (snapshot, paid) in SNAPSHOTS.into_iter().zip([FAR, LATER, 5]) {
        far.turn(vec![pay_in(&format!("far-{paid}"), paid)]);
        publish(&mut near, &mut far, snapshot);
    }
    near.store.sync().expect("it is durable");
    drop(near);
    Sample::made(dir)
}

fn publish(near: &mut Seat, far: &mut Seat, snapshot: &str) {
    let snapshot = SnapshotId::parse(snapshot).expect("a valid id");
    let (markers, _) = near.turn(vec![Input::Initiate {
        snapshot: snapshot.clone(),
        start: None,
    }]);
    let (markers, theirs) = far.arrive(&me(), markers);
    let (_, ours) = near.arrive(&peer(), markers);
    let parts = ours.into_iter().chain(theirs);
    let parts: BTreeMap<_, _> = parts.map(|part| (part.process.clone(), part)).collect();
    loop {
        let missing = near.store.parts().missing_chunks(&parts[&peer()]);
        let missing = missing.expect("it can be read");
        if missing.is_empty() {
            break;
        }
        for hash in missing {
            let chunk = far.store.chunks().framed(&hash).expect("it is there");
            let adopted = near.store.chunks().adopt([(hash, chunk)]);
            adopted.expect("it is whole");
        }
    }
    let own = &parts[&me()].state;
    let mut state = GlobalState::begun(snapshot, me(), own.time, Lamport(own.clock.0 + 1));
    state.revision = 1;
    state.counted = parts
        .iter()
        .map(|(process, part)| {
            let counted = near.store.parts().count(&me(), part).expect("it is whole");
            (process.clone(), counted)
        })
        .collect();
    state.parts = parts;
    state.completeness = Completeness::Complete;
    near.store.history().publish(&state).expect("it is written");
}

#[test]
fn the_states_of_others_are_added_up() {
    let sample = kept_by_n1();
    let examined = examine(sample.path());
    let found: Vec<_> = examined.findings.iter().map(ToString::to_string).collect();
    assert_eq!(found, [""; 0]);
    assert_eq!(examined.report.states_of_others, SNAPSHOTS.len() as u64);
}

#[test]
fn a_balance_of_another_process_that_changed_is_named_from_there_on() {
    for (amount, wrong) in [(FAR, &SNAPSHOTS[..]), (LATER, &SNAPSHOTS[1..])] {
        let sample = kept_by_n1();
        let changed = sample.replace("chunks", &amount.to_le_bytes(), &(amount + 1).to_le_bytes());
        assert!(changed > 0, "{amount} stands in a chunk");
        let findings = findings(sample.path());
        for snapshot in SNAPSHOTS {
            let name = format!("snapshot {snapshot:?}, revision 1, the part of \"n2\"");
            let told = findings.iter().find(|finding| finding.contains(&name));
            assert_eq!(told.is_some(), wrong.contains(&snapshot), "{findings:#?}");
            let told = told.map_or("its cells have", String::as_str);
            assert!(told.contains("its cells have"), "{told}");
        }
    }
}

#[test]
fn a_sum_of_another_process_that_changed_is_named() {
    let sample = kept_by_n1();
    let total = i128::from(FAR) + i128::from(PADDING);
    let (stored, held) = (total.to_le_bytes(), (total + 1).to_le_bytes());
    assert!(sample.replace("history", &stored, &held) > 0, "it says so");
    let findings = findings(sample.path());
    let sentence = format!(
        "it states 201 accounts with {} in total, its cells have 201 and {total}",
        total + 1
    );
    assert!(
        findings.iter().any(|finding| finding.contains(&sentence)),
        "`{sentence}` is not in {findings:#?}"
    );
}
