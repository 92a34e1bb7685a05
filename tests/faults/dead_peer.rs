//! A peer that stays down costs disk space, not memory, however much is queued for it. When it returns, it is served
//! without starving the clients. Without this, one absent node could take down the others.

use std::fmt;
use std::time::{Duration, Instant};

use snapledger::proto::chandy_lamport::PutRequest;
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::{ApplyRequest, Operation};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

use crate::load::{deposit, payment};
use crate::programs::Programs;
use crate::rest::Rest;
use crate::view::channel;

/// Transfers per call.
const BATCH: usize = 1000;
const VALUE_BYTES: usize = 32 * 1024;
/// Small calls that are timed before the peer is back.
const PROBES: usize = 500;
/// Concurrent puts.
const PUTS: usize = 16;
/// The queue of the short run. The values come in two halves of 75 MiB.
const VALUES: usize = 4800;
const TRANSFERS: usize = 10_000;
/// How much memory the second half may add. Measured in a debug build: −14 to 28 MiB, from changes in the engine's
/// cache. If the values were held in memory, it would be 75 MiB.
const GROWTH_MAX: u64 = 56 << 20;
/// No call may take longer while the peer is being served; most take 3 ms.
const CALL_MAX: Duration = Duration::from_secs(10);

/// A node that runs, and a peer that does not.
struct Waiting {
    programs: Programs,
    ledger: LedgerServiceClient<Channel>,
    keys: KeyValueServiceClient<Channel>,
    one: Rest,
    sent: usize,
}

/// The result of the long run.
pub(crate) struct Report {
    queued: usize,
    /// The number of queued messages, and the resident bytes at that time.
    resident: Vec<(usize, u64)>,
    alone: Latencies,
    draining: Latencies,
    drained_in: Duration,
}

/// The times of single calls, ascending.
struct Latencies(Vec<Duration>);

impl Waiting {
    async fn begin() -> Self {
        let mut programs = Programs::planned(2);
        programs.start("n1").await;
        let endpoint = Endpoint::from_shared(format!("http://{}", programs.grpc("n1")));
        let connection = endpoint.expect("an address makes a URI").connect_lazy();
        let mut waiting = Self {
            one: programs.rest("n1"),
            programs,
            ledger: LedgerServiceClient::new(connection.clone()),
            keys: KeyValueServiceClient::new(connection),
            sent: 0,
        };
        waiting.apply(vec![deposit("", "cash", 1 << 50)]).await;
        waiting
    }

    async fn apply(&mut self, operations: Vec<Operation>) {
        let answer = self.ledger.apply(ApplyRequest { operations }).await;
        let results = answer.expect("the node answers").into_inner().results;
        assert!(
            results.iter().all(|result| result.success),
            "{:?}",
            results.first()
        );
    }

    async fn pay(&mut self, transfers: usize) {
        for _ in 0..transfers.div_ceil(BATCH) {
            let pay = |_| payment(String::new(), ("n2", "cash".to_owned()), 1);
            self.apply((0..BATCH).map(pay).collect()).await;
            self.sent += BATCH;
        }
    }

    async fn put(&mut self, values: usize) {
        for _ in 0..values.div_ceil(PUTS) {
            let mut puts = JoinSet::new();
            for _ in 0..PUTS {
                let mut keys = self.keys.clone();
                let (key, value) = ("key".to_owned(), "v".repeat(VALUE_BYTES));
                puts.spawn(async move { keys.put(PutRequest { key, value }).await });
            }
            for answer in puts.join_all().await {
                assert!(answer.expect("the node answers").into_inner().success);
            }
            self.sent += PUTS;
        }
    }

    fn resident(&self) -> Option<u64> {
        self.programs.resident_bytes("n1")
    }

    async fn one_call(&mut self) -> Duration {
        let begun = Instant::now();
        self.apply(vec![deposit("", "probe", 1)]).await;
        begun.elapsed()
    }

