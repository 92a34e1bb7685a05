//! A certificate that expires while the channels of its process are open: they end, and continue with the next certificate.

use std::time::{Duration, Instant};

use serde_json::Value;
use snapledger::client::{AccountRef, Ledger, Operation, Options};
use snapledger::tls::client::ClientTls;

use crate::await_it::until;
use crate::cluster::Cluster;
use crate::rotation::{TAKEN, replace};

/// The life of the certificate beyond what the machine needs to open the channels and to use them.
const LIFETIME: Duration = Duration::from_secs(6);

async fn pay(cluster: &Cluster, client: &ClientTls, [from, to]: [&str; 2]) {
    let ledger = Ledger::over(cluster.grpc(from, client), Options::default());
    let to = AccountRef {
        process: to,
        account: "b",
    };
    let paid = ledger.apply(Operation::transfer("a", to, 100)).await;
    paid.expect("a transfer waits for its channel");
}

// The states of the channels between n1 and n2, in both directions.
async fn channels(cluster: &Cluster, client: &ClientTls) -> Option<Vec<String>> {
    let found = cluster.get("n1", "/v1/cluster", client).await.ok()?;
    let channels = found["channels"].as_array()?.iter();
    let of_n2 = channels.filter(|channel| channel["from"] == "n2" || channel["to"] == "n2");
    of_n2
        .map(|channel| channel["state"].as_str().map(str::to_owned))
        .collect()
}

// Without this the only sign of an expired certificate would be the words of the peers that refuse it.
#[tokio::test]
async fn what_has_expired_is_named_at_the_start_and_in_the_status() {
    let mut cluster = Cluster::planned();
    let certificates = cluster.certificates.clone();
    certificates.expired_authority(&["n1", "n2", "n3"]);
    certificates.expired("n3", "n3");
    for id in ["n1", "n3"] {
        cluster.start(id);
    }
    let expired = "n3.crt: the certificate expired at 2020-02-01T00:00:00Z; issue a new pair with `snapledger cert node --id n3";
    cluster.says("n3", expired, 0).await;
    let authority = "ca.crt: the CA \"O=bank, CN=old CA\" expired at 2020-02-01T00:00:00Z; make a new CA with `snapledger cert \
                     init --cluster bank";
    for id in ["n1", "n3"] {
        cluster.says(id, authority, 0).await;
    }
    let client = certificates.trusting(None);
    let status = until("the status of n1", async || {
        cluster.get("n1", "/v1/cluster", &client).await.ok()
    })
    .await;
    let warnings = status["warnings"].as_array().expect("a list");
    let named = |warning: &Value| {
        let text = warning.as_str();
        text.is_some_and(|text| text.contains(authority))
    };
    assert_eq!(
        warnings.iter().filter(|one| named(one)).count(),
        1,
        "{status:#}"
    );
}

#[tokio::test]
async fn channels_end_with_a_certificate_and_continue_with_the_next_without_a_loss() {
    let mut cluster = Cluster::planned();
    let certificates = cluster.certificates.clone();
    let next = cluster.dir().join("next");
    certificates.node_into("n2", &next);
    let client = certificates.trusting(None);
    for id in ["n1", "n3"] {
        cluster.start(id);
    }
    cluster.says("n3", "ready: grpc", 0).await;
    // Once with a certificate that lasts, to see how long this machine takes.
    let begun = Instant::now();
    cluster.start("n2");
    cluster.connected().await;
    for id in ["n1", "n2"] {
        let ledger = Ledger::over(cluster.grpc(id, &client), Options::default());
        let paid = ledger.apply(Operation::deposit("a", 1000)).await;
        paid.expect("it is accepted");
    }
    let needed = begun.elapsed();
    cluster.stop("n2");
    certificates.short_lived("n2", LIFETIME + 3 * needed);
    cluster.start("n2");
    cluster.connected().await;
    pay(&cluster, &client, ["n1", "n2"]).await;
    // n1 has an accepted and an outgoing connection with n2.
    until("the end of both connections", async || {
        let log = cluster.log("n1");
        let ended = "n2 ends: its certificate has expired";
        (log.matches(ended).count() >= 2).then_some(())
    })
    .await;
    until("closed channels", async || {
        let states = channels(&cluster, &client).await?;
        (states.len() == 2 && states.iter().all(|state| state != "open")).then_some(())
    })
    .await;
    cluster
        .says("n1", "the certificate has expired; issue a new one", 0)
        .await;
    pay(&cluster, &client, ["n1", "n2"]).await;
    replace(&next.join("n2.key"), &certificates.key("n2"));
    replace(&next.join("n2.crt"), &certificates.crt("n2"));
    cluster.says("n2", TAKEN, 0).await;
    cluster.connected().await;
    pay(&cluster, &client, ["n2", "n1"]).await;
    until("all transfers, once", async || {
        for (id, balance) in [("n1", 100), ("n2", 200)] {
            let path = "/v1/accounts/b";
            let found = cluster.get(id, path, &client).await.ok()?;
            (found["balance"] == balance).then_some(())?;
        }
        Some(())
    })
    .await;
}
