//! Deposits over gRPC with a fixed number in flight for a given time.

use std::time::{Duration, Instant};

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::caller::Caller;
use super::figures::Run;
use crate::cli::CliError;
use crate::proto::chandy_lamport::{DepositRequest, DepositResponse};

/// The time limit for the last answers after the run.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// An account id of 16 bytes.
pub(super) fn account(number: u64) -> String {
    format!("account-{number:08}")
}

/// The method that [`Load`] calls.
pub(super) const DEPOSIT: &str = "/chandy_lamport.BankService/Deposit";

/// Single deposits, one call each.
#[derive(Debug, Clone)]
pub(super) struct Load {
    pub(super) caller: Caller,
    pub(super) in_flight: usize,
    pub(super) accounts: u64,
}

impl Load {
    /// Runs for `time` and returns the answered calls.
    pub(super) async fn run(&self, time: Duration) -> Result<Run, CliError> {
        let started = Instant::now();
        let until = started + time;
        let mut callers = JoinSet::new();
        for index in 0..self.in_flight {
            callers.spawn(self.clone().call(index as u64, until));
        }
        let mut latencies_ns = Vec::new();
        let joined = async {
            while let Some(called) = callers.join_next().await {
                let called = called.map_err(|error| CliError::CheckFailed(error.to_string()))?;
                latencies_ns.append(&mut called?);
            }
            Ok(())
        };
        timeout(time + ANSWER_MAX, joined)
            .await
            .unwrap_or_else(|_| Err(CliError::CheckFailed("an answer is missing".to_owned())))?;
        let took = started.elapsed();
        Ok(Run { took, latencies_ns })
    }

    async fn call(self, index: u64, until: Instant) -> Result<Vec<u64>, CliError> {
        let mut latencies_ns = Vec::new();
        let mut number = index;
        loop {
            let request = DepositRequest {
                account_id: account(scattered(number) % self.accounts),
                amount: 1,
            };
            let called = Instant::now();
            if called >= until {
                return Ok(latencies_ns);
            }
            let answer: DepositResponse = self.caller.call(&request).await?;
            latencies_ns.push(u64::try_from(called.elapsed().as_nanos()).unwrap_or(u64::MAX));
            if !answer.success {
                return Err(CliError::CheckFailed(answer.error));
            }
            number += self.in_flight as u64;
        }
    }
}

/// A deterministic pseudo-random mapping (the last step of SplitMix64).
pub(super) fn scattered(number: u64) -> u64 {
    let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed ^ (mixed >> 27)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_16_bytes_and_are_scattered() {
        assert_eq!(account(0).len(), 16);
        assert_eq!(account(99_999_999).len(), 16);
        assert_ne!(scattered(1) % 1000, scattered(2) % 1000);
    }
}
