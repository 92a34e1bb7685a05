//! More requests of one host than a node can handle: its share of the queue fills, further calls are refused at once whatever
//! they ask, and memory stays bounded. Without this, a crowd of clients could exhaust the memory and take the node down with the
//! work of all clients.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::chandy_lamport::{DepositRequest, PutRequest};
use snapledger::proto::snapledger::ApplyRequest;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::await_it::until;
use crate::load::deposit;
use crate::programs::Programs;

/// Clients that wait for their answers. They fill the queue; further ones are refused.
const WRITERS: usize = 600;
/// Clients that give up before they are answered and ask again.
const IMPATIENT: usize = 100;
const PATIENCE: Duration = Duration::from_millis(5);
/// As heavy as 128 plain operations: 256 of these fill the queue.
const VALUE_BYTES: usize = 127 * 256;
const DOORS_TRIED: usize = 2;
/// The store itself grows to some 400 MiB. A queue not bounded by weight would take another 2 GiB.
const GROWTH_MAX: u64 = 800 << 20;

type Keys = KeyValueServiceClient<Channel>;

/// Background requests that continue until stopped.
struct Flood {
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Flood {
    fn new() -> Self {
        Self {
            stop: Arc::default(),
            tasks: JoinSet::new(),
        }
    }

    // Repeats the request, whatever the answer.
    fn add(&mut self, client: &Keys, patience: Option<Duration>) {
        let (stop, client) = (Arc::clone(&self.stop), client.clone());
        self.tasks.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let mut request = Request::new(value());
                if let Some(patience) = patience {
                    request.set_timeout(patience);
                }
                let _whatever = client.clone().put(request).await;
                // A client that is refused at once must not starve the others.
                tokio::task::yield_now().await;
            }
        });
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no task of it fails");
        }
    }
}

pub(crate) async fn a_flood_of_one_host_is_refused_and_memory_does_not_grow() {
    let mut programs = Programs::planned(1);
    programs.start_all().await;
    let before = programs.resident_bytes("n1");
    let mut flood = Flood::new();
    for (writers, patience) in [(WRITERS, None), (IMPATIENT, Some(PATIENCE))] {
        let client = Keys::new(connection(&programs));
        for _ in 0..writers {
            flood.add(&client, patience);
        }
    }
    for _ in 0..DOORS_TRIED {
        every_call_is_refused(&programs).await;
        if let (Some(before), Some(now)) = (before, programs.resident_bytes("n1")) {
            let grown = now.saturating_sub(before);
            assert!(grown < GROWTH_MAX, "{before} bytes have grown by {grown}");
        }
    }
    flood.end().await;
    let mut keys = Keys::new(connection(&programs));
    let answer = keys.put(value()).await.expect("it is over");
    assert!(answer.into_inner().success);
    programs.stop_and_check_all().await;
}

async fn every_call_is_refused(programs: &Programs) {
    let channel = connection(programs);
    let mut keys = Keys::new(channel.clone());
    until("a value refused", async || is_full(keys.put(value()).await)).await;
    let mut bank = BankServiceClient::new(channel.clone());
    until("a deposit refused", async || {
        let account_id = "flooded".to_owned();
        is_full(
            bank.deposit(DepositRequest {
                account_id,
                amount: 1,
            })
            .await,
        )
    })
    .await;
    let mut ledger = LedgerServiceClient::new(channel);
    until("a batch refused", async || {
        let operations = (0..64).map(|_| deposit("", "flooded", 1)).collect();
        is_full(ledger.apply(ApplyRequest { operations }).await)
    })
    .await;
    let rest = programs.rest("n1");
    // The share leaves a quarter of the queue to others.
    until("a deposit over REST", async || {
        let body = json!({"amount": 1});
        let answer = rest.post("/v1/accounts/flooded/deposits", &body).await;
        (answer.status == 200).then_some(())
    })
    .await;
}

fn value() -> PutRequest {
    let (key, value) = ("flooded".to_owned(), "v".repeat(VALUE_BYTES));
    PutRequest { key, value }
}

fn is_full<T>(answer: Result<T, Status>) -> Option<()> {
    let refused = answer.err()?;
    (refused.code() == Code::ResourceExhausted).then_some(())
}

fn connection(programs: &Programs) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", programs.grpc("n1")));
    endpoint.expect("an address makes a URI").connect_lazy()
}
