//! Idle connections take descriptors, but no more than can be spared: the node continues to work with known peers and
//! clients. Without this, a crowd of idle clients would stop a node whose store is healthy.

use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use snapledger::proto::chandy_lamport::DepositRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use tonic::transport::{Channel, Endpoint};

use crate::await_it::until;
use crate::programs::Programs;

/// The descriptor limit of the node, after it has raised it.
const DESCRIPTORS: u64 = 128;
/// Idle connections per port: more than there are descriptors, fewer than the system's accept backlog holds.
const IDLE_EACH: usize = 100;
/// Several times the interval between two disk checks, each of which opens a directory.
const TIME: Duration = Duration::from_secs(2);

type Bank = BankServiceClient<Channel>;

pub(crate) async fn idle_connections_leave_descriptors_for_the_store_and_for_others() {
    let mut programs = Programs::planned(1);
    let limited = [
        "sh",
        "-c",
        "ulimit -S -n 64 && ulimit -H -n $0 && exec \"$@\"",
    ];
    let mut limited: Vec<String> = limited.map(str::to_owned).into();
    limited.push(DESCRIPTORS.to_string());
    programs.run_inside("n1", &limited);
    programs.start_all().await;
    let given = programs.descriptors_max("n1").unwrap_or(DESCRIPTORS);
    assert_eq!(given, DESCRIPTORS, "it asks for all it may have");
    let mut known = bank(&programs);
    deposit(&mut known).await;

    let ports = [programs.grpc("n1"), programs.address("n1")];
    let come = |port: &SocketAddr| TcpStream::connect(port).expect("the backlog has room");
    let idle: Vec<TcpStream> = (0..IDLE_EACH)
        .flat_map(|_| ports.iter().map(come).collect::<Vec<_>>())
        .collect();
    let begun = Instant::now();
    let mut deposits = 1;
    while begun.elapsed() < TIME {
        deposit(&mut known).await;
        deposits += 1;
    }
    programs.goes_on_for("n1", Duration::ZERO).await;

    drop(idle);
    let mut another = bank(&programs);
    until("another connection for gRPC", async || {
        another.deposit(one()).await.ok().map(|_| ())
    })
    .await;
    let balance = programs.rest("n1").balance("idle").await;
    assert!(balance > Some(deposits), "{balance:?} of {deposits}");
    programs.stop_and_check_all().await;
}

fn bank(programs: &Programs) -> Bank {
    let endpoint = Endpoint::from_shared(format!("http://{}", programs.grpc("n1")));
    Bank::new(endpoint.expect("an address makes a URI").connect_lazy())
}

fn one() -> DepositRequest {
    DepositRequest {
        account_id: "idle".to_owned(),
        amount: 1,
    }
}

async fn deposit(bank: &mut Bank) {
    let answer = bank.deposit(one()).await.expect("the node answers");
    assert!(answer.into_inner().success);
}
