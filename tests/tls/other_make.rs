//! A process of another make takes part with a certificate like the others.

use std::process::{Child, Command, Stdio};

use snapledger::client::{AccountRef, Ledger, Operation, Options};
use snapledger::proto::chandy_lamport::TransferRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;

use crate::await_it::until;
use crate::certificates::text;
use crate::cluster::Cluster;
use crate::python::python;

const PROCESS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/process.py");
const PROTO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/proto/chandy_lamport.proto");

/// The foreign process; ends with its stdin.
struct Foreign(Child);

impl Drop for Foreign {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // It may have ended already.
        let _ended = self.0.wait();
    }
}

#[tokio::test]
async fn money_moves_to_and_from_a_process_of_another_make() {
    let Some(python) = python() else { return };
    let mut cluster = Cluster::planned_with_other_make("x1");
    let at = |id: &str| format!("{id}={}", cluster.grpc_address(id));
    let process = Command::new(python)
        .args([PROCESS, "--tls", text(&cluster.certificates.dir), PROTO])
        .arg(cluster.dir().join("x1.db"))
        .args(["x1", "n1", "n2", "n3"].map(at))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn();
    let _process = Foreign(process.expect("Python runs"));
    for id in ["n1", "n2", "n3"] {
        cluster.start(id);
    }
    // It demands certificates of its callers, so a node that calls it presents its own.
    let n2 = cluster.certificates.trusting(Some("n2"));
    let ledger = Ledger::over(cluster.grpc("n1", &n2), Options::default());
    let deposit = Operation::deposit("a", 100);
    ledger.apply(deposit).await.expect("it is accepted");
    let to = AccountRef {
        process: "x1",
        account: "b",
    };
    ledger
        .apply(Operation::transfer("a", to, 70))
        .await
        .expect("it is accepted");
    let back = TransferRequest {
        from_account: "b".to_owned(),
        to_account: "c".to_owned(),
        amount: 30,
        to_process: "n1".to_owned(),
    };
    until("a transfer back", async || {
        let mut bank = BankServiceClient::new(cluster.grpc("x1", &n2));
        let answer = bank.transfer(back.clone()).await.ok()?.into_inner();
        answer.success.then_some(())
    })
    .await;
    until("the credit", async || {
        let found = cluster.get("n1", "/v1/accounts/c", &n2).await.ok()?;
        (found["balance"] == 30).then_some(())
    })
    .await;
}
