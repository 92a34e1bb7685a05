//! A store that has lost its newest turns, truncated or replaced by an older copy. Both ends of its channels detect it
//! and report both figures, everything else continues, and the right store may come back. Without this the lost
//! operations are booked twice, or money disappears silently.

use std::time::Duration;

use snapledger::process::decision::Actor;
use snapledger::store::Store;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::other_journal::try_put;
use crate::snapshots::assert_proven;
use crate::stores::{copy_as_it_is, copy_of, cut_short, open, pay, put_back, stopped};

const IDS: [&str; 3] = ["n1", "n2", "n3"];

/// n1 has paid 5 to n2 three times. Returns the journal position of the second payment.
async fn acquainted() -> (Cluster, u64) {
    let cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.deposit(id, "a", 100).await;
    }
    let n1 = cluster.rest("n1");
    pay(&n1, ("n2", "b"), 5).await;
    let second = pay(&n1, ("n2", "b"), 5).await;
    pay(&n1, ("n2", "b"), 5).await;
    cluster.rest("n2").balance_is("b", 15).await;
    (cluster, second)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_was_cut_short_is_refused_by_its_witness_and_then_by_its_peers() {
    let (mut cluster, second) = acquainted().await;
    cluster.stop("n1").await;
    let store = cluster.store("n1");
    let right = copy_of(&store);
    cut_short(&store, second);

    let refused = cluster.try_start("n1").await.expect_err("its end is gone");
    let sentence = refused.to_string();
    let ends = format!("it ends at entry {}, and entry ", second - 1);
    assert_eq!(refused.exit_code(), 3);
    assert!(sentence.contains(&ends), "{sentence}");

    // The watermark file is removed.
    std::fs::remove_file(store.join("witness")).expect("it is there");
    cluster.start("n1").await;
    let n1 = cluster.rest("n1");
    let lost = [
        "\"n1\" has lost",
        "sent 1 (amount 5",
        "delivered 3 (amount 15",
    ];
    stopped(&cluster, ("n1", "n2"), &lost).await;
    stopped(&cluster, ("n2", "n1"), &["held while n1→n2 is stopped"]).await;

    // Other messages with the same numbers do not repair it.
    for _ in 0..3 {
        pay(&n1, ("n2", "b"), 5).await;
    }
    let other = ["sent 3 (amount 15", "delivered 3 (amount 15"];
    stopped(&cluster, ("n1", "n2"), &other).await;
    assert_eq!(cluster.rest("n2").balance("b").await, Some(15));
    the_others_go_on(&cluster).await;
    the_right_store_comes_back(cluster, right.path(), 400).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_that_is_put_back_stops_its_channels_whatever_its_boot() {
    for boots in 0..2 {
        let mut cluster = Cluster::up(&IDS).await;
        for id in IDS {
            cluster.deposit(id, "a", 100).await;
        }
        let n2 = cluster.rest("n2");
        pay(&cluster.rest("n1"), ("n2", "b"), 5).await;
        n2.balance_is("b", 5).await;
        cluster.stop("n1").await;
        let store = cluster.store("n1");
        let old = copy_of(&store);
        cluster.start("n1").await;
        cluster.connected().await;
        for _ in 0..3 {
            pay(&cluster.rest("n1"), ("n2", "b"), 5).await;
            pay(&n2, ("n1", "b"), 7).await;
        }
        n2.balance_is("b", 20).await;
        cluster.rest("n1").balance_is("b", 21).await;
        cluster.stop("n1").await;
        let right = copy_of(&store);

        put_back(old.path(), &store);
        for _ in 0..boots {
            // No node serves it: only the boot is counted.
            let me = crate::nodes::process("n1");
            drop(Store::open(&store, "tested", &me).expect("the store opens"));
        }
        cluster.start("n1").await;
        let words: &[&str] = match boots {
            0 => &["boot 2 as run", "that boot was seen as run", "another copy"],
            _ => &[
                "\"n1\" has lost",
                "sent 1 (amount 5",
                "delivered 4 (amount 20",
            ],
        };
        stopped(&cluster, ("n1", "n2"), words).await;
        stopped(&cluster, ("n2", "n1"), &[]).await;
        assert_eq!(n2.balance("b").await, Some(20));
        the_others_go_on(&cluster).await;
        refuses_keys(&cluster).await;
        cluster.stop("n1").await;
        cluster.start("n1").await;
        stopped(&cluster, ("n1", "n2"), &[]).await;
        refuses_keys(&cluster).await;
        the_right_store_comes_back(cluster, right.path(), 400).await;
    }
}

// No peer has seen what followed. Without this the balance of the copy passes for that of the original.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_running_store_that_is_put_back_answers_for_nothing_that_followed_it() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.clock("n1").ahead_max = Duration::from_millis(100);
    cluster.deposit("n1", "a", 100).await;
    let n1 = cluster.rest("n1");
    let store = cluster.store("n1");
    let old = copy_as_it_is(&store);
    cluster.deposit("n1", "a", 7).await;
    let audit = n1.read("/v1/audit").await;
    let behind_at = audit["at"].as_str().expect("an instant");
    assert_eq!(
        (&audit["complete"], &audit["totals"]["balances"]),
        (&true.into(), &107.into()),
        "{audit:#}"
    );

    cluster.stop("n1").await;
    put_back(old.path(), &store);
    cluster.start("n1").await;
    cluster.connected().await;
    for id in IDS {
        let query = format!("/v1/audit?at={behind_at}");
        let audit = cluster.rest(id).read(&query).await;
        let missing = &audit["missing"][0];
        assert_eq!(
            (&audit["complete"], &missing["process"], &missing["reason"]),
            (&false.into(), &"n1".into(), &"other_journal".into()),
            "{audit:#}"
        );
    }
    let balance = format!("/v1/accounts/a/balance?at={behind_at}");
    assert_eq!(n1.get(&balance).await.status, 410);
    // The contents of the copy are valid again once it has caught up, even if nothing else happens.
    let audit = until("that the copy has caught up", async || {
        let audit = n1.read("/v1/audit").await;
        (audit["complete"] == true).then_some(audit)
    })
    .await;
    assert_eq!(audit["totals"]["balances"], 100, "{audit:#}");
    assert_eq!(n1.read("/v1/audit").await["at"], audit["at"], "it stays");
}

