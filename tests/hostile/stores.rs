//! Accounts, keys and request ids without end: the process stores as many as its limits allow, and what it stores already is
//! of use to all.

use std::ops::Range;

use serde_json::json;
use snapledger::proto::chandy_lamport::PutRequest;
use snapledger::proto::chandy_lamport::key_value_service_client::KeyValueServiceClient;
use snapledger::proto::snapledger::ledger_service_client::LedgerServiceClient;
use snapledger::proto::snapledger::operation::Body;
use snapledger::proto::snapledger::{ApplyRequest, Deposit, Operation, OperationResult, Payment};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::attack::{Attack, Target};
use crate::rest::Rest;

const MIB: u64 = 1 << 20;

/// More than the accounts of the honest clients.
const ACCOUNTS_MAX: usize = 8000;
const REQUEST_IDS_MAX: usize = 500;

/// The limits of the nodes in all attacks.
pub(crate) const LIMITS: [(&str, &str); 4] = [
    ("SNAPLEDGER_LIMITS_ACCOUNTS_MAX", "8000"),
    ("SNAPLEDGER_LIMITS_KEYS_MAX", "200"),
    ("SNAPLEDGER_LIMITS_VALUES_MAX", "1MiB"),
    ("SNAPLEDGER_LIMITS_REQUEST_IDS_MAX", "500"),
];

pub(crate) fn attacks() -> Vec<Attack> {
    let attack = |name, bound, reasons, act| Attack {
        name,
        bound,
        growth_max: 100 * MIB,
        reasons,
        act,
        ..Attack::ORDINARY
    };
    vec![
        attack(
            "accounts_without_end",
            "[limits] accounts_max",
            &["accounts"],
            |target| Box::pin(accounts(target)),
        ),
        attack(
            "keys_without_end",
            "[limits] keys_max, values_max",
            &["keys", "values"],
            |target| Box::pin(keys(target)),
        ),
        Attack {
            // What changed since the newest state is kept until a million records are made, here three of each request.
            growth_max: 400 * MIB,
            ..attack(
                "request_ids_without_end",
                "[limits] request_ids_max, changes beyond a state",
                &[],
                |target| Box::pin(request_ids(target)),
            )
        },
    ]
}

async fn connected(target: &Target) -> Channel {
    let endpoint = Endpoint::from_shared(format!("http://{}", target.grpc));
    let endpoint = endpoint.expect("an address makes a URI");
    endpoint.connect().await.expect("the node listens")
}

async fn applied(
    ledger: &mut LedgerServiceClient<Channel>,
    operations: Vec<Operation>,
) -> Vec<OperationResult> {
    let answer = ledger.apply(ApplyRequest { operations }).await;
    answer.expect("the node answers").into_inner().results
}

fn deposit(request_id: String) -> Operation {
    let account = "flooding".to_owned();
    let amount = 1_000_000_000;
    Operation {
        request_id,
        body: Some(Body::Deposit(Deposit { account, amount })),
    }
}

// Pays 1 into an account that does not exist, here or on the other process.
fn opening(to_process: &str, number: usize) -> Operation {
    Operation {
        request_id: String::new(),
        body: Some(Body::Payment(Payment {
            from_account: "flooding".to_owned(),
            to_process: to_process.to_owned(),
            to_account: format!("opened-{number:0>100}"),
            amount: 1,
        })),
    }
}

async fn accounts(target: Target) -> String {
    let mut ledger = LedgerServiceClient::new(connected(&target).await);
    applied(&mut ledger, vec![deposit(String::new())]).await;
    let (mut opened, mut refused, mut sent) = (0, 0, 0);
    for batch in 0.. {
        let numbers: Range<usize> = batch * 500..(batch + 1) * 500;
        let here = numbers.clone().map(|number| opening("", number));
        for result in applied(&mut ledger, here.collect()).await {
            match result.kind.as_str() {
                "" => opened += 1,
                "too-many-accounts" => refused += 1,
                other => unreachable!("{other}"),
            }
        }
        let there = numbers.map(|number| opening("n2", number));
        let results = applied(&mut ledger, there.collect()).await;
        assert!(results.iter().all(|result| result.success));
        sent += results.len();
        if target.is_over() && sent > ACCOUNTS_MAX + ACCOUNTS_MAX / 2 {
            break;
        }
    }
    let rest = Rest::new(target.rest);
    let view = rest.post("/v1/snapshots?wait=30", &json!({})).await;
    assert_eq!(view.status, 201, "{view:?}");
    let view = view.json();
    let processes = view["processes"].as_array().expect("a list");
    for process in processes {
        let accounts = process["accounts"].as_u64().expect("a number");
        let accounts = usize::try_from(accounts).expect("it is small");
        // `suspense`, which takes the money of the others, opens over the limit.
        assert!(accounts <= ACCOUNTS_MAX + 1, "{process}");
    }
    format!("{opened} opened, {refused} refused, {sent} credits sent to the other process")
}

async fn keys(target: Target) -> String {
    let mut keys = KeyValueServiceClient::new(connected(&target).await);
    let (mut written, mut refused) = (0, 0);
    for number in 0.. {
        // Large ones as long as they find room, then small ones.
        let size = if number < 100 { 16 << 10 } else { 1 };
        let put = PutRequest {
            key: format!("key-{number}"),
            value: "x".repeat(size),
        };
        match keys.put(put).await {
            Ok(answer) => {
                assert!(answer.into_inner().success);
                written += 1;
            }
            Err(status) => {
                assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                assert!(status.message().contains("[limits]"), "{status:?}");
                refused += 1;
            }
        }
        if target.is_over() && number > 400 {
            break;
        }
    }
    assert_eq!(written, 200, "small ones find room after the large ones");
    let known = PutRequest {
        key: "key-0".to_owned(),
        value: "y".to_owned(),
    };
    let again = keys.put(known).await.expect("a known key is written");
    assert!(again.into_inner().success);
    format!("{written} written, {refused} refused")
}

async fn request_ids(target: Target) -> String {
    let mut ledger = LedgerServiceClient::new(connected(&target).await);
    let named = |number: usize| deposit(format!("request-{number:0>100}"));
    let (mut done, mut newest) = (0, None);
    while !target.is_over() || done <= 2 * REQUEST_IDS_MAX {
        let batch = (done..done + 500).map(named);
        let results = applied(&mut ledger, batch.collect()).await;
        assert!(
            results.iter().all(|result| result.success),
            "none is refused"
        );
        done += results.len();
        newest = results.into_iter().next_back();
    }
    let repeated = applied(&mut ledger, vec![named(done - 1), named(0)]).await;
    assert_eq!(
        repeated.first(),
        newest.as_ref(),
        "the newest is remembered"
    );
    let anew = repeated[1].journal_position;
    assert!(
        anew > repeated[0].journal_position,
        "the oldest is forgotten"
    );
    format!("{done} requests, all done")
}
