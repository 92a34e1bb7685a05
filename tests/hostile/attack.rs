//! One attack beside honest clients: what the node held before, at most and after it, and what was refused.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::interval;

use crate::honest::Honest;
use crate::programs::Programs;
use crate::rest::{Rest, asked};
use crate::stores;

/// The time between two looks at the memory.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The time between two looks at what was refused, and the number of those for which an attack that has reached its limit
/// goes on.
const LIMIT_LOOK_EVERY: Duration = Duration::from_millis(200);
const LOOKS_AT_LIMIT: usize = 5;
/// For so long beyond its time an attack goes on if it has not reached its limit: a debug build on a busy machine is slow.
const LIMIT_PATIENCE: Duration = Duration::from_secs(60);

/// Starts another build (`$0`) as this one is started (`$@`). Before 0.2.0 there was no option `--insecure`.
const INSTEAD: &str = r#"shift 3
"$0" node --help | grep -q -e --insecure && set -- --insecure "$@"
exec "$0" node "$@"
"#;

/// An attack on the node n1 of a cluster of two.
pub(crate) struct Attack {
    pub(crate) name: &'static str,
    /// What bounds it, for the table.
    pub(crate) bound: &'static str,
    /// The memory that the node may take beside what it held before, bytes.
    pub(crate) growth_max: u64,
    /// What `refused_total` must count at least once each.
    pub(crate) reasons: &'static [&'static str],
    /// The time that it needs to reach its limit.
    pub(crate) least: Duration,
    pub(crate) leaves: Leaves,
    pub(crate) act: Act,
}

/// What an attack leaves to honest clients, who must then never be refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaves {
    /// All that they ask for.
    Everything,
    /// The connections that they have.
    OldConnections,
}

impl Attack {
    /// The fields that most attacks have in common.
    pub(crate) const ORDINARY: Self = Self {
        name: "",
        bound: "",
        growth_max: 0,
        reasons: &[],
        least: Duration::ZERO,
        leaves: Leaves::Everything,
        act: |_| Box::pin(std::future::ready(String::new())),
    };
}

type Act = fn(Target) -> Pin<Box<dyn Future<Output = String> + Send>>;

/// How attacks are run.
#[derive(Clone)]
pub(crate) struct Run {
    /// The time of an attack that needs no longer.
    pub(crate) time: Duration,
    /// Another build, of which nothing is asserted.
    pub(crate) program: Option<PathBuf>,
    /// Whether an attack that only waits is over a moment after each limit that it is to reach was reached.
    pub(crate) ends_at_limit: bool,
}

/// What is attacked, and for how long.
#[derive(Clone)]
pub(crate) struct Target {
    pub(crate) grpc: SocketAddr,
    pub(crate) rest: SocketAddr,
    progress: watch::Receiver<Progress>,
}

/// How far an attack is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Progress {
    Going,
    /// Nothing more is to be waited for.
    AtLimit,
    Over,
}

impl Target {
    pub(crate) fn is_over(&self) -> bool {
        *self.progress.borrow() == Progress::Over
    }

    /// Whether the end is only to be waited for.
    pub(crate) fn is_at_limit(&self) -> bool {
        *self.progress.borrow() >= Progress::AtLimit
    }

    /// Waits for the end of the attack, for which nothing more is to be sent.
    pub(crate) async fn end(&self) {
        let mut progress = self.progress.clone();
        let ended = progress.wait_for(|now| *now >= Progress::AtLimit).await;
        ended.expect("it is watched until it is over");
    }
}

/// The address of attackers that are other hosts than the honest clients.
pub(crate) const ELSEWHERE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 9, 9, 9));
/// Two further hosts of attackers.
pub(crate) const OTHERS: [IpAddr; 2] = [
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 3)),
];
/// The address of the honest clients' own host.
pub(crate) const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The result of an attack.
pub(crate) struct Row {
    name: &'static str,
    bound: &'static str,
    /// MiB before, at most, and after.
    memory: [u64; 3],
    honest: usize,
    honest_refused: usize,
    refused: u64,
    said: String,
}

impl Row {
    pub(crate) const HEAD: &str = "| attack | bound | MiB before | at most | after | honest calls | of them refused | refusals counted | \
         what the attacker saw |\n|---|---|---|---|---|---|---|---|---|";
}

impl fmt::Display for Row {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [before, most, after] = self.memory;
        let Self {
            name,
            bound,
            honest,
            honest_refused,
            refused,
            said,
            ..
        } = self;
        write!(
            to,
            "| {name} | {bound} | {before} | {most} | {after} | {honest} | {honest_refused} | {refused} | {said} |"
        )
    }
}

/// Two nodes with their honest clients, which are attacked once or several times.
pub(crate) struct Stage {
    programs: Programs,
    rest: Rest,
    honest: Honest,
    /// The memory of the node before the first attack, bytes.
    calm: u64,
    run: Run,
}

