//! Single deposits at a fixed rate, whatever the answers do: each is counted from the instant at which it was to leave,
//! so that a server that stands still for a while is charged for every call that had to wait.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;
use tonic::transport::Channel;

use super::super::accounts::Hit;
use super::super::children::Address;
use super::super::load::{account, connect};
use crate::cli::CliError;
use crate::proto::chandy_lamport::DepositRequest;
use crate::proto::chandy_lamport::bank_service_client::BankServiceClient;

/// Calls under way at once, above which the rate is too high for the machine.
const UNDER_WAY_MAX: usize = 20_000;
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// One after the other to each node in turn, into the accounts that it has.
pub(super) struct OpenLoop {
    nodes: Vec<BankServiceClient<Channel>>,
    hit: Hit,
    per_second: u32,
}

/// A call that was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// When it was to leave.
    pub(super) due: Instant,
    pub(super) answered: Instant,
}

impl Call {
    pub(super) fn latency(&self) -> Duration {
        self.answered.saturating_duration_since(self.due)
    }
}

type Calls = JoinSet<Result<Call, CliError>>;

impl OpenLoop {
    pub(super) async fn connect(
        nodes: &[Address],
        hit: Hit,
        per_second: u32,
    ) -> Result<Self, CliError> {
        let mut clients = Vec::new();
        for node in nodes {
            clients.push(BankServiceClient::new(connect(&node.grpc).await?));
        }
        Ok(Self {
            nodes: clients,
            hit,
            per_second,
        })
    }

    /// Calls for `time` and waits for all answers.
    pub(super) async fn run(&self, time: Duration) -> Result<Vec<Call>, CliError> {
        let pace = Pace {
            nodes: self.nodes.clone(),
            hit: self.hit,
            between: Duration::from_secs(1) / self.per_second,
            runtime: Handle::current(),
        };
        // A thread of its own: the timer of the runtime is too coarse.
        let paced = tokio::task::spawn_blocking(move || pace.call(time)).await;
        let (mut answered, mut calls) = paced.map_err(broken)??;
        while let Some(call) = calls.join_next().await {
            answered.push(call.map_err(broken)??);
        }
        Ok(answered)
    }
}

struct Pace {
    nodes: Vec<BankServiceClient<Channel>>,
    hit: Hit,
    between: Duration,
    runtime: Handle,
}

impl Pace {
    // What is answered by the end, and what is still under way.
    fn call(mut self, time: Duration) -> Result<(Vec<Call>, Calls), CliError> {
        let (mut answered, mut calls) = (Vec::new(), Calls::new());
        let mut due = Instant::now();
        let until = due + time;
        let mut number = 0;
        while due < until {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            let request = self.request(number);
            let client = self.node(number).clone();
            calls.spawn_on(deposit(client, request, due), &self.runtime);
            while let Some(call) = calls.try_join_next() {
                answered.push(call.map_err(broken)??);
            }
            if calls.len() > UNDER_WAY_MAX {
                return Err(CliError::CheckFailed(format!(
                    "{UNDER_WAY_MAX} calls wait for their answers: the nodes do not keep up; give a lower --rate"
                )));
            }
            number += 1;
            due += self.between;
        }
        Ok((answered, calls))
    }

    // Accounts are spread over the nodes by number.
    fn request(&self, number: u64) -> DepositRequest {
        let place = number % self.nodes.len() as u64;
        DepositRequest {
            account_id: account(self.hit.account(number, place)),
            amount: 1,
        }
    }

    fn node(&mut self, number: u64) -> &mut BankServiceClient<Channel> {
        let place = number % self.nodes.len() as u64;
        &mut self.nodes[usize::try_from(place).expect("less than the number of nodes")]
    }
}

async fn deposit(
    mut client: BankServiceClient<Channel>,
    request: DepositRequest,
    due: Instant,
) -> Result<Call, CliError> {
    let failed = |why: String| CliError::CheckFailed(format!("a deposit: {why}"));
    let answer = timeout(ANSWER_MAX, client.deposit(request)).await;
    let answer = answer.map_err(|_| failed("no answer".to_owned()))?;
    let answer = answer
        .map_err(|status| failed(status.to_string()))?
        .into_inner();
    let answered = Instant::now();
    if !answer.success {
        return Err(failed(answer.error));
    }
    Ok(Call { due, answered })
}

fn broken(error: JoinError) -> CliError {
    CliError::CheckFailed(error.to_string())
}