    // Starts the peer and times calls until the queue is empty.
    async fn drain(&mut self) -> Latencies {
        self.programs.start("n2").await;
        let mut latencies = Vec::new();
        while channel(&self.one, "n1", "n2").await["in_flight"] != 0 {
            latencies.push(self.one_call().await);
        }
        let two = self.programs.rest("n2");
        assert_eq!(channel(&two, "n1", "n2").await["delivered"], self.sent);
        Latencies::of(latencies)
    }
}

impl Latencies {
    fn of(mut latencies: Vec<Duration>) -> Self {
        latencies.sort_unstable();
        Self(latencies)
    }

    fn at(&self, percent: usize) -> Duration {
        let index = (self.0.len() * percent / 100).min(self.0.len().saturating_sub(1));
        self.0.get(index).copied().unwrap_or_default()
    }
}

// The engine's cache is bounded, so the resident memory shows whether anything else grows: the first half fills the
// cache, the second half must add little. The long run shows how this continues.
pub(crate) async fn what_waits_for_a_dead_peer_is_on_disk_and_arrives_once() {
    let mut waiting = Waiting::begin().await;
    waiting.pay(TRANSFERS).await;
    waiting.put(VALUES / 2).await;
    let half = waiting.resident();
    waiting.put(VALUES / 2).await;
    if let (Some(half), Some(all)) = (half, waiting.resident()) {
        let grown = all.saturating_sub(half);
        assert!(
            grown < GROWTH_MAX,
            "{half} bytes have grown by {grown} with what waits"
        );
    }
    let slowest = waiting.drain().await.at(100);
    assert!(slowest > Duration::ZERO, "calls were made meanwhile");
    assert!(slowest < CALL_MAX, "a call took {slowest:?}");
    let two = waiting.programs.rest("n2");
    let transfers = i64::try_from(TRANSFERS).expect("a small number");
    assert_eq!(two.balance("cash").await, Some(transfers));
}

/// Queues this many transfers and values for the peer.
pub(crate) async fn run((transfers, values): (usize, usize), says: impl Fn(String)) -> Report {
    let mut waiting = Waiting::begin().await;
    let mut resident = Vec::new();
    let steps = 10;
    for step in 0..=steps {
        if step > 0 {
            waiting.pay(transfers / steps).await;
            waiting.put(values / steps).await;
        }
        let bytes = waiting.resident().unwrap_or_default();
        says(format!(
            "{} wait, {} MiB resident",
            waiting.sent,
            bytes >> 20
        ));
        resident.push((waiting.sent, bytes));
    }
    let mut alone = Vec::new();
    for _ in 0..PROBES {
        // The same request as during the drain, so that the times are comparable.
        channel(&waiting.one, "n1", "n2").await;
        alone.push(waiting.one_call().await);
    }
    let begun = Instant::now();
    let draining = waiting.drain().await;
    let report = Report {
        queued: waiting.sent,
        resident,
        alone: Latencies::of(alone),
        draining,
        drained_in: begun.elapsed(),
    };
    waiting.programs.stop_and_check_all().await;
    report
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (waiting, bytes) in &self.resident {
            writeln!(f, "{waiting:>12} wait      {} MiB resident", bytes >> 20)?;
        }
        let (first, last) = (self.resident.first(), self.resident.last());
        if let (Some((_, first)), Some((_, last))) = (first, last) {
            let bytes = last.saturating_sub(*first) as f64 / self.queued as f64;
            writeln!(f, "bytes per message         {bytes:.1}")?;
        }
        for (what, latencies) in [("peer away", &self.alone), ("draining", &self.draining)] {
            let [median, most, all] = [50, 99, 100].map(|percent| latencies.at(percent));
            writeln!(
                f,
                "call, {what:<12}        median {median:.1?}, p99 {most:.1?}, maximum {all:.1?}"
            )?;
        }
        let seconds = self.drained_in.as_secs_f64();
        let rate = self.queued as f64 / seconds;
        write!(
            f,
            "drained in                {seconds:.1} s, {rate:.0} messages/s"
        )
    }
}
