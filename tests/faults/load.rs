//! Clients that send requests without pause, and the ledger each of them keeps: what it requested, what was
//! acknowledged, and what every account must hold in the end.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{
    ApplyRequest, Deposit, Operation, OperationResult, Payment, Withdrawal,
};
use tokio::task::JoinSet;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::await_it::until;
use crate::programs::Programs;

/// The initial balance of the account `cash` on every node.
const SEED: i64 = 1_000_000_000;
/// Clients per node.
const CLIENTS: usize = 2;
/// The deadline of a call, after which it is repeated.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(2);
/// Operations per call.
const BATCH: usize = 8;
/// What one batch adds to the client's own account.
pub(crate) const OWN_GROWTH: i64 = DEPOSIT - WITHDRAWAL + MOVED;
const DEPOSIT: i64 = 5;
const WITHDRAWAL: i64 = 2;
const MOVED: i64 = 3;
/// The pause between two calls of a client. The tests are about faults, not speed.
const PACE: Duration = Duration::from_millis(20);
const KEEPALIVE: Duration = Duration::from_secs(1);
/// Answers of one client that are compared at the end; far fewer than a node retains.
const ANSWERS_KEPT: usize = 500;

/// Balances by process and account.
pub(crate) type Book = BTreeMap<(&'static str, String), i64>;

/// Clients that run until they are stopped.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    pub(crate) tallies: Tallies,
    clients: JoinSet<Client>,
}

/// The tallies of all clients. Clones share state.
#[derive(Clone, Default)]
pub(crate) struct Tallies(Vec<Arc<Mutex<Tally>>>);

/// What one client has requested and observed so far.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tally {
    pub(crate) node: &'static str,
    pub(crate) calls: usize,
    pub(crate) retries: usize,
    pub(crate) slowest: Duration,
    /// The account into which only this client deposits.
    pub(crate) own: String,
    pub(crate) own_acknowledged: i64,
    pub(crate) deposits_acknowledged: i64,
    pub(crate) deposits_asked: i64,
    book: Book,
}

/// A request and its answer.
type Answered = (ApplyRequest, Vec<OperationResult>);

struct Client {
    ids: Vec<&'static str>,
    /// The index of its node in `ids`.
    node: usize,
    name: String,
    ledger: LedgerServiceClient<Channel>,
    tally: Arc<Mutex<Tally>>,
    answers: VecDeque<Answered>,
}

/// What the clients know after the last answer.
pub(crate) struct Ledger {
    clients: Vec<Client>,
    /// The balances if every operation was applied exactly once.
    pub(crate) book: Book,
}

impl Load {
    /// Funds every node and starts the clients.
    pub(crate) async fn begin(programs: &Programs) -> Self {
        let ids = programs.ids();
        let mut load = Self {
            stop: Arc::default(),
            tallies: Tallies::default(),
            clients: JoinSet::new(),
        };
        for (node, id) in ids.iter().enumerate() {
            let mut ledger = ledger(programs.grpc(id));
            let seed = vec![deposit(&format!("seed-{id}"), "cash", SEED)];
            let seeded = ledger.apply(ApplyRequest { operations: seed }).await;
            assert!(seeded.expect("the node answers").into_inner().results[0].success);
            for number in 0..CLIENTS {
                let own = format!("own-{number}");
                let name = format!("{id}-{number}");
                let tally = Tally {
                    node: id,
                    own,
                    ..Tally::default()
                };
                let client = Client {
                    ids: ids.clone(),
                    node,
                    name,
                    ledger: ledger.clone(),
                    tally: Arc::new(Mutex::new(tally)),
                    answers: VecDeque::new(),
                };
                load.tallies.0.push(Arc::clone(&client.tally));
                load.clients.spawn(client.run(Arc::clone(&load.stop)));
            }
        }
        load
    }

    /// Waits for this many further acknowledged calls, on any node.
    pub(crate) async fn goes_on(&mut self, calls: u64) {
        let enough = self.tallies.calls() + usize::try_from(calls).expect("a small number");
        until("acknowledged calls", async || {
            if let Some(Err(error)) = self.clients.try_join_next() {
                std::panic::resume_unwind(error.into_panic());
            }
            (self.tallies.calls() >= enough).then_some(())
        })
        .await;
    }