// Their stamps could lose against those that the peers have from the earlier store of n1.
async fn refuses_keys(cluster: &Cluster) {
    until("that n1 takes no key", async || {
        let refused = try_put(cluster, "n1", "v").await.err();
        refused.filter(|status| status.code() == tonic::Code::Unavailable)
    })
    .await;
}

// n2 and n3 continue, and a snapshot of theirs names what is missing; clients of n1 are served.
async fn the_others_go_on(cluster: &Cluster) {
    pay(&cluster.rest("n2"), ("n3", "c"), 1).await;
    cluster.rest("n3").balance_is("c", 1).await;
    cluster.deposit("n1", "a", 1).await;
    cluster.deposit("n2", "a", 100).await;
}

async fn the_right_store_comes_back(mut cluster: Cluster, right: &std::path::Path, total: i64) {
    cluster.stop("n1").await;
    put_back(right, &cluster.store("n1"));
    // The wrong copy may have been met with the same boot number, where nothing contradicted it: an operator decides.
    Store::vouch(&cluster.store("n1"), Actor::default()).expect("a good store");
    cluster.start("n1").await;
    cluster.connected().await;
    let n1 = cluster.rest("n1");
    pay(&n1, ("n2", "d"), 5).await;
    cluster.rest("n2").balance_is("d", 5).await;
    pay(&cluster.rest("n2"), ("n1", "d"), 7).await;
    n1.balance_is("d", 7).await;
    open(&n1, ("n1", "n3")).await;
    let id = n1.start_snapshot().await;
    assert_proven(&n1.snapshot(&id, "complete").await, total);
    cluster.stop_all().await;
}
