//! Full batches of operations that are to fill the queue of the process for everyone.

use std::time::Duration;

use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::Code;
use tonic::transport::Endpoint;

use crate::attack::{Attack, ELSEWHERE, Target};

const MIB: u64 = 1 << 20;
/// The most that one batch may hold. Four of them are the whole queue.
const OPERATIONS: usize = 8192;
/// Each sends one batch after the other.
const CONNECTIONS: usize = 10;
/// A call that is cancelled leaves its operations in the queue.
const CANCELLED_AFTER: Duration = Duration::from_millis(150);

pub(crate) fn attacks() -> Vec<Attack> {
    vec![Attack {
        name: "full_batches_of_one_host",
        bound: "three quarters of the queue",
        growth_max: 300 * MIB,
        reasons: &["operations"],
        least: Duration::from_secs(2),
        act: |target| Box::pin(batches(target)),
        ..Attack::ORDINARY
    }]
}

// Half of the clients cancel their calls.
async fn batches(target: Target) -> String {
    let operation = Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit {
            account: "flood".to_owned(),
            amount: 1,
        })),
    };
    let batch = ApplyRequest {
        operations: vec![operation; OPERATIONS],
    };
    let mut clients = JoinSet::new();
    for number in 0..CONNECTIONS {
        let (batch, target) = (batch.clone(), target.clone());
        clients.spawn(async move {
            let endpoint = Endpoint::from_shared(format!("http://{}", target.grpc));
            let endpoint = endpoint.expect("an address makes a URI");
            let channel = endpoint.local_address(Some(ELSEWHERE)).connect().await;
            let mut ledger = LedgerServiceClient::new(channel.expect("the node listens"));
            let patience = match number % 2 {
                0 => Duration::MAX,
                _ => CANCELLED_AFTER,
            };
            let mut done = [0; 3];
            while !target.is_over() {
                match timeout(patience, ledger.apply(batch.clone())).await {
                    Ok(Ok(_)) => done[0] += 1,
                    Ok(Err(status)) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status}");
                        done[1] += 1;
                    }
                    Err(_) => done[2] += 1,
                }
            }
            done
        });
    }
    let done = clients.join_all().await;
    let [accepted, refused, cancelled] =
        [0, 1, 2].map(|kind| done.iter().map(|done| done[kind]).sum::<u32>());
    format!("{accepted} batches of {OPERATIONS} accepted, {refused} refused, {cancelled} cancelled")
}
