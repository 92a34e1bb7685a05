//! Continuous transfers between all nodes of a cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use snapledger::proto::chandy_lamport::TransferRequest;
use snapledger::proto::chandy_lamport::bank_service_client::BankServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::await_it::until;
use crate::nodes::Cluster;

/// The initial balance of the account `cash` on every node.
pub(crate) const SEED: i64 = 1_000_000;

/// Transfers that continue until stopped.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    senders: JoinSet<()>,
}

impl Traffic {
    /// Every node sends to every other node of `ids`, several concurrently, one unit at a time.
    pub(crate) async fn between(cluster: &Cluster, ids: &[&str]) -> Self {
        let mut traffic = Self {
            stop: Arc::default(),
            done: Arc::default(),
            senders: JoinSet::new(),
        };
        for id in ids {
            cluster.deposit(id, "cash", SEED).await;
        }
        for from in ids {
            for to in ids.iter().filter(|to| *to != from) {
                traffic.send(cluster.bank(from), to);
            }
        }
        let begun = traffic.done.load(Ordering::Relaxed) + 100;
        until("traffic", async || {
            (traffic.done.load(Ordering::Relaxed) > begun).then_some(())
        })
        .await;
        traffic
    }

    fn send(&mut self, mut bank: BankServiceClient<Channel>, to: &str) {
        let request = TransferRequest {
            from_account: "cash".to_owned(),
            to_account: "cash".to_owned(),
            amount: 1,
            to_process: to.to_owned(),
        };
        let (stop, done) = (Arc::clone(&self.stop), Arc::clone(&self.done));
        self.senders.spawn(async move {
            while !stop.load(Ordering::Relaxed) {
                let answer = bank.transfer(request.clone()).await;
                let answer = answer.expect("the node answers").into_inner();
                assert!(answer.success, "{}", answer.error);
                done.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Completes the transfers in progress; returns the number of transfers.
    pub(crate) async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.senders.join_next().await {
            ended.expect("no transfer was refused");
        }
        self.done.load(Ordering::Relaxed)
    }
}
