//! The accounts of the cluster: opened, changed, and changed continuously, in batches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::children::Address;
use super::connect::connect;
use super::load::{account, scattered};
use crate::cli::CliError;
use crate::client::Authorized;
use crate::proto::snapledger::ledger_service_client::LedgerServiceClient;
use crate::proto::snapledger::operation::Body;
use crate::proto::snapledger::{ApplyRequest, Deposit, Operation};

/// Operations per call.
const BATCH: usize = 2000;
/// Concurrent calls per node.
const IN_FLIGHT: usize = 4;
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// The accounts that a load touches: a number of accounts per node, spread evenly over the accounts of that node.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    nodes: u64,
    of_node: u64,
    hit: u64,
}

impl Hit {
    /// `hit` accounts in total, at least one per node.
    pub(super) fn new(nodes: usize, accounts: u64, hit: u64) -> Self {
        let nodes = nodes as u64;
        let of_node = (accounts / nodes).max(1);
        Self {
            nodes,
            of_node,
            hit: (hit / nodes).clamp(1, of_node),
        }
    }

    /// The account for operation `number` at the node with index `node_index`.
    pub(super) fn account(&self, number: u64, node_index: u64) -> u64 {
        let drawn = scattered(number) % self.hit;
        drawn * self.of_node / self.hit * self.nodes + node_index
    }
}

/// Accounts by number, spread evenly over the nodes.
#[derive(Clone)]
pub(super) struct Accounts {
    nodes: Vec<LedgerServiceClient<Authorized>>,
    count: u64,
}

impl Accounts {
    pub(super) async fn connect(nodes: &[Address], count: u64) -> Result<Self, CliError> {
        let mut clients = Vec::new();
        for node in nodes {
            clients.push(LedgerServiceClient::new(connect(node).await?));
        }
        Ok(Self {
            nodes: clients,
            count,
        })
    }

    /// Deposits one unit into each account. The first deposit opens an account.
    pub(super) async fn deposit(&self, numbers: impl Iterator<Item = u64>) -> Result<(), CliError> {
        self.pay_in(numbers, 1).await
    }

    /// Deposits `amount` minor units into each account.
    pub(super) async fn pay_in(
        &self,
        numbers: impl Iterator<Item = u64>,
        amount: i64,
    ) -> Result<(), CliError> {
        let mut by_node = vec![Vec::new(); self.nodes.len()];
        for number in numbers {
            by_node[self.node_index(number)].push(number);
        }
        let mut lanes: JoinSet<Result<(), CliError>> = JoinSet::new();
        for (client, numbers) in self.nodes.iter().zip(by_node) {
            let lane_length = numbers.len().div_ceil(IN_FLIGHT).max(1);
            for lane in numbers.chunks(lane_length) {
                let (client, lane) = (client.clone(), lane.to_vec());
                lanes.spawn(async move {
                    for batch in lane.chunks(BATCH) {
                        apply(client.clone(), batch, amount).await?;
                    }
                    Ok(())
                });
            }
        }
        while let Some(ended) = lanes.join_next().await {
            ended.map_err(|error| CliError::CheckFailed(error.to_string()))??;
        }
        Ok(())
    }

    /// The number of accounts.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Changes `changed` accounts; each run changes other ones.
    pub(super) async fn change(&self, run: u64, changed: u64) -> Result<(), CliError> {
        self.deposit(self.chosen(run, changed)).await
    }

    // One account in each of `changed` equal parts of the range of ids.
    fn chosen(&self, run: u64, changed: u64) -> impl Iterator<Item = u64> {
        let count = self.count;
        (0..changed).map(move |part| {
            let (from, until) = (part * count / changed, (part + 1) * count / changed);
            from + scattered(run << 32 | part) % (until - from)
        })
    }

    fn node_index(&self, number: u64) -> usize {
        usize::try_from(number % self.nodes.len() as u64).expect("less than the number of nodes")
    }
}

async fn apply(
    mut client: LedgerServiceClient<Authorized>,
    numbers: &[u64],
    amount: i64,
) -> Result<(), CliError> {
    let deposit = |number: &u64| Operation {
        request_id: String::new(),
        body: Some(Body::Deposit(Deposit {
            account: account(*number),
            amount,
        })),
    };
    let operations = numbers.iter().map(deposit).collect();
    let failed = |reason: String| CliError::CheckFailed(format!("a batch of deposits: {reason}"));
    let answer = timeout(ANSWER_MAX, client.apply(ApplyRequest { operations })).await;
    let answer = answer
        .map_err(|_| failed("no answer".to_owned()))?
        .map_err(|status| failed(status.to_string()))?;
    match answer
        .into_inner()
        .results
        .into_iter()
        .find(|result| !result.success)
    {
        None => Ok(()),
        Some(refused) => Err(failed(refused.error)),
    }
}

/// Deposits that continue until stopped.
pub(super) struct Pressure {
    tasks: JoinSet<Result<(), CliError>>,
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    started: Instant,
}

impl Pressure {
    /// Deposits into the accounts that change in the first run, on every node.
    pub(super) fn start(accounts: &Accounts, changed: u64) -> Self {
        let (stop, done) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let mut tasks = JoinSet::new();
        let chosen: Vec<u64> = accounts.chosen(1, changed).collect();
        for (node_index, client) in accounts.nodes.iter().enumerate() {
            let of_node = chosen
                .iter()
                .filter(|number| accounts.node_index(**number) == node_index);
            let numbers: Vec<u64> = of_node.copied().cycle().take(BATCH).collect();
            for _ in 0..IN_FLIGHT {
                let (client, numbers) = (client.clone(), numbers.clone());
                let (stop, done) = (Arc::clone(&stop), Arc::clone(&done));
                tasks.spawn(async move {
                    while !stop.load(Ordering::Relaxed) && !numbers.is_empty() {
                        apply(client.clone(), &numbers, 1).await?;
                        done.fetch_add(numbers.len() as u64, Ordering::Relaxed);
                    }
                    Ok(())
                });
            }
        }
        Self {
            tasks,
            stop,
            done,
            started: Instant::now(),
        }
    }

    /// Stops the load; returns the operations per second.
    pub(super) async fn stop(mut self) -> Result<f64, CliError> {
        let rate = self.done.load(Ordering::Relaxed) as f64 / self.started.elapsed().as_secs_f64();
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|error| CliError::CheckFailed(error.to_string()))??;
        }
        Ok(rate)
    }
}