impl Stage {
    pub(crate) async fn begin(leaves: Leaves, run: Run) -> Self {
        let mut programs = Programs::planned(2);
        if let Some(program) = &run.program {
            let program = program.display().to_string();
            let instead = ["sh", "-c", INSTEAD, &program];
            for id in programs.ids() {
                programs.run_inside(id, &instead.map(str::to_owned));
            }
        }
        for id in programs.ids() {
            for (name, value) in stores::LIMITS {
                programs.set(id, name, value);
            }
        }
        programs.start_all().await;
        let rest = programs.rest("n1");
        let honest = Honest::begin(&programs, leaves, run.program.is_none()).await;
        honest.goes_on(20).await;
        let calm = resident(&programs);
        Self {
            programs,
            rest,
            honest,
            calm,
            run,
        }
    }

    pub(crate) async fn attacked(&mut self, attack: &Attack) -> Row {
        let is_asserted = self.run.program.is_none();
        let reasons = attack.reasons;
        let before = refused(&self.rest, reasons).await.expect("it answers");
        let memory = Memory::watched(&self.programs);
        let (progress, observed) = watch::channel(Progress::Going);
        let target = Target {
            grpc: self.programs.grpc("n1"),
            rest: self.programs.address("n1"),
            progress: observed,
        };
        let time = self.run.time.max(attack.least);
        let (said, ()) = tokio::join!(
            (attack.act)(target),
            self.watch(reasons, &before, time, progress)
        );
        let most = memory.most();
        self.honest.goes_on(20).await;
        let after = refused(&self.rest, reasons).await.expect("it answers");
        let refused: Vec<u64> = after.iter().zip(&before).map(|(a, b)| a - b).collect();
        let (calls, honest_refused) = self.honest.take();
        if is_asserted {
            let (name, calm, max) = (attack.name, self.calm, attack.growth_max);
            assert_eq!(honest_refused, Vec::<String>::new(), "{name}: honest calls");
            let grown = most.saturating_sub(calm);
            assert!(
                grown <= max,
                "{name}: {calm} bytes have grown by {grown}, over {max}"
            );
            assert!(
                !refused.contains(&0),
                "{name}: {reasons:?} counted {refused:?}"
            );
        }
        let memory = [self.calm, most, resident(&self.programs)];
        Row {
            name: attack.name,
            bound: attack.bound,
            memory: memory.map(|bytes| bytes >> 20),
            honest: calls,
            honest_refused: honest_refused.len(),
            refused: refused.iter().sum(),
            said,
        }
    }

    // An attack is over when its time is and each limit that it is to reach was reached.
    async fn watch(
        &self,
        reasons: &[&str],
        before: &[u64],
        time: Duration,
        progress: watch::Sender<Progress>,
    ) {
        let begun = Instant::now();
        let mut looks = interval(LIMIT_LOOK_EVERY);
        // Nothing is expected of another build.
        let mut is_reached = reasons.is_empty() || self.run.program.is_some();
        let mut looks_at_limit = 0;
        while begun.elapsed() < time || (!is_reached && begun.elapsed() < time + LIMIT_PATIENCE) {
            looks.tick().await;
            if reasons.is_empty() || (is_reached && !self.run.ends_at_limit) {
                continue;
            }
            let Some(now) = refused(&self.rest, reasons).await else {
                continue;
            };
            is_reached |= now.iter().zip(before).all(|(now, before)| now > before);
            looks_at_limit += usize::from(is_reached);
            if self.run.ends_at_limit && looks_at_limit == LOOKS_AT_LIMIT {
                progress.send_replace(Progress::AtLimit);
            }
        }
        progress.send_replace(Progress::Over);
    }

    /// Stops the clients and the nodes, and verifies balances and stores.
    pub(crate) async fn end(mut self) {
        let is_asserted = self.run.program.is_none();
        self.honest.end(&self.programs, is_asserted).await;
        if is_asserted {
            self.programs.stop_and_check_all().await;
        }
    }
}

fn resident(programs: &Programs) -> u64 {
    // Where the system does not report it, the other assertions remain.
    programs.resident_bytes("n1").unwrap_or(0)
}

// Series of `refused_total`. A build without it counts nothing.
async fn refused(rest: &Rest, reasons: &[&str]) -> Option<Vec<u64>> {
    let text = rest.try_send(asked("/metrics", &[])).await?.body;
    let counted = reasons.iter().map(|reason| {
        let series = format!("snapledger_refused_total{{reason=\"{reason}\"}} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&series));
        value.map_or(0, |value| value.trim().parse().expect("a count"))
    });
    Some(counted.collect())
}

/// The largest memory of the node while it is watched.
struct Memory {
    most: Arc<AtomicU64>,
    watching: JoinHandle<()>,
}

impl Memory {
    fn watched(programs: &Programs) -> Self {
        let most = Arc::new(AtomicU64::new(0));
        let status = programs.status_file("n1");
        let noted = Arc::clone(&most);
        let watching = tokio::spawn(async move {
            let mut looks = interval(LOOK_EVERY);
            loop {
                looks.tick().await;
                let now = Programs::resident_in(&status).unwrap_or(0);
                noted.fetch_max(now, Ordering::Relaxed);
            }
        });
        Self { most, watching }
    }

    fn most(self) -> u64 {
        self.watching.abort();
        self.most.load(Ordering::Relaxed)
    }
}
