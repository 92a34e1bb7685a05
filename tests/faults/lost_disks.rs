//! The disk of a node is lost again and again while payment orders are replayed and snapshots are taken: the node is killed, or frozen
//! and taken for dead; it is restored elsewhere from its archive; the frozen one wakes up beside it. Nothing that was acknowledged
//! (`sync`), or that others depend on (`peers`), may be missing. Without this the archive is only claimed to replace a disk.

use std::fmt;
use std::path::PathBuf;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use crate::archive_place::Place;
use crate::await_it::until;
use crate::chronicle::{BEGIN_EVERY, Chronicle, prove};
use crate::load::Book;
use crate::orders::{Feed, Orders};
use crate::programs::{IDS, PROGRAM, Programs};
use crate::proxy::Proxy;
use crate::random::Random;
use crate::rest::{Rest, asked};

/// The node whose disk is lost.
const LOST: &str = "n2";
const OTHERS: [&str; 2] = ["n1", "n3"];
/// The exit code of a process whose journal another one has taken over.
const TAKEN_OVER_CODE: i32 = 3;
/// So many answered orders are sent again after a loss; they must not be done again.
const REPEATED: usize = 20;

/// The parameters of a run.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) losses: usize,
    /// `archive.journal` of all nodes.
    pub(crate) waits: String,
    pub(crate) orders: Option<PathBuf>,
    pub(crate) on_s3: bool,
    pub(crate) seed: u64,
}

/// The result of a run.
pub(crate) struct Report {
    plan: Plan,
    zombies: usize,
    /// Orders that were acknowledged and lost, by loss.
    lost: Vec<usize>,
    /// The times from the loss to the restored store, and to readiness, ascending.
    restored: Vec<Duration>,
    ready: Vec<Duration>,
    orders: usize,
    snapshots: usize,
    partial_first: usize,
    took: Duration,
}

struct Loser {
    plan: Plan,
    programs: Programs,
    place: Place,
    orders: Orders,
    /// Through which the others reach the node, wherever it is.
    proxy: Proxy,
    chronicle: Chronicle,
    random: Random,
    report: Report,
}

/// Executes the plan; `says` receives the progress.
pub(crate) async fn run(plan: Plan, says: impl Fn(String)) -> Report {
    let begun = Instant::now();
    let mut loser = Loser::begin(plan).await;
    let rolling = loser.roll();
    let losses = loser.plan.losses;
    for number in 0..losses {
        loser.stretch(number, losses).await;
        says(format!(
            "{:>6} s  {} of {losses} losses",
            begun.elapsed().as_secs(),
            number + 1
        ));
    }
    rolling.abort();
    let broken = rolling.await.err().filter(|error| !error.is_cancelled());
    assert!(broken.is_none(), "{broken:?}");
    says("everything is verified".to_owned());
    let mut report = loser.close().await;
    report.took = begun.elapsed();
    report
}

impl Loser {
    async fn begin(plan: Plan) -> Self {
        let place = match plan.on_s3 {
            true => Place::s3().await,
            false => Place::directory(),
        };
        let mut programs = Programs::planned(3);
        for id in programs.ids() {
            for (name, value) in place.environment() {
                programs.set(id, &name, &value);
            }
        }
        programs.add_table(&format!(
            "[archive]\nurl = {:?}\njournal = {:?}\n",
            place.url(),
            plan.waits
        ));
        let proxy = Proxy::before(programs.grpc(LOST)).await;
        for other in OTHERS {
            programs.detour(other, LOST, proxy.address);
        }
        programs.start_all().await;
        let orders = match &plan.orders {
            Some(file) => Orders::read(file),
            None => Orders::made(plan.seed),
        };
        for id in programs.ids() {
            let feed = orders.feed(id, programs.grpc(id), orders.deposits(id));
            feed.end().await;
        }
        // A lost disk may take with it that a snapshot was begun there; the others begin those that are followed.
        let rests = OTHERS.map(|id| (id, programs.rest(id)));
        Self {
            chronicle: Chronicle::new(rests.into()),
            random: Random::new(plan.seed),
            report: Report::new(&plan, orders.count()),
            plan,
            programs,
            place,
            orders,
            proxy,
        }
    }

