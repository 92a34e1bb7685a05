//! What the simulation assumes of the store, as statements that its model and the real store must both pass.
//!
//! Without this suite, the simulation could rely on a store that does not exist. The statements are scripted (`cases.rs`, `history_cases.rs`), and
//! random runs compare all that can be seen of both stores after each step (`random_runs.rs`). The suite is part of this test
//! because the model is: no second copy of it is compiled.
//!
//! The model has no counterpart of packing, sweeping and trimming: these must not be visible ([`StoreContract::tidy`]), except
//! that turns before a horizon become unreadable. The node writes a state only after the previous one is durable; so does the
//! suite.

mod cases;
mod history_cases;
mod host;
#[path = "../../teller/images.rs"]
#[expect(dead_code, reason = "tests of the store use the rest")]
mod images;
mod model;
mod peers;
mod random_runs;
mod real;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use libtest_mimic::Trial;
use snapledger::history::global::{Counted, GlobalState};
use snapledger::history::part::{Part, RecordedChannel, RecordedMessage, RecordedState};
use snapledger::history::pin::Pin;
use snapledger::process::Process;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, Hash, Lsn, SnapshotId};
use snapledger::process::record::Turn;
use snapledger::process::recording::Recording;
use snapledger::process::registers::Sealed;

use crate::history::OtherRevision;
use crate::random::Random;

/// The end of a life of a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Crash {
    /// Nothing that reached the files is lost; what was not durable may be in the buffers of the process.
    Kill,
    /// What was not durable may be lost.
    PowerCut,
}

/// The store of process `p`. A call that fails panics: none of these may fail. Unless it says otherwise, what a call changes is
/// durable when it returns.
pub(crate) trait StoreContract {
    /// A new store.
    fn new(seed: u64) -> Self;
    /// Ends without closing, and opens again.
    fn crash(&mut self, crash: Crash);
    /// The process after the newest turn.
    fn recover(&mut self) -> Process;

    fn commit(&mut self, turn: &Turn);
    /// Makes everything written so far durable.
    fn sync(&mut self);
    /// The readable turns, oldest first.
    fn turns(&self) -> Vec<Turn>;
    fn balance_at(&self, account: &AccountId, position: Lsn) -> Option<i128>;

    /// Writes a state on top of the newest one; durable after the next sync.
    fn write_state(&mut self, sealed: Sealed);
    /// A written state.
    fn state(&self, cut: Lsn) -> Option<RecordedState>;
    /// The accounts in a recorded state.
    fn accounts(&self, state: &RecordedState) -> BTreeMap<AccountId, i64>;

    /// The part of a recording as it is; `None` while its state is not written.
    fn build_part(&mut self, recording: &Recording) -> Option<Part>;
    /// Stores the own part of a snapshot, unless there is one.
    fn put_part(&mut self, part: &Part);
    fn part(&self, snapshot: &SnapshotId) -> Option<Part>;
    fn messages(&self, channel: &RecordedChannel) -> Vec<RecordedMessage>;
    fn count(&self, part: &Part) -> Counted;

    /// The known hashes of missing chunks of a part.
    fn missing_chunks(&self, part: &Part) -> Vec<Hash>;
    /// Stores a chunk of another store, durable after the next sync. Returns whether its content has this hash.
    fn adopt_chunk(&mut self, hash: Hash, framed: Vec<u8>) -> bool;
    fn framed_chunk(&self, hash: &Hash) -> Vec<u8>;
    /// Keeps the chunks of a part that no stored value names yet.
    fn hold(&mut self, part: &Part);

    /// Publishes a revision of this process.
    fn publish(&mut self, state: &GlobalState) -> Result<(), OtherRevision>;
    /// Publishes a revision of another process. A deleted snapshot is not deleted any more.
    fn adopt(&mut self, state: &GlobalState) -> Result<(), OtherRevision>;
    fn next_revision(&self, snapshot: &SnapshotId, before: u32) -> u32;
    fn revision(&self, snapshot: &SnapshotId, revision: u32) -> Option<GlobalState>;
    fn newest(&self, snapshot: &SnapshotId) -> Option<GlobalState>;
    fn newest_complete(&self) -> Option<SnapshotId>;
    /// The published revisions in the order of arrival; those found at a start come first.
    fn arrivals(&self) -> Vec<(SnapshotId, u32)>;
    /// Whether this revision of another store is to be replicated.
    fn lacks(&self, state: &GlobalState) -> bool;

    /// The snapshots beyond a limit of their number, oldest first.
    fn due(&self, limit: usize) -> Vec<SnapshotId>;
    /// Returns whether the snapshot was deleted.
    fn delete(&mut self, snapshot: &SnapshotId) -> bool;
    fn is_deleted(&self, snapshot: &SnapshotId) -> bool;
    fn pin(&mut self, snapshot: &SnapshotId, pinned: bool, now: Hlc) -> Option<Pin>;
    /// Returns whether the snapshot was deleted here and is wanted again.
    fn note_pin(&mut self, snapshot: &SnapshotId, pin: Pin) -> bool;
    fn pins(&self) -> BTreeMap<SnapshotId, Pin>;

    /// Packs, sweeps and trims.
    fn tidy(&mut self);
}

/// A statement with its name. It runs on a new store; an assertion says what the simulation relies on.
type Statement<S> = (&'static str, fn(&mut host::Host<S>));

/// The trials of the suite.
pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = statements_about::<model::Model>("model");
    trials.extend(statements_about::<real::RealStore>("store"));
    trials.extend(random_runs::all());
    trials
}

fn statements_about<S: StoreContract + 'static>(of: &str) -> Vec<Trial> {
    let statements = cases::all::<S>().into_iter().chain(history_cases::all());
    let trial = |(name, statement): Statement<S>| {
        Trial::test(format!("contract_{of}_{name}"), move || {
            let run = || statement(&mut host::Host::new(1));
            let held = catch_unwind(AssertUnwindSafe(run));
            held.map_err(|panic| crate::seeds::sentence(panic.as_ref()).into())
        })
    };
    statements.map(trial).collect()
}
