//! Single deposits, one at a time per node, during a snapshot: the longest latency that a client sees.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::super::children::Address;
use super::super::connect::connect;
use crate::cli::CliError;
use crate::client::Authorized;
use crate::proto::chandy_lamport::DepositRequest;
use crate::proto::chandy_lamport::bank_service_client::BankServiceClient;

/// The pause between an answer and the next deposit, so that the probe itself does not disturb.
const PAUSE: Duration = Duration::from_millis(1);
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// A separate account at each node.
const ACCOUNT: &str = "account-of-probe";

/// A connection to each node.
pub(super) struct Probe(Vec<BankServiceClient<Authorized>>);

/// Deposits that continue until stopped.
pub(super) struct Probing {
    tasks: JoinSet<Result<Duration, CliError>>,
    stop: Arc<AtomicBool>,
}

impl Probe {
    pub(super) async fn connect(nodes: &[Address]) -> Result<Self, CliError> {
        let mut clients = Vec::new();
        for node in nodes {
            clients.push(BankServiceClient::new(connect(node).await?));
        }
        Ok(Self(clients))
    }

    pub(super) fn start(&self) -> Probing {
        let (mut tasks, stop) = (JoinSet::new(), Arc::new(AtomicBool::new(false)));
        for client in &self.0 {
            tasks.spawn(longest(client.clone(), Arc::clone(&stop)));
        }
        Probing { tasks, stop }
    }
}

impl Probing {
    /// Stops after the deposits in flight; returns the longest latency in milliseconds.
    pub(super) async fn stop(mut self) -> Result<f64, CliError> {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest = Duration::ZERO;
        while let Some(ended) = self.tasks.join_next().await {
            let ended = ended.map_err(|error| CliError::CheckFailed(error.to_string()))?;
            longest = longest.max(ended?);
        }
        Ok(longest.as_secs_f64() * 1000.0)
    }
}

async fn longest(
    mut client: BankServiceClient<Authorized>,
    stop: Arc<AtomicBool>,
) -> Result<Duration, CliError> {
    let failed = |why: String| CliError::CheckFailed(format!("a deposit: {why}"));
    let mut longest = Duration::ZERO;
    while !stop.load(Ordering::Relaxed) {
        let called = Instant::now();
        let request = DepositRequest {
            account_id: ACCOUNT.to_owned(),
            amount: 1,
        };
        let answer = timeout(ANSWER_MAX, client.deposit(request)).await;
        longest = longest.max(called.elapsed());
        let answer = answer.map_err(|_| failed("no answer".to_owned()))?;
        let answer = answer
            .map_err(|status| failed(status.to_string()))?
            .into_inner();
        if !answer.success {
            return Err(failed(answer.error));
        }
        sleep(PAUSE).await;
    }
    Ok(longest)
}
