//! Deposits with idempotency keys, and their outcomes.

use serde_json::json;
use tokio::task::JoinSet;

use crate::program::Program;
use crate::rest::{Answer, Rest, posted};

/// The account that receives all deposits.
const ACCOUNT: &str = "till";

/// The deposits requested so far.
#[derive(Default)]
pub(crate) struct Ledger {
    /// Amounts, and whether they were acknowledged; the key of each is its index.
    deposits: Vec<(i64, bool)>,
}

impl Ledger {
    /// Requests one more deposit; returns whether it was acknowledged.
    pub(crate) async fn deposit(&mut self, node: &Program) -> bool {
        let index = self.deposits.len();
        let amount = 1 + i64::try_from(index).expect("few are made");
        self.deposits.push((amount, false));
        let answer = ask(node.rest.clone(), index, amount).await;
        let is_done = answer.is_some_and(|answer| answer.status == 200);
        self.deposits[index].1 = is_done;
        is_done
    }

    /// Requests several concurrently.
    pub(crate) async fn deposit_together(&mut self, node: &Program, count: usize) {
        let mut asked = JoinSet::new();
        for _ in 0..count {
            let index = self.deposits.len();
            let amount = 1 + i64::try_from(index).expect("few are made");
            self.deposits.push((amount, false));
            let rest = node.rest.clone();
            asked.spawn(async move { (index, ask(rest, index, amount).await) });
        }
        for (index, answer) in asked.join_all().await {
            self.deposits[index].1 = answer.is_some_and(|answer| answer.status == 200);
        }
    }

    pub(crate) fn acknowledged(&self) -> usize {
        self.deposits.iter().filter(|(_, is_done)| *is_done).count()
    }

    /// Checks that everything acknowledged is there and each other deposit is there completely or not at all; and that
    /// after all are retried, each is there once. Returns the number of unacknowledged deposits that were there.
    pub(crate) async fn settle(&mut self, node: &Program) -> usize {
        let found = node.rest.balance(ACCOUNT).await.unwrap_or(0);
        let sum = |wanted: bool| -> i64 {
            let chosen = self
                .deposits
                .iter()
                .filter(|(_, is_done)| *is_done == wanted);
            chosen.map(|(amount, _)| amount).sum()
        };
        let (sure, unsure) = (sum(true), sum(false));
        assert!(
            (sure..=sure + unsure).contains(&found),
            "{found}, not {sure} to {}",
            sure + unsure
        );
        let mut balance = found;
        let mut there = 0;
        for index in 0..self.deposits.len() {
            let (amount, is_done) = self.deposits[index];
            let answer = ask(node.rest.clone(), index, amount)
                .await
                .expect("the node answers");
            assert_eq!(answer.status, 200, "{answer:?}");
            let after = node.rest.balance(ACCOUNT).await.unwrap_or(0);
            if is_done {
                assert_eq!(after, balance, "deposit {index} was done twice");
            } else if after == balance {
                there += 1;
            } else {
                assert_eq!(after, balance + amount, "deposit {index} is done by halves");
            }
            balance = after;
            self.deposits[index].1 = true;
        }
        assert_eq!(
            balance,
            sure + unsure,
            "once all is asked again, all is there once"
        );
        there
    }
}

async fn ask(rest: Rest, index: usize, amount: i64) -> Option<Answer> {
    let path = format!("/v1/accounts/{ACCOUNT}/deposits");
    let key = format!("deposit-{index}");
    let headers = [("idempotency-key", key.as_str())];
    rest.try_send(posted(&path, &json!({"amount": amount}), &headers))
        .await
}