    // Begins snapshots and checks them, until cancelled.
    fn roll(&self) -> JoinHandle<()> {
        let (chronicle, deposited) = (self.chronicle.clone(), self.orders.deposited());
        let mut random = Random::new(self.plan.seed ^ 0x5eed);
        tokio::spawn(async move {
            let mut every = interval(BEGIN_EVERY);
            every.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                every.tick().await;
                let initiator = OTHERS[random.index(OTHERS.len())];
                chronicle.begin(initiator, deposited).await;
                chronicle.look(|| deposited).await;
            }
        })
    }

    // A stretch of all orders, with a loss somewhere in it.
    async fn stretch(&mut self, number: usize, of: usize) {
        let others = OTHERS.map(|id| self.feed(id, self.orders.stretch(id, number, of)));
        let range = self.orders.stretch(LOST, number, of);
        let (start, end) = (range.start, range.end);
        let length = u64::try_from(end - start).expect("it is small");
        let enough = start + usize::try_from(self.random.below(length)).expect("it is small");
        let feed = self.feed(LOST, start..end);
        until("enough acknowledged orders", async || {
            (feed.acknowledged() >= enough).then_some(())
        })
        .await;
        let zombie = match self.random.below(3) {
            0 => Some(self.freeze()),
            _ => None,
        };
        if zombie.is_none() {
            self.programs.kill(LOST);
            std::fs::remove_dir_all(self.programs.store(LOST)).expect("it has a store");
        }
        self.restore(number).await;
        let done = self.done().await;
        if let Some(zombie) = zombie {
            self.wake(zombie).await;
        }
        let acknowledged = feed.stop();
        let lost = acknowledged.saturating_sub(done);
        let sync = self.plan.waits == "sync";
        assert!(!sync || lost == 0, "{lost} acknowledged orders are lost");
        self.report.lost.push(lost);
        let again = done.min(acknowledged).saturating_sub(REPEATED).max(start);
        self.feed(LOST, again..end).end().await;
        for feed in others {
            feed.end().await;
        }
        assert_eq!(
            self.done().await,
            end,
            "the rest is done, and nothing is done twice"
        );
    }

    fn feed(&self, id: &'static str, range: std::ops::Range<usize>) -> Feed {
        self.orders.feed(id, self.programs.grpc(id), range)
    }

    fn freeze(&mut self) -> Child {
        self.programs.signal(LOST, "STOP");
        self.programs.give_up(LOST)
    }

    // Restores the node elsewhere, and starts it there.
    async fn restore(&mut self, number: usize) {
        let lost = Instant::now();
        self.programs.move_to(LOST, &format!("{LOST}-{number}"));
        let restored = Command::new(PROGRAM)
            .args([
                "restore",
                "--archive",
                &self.place.url(),
                "--cluster",
                "faults",
            ])
            .args(["--process", LOST, "--into"])
            .arg(self.programs.store(LOST))
            .envs(self.place.environment())
            .output()
            .expect("the program runs");
        assert!(restored.status.success(), "{restored:?}");
        self.report.restored.push(lost.elapsed());
        self.programs.start(LOST).await;
        self.proxy.move_to(self.programs.grpc(LOST));
        self.proxy.cut();
        self.report.ready.push(lost.elapsed());
    }

    // The frozen program wakes up with its clients and its connections, and ends.
    async fn wake(&mut self, mut zombie: Child) {
        let woken = Pid::from_child(&zombie);
        kill_process(woken, Signal::CONT).expect("it is frozen");
        let status = until("the end of the process that was taken over", async || {
            zombie.try_wait().expect("a child")
        })
        .await;
        assert_eq!(status.code(), Some(TAKEN_OVER_CODE));
        self.report.zombies += 1;
    }

    // How many of its orders the node has done, according to a snapshot.
    async fn done(&self) -> usize {
        let rest = self.programs.rest(OTHERS[0]);
        let id = rest.start_snapshot().await;
        let deposited = self.orders.deposited();
        prove(
            &rest.snapshot(&id, "complete").await,
            (deposited, deposited),
        );
        self.orders.done(LOST, &balances(&rest, &id).await)
    }

    async fn close(mut self) -> Report {
        let deposited = self.orders.deposited();
        self.chronicle.is_whole(|| deposited).await;
        let rest = self.programs.rest(LOST);
        let id = until("a snapshot with nothing under way", async || {
            let id = rest.start_snapshot().await;
            let snapshot = rest.snapshot(&id, "complete").await;
            prove(&snapshot, (deposited, deposited));
            (snapshot["totals"]["in_flight"] == 0).then_some(id)
        })
        .await;
        let expected = self.orders.balances();
        let expected: Book = expected
            .into_iter()
            .filter(|(_, balance)| *balance != 0)
            .collect();
        let held = balances(&rest, &id).await;
        let held: Book = held
            .into_iter()
            .filter(|(_, balance)| *balance != 0)
            .collect();
        assert_eq!(held, expected, "as the file says");
        let cluster = rest.read("/v1/cluster").await;
        let channels = cluster["channels"].as_array().expect("a list");
        let is_open = |channel: &serde_json::Value| channel["state"] == json!("open");
        assert!(
            channels.iter().all(is_open),
            "nobody contradicts: {cluster}"
        );
        self.programs.stop_and_check_all().await;
        let (snapshots, partial_first) = self.chronicle.counts();
        Report {
            snapshots,
            partial_first,
            ..self.report
        }
    }
}

