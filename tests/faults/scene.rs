//! A cluster under load with continuous snapshots: the setting of every fault in this folder, and the properties that
//! must hold during and after it.

use std::fmt;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::await_it::until;
use crate::chronicle::{BEGIN_EVERY, Chronicle, prove};
use crate::load::{Load, OWN_GROWTH, Tallies};
use crate::programs::Programs;
use crate::random::Random;
use crate::view::peer_is;

/// The programs, the clients, and the snapshot history they produce.
pub(crate) struct Scene {
    pub(crate) programs: Programs,
    pub(crate) load: Load,
    pub(crate) chronicle: Chronicle,
    stop: watch::Sender<bool>,
    rolling: JoinHandle<()>,
    begun: Instant,
}

/// The figures of a run.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outcome {
    pub(crate) operations: usize,
    pub(crate) retries: usize,
    pub(crate) slowest: Duration,
    pub(crate) snapshots: usize,
    pub(crate) partial_first: usize,
    pub(crate) took: Duration,
}

impl Scene {
    /// Starts every node, the clients, and snapshots from all nodes.
    pub(crate) async fn open(mut programs: Programs, seed: u64) -> Self {
        let begun = Instant::now();
        programs.start_all().await;
        // A peer that was never seen up is not reported as down.
        for (id, other) in pairs(&programs.ids()) {
            peer_is(&programs.rest(id), other, "up").await;
        }
        let mut load = Load::begin(&programs).await;
        let ids = programs.ids();
        let rests = ids.iter().map(|id| (*id, programs.rest(id)));
        let chronicle = Chronicle::new(rests.collect());
        load.goes_on(10).await;
        let (stop, stopped) = watch::channel(false);
        let rolling = roll(chronicle.clone(), load.tallies.clone(), ids, seed);
        let rolling = tokio::spawn(async move {
            let mut stopped = stopped;
            tokio::select! {
                () = rolling => {}
                _ = stopped.wait_for(|stop| *stop) => {}
            }
        });
        Self {
            programs,
            load,
            chronicle,
            stop,
            rolling,
            begun,
        }
    }

    /// Asserts that the accounts into which only the clients of this node deposit hold at least what was acknowledged
    /// and at most what was requested.
    pub(crate) async fn holds_what_it_acknowledged(&self, id: &str) {
        let rest = self.programs.rest(id);
        for index in 0..self.load.tallies.each().len() {
            let before = self.load.tallies.each().swap_remove(index);
            if before.node != id || before.own_acknowledged == 0 {
                continue;
            }
            let balance = rest.balance(&before.own).await.unwrap_or_default();
            let after = self.load.tallies.each().swap_remove(index);
            let most = after.own_acknowledged + OWN_GROWTH;
            assert!(
                (before.own_acknowledged..=most).contains(&balance),
                "{} of {id} holds {balance}: {before:?}, then {after:?}",
                before.own
            );
        }
    }

    /// Stops the load and verifies everything. All nodes must be running and connected.
    pub(crate) async fn close(self) -> Outcome {
        let Self {
            mut programs,
            load,
            chronicle,
            stop,
            rolling,
            begun,
        } = self;
        let tallies = load.tallies.clone();
        let mut ledger = load.end().await;
        stop.send_replace(true);
        rolling.await.expect("no snapshot broke a promise");
        chronicle.is_whole(|| tallies.deposits_asked()).await;

        for ((process, account), balance) in &ledger.book {
            programs.rest(process).balance_is(account, *balance).await;
        }
        let first = programs.ids()[0];
        let rest = programs.rest(first);
        let id = until("a snapshot begun", async || chronicle.begin(first, 0).await).await;
        let last = rest.snapshot(&id, "complete").await;
        let all = tallies.deposits_acknowledged();
        prove(&last, (all, all));
        assert_eq!(
            last["totals"]["in_flight"], 0,
            "nothing is under way: {last}"
        );
        let booked: i64 = ledger.book.values().sum();
        assert_eq!(
            last["totals"]["balances"], booked,
            "and nothing is elsewhere"
        );

        ledger.ask_again().await;
        programs.stop_and_check_all().await;
        let (snapshots, partial_first) = chronicle.counts();
        let each = tallies.each();
        Outcome {
            operations: tallies.operations(),
            retries: each.iter().map(|tally| tally.retries).sum(),
            slowest: each
                .iter()
                .map(|tally| tally.slowest)
                .max()
                .unwrap_or_default(),
            snapshots,
            partial_first,
            took: begun.elapsed(),
        }
    }
}

fn pairs(ids: &[&'static str]) -> Vec<(&'static str, &'static str)> {
    let others = |id: &&'static str| {
        let id = *id;
        ids.iter()
            .filter(move |other| **other != id)
            .map(move |other| (id, *other))
    };
    ids.iter().flat_map(others).collect()
}

// Begins snapshots on random nodes and checks them, until cancelled.
async fn roll(chronicle: Chronicle, tallies: Tallies, ids: Vec<&'static str>, seed: u64) {
    let mut random = Random::new(seed ^ 0x5eed);
    let mut every = interval(BEGIN_EVERY);
    every.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let initiator = ids[random.index(ids.len())];
        chronicle
            .begin(initiator, tallies.deposits_acknowledged())
            .await;
        chronicle.look(|| tallies.deposits_asked()).await;
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "operations acknowledged   {}", self.operations)?;
        writeln!(f, "calls asked again         {}", self.retries)?;
        writeln!(
            f,
            "slowest call              {} ms",
            self.slowest.as_millis()
        )?;
        writeln!(f, "snapshots, all complete   {}", self.snapshots)?;
        writeln!(f, "  of them partial first   {}", self.partial_first)?;
        writeln!(f, "lost, doubled, changed    none; every store checked")?;
        write!(f, "duration                  {} s", self.took.as_secs())
    }
}
