//! Streams of operations that are held up because nobody reads their answers: what arrives meanwhile must not add up.

use std::time::Duration;

use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::{ApplyRequest, Operation};
use tonic::transport::Endpoint;

use crate::attack::{Attack, HERE, Target};

const MIB: u64 = 1 << 20;
const CONNECTIONS: usize = 100;
/// Of each connection; their windows are as large as that of the connection.
const STREAMS: usize = 2;
/// Batches without operations, of which the answers fill the queue of a stream.
const EMPTY: usize = 200;
/// Bytes of one operation.
const LARGE: usize = 1 << 20;

pub(crate) fn attacks() -> Vec<Attack> {
    vec![Attack {
        name: "streams_that_are_held_up",
        bound: "windows in sum",
        // The sum of the windows of one host is 144 MiB.
        growth_max: 300 * MIB,
        least: Duration::from_secs(5),
        act: |target| Box::pin(held_up(target)),
        ..Attack::ORDINARY
    }]
}

// The clients send as much as the windows of the node allow, and let through one byte of the answers.
async fn held_up(target: Target) -> String {
    let mut held = Vec::new();
    for _ in 0..CONNECTIONS {
        let endpoint = Endpoint::from_shared(format!("http://{}", target.grpc));
        let endpoint = endpoint.expect("an address makes a URI");
        let endpoint = endpoint
            .local_address(Some(HERE))
            .initial_stream_window_size(1);
        let Ok(channel) = endpoint.connect().await else {
            continue;
        };
        for _ in 0..STREAMS {
            let empty = std::iter::repeat_n(ApplyRequest::default(), EMPTY);
            let large = std::iter::repeat_with(|| ApplyRequest {
                operations: vec![Operation {
                    request_id: "x".repeat(LARGE),
                    body: None,
                }],
            });
            let batches = tokio_stream::iter(empty.chain(large));
            let mut ledger = LedgerServiceClient::new(channel.clone());
            held.push(tokio::spawn(async move {
                let answers = ledger.stream(batches).await;
                std::future::pending::<()>().await;
                drop(answers);
            }));
        }
    }
    target.end().await;
    let open = held.iter().filter(|stream| !stream.is_finished()).count();
    held.iter().for_each(tokio::task::JoinHandle::abort);
    format!("{open} streams of which no answer is read, as much sent as the windows allow")
}