    /// Stops the clients after each has received the answer to its last request.
    pub(crate) async fn end(mut self) -> Ledger {
        self.stop.store(true, Ordering::Relaxed);
        let mut clients = Vec::new();
        while let Some(ended) = self.clients.join_next().await {
            clients.push(ended.expect("no client was refused or kept waiting"));
        }
        let tallies = self.tallies.each();
        let mut book = Book::new();
        for tally in &tallies {
            book.entry((tally.node, "cash".to_owned())).or_insert(SEED);
        }
        for (key, amount) in tallies.iter().flat_map(|tally| &tally.book) {
            *book.entry(key.clone()).or_insert(0) += amount;
        }
        Ledger { clients, book }
    }
}

impl Tallies {
    pub(crate) fn calls(&self) -> usize {
        self.each().iter().map(|tally| tally.calls).sum()
    }

    pub(crate) fn operations(&self) -> usize {
        self.calls() * BATCH
    }

    pub(crate) fn each(&self) -> Vec<Tally> {
        self.0.iter().map(|tally| lock(tally).clone()).collect()
    }

    /// Returns the sum of all acknowledged deposits, including the initial balances.
    pub(crate) fn deposits_acknowledged(&self) -> i64 {
        let each = self.each();
        let clients: i64 = each.iter().map(|tally| tally.deposits_acknowledged).sum();
        self.seeds() + clients
    }

    /// Returns the sum of all requested deposits, acknowledged or not.
    pub(crate) fn deposits_asked(&self) -> i64 {
        let each = self.each();
        let clients: i64 = each.iter().map(|tally| tally.deposits_asked).sum();
        self.seeds() + clients
    }

    fn seeds(&self) -> i64 {
        SEED * i64::try_from(self.0.len() / CLIENTS).expect("a few")
    }
}

impl Ledger {
    /// Asserts that repeated requests get the same answers again.
    pub(crate) async fn ask_again(&mut self) {
        for client in &mut self.clients {
            for (batch, answer) in std::mem::take(&mut client.answers) {
                let again = client.ask(&batch).await;
                assert_eq!(
                    again, answer,
                    "{} was answered otherwise before",
                    client.name
                );
            }
        }
    }
}

impl Client {
    async fn run(mut self, stop: Arc<AtomicBool>) -> Self {
        let mut paced = pace();
        for call in 0.. {
            paced.tick().await;
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let batch = self.batch(call);
            let deposits: i64 = batch.operations.iter().map(deposited).sum();
            lock(&self.tally).deposits_asked += deposits;
            let answer = self.ask(&batch).await;
            {
                let mut tally = lock(&self.tally);
                tally.calls += 1;
                tally.deposits_acknowledged += deposits;
                tally.book(&batch, self.ids[self.node]);
            }
            self.answers.push_back((batch, answer));
            if self.answers.len() > ANSWERS_KEPT {
                self.answers.pop_front();
            }
        }
        self
    }

    // Repeats the call under the same request ids until it is answered.
    async fn ask(&mut self, batch: &ApplyRequest) -> Vec<OperationResult> {
        let mut again = pace();
        loop {
            let mut request = Request::new(batch.clone());
            request.set_timeout(CALL_MAX);
            let begun = Instant::now();
            // The deadline of the request does not cover connecting.
            let answer = timeout(CALL_MAX, self.ledger.apply(request)).await;
            let late = |_| Err(Status::deadline_exceeded("not even connected"));
            let answer = answer.unwrap_or_else(late);
            let took = begun.elapsed();
            lock(&self.tally).ended(took, answer.is_err());
            match answer {
                Ok(answer) => {
                    let results = answer.into_inner().results;
                    assert!(results.iter().all(|result| result.success), "{results:?}");
                    return results;
                }
                Err(status) => assert!(is_of_the_way(status.code()), "{}: {status}", self.name),
            }
            again.tick().await;
        }
    }

