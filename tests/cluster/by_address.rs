//! Nodes that know only the addresses of their peers. Without this a node that lost power together with its peers could
//! not start before they do, clients of a waiting node would hang, and another process at a known address would be
//! taken for the earlier one.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use snapledger::proto::chandy_lamport::DepositRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use tempfile::TempDir;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::await_it::until;
use crate::nodes::{address, connection, listen};
use crate::rest::{Rest, asked};

/// One node: its ports and its program.
struct Seat {
    grpc: String,
    rest: String,
    child: Option<Child>,
}

impl Seat {
    fn planned(ports: &[TcpListener; 2]) -> Self {
        Self {
            grpc: address(&ports[0]).to_string(),
            rest: address(&ports[1]).to_string(),
            child: None,
        }
    }

    fn command(&self, dir: &Path, id: &str, peer: &Self) -> Command {
        let port = |address: &str| address.rsplit(':').next().expect("a port").to_owned();
        let mut command = Command::new(env!("CARGO_BIN_EXE_snapledger"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("SNAPLEDGER_") {
                command.env_remove(name);
            }
        }
        command
            .args(["node", "--node-id", id, "--port", &port(&self.grpc)])
            .args(["--rest-port", &port(&self.rest)])
            // A list as users write it.
            .arg(format!("--peers= {} ,", peer.grpc))
            .current_dir(dir)
            .env("RUST_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        command
    }

    /// Starts the node and waits until `/readyz` has this status; returns the body.
    async fn start(&mut self, (dir, id): (&Path, &str), peer: &Self, status: u16) -> String {
        let rest = Rest::new(&self.rest);
        until(&format!("{id} at {status}"), async || {
            // The port may be in use for a moment as the local end of another connection: retry.
            let ended = match &mut self.child {
                Some(child) => child.try_wait().expect("a child").is_some(),
                None => true,
            };
            if ended {
                let child = self.command(dir, id, peer).spawn();
                self.child = Some(child.expect("the program runs"));
            }
            let answer = rest.try_send(asked("/readyz", &[])).await?;
            (answer.status == status).then_some(answer.body)
        })
        .await
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may have ended already.
            let _ended = child.kill();
            let _ended = child.wait();
        }
    }

    async fn deposit(&self) -> Result<bool, tonic::Status> {
        let mut bank = BankServiceClient::new(connection(&self.grpc));
        let account_id = "a".to_owned();
        let answer = bank
            .deposit(DepositRequest {
                account_id,
                amount: 1,
            })
            .await;
        answer.map(|answer| answer.into_inner().success)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.kill();
    }
}

fn pair() -> (TempDir, Seat, Seat) {
    let ports = [(); 2].map(|()| [listen("127.0.0.1:0"), listen("127.0.0.1:0")]);
    let dir = tempfile::tempdir().expect("a temporary directory");
    (dir, Seat::planned(&ports[0]), Seat::planned(&ports[1]))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_has_met_its_peers_starts_without_them_and_refuses_another_in_their_place() {
    let (dir, mut one, mut two) = pair();
    let dir = dir.path();
    let why = one.start((dir, "n1"), &two, 503).await;
    assert!(why.contains(&two.grpc), "{why}");
    assert_waits(&one, &two).await;

    two.start((dir, "n2"), &one, 200).await;
    one.start((dir, "n1"), &two, 200).await;
    one.kill();
    two.kill();
    one.start((dir, "n1"), &two, 200).await;
    assert!(one.deposit().await.expect("it serves"));
    let cluster = Rest::new(&one.rest).read("/v1/cluster").await;
    assert_eq!(cluster["peers"][0]["process"], "n2");
    assert_eq!(cluster["peers"][0]["rest"], two.rest.as_str());
    one.kill();

    // Another process at the address of n2.
    two.start((dir, "n9"), &one, 503).await;
    let ended = one.command(dir, "n1", &two).output().expect("it runs");
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(2), "{stderr}");
    let sentence = "reports process n9, and process n2 was at this address before";
    assert!(stderr.contains(sentence), "{stderr}");
}

// The answers of a node that does not know its peers yet.
async fn assert_waits(one: &Seat, two: &Seat) {
    let rest = Rest::new(&one.rest);
    assert_eq!(rest.get("/healthz").await.status, 200);
    let cluster = rest.try_send(asked("/v1/cluster", &[])).await;
    let cluster = cluster.expect("the port is served");
    assert_eq!(
        (cluster.status, cluster.problem().as_str()),
        (503, "not-ready")
    );
    let metrics = rest.try_send(asked("/metrics", &[])).await;
    let metrics = metrics.expect("the port is served");
    for figure in ["snapledger_ready 0", "snapledger_peers_unknown 1"] {
        assert!(metrics.body.contains(figure), "{metrics:?}");
    }
    let refused = one.deposit().await.expect_err("it is not ready");
    assert_eq!(refused.code(), Code::Unavailable);
    assert!(refused.message().contains(&two.grpc), "{refused}");
    let mut health = HealthClient::new(connection(&one.grpc));
    let service = "chandy_lamport.BankService".to_owned();
    let answer = health.check(HealthCheckRequest { service }).await;
    let status = answer.expect("health is served").into_inner().status();
    assert_eq!(status, ServingStatus::NotServing);
}
