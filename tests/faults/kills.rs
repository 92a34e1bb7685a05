//! Repeated `kill -9` of random nodes under load and with continuous snapshots, also while a node opens its store, and
//! of several nodes at once (fault 1). Without this, durability is only claimed.

use std::fmt;
use std::time::{Duration, Instant};

use crate::programs::{IDS, Programs};
use crate::random::Random;
use crate::scene::{Outcome, Scene};
use crate::view::peer_is;

/// The parameters of a run. The same seed kills the same nodes after the same numbers of acknowledged calls.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Plan {
    pub(crate) kills: usize,
    pub(crate) nodes: usize,
    pub(crate) seed: u64,
}

/// The result of a run.
pub(crate) struct Report {
    plan: Plan,
    kills: usize,
    in_opening: usize,
    /// The times from program start to readiness, ascending.
    reopened: Vec<Duration>,
    outcome: Outcome,
}

struct Killer {
    scene: Scene,
    random: Random,
    kills: usize,
    in_opening: usize,
    reopened: Vec<Duration>,
}

/// How often a long run reports its progress.
const SAY_EVERY: Duration = Duration::from_secs(5);
/// A node killed during opening is killed within this time.
const OPENING_MS: u64 = 80;

/// Executes the plan; `says` receives the progress.
pub(crate) async fn run(plan: Plan, says: impl Fn(String)) -> Report {
    let nodes = plan.nodes.clamp(2, IDS.len());
    let scene = Scene::open(Programs::planned(nodes), plan.seed).await;
    let mut killer = Killer {
        scene,
        random: Random::new(plan.seed),
        kills: 0,
        in_opening: 0,
        reopened: Vec::new(),
    };
    let begun = Instant::now();
    let mut printed_at = begun;
    while killer.kills < plan.kills {
        killer.kill_some().await;
        if printed_at.elapsed() >= SAY_EVERY {
            printed_at = Instant::now();
            let (snapshots, _) = killer.scene.chronicle.counts();
            says(format!(
                "{:>6} s  {} of {} kills, {} operations, {snapshots} snapshots",
                begun.elapsed().as_secs(),
                killer.kills,
                plan.kills,
                killer.scene.load.tallies.operations(),
            ));
        }
    }
    says("the last is killed; everything is verified".to_owned());
    let Killer {
        scene,
        kills,
        in_opening,
        mut reopened,
        ..
    } = killer;
    reopened.sort_unstable();
    Report {
        plan,
        kills,
        in_opening,
        reopened,
        outcome: scene.close().await,
    }
}

impl Killer {
    async fn kill_some(&mut self) {
        self.scene.load.goes_on(1 + self.random.below(30)).await;
        let victims = self.victims();
        for id in &victims {
            self.kill(id);
        }
        let some_are_left = victims.len() < self.scene.programs.ids().len();
        if some_are_left && self.random.below(2) == 0 {
            self.scene.load.goes_on(self.random.below(20)).await;
        }
        if self.random.below(12) == 0 {
            self.are_missed(&victims).await;
        }
        for id in &victims {
            self.open(id).await;
        }
        for id in victims {
            self.scene.holds_what_it_acknowledged(id).await;
            self.scene
                .chronicle
                .is_as_before(id, &mut self.random)
                .await;
        }
    }

    // The victims stay down until the others report them as down and a snapshot begins without them.
    async fn are_missed(&mut self, victims: &[&'static str]) {
        let ids = self.scene.programs.ids();
        let Some(left) = ids.into_iter().find(|id| !victims.contains(id)) else {
            return;
        };
        let rest = self.scene.programs.rest(left);
        for victim in victims {
            peer_is(&rest, victim, "down").await;
        }
        let floor = self.scene.load.tallies.deposits_acknowledged();
        if let Some(id) = self.scene.chronicle.begin(left, floor).await {
            rest.snapshot(&id, "partial").await;
        }
    }

    // Usually one, sometimes two, rarely all.
    fn victims(&mut self) -> Vec<&'static str> {
        let mut ids = self.scene.programs.ids();
        let count = match self.random.below(12) {
            0 => ids.len(),
            1 | 2 => 2,
            _ => 1,
        };
        while ids.len() > count {
            ids.swap_remove(self.random.index(ids.len()));
        }
        ids
    }

    async fn open(&mut self, id: &'static str) {
        while self.random.below(6) == 0 {
            self.scene.programs.spawn(id);
            let moment = Duration::from_millis(self.random.below(OPENING_MS));
            self.scene.programs.goes_on_for(id, moment).await;
            self.kill(id);
            self.in_opening += 1;
        }
        self.reopened.push(self.scene.programs.start(id).await);
    }

    fn kill(&mut self, id: &str) {
        self.scene.programs.kill(id);
        self.kills += 1;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { nodes, seed, .. } = self.plan;
        let median = self.reopened.get(self.reopened.len() / 2);
        let median = median.copied().unwrap_or_default();
        let slowest = self.reopened.last().copied().unwrap_or_default();
        writeln!(f, "nodes                     {nodes}")?;
        writeln!(f, "seed                      {seed}")?;
        writeln!(f, "kills                     {}", self.kills)?;
        writeln!(f, "  of them in opening      {}", self.in_opening)?;
        writeln!(f, "time to reopen, median    {} ms", median.as_millis())?;
        writeln!(f, "time to reopen, maximum   {} ms", slowest.as_millis())?;
        write!(f, "{}", self.outcome)
    }
}
