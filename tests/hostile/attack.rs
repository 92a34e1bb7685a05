//! One attack beside honest clients: what the node held before, at most and after it, and what was refused.

use std::fmt;
use std::future::Future;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

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

/// How an attack is run.
pub(crate) struct Run {
    pub(crate) time: Duration,
    /// Another build, of which nothing is asserted.
    pub(crate) program: Option<PathBuf>,
    /// Whether an attack is over a moment after each limit that it is to reach was reached.
    pub(crate) ends_at_limit: bool,
}

/// What is attacked, and for how long.
#[derive(Clone, Copy)]
pub(crate) struct Target {
    pub(crate) grpc: SocketAddr,
    pub(crate) rest: SocketAddr,
    pub(crate) until: Instant,
    /// The counters of `refused_total` with which it is over earlier; empty: none.
    ends_with: &'static [&'static str],
}

impl Target {
    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until
    }

    /// Waits for the end of the attack, for which nothing more is to be sent.
    pub(crate) async fn end(&self) {
        let rest = Rest::new(self.rest);
        let mut looks = interval(LIMIT_LOOK_EVERY);
        let mut reached = 0;
        while !self.is_over() && reached < LOOKS_AT_LIMIT {
            looks.tick().await;
            // While all connections are taken there is no answer.
            let refused = refused(&rest, self.ends_with).await.unwrap_or_default();
            reached += usize::from(!refused.is_empty() && !refused.contains(&0));
        }
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

impl Attack {
    pub(crate) async fn run(&self, run: Run) -> Row {
        let is_asserted = run.program.is_none();
        let mut programs = Programs::planned(2);
        if let Some(program) = run.program {
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
        let honest = Honest::begin(&programs, self.leaves, is_asserted).await;
        honest.goes_on(20).await;
        let refused_before = refused(&rest, self.reasons).await;
        let refused_before = refused_before.expect("it answers");
        let before = resident(&programs);
        let memory = Memory::watched(&programs);
        let target = Target {
            grpc: programs.grpc("n1"),
            rest: programs.address("n1"),
            until: Instant::now() + run.time,
            ends_with: match run.ends_at_limit {
                true => self.reasons,
                false => &[],
            },
        };
        let said = (self.act)(target).await;
        let most = memory.most();
        honest.goes_on(20).await;
        let refused = refused(&rest, self.reasons).await.expect("it answers");
        let refused = refused.iter().zip(&refused_before);
        let refused: Vec<u64> = refused.map(|(after, before)| after - before).collect();
        let honest = honest.end(&programs, is_asserted).await;
        let after = resident(&programs);
        if is_asserted {
            let name = self.name;
            assert_eq!(honest.refused, Vec::<String>::new(), "{name}: honest calls");
            let grown = most.saturating_sub(before);
            let max = self.growth_max;
            assert!(
                grown <= max,
                "{name}: {before} bytes have grown by {grown}, over {max}"
            );
            let reasons = self.reasons;
            assert!(
                !refused.contains(&0),
                "{name}: {reasons:?} counted {refused:?}"
            );
            programs.stop_and_check_all().await;
        }
        Row {
            name: self.name,
            bound: self.bound,
            memory: [before, most, after].map(|bytes| bytes >> 20),
            honest: honest.calls,
            honest_refused: honest.refused.len(),
            refused: refused.iter().sum(),
            said,
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
