//! Honest clients of both ports. Every call must succeed, and the balances must be those of the acknowledged operations.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation, Payment};
use tokio::task::JoinSet;
use tokio::time::interval;
use tonic::transport::{Channel, Endpoint};
use ureq::http::Request;

use crate::attack::Leaves;
use crate::await_it::until;
use crate::programs::Programs;
use crate::rest::{Rest, asked, posted};

/// Accounts that a table of balances shows.
const ACCOUNTS: usize = 6000;
/// The pause between two calls of one client: these tests are about limits, not speed.
const PACE: Duration = Duration::from_millis(50);

/// Clients that run until they are stopped.
pub(crate) struct Honest {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    refused: Arc<Mutex<Vec<String>>>,
    /// The calls of which an attack has been told.
    taken: usize,
    clients: JoinSet<Tally>,
}

/// What one client did.
#[derive(Default)]
struct Tally {
    deposited: i64,
    paid: i64,
}

/// One client.
enum Caller {
    /// Batches over gRPC, with a payment to the other process.
    Payments(LedgerServiceClient<Channel>),
    /// REST, each call over a connection of its own.
    Deposits(SocketAddr),
    /// REST, in turn.
    Reads(Rest, Vec<Request<String>>),
}

impl Caller {
    // What the call changed, or why it was refused.
    async fn call(&mut self, number: usize) -> Result<Tally, String> {
        let (answer, tally) = match self {
            Self::Payments(ledger) => return pay(ledger).await,
            Self::Deposits(address) => {
                let body = json!({"amount": 1});
                let rest = Rest::new(*address);
                let sent = posted("/v1/accounts/counted/deposits", &body, &[]);
                (rest.try_send(sent).await, Tally::deposit())
            }
            Self::Reads(rest, reads) => {
                let read = reads[number % reads.len()].clone();
                (rest.try_send(read).await, Tally::default())
            }
        };
        match answer {
            Some(answer) if answer.status == 200 => Ok(tally),
            Some(refused) => Err(format!("{refused:?}")),
            None => Err("no answer".to_owned()),
        }
    }
}

impl Honest {
    /// Another build of the program may answer otherwise than the documents say, so fewer kinds of calls are made.
    pub(crate) async fn begin(programs: &Programs, leaves: Leaves, is_this_build: bool) -> Self {
        let mut ledger = ledger(programs).await;
        let accounts = (0..ACCOUNTS).map(|number| deposit(&format!("account-{number:0>118}"), 1));
        let funds = [deposit("paying", 1_000_000)];
        let operations = accounts.chain(funds).collect();
        let funded = ledger.apply(ApplyRequest { operations }).await;
        funded.expect("the node answers");
        let rest = programs.rest("n1");
        let mut reads = vec![asked("/v1/accounts/paying", &[])];
        if is_this_build {
            let snapshot = rest.start_snapshot().await;
            rest.snapshot(&snapshot, "complete").await;
            let table = format!("/v1/snapshots/{snapshot}/balances");
            reads.push(asked(&table, &[("accept", "text/csv")]));
            reads.push(asked("/v1/snapshots/latest", &[]));
        }
        let mut honest = Self {
            stop: Arc::default(),
            calls: Arc::default(),
            refused: Arc::default(),
            taken: 0,
            clients: JoinSet::new(),
        };
        honest.run(Caller::Payments(ledger));
        honest.run(Caller::Reads(rest, reads));
        if leaves == Leaves::Everything {
            honest.run(Caller::Deposits(programs.address("n1")));
        }
        honest
    }

    // Repeats the calls of one client.
    fn run(&mut self, mut caller: Caller) {
        let (stop, calls) = (Arc::clone(&self.stop), Arc::clone(&self.calls));
        let refused = Arc::clone(&self.refused);
        self.clients.spawn(async move {
            let mut tally = Tally::default();
            let mut pace = interval(PACE);
            for number in 0.. {
                pace.tick().await;
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                match caller.call(number).await {
                    Ok(done) => {
                        tally.deposited += done.deposited;
                        tally.paid += done.paid;
                    }
                    Err(why) => listed(&refused).push(why),
                }
                calls.fetch_add(1, Ordering::Relaxed);
            }
            tally
        });
    }

    /// Waits for this many further calls.
    pub(crate) async fn goes_on(&self, calls: usize) {
        let enough = self.calls.load(Ordering::Relaxed) + calls;
        until("honest calls", async || {
            (self.calls.load(Ordering::Relaxed) >= enough).then_some(())
        })
        .await;
    }

    /// The number of calls since this was asked last, and why some of them were refused.
    pub(crate) fn take(&mut self) -> (usize, Vec<String>) {
        let before = std::mem::replace(&mut self.taken, self.calls.load(Ordering::Relaxed));
        (
            self.taken - before,
            std::mem::take(&mut *listed(&self.refused)),
        )
    }

    /// Stops the clients and compares the balances.
    pub(crate) async fn end(mut self, programs: &Programs, is_asserted: bool) {
        self.stop.store(true, Ordering::Relaxed);
        let mut sum = Tally::default();
        while let Some(ended) = self.clients.join_next().await {
            let tally = ended.expect("an honest client does not fail");
            sum.deposited += tally.deposited;
            sum.paid += tally.paid;
        }
        if is_asserted {
            let (_, refused) = self.take();
            assert_eq!(refused, Vec::<String>::new(), "honest calls at the end");
            let counted = programs.rest("n1").balance("counted").await;
            assert_eq!(counted.unwrap_or(0), sum.deposited);
            programs.rest("n2").balance_is("paid", sum.paid).await;
        }
    }
}

fn listed(refused: &Mutex<Vec<String>>) -> MutexGuard<'_, Vec<String>> {
    refused.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Tally {
    fn deposit() -> Self {
        Self {
            deposited: 1,
            ..Self::default()
        }
    }
}

async fn ledger(programs: &Programs) -> LedgerServiceClient<Channel> {
    let endpoint = Endpoint::from_shared(format!("http://{}", programs.grpc("n1")));
    let endpoint = endpoint.expect("an address makes a URI");
    LedgerServiceClient::new(endpoint.connect().await.expect("the node listens"))
}

fn deposit(account: &str, amount: i64) -> Operation {
    let account = account.to_owned();
    Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit { account, amount })),
    }
}

// Eight deposits of 1 into the account that pays, and a payment of 8 to the other process.
async fn pay(ledger: &mut LedgerServiceClient<Channel>) -> Result<Tally, String> {
    let payment = Payment {
        from_account: "paying".to_owned(),
        to_process: "n2".to_owned(),
        to_account: "paid".to_owned(),
        amount: 8,
    };
    let payment = Operation {
        request_id: String::new(),
        body: Some(Body::Payment(payment)),
    };
    let mut operations = vec![deposit("paying", 1); 8];
    operations.push(payment);
    let answer = ledger.apply(ApplyRequest { operations }).await;
    let results = answer
        .map_err(|status| status.to_string())?
        .into_inner()
        .results;
    match results.iter().find(|result| !result.success) {
        Some(refused) => Err(format!("{refused:?}")),
        None => Ok(Tally {
            paid: 8,
            ..Tally::default()
        }),
    }
}