// What every account holds in a snapshot.
async fn balances(rest: &Rest, id: &str) -> Book {
    let path = format!("/v1/snapshots/{id}/balances");
    let table = rest.send(asked(&path, &[("accept", "text/csv")])).await;
    assert_eq!(table.status, 200, "{table:?}");
    let rows = table.body.lines().skip(1).map(|row| {
        let fields: Vec<&str> = row.split(',').collect();
        let [process, account, balance] = fields[..] else {
            unreachable!("three fields: {row}");
        };
        let process = IDS.into_iter().find(|id| *id == process);
        let key = (process.expect("a process"), account.to_owned());
        (key, balance.trim().parse().expect("an integer"))
    });
    rows.collect()
}

impl Report {
    fn new(plan: &Plan, orders: usize) -> Self {
        Self {
            plan: plan.clone(),
            zombies: 0,
            lost: Vec::new(),
            restored: Vec::new(),
            ready: Vec::new(),
            orders,
            snapshots: 0,
            partial_first: 0,
            took: Duration::ZERO,
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan {
            losses,
            waits,
            on_s3,
            seed,
            ..
        } = &self.plan;
        let figures = |times: &[Duration]| {
            let mut times = times.to_vec();
            times.sort_unstable();
            let median = times.get(times.len() / 2).copied().unwrap_or_default();
            let slowest = times.last().copied().unwrap_or_default();
            format!(
                "median {} ms, maximum {} ms",
                median.as_millis(),
                slowest.as_millis()
            )
        };
        let storage = if *on_s3 { "S3" } else { "a directory" };
        let most = self.lost.iter().max().copied().unwrap_or_default();
        writeln!(f, "archive                   {storage}, {waits}")?;
        writeln!(f, "seed                      {seed}")?;
        writeln!(f, "losses of a disk          {losses}")?;
        writeln!(
            f,
            "  of them with a zombie   {}, each ended with code 3",
            self.zombies
        )?;
        writeln!(f, "loss to restored store    {}", figures(&self.restored))?;
        writeln!(f, "loss to ready             {}", figures(&self.ready))?;
        writeln!(f, "orders                    {}", self.orders)?;
        writeln!(
            f,
            "  acknowledged and lost   {}, at most {most} with one disk; done when they were sent again",
            self.lost.iter().sum::<usize>()
        )?;
        writeln!(f, "snapshots, all complete   {}", self.snapshots)?;
        writeln!(f, "  of them partial first   {}", self.partial_first)?;
        writeln!(
            f,
            "balances                  as the orders say; every store checked"
        )?;
        write!(f, "duration                  {} s", self.took.as_secs())
    }
}
