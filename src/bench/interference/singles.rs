//! Single deposits at a fixed rate, independent of the answers (open loop). Latency counts from the scheduled start of
//! a call, so a stalled server is charged for every delayed call. Also measures the maximum rate.

use std::ops::Range;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use super::super::accounts::Hit;
use super::super::caller::Caller;
use super::super::children::Address;
use super::super::load::{DEPOSIT, account};
use crate::cli::CliError;
use crate::proto::chandy_lamport::{DepositRequest, DepositResponse};

/// The most calls in flight; more means that the rate is too high for the machine.
const UNDER_WAY_MAX: usize = 20_000;
/// The time limit for the last answers after the last call.
const ANSWER_MAX: Duration = Duration::from_secs(60);
/// Calls are sent in this many bursts per second, since waking up for each call costs as much as a call.
const BURSTS_PER_SECOND: u64 = 1000;
const BETWEEN: Duration = Duration::from_micros(1_000_000 / BURSTS_PER_SECOND);

/// Calls the nodes in turn, each for its own accounts.
#[derive(Clone)]
pub(super) struct Singles {
    nodes: Vec<Caller>,
    hit: Hit,
}

/// An answered call.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call {
    /// The scheduled start.
    pub(super) due: Instant,
    pub(super) answered: Instant,
}

impl Call {
    pub(super) fn latency(&self) -> Duration {
        self.answered.saturating_duration_since(self.due)
    }
}

/// The calls of a run.
pub(super) struct Called {
    pub(super) began: Instant,
    pub(super) calls: Vec<Call>,
}

impl Called {
    /// The calls in flight in any of `times`, which are relative to the start of the run.
    pub(super) fn during(&self, times: &[Range<Duration>]) -> impl Iterator<Item = &Call> {
        self.calls.iter().filter(|call| {
            let due = call.due.saturating_duration_since(self.began);
            let answered = call.answered.saturating_duration_since(self.began);
            let mut times = times.iter();
            times.any(|time| due < time.end && time.start < answered)
        })
    }
}

type UnderWay = JoinSet<Result<Call, CliError>>;

impl Singles {
    pub(super) async fn connect(nodes: &[Address], hit: Hit) -> Result<Self, CliError> {
        let mut callers = Vec::new();
        for node in nodes {
            callers.push(Caller::connect(node, DEPOSIT).await?);
        }
        Ok(Self {
            nodes: callers,
            hit,
        })
    }

    /// Calls answered per second with `in_flight` calls always in flight.
    pub(super) async fn most(&self, in_flight: u64, time: Duration) -> Result<u32, CliError> {
        let began = Instant::now();
        let mut callers = JoinSet::new();
        for index in 0..in_flight {
            let singles = self.clone();
            callers.spawn(async move {
                let mut answered = 0;
                while began.elapsed() < time {
                    let number = index + answered * in_flight;
                    let node = singles.node(number).clone();
                    deposit(node, singles.request(number), Instant::now()).await?;
                    answered += 1;
                }
                Ok::<u64, CliError>(answered)
            });
        }
        let joined = async {
            let mut answered: u64 = 0;
            while let Some(called) = callers.join_next().await {
                answered += called.map_err(broken)??;
            }
            Ok(answered)
        };
        let answered = in_time(time, joined).await?;
        let per_second = u128::from(answered) * 1000 / began.elapsed().as_millis().max(1);
        Ok(u32::try_from(per_second).unwrap_or(u32::MAX))
    }

    /// Makes `per_second` calls per second for `time`, independent of the answers, and waits for all of them.
    pub(super) async fn run(&self, per_second: u32, time: Duration) -> Result<Called, CliError> {
        let began = Instant::now();
        let sender = Sender {
            singles: self.clone(),
            per_second,
            runtime: Handle::current(),
        };
        // Uses its own thread, since the timer of the runtime is too coarse.
        let sent = tokio::task::spawn_blocking(move || sender.call(time)).await;
        let (mut calls, mut under_way) = sent.map_err(broken)??;
        let answered = async {
            while let Some(call) = under_way.join_next().await {
                calls.push(call.map_err(broken)??);
            }
            Ok(())
        };
        in_time(Duration::ZERO, answered).await?;
        Ok(Called { began, calls })
    }

    // Accounts are spread over the nodes by number.
    fn request(&self, number: u64) -> DepositRequest {
        let index = number % self.nodes.len() as u64;
        DepositRequest {
            account_id: account(self.hit.account(number, index)),
            amount: 1,
        }
    }

    fn node(&self, number: u64) -> &Caller {
        let index = number % self.nodes.len() as u64;
        &self.nodes[usize::try_from(index).expect("less than the number of nodes")]
    }
}

struct Sender {
    singles: Singles,
    per_second: u32,
    runtime: Handle,
}

impl Sender {
    // The calls answered by the end, and those still in flight.
    fn call(self, time: Duration) -> Result<(Vec<Call>, UnderWay), CliError> {
        let (mut answered, mut calls) = (Vec::new(), UnderWay::new());
        let mut due = Instant::now();
        let until = due + time;
        let (mut bursts, mut number) = (0, 0);
        while due < until {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            bursts += 1;
            while number < bursts * u64::from(self.per_second) / BURSTS_PER_SECOND {
                let request = self.singles.request(number);
                let node = self.singles.node(number).clone();
                calls.spawn_on(deposit(node, request, due), &self.runtime);
                number += 1;
            }
            while let Some(call) = calls.try_join_next() {
                answered.push(call.map_err(broken)??);
            }
            if calls.len() > UNDER_WAY_MAX {
                return Err(CliError::CheckFailed(format!(
                    "{UNDER_WAY_MAX} calls wait for their answers: the nodes do not keep up; give a lower --rate"
                )));
            }
            due += BETWEEN;
        }
        Ok((answered, calls))
    }
}

async fn deposit(node: Caller, request: DepositRequest, due: Instant) -> Result<Call, CliError> {
    let answer: DepositResponse = node.call(&request).await?;
    let answered = Instant::now();
    if !answer.success {
        return Err(CliError::CheckFailed(format!(
            "a deposit: {}",
            answer.error
        )));
    }
    Ok(Call { due, answered })
}

// One time limit for all calls: a timer per call would load the measured machine.
async fn in_time<T>(
    time: Duration,
    answers: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let no_answer = |_| CliError::CheckFailed("a deposit: no answer".to_owned());
    timeout(time + ANSWER_MAX, answers)
        .await
        .map_err(no_answer)?
}

fn broken(error: JoinError) -> CliError {
    CliError::CheckFailed(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_that_were_under_way_in_a_time_are_found() {
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let call = |due, answered| Call {
            due: at(due),
            answered: at(answered),
        };
        let calls = vec![call(0, 10), call(5, 11), call(12, 19), call(20, 21)];
        let called = Called { began, calls };
        let during = |from, until| {
            let times = [Duration::from_millis(from)..Duration::from_millis(until)];
            let found: Vec<Duration> = called.during(&times).map(Call::latency).collect();
            found.iter().map(Duration::as_millis).collect::<Vec<_>>()
        };
        assert_eq!(during(10, 20), [6, 7]);
        assert_eq!(during(0, 5), [10]);
        assert_eq!(during(21, 30), [0; 0]);
    }
}
