//! `kill -9` of every node under load: everything acknowledged is there, everything else is applied exactly once by a
//! retry, money is conserved, and the past has the same bytes. Without this durability is only claimed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation, OperationResult, Payment};
use tonic::transport::Channel;

use crate::await_it::until;
use crate::nodes::connection;
use crate::programs::Programs;
use crate::snapshots::assert_proven;

pub(crate) const IDS: [&str; 3] = ["n1", "n2", "n3"];
pub(crate) const SEED: i64 = 1_000_000;
/// Operations per call.
const BATCH: usize = 8;
/// Concurrent calls per node.
const CLIENTS: usize = 3;
/// The nodes are killed after this many acknowledged calls.
const CALLS: usize = 150;

/// A request, and the answer if one arrived.
pub(crate) struct Asked {
    node: &'static str,
    batch: ApplyRequest,
    answer: Option<Vec<OperationResult>>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_in_mid_load_nothing_acknowledged_is_lost_and_nothing_is_done_twice() {
    let mut programs = Programs::planned(&IDS);
    programs.start().await;
    seed(&programs).await;
    let rest = programs.rest("n1");
    let old = rest.start_snapshot().await;
    assert_proven(&rest.snapshot(&old, "complete").await, 3 * SEED);
    let before = rest.get(&format!("/v1/snapshots/{old}")).await;

    let asked = load_until_killed(&mut programs).await;
    assert!(
        asked.iter().any(|one| one.answer.is_none()),
        "killed too late"
    );
    programs.start().await;

    retry_everything(&programs, &asked).await;
    let expected = balances_after(&asked);
    for ((node, account), balance) in &expected {
        programs.rest(node).balance_is(account, *balance).await;
    }
    let id = rest.start_snapshot().await;
    let deposits: i64 = expected.values().sum();
    assert_proven(&rest.snapshot(&id, "complete").await, deposits);
    let after = rest.get(&format!("/v1/snapshots/{old}")).await;
    assert_eq!(
        (&after.body, after.header("etag")),
        (&before.body, before.header("etag"))
    );
}

/// Deposits what the load moves.
pub(crate) async fn seed(programs: &Programs) {
    for id in IDS {
        let seed = deposit(&format!("seed-{id}"), "cash", SEED);
        apply(&mut ledger(programs, id), request(vec![seed])).await;
    }
}

fn ledger(programs: &Programs, id: &str) -> LedgerServiceClient<Channel> {
    LedgerServiceClient::new(connection(programs.grpc(id)))
}

async fn apply(
    ledger: &mut LedgerServiceClient<Channel>,
    batch: ApplyRequest,
) -> Vec<OperationResult> {
    let answer = ledger.apply(batch).await.expect("the node answers");
    answer.into_inner().results
}

fn request(operations: Vec<Operation>) -> ApplyRequest {
    ApplyRequest { operations }
}

fn deposit(request_id: &str, account: &str, amount: i64) -> Operation {
    let account = account.to_owned();
    Operation {
        request_id: request_id.to_owned(),
        body: Some(Body::Deposit(Deposit { account, amount })),
    }
}

fn payment(request_id: String, to_process: &str) -> Operation {
    let payment = Payment {
        from_account: "cash".to_owned(),
        to_process: to_process.to_owned(),
        to_account: "cash".to_owned(),
        amount: 3,
    };
    Operation {
        request_id,
        body: Some(Body::Payment(payment)),
    }
}

// Transfers to the two others in turn, with deposits in between.
fn batch(node: usize, client: usize, call: usize) -> ApplyRequest {
    let operations = (0..BATCH).map(|index| {
        let id = format!("{}-{client}-{call}-{index}", IDS[node]);
        match index % 4 {
            0 => deposit(&id, &format!("client-{client}"), 1),
            _ => payment(id, IDS[(node + 1 + index % 2) % IDS.len()]),
        }
    });
    request(operations.collect())
}

/// Pays around until enough calls are acknowledged, then kills all nodes.
pub(crate) async fn load_until_killed(programs: &mut Programs) -> Vec<Asked> {
    let acknowledged = Arc::new(AtomicUsize::new(0));
    let mut clients = tokio::task::JoinSet::new();
    for (node, id) in IDS.into_iter().enumerate() {
        for client in 0..CLIENTS {
            let mut ledger = ledger(programs, id);
            let acknowledged = Arc::clone(&acknowledged);
            clients.spawn(async move {
                let mut asked = Vec::new();
                for call in 0.. {
                    let batch = batch(node, client, call);
                    let answer = ledger.apply(batch.clone()).await;
                    let answer = answer.ok().map(|answer| answer.into_inner().results);
                    let ended = answer.is_none();
                    asked.push(Asked {
                        node: id,
                        batch,
                        answer,
                    });
                    if ended {
                        break;
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                asked
            });
        }
    }
    until("acknowledged calls", async || {
        (acknowledged.load(Ordering::Relaxed) >= CALLS).then_some(())
    })
    .await;
    programs.kill();
    clients.join_all().await.into_iter().flatten().collect()
}

/// Repeats all calls: answered operations get the same answer again; the others are executed now, or have been.
pub(crate) async fn retry_everything(programs: &Programs, asked: &[Asked]) {
    for id in IDS {
        let mut ledger = ledger(programs, id);
        for one in asked.iter().filter(|one| one.node == id) {
            let results = apply(&mut ledger, one.batch.clone()).await;
            assert!(results.iter().all(|result| result.success), "{results:?}");
            if let Some(answer) = &one.answer {
                assert_eq!(*answer, results);
            }
        }
    }
}

/// The balances with every operation applied exactly once, in any order.
pub(crate) fn balances_after(asked: &[Asked]) -> BTreeMap<(String, String), i64> {
    let mut balances = BTreeMap::new();
    let mut book = |node: &str, account: &str, amount: i64| {
        *balances
            .entry((node.to_owned(), account.to_owned()))
            .or_insert(0) += amount;
    };
    for id in IDS {
        book(id, "cash", SEED);
    }
    for one in asked {
        for operation in &one.batch.operations {
            match &operation.body {
                Some(Body::Deposit(deposit)) => book(one.node, &deposit.account, deposit.amount),
                Some(Body::Payment(payment)) => {
                    book(one.node, &payment.from_account, -payment.amount);
                    book(&payment.to_process, &payment.to_account, payment.amount);
                }
                _ => unreachable!("there are no others here"),
            }
        }
    }
    balances
}