    // Every kind of operation; the cash circulates among all nodes.
    fn batch(&self, call: usize) -> ApplyRequest {
        let number = self.name.rsplit('-').next().expect("a name has a number");
        let own = format!("own-{number}");
        let others = self.ids.len();
        let operations = (0..BATCH).map(|index| {
            let request_id = format!("{}-{call}-{index}", self.name);
            let to = self.ids[(self.node + 1 + (call + index) % (others - 1)) % others];
            let (to, account, amount) = match index {
                0 => return deposit(&request_id, &own, DEPOSIT),
                1 => return withdrawal(&request_id, &own, WITHDRAWAL),
                2 => (self.ids[self.node], own.clone(), MOVED),
                _ => (to, format!("from-{}", self.name), 1 + index as i64),
            };
            payment(request_id, (to, account), amount)
        });
        ApplyRequest {
            operations: operations.collect(),
        }
    }
}

impl Tally {
    fn ended(&mut self, took: Duration, failed: bool) {
        self.slowest = self.slowest.max(took);
        self.retries += usize::from(failed);
    }

    fn book(&mut self, batch: &ApplyRequest, node: &'static str) {
        let own = self.book.get(&(node, self.own.clone())).copied();
        for operation in &batch.operations {
            let mut add = |process: &str, account: &str, amount: i64| {
                let process = crate::programs::IDS.into_iter().find(|id| *id == process);
                let key = (process.expect("it takes part"), account.to_owned());
                *self.book.entry(key).or_insert(0) += amount;
            };
            match operation.body.as_ref().expect("a batch is well-formed") {
                Body::Deposit(deposit) => add(node, &deposit.account, deposit.amount),
                Body::Withdrawal(withdrawal) => add(node, &withdrawal.account, -withdrawal.amount),
                Body::Payment(payment) => {
                    add(node, &payment.from_account, -payment.amount);
                    add(&payment.to_process, &payment.to_account, payment.amount);
                }
            }
        }
        let now = self.book.get(&(node, self.own.clone())).copied();
        assert!(now > own, "a client's own account only grows");
        self.own_acknowledged = now.unwrap_or_default();
    }
}

fn pace() -> Interval {
    let mut pace = interval(PACE);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}

/// Returns a client that notices a dead connection.
pub(crate) fn ledger(address: SocketAddr) -> LedgerServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"));
    let endpoint = endpoint.expect("an address makes a URI");
    let connection = endpoint
        .connect_timeout(CALL_MAX)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE)
        .keep_alive_while_idle(true)
        .tcp_nodelay(true)
        .connect_lazy();
    LedgerServiceClient::new(connection)
}

// The status codes expected from a node that is being killed, frozen or unreachable.
fn is_of_the_way(code: Code) -> bool {
    let codes = [
        Code::Unavailable,
        Code::DeadlineExceeded,
        Code::Cancelled,
        Code::Unknown,
        Code::Internal,
    ];
    codes.contains(&code)
}

fn lock(tally: &Mutex<Tally>) -> MutexGuard<'_, Tally> {
    tally.lock().unwrap_or_else(PoisonError::into_inner)
}

fn deposited(operation: &Operation) -> i64 {
    match &operation.body {
        Some(Body::Deposit(deposit)) => deposit.amount,
        _ => 0,
    }
}

pub(crate) fn deposit(request_id: &str, account: &str, amount: i64) -> Operation {
    let account = account.to_owned();
    Operation {
        request_id: request_id.to_owned(),
        body: Some(Body::Deposit(Deposit { account, amount })),
    }
}

fn withdrawal(request_id: &str, account: &str, amount: i64) -> Operation {
    let account = account.to_owned();
    Operation {
        request_id: request_id.to_owned(),
        body: Some(Body::Withdrawal(Withdrawal { account, amount })),
    }
}

/// A payment from the node's `cash` to an account of a process.
pub(crate) fn payment(
    request_id: String,
    (process, account): (&str, String),
    amount: i64,
) -> Operation {
    let payment = Payment {
        from_account: "cash".to_owned(),
        to_process: process.to_owned(),
        to_account: account,
        amount,
    };
    Operation {
        request_id,
        body: Some(Body::Payment(payment)),
    }
}
