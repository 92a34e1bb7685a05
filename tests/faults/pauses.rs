//! A node is frozen for so long that the others report it as down, and then resumes (fault 21). Without this, a machine
//! that was suspended could deliver twice or be waited for indefinitely.

use std::fmt;
use std::time::{Duration, Instant};

use crate::programs::Programs;
use crate::scene::{Outcome, Scene};
use crate::view::{cannot_answer_for, names, peer_is};

/// The result of a run.
pub(crate) struct Report {
    frozen: Duration,
    noticed: Duration,
    partial: Duration,
    complete: Duration,
    outcome: Outcome,
}

/// Freezes one of three nodes for at least this time, and until the others have noticed.
pub(crate) async fn run(time: Duration, seed: u64) -> Report {
    let mut scene = Scene::open(Programs::planned(3), seed).await;
    let rest = scene.programs.rest("n1");
    scene.programs.signal("n3", "STOP");
    let begun = Instant::now();
    let floor = scene.load.tallies.deposits_acknowledged();
    let id = scene.chronicle.begin("n1", floor).await;
    let id = id.expect("n1 is well");
    let of_n2 = scene.programs.rest("n2");
    tokio::join!(peer_is(&rest, "n3", "down"), peer_is(&of_n2, "n3", "down"));
    let noticed = begun.elapsed();
    names(&rest.snapshot(&id, "partial").await, "n3");
    let partial = begun.elapsed();
    cannot_answer_for(&rest, "n3").await;
    scene.load.goes_on(50).await;
    while begun.elapsed() < time {
        scene.load.goes_on(10).await;
    }

    scene.programs.signal("n3", "CONT");
    let frozen = begun.elapsed();
    peer_is(&rest, "n3", "up").await;
    rest.snapshot(&id, "complete").await;
    let complete = begun.elapsed() - frozen;
    scene.holds_what_it_acknowledged("n3").await;
    Report {
        frozen,
        noticed,
        partial,
        complete,
        outcome: scene.close().await,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "frozen for                {} ms",
            self.frozen.as_millis()
        )?;
        writeln!(
            f,
            "said to be down after     {} ms",
            self.noticed.as_millis()
        )?;
        writeln!(
            f,
            "snapshot partial after    {} ms",
            self.partial.as_millis()
        )?;
        writeln!(
            f,
            "complete after going on   {} ms",
            self.complete.as_millis()
        )?;
        write!(f, "{}", self.outcome)
    }
}
