//! A running node is backed up: the copy is a whole store, reports its position, and can replace a lost original.
//! Without this a store could be copied only while its node is stopped, or the copy would open and silently lack later
//! turns.

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use snapledger::process::decision::Actor;
use snapledger::process::ids::Lsn;
use snapledger::store::Store;

use crate::asked_from_terminal::{ended, printed};
use crate::await_it::until;
use crate::nodes::{Cluster, process};
use crate::rest::Rest;
use crate::snapshots::assert_proven;
use crate::stores::{open, pay, stopped_at};
use crate::traffic::{SEED, Traffic};

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn backup(rest: &Rest, into: &Path) -> Value {
    let into = into.to_str().expect("text");
    let printed = printed(rest, &["backup", "--into", into, "--output", "json"]).await;
    serde_json::from_str(&printed).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_load_is_whole_and_says_how_far_it_reaches() {
    // Retention deletes on every node meanwhile, as far as it may.
    let cluster = Cluster::planned(&IDS).with_max_count(2).started().await;
    let mut cluster = cluster;
    cluster.connected().await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let rest = cluster.rest("n1");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let snapshots = async {
        for _ in 0..12 {
            let id = rest.start_snapshot().await;
            rest.snapshot(&id, "complete").await;
        }
    };
    let copies = async {
        let mut copies = Vec::new();
        for number in 0..3 {
            let copy = dir.path().join(format!("copy-{number}"));
            let before = rest.read("/v1/cluster").await["journal_position"].as_u64();
            let copied = backup(&rest, &copy).await;
            assert_eq!(
                (&copied["process"], &copied["cluster"]),
                (&"n1".into(), &"tested".into())
            );
            assert!(copied["journal_position"].as_u64() >= before, "{copied}");
            copies.push((copy, copied));
        }
        copies
    };
    let ((), copies) = tokio::join!(snapshots, copies);
    traffic.stop().await;
    for (copy, copied) in &copies {
        let checked = Store::check(copy).expect("a whole store");
        assert_eq!(checked.process, "n1");
        let store = Store::open(copy, "tested", &process("n1")).expect("it opens");
        let position = copied["journal_position"].as_u64().expect("a position");
        assert_eq!(store.journal().position(), Lsn(position));
    }
    // An existing destination, and a missing node, are reported before anything is written.
    let into = copies[0].0.to_str().expect("text");
    let (code, _, stderr) = ended(&rest, &["backup", "--into", into]).await;
    assert!(
        code == Some(2) && stderr.contains("is not empty"),
        "{stderr}"
    );
    assert_eq!(
        std::fs::read_dir(dir.path()).expect("a directory").count(),
        3
    );
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_takes_the_place_of_a_lost_store_and_is_refused_beside_it() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    cluster.deposit("n1", "a", 10).await;
    let traffic = Traffic::between(&cluster, &IDS).await;
    let first = rest.start_snapshot().await;
    rest.snapshot(&first, "complete").await;
    traffic.stop().await;
    until("nothing on its way", async || {
        let audit = rest.read("/v1/audit").await;
        (audit["totals"]["in_flight"] == 0).then_some(())
    })
    .await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("copy");
    let copied = backup(&rest, &copy).await;
    let held = rest.balance("cash").await;
    let n2_held = cluster
        .rest("n2")
        .balance("cash")
        .await
        .expect("an account");

    cluster.stop("n1").await;
    cluster.wipe("n1");
    std::fs::rename(&copy, cluster.store("n1")).expect("on one file system");
    cluster.start("n1").await;
    cluster.connected().await;
    assert_eq!(rest.balance("cash").await, held);
    assert_eq!(
        rest.read(&format!("/v1/snapshots/{first}")).await["status"],
        "complete"
    );
    let id = rest.start_snapshot().await;
    assert_proven(&rest.snapshot(&id, "complete").await, 3 * SEED + 10);

    let again = backup(&rest, &copy).await;
    assert!(again["journal_position"].as_u64() > copied["journal_position"].as_u64());
    pay(&rest, ("n2", "cash"), 1).await;
    cluster.rest("n2").balance_is("cash", n2_held + 1).await;
    let (second, beside) = cluster.second("n1", &copy).await;
    stopped_at(&beside, ("n1", "n2"), &["has lost durable data"]).await;
    second.stop().await;
    cluster.stop_all().await;
}

/// Without this instants after the position of a backup are answered as if nothing had happened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_that_was_put_back_answers_for_no_instant_that_it_lacks() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.clock("n1").ahead_max = Duration::from_millis(100);
    let rest = cluster.rest("n1");
    cluster.deposit("n1", "a", 10).await;
    let first = rest.start_snapshot().await;
    rest.snapshot(&first, "complete").await;
    let known = rest.read("/v1/audit").await["at"].clone();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("copy");
    backup(&rest, &copy).await;
    // No channel reveals it.
    cluster.deposit("n1", "a", 5).await;
    let lost = cluster.rest("n2").read("/v1/audit").await;
    assert_eq!(
        (&lost["complete"], &lost["totals"]["balances"]),
        (&true.into(), &15.into())
    );
    let [known, at] = [&known, &lost["at"]].map(|at| at.as_str().expect("an instant").to_owned());

    cluster.stop("n1").await;
    cluster.wipe("n1");
    std::fs::rename(&copy, cluster.store("n1")).expect("on one file system");
    cluster.start("n1").await;
    cluster.connected().await;
    for id in IDS {
        let rest = cluster.rest(id);
        let found = rest.read(&format!("/v1/audit?at={at}")).await;
        assert_eq!(found["complete"], false, "{id}: {found:#}");
        let missing = &found["missing"][0];
        let named = (
            &missing["process"],
            &missing["reason"],
            &missing["snapshot"],
        );
        let expected = (&"n1".into(), &"other_journal".into(), &Value::from(&*first));
        assert_eq!(named, expected, "{id}: {found:#}");
        let account = "/v1/processes/n1/accounts/a";
        let held = rest.read(&format!("{account}/balance?at={at}")).await;
        assert_eq!(
            (&held["balance"], &held["complete"]),
            (&10.into(), &false.into()),
            "{id}: {held:#}"
        );
        let before = rest.read(&format!("/v1/audit?at={known}")).await;
        assert_eq!(before["complete"], true, "{id}: {before:#}");
        let now = until("that the copy has caught up", async || {
            let now = rest.read("/v1/audit").await;
            (now["complete"] == true).then_some(now)
        })
        .await;
        assert_eq!(now["totals"]["balances"], 10, "{id}: {now:#}");
        let statement = rest.read(&format!("{account}/history")).await;
        let since = statement["kept_since"].as_str();
        assert!(since > Some(&at), "{id}: {statement:#}");
    }
    cluster.stop_all().await;
}

/// Without this operations that the original made and told no peer are missing in answers marked as complete.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_answers_for_no_instant_that_it_lacks_where_the_clock_is_behind_either() {
    let mut cluster = Cluster::up(&IDS).await;
    let rest = cluster.rest("n1");
    cluster.deposit("n1", "a", 10).await;
    let first = rest.start_snapshot().await;
    rest.snapshot(&first, "complete").await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("copy");
    backup(&rest, &copy).await;
    let body = serde_json::json!({"amount": 5});
    let lost = rest.post("/v1/accounts/a/deposits", &body).await.json();
    let at = lost["time"].as_str().expect("an instant").to_owned();
    let account = "/v1/processes/n1/accounts/a";
    let query = format!("{account}/balance?at={at}");
    let held = rest.read(&query).await;
    assert_eq!(
        (&held["balance"], held["complete"] == false),
        (&15.into(), false),
        "{held:#}"
    );

    cluster.stop("n1").await;
    cluster.wipe("n1");
    std::fs::rename(&copy, cluster.store("n1")).expect("on one file system");
    // Less than clock.ahead_max, so it is followed: the first turn has an earlier time than the lost ones.
    cluster.clock("n1").ahead_max = Duration::from_secs(21);
    cluster.clock("n1").wall.put_off(-20_000_000);
    cluster.start("n1").await;
    cluster.connected().await;
    cluster.deposit("n1", "a", 1).await;
    for id in IDS {
        let rest = cluster.rest(id);
        let found = rest.read(&format!("/v1/audit?at={at}")).await;
        let missing = &found["missing"][0];
        assert_eq!(
            (&found["complete"], &missing["process"], &missing["reason"]),
            (&false.into(), &"n1".into(), &"other_journal".into()),
            "{id}: {found:#}"
        );
        let held = rest.read(&query).await;
        assert_eq!(
            (&held["balance"], &held["complete"]),
            (&10.into(), &false.into()),
            "{id}: {held:#}"
        );
        let diff = format!("/v1/snapshots/{first}/diff?at={at}");
        let diff = rest.read(&diff).await;
        assert_eq!(diff["missing"][0]["process"], "n1", "{id}: {diff:#}");
        let statement = rest.read(&format!("{account}/history")).await;
        let since = statement["kept_since"].as_str();
        assert!(since > Some(&at), "{id}: {statement:#}");
    }
    // The original may have been somewhat ahead of its peers; until that time nothing is known of it.
    put_all_off(&mut cluster, 60_000_000);
    let now = cluster.rest("n2").read("/v1/audit").await;
    assert_eq!(now["complete"], false, "{now:#}");
    put_all_off(&mut cluster, 120_000_000);
    for id in IDS {
        let rest = cluster.rest(id);
        let now = until("that the copy has caught up", async || {
            let now = rest.read("/v1/audit").await;
            (now["complete"] == true).then_some(now)
        })
        .await;
        assert_eq!(now["totals"]["balances"], 11, "{now:#}");
    }
    cluster.stop_all().await;
}

fn put_all_off(cluster: &mut Cluster, off_us: i64) {
    for id in IDS {
        cluster.clock(id).wall.put_off(off_us);
    }
}

/// Without this a copy contradicts answers of the original, which was alone and ahead of its own clock, which was ahead
/// of the others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_answers_for_no_instant_that_a_clock_ahead_had_reached() {
    let mut cluster = Cluster::up(&IDS).await;
    cluster.deposit("n1", "a", 10).await;
    let dir = tempfile::tempdir().expect("a temporary directory");
    let copy = dir.path().join("copy");
    backup(&cluster.rest("n1"), &copy).await;
    // As far ahead as is believed, and then it gets a message that is as far ahead of that.
    // n3 follows neither clock, so it knows nothing of that when it meets the copy.
    cluster.clock("n1").ahead_max = Duration::from_secs(30);
    cluster.clock("n3").ahead_max = Duration::from_secs(10);
    for (id, off_us) in [("n3", 0), ("n1", 29_000_000), ("n2", 58_000_000)] {
        cluster.stop(id).await;
        cluster.clock(id).wall.put_off(off_us);
        cluster.start(id).await;
    }
    cluster.connected().await;
    let rest = cluster.rest("n1");
    cluster.deposit("n2", "a", 1).await;
    pay(&cluster.rest("n2"), ("n1", "x"), 1).await;
    rest.balance_is("x", 1).await;
    let account = "/v1/processes/n1/accounts/a/balance";
    let body = serde_json::json!({"amount": 5});
    let lost = rest.post("/v1/accounts/a/deposits", &body).await.json();
    let at = lost["time"].as_str().expect("an instant").to_owned();
    let query = format!("{account}?at={at}");
    let held = rest.read(&query).await;
    assert_eq!(
        (&held["balance"], held["complete"] == false),
        (&15.into(), false),
        "{held:#}"
    );

    cluster.stop("n1").await;
    cluster.wipe("n1");
    std::fs::rename(&copy, cluster.store("n1")).expect("on one file system");
    // The original has been started since.
    Store::vouch(&cluster.store("n1"), Actor::default()).expect("a good store");
    cluster.clock("n1").wall.put_off(0);
    cluster.start("n1").await;
    // n2 refuses it: n2 has sent more than the copy knows of.
    open(&cluster.rest("n1"), ("n1", "n3")).await;
    put_all_off(&mut cluster, 60_000_000);
    for id in IDS {
        let rest = cluster.rest(id);
        let found = until("that the instant is over", async || {
            let found = rest.get(&format!("/v1/audit?at={at}")).await;
            let found = (found.status == 200).then(|| found.json())?;
            (found["missing"][0]["reason"] != "clock_behind").then_some(found)
        })
        .await;
        let missing = &found["missing"][0];
        assert_eq!(
            (&missing["process"], &missing["reason"]),
            (&"n1".into(), &"other_journal".into()),
            "{id}: {found:#}"
        );
        let answer = rest.get(&query).await;
        assert_eq!(answer.problem(), "other-journal", "{id}: {answer:?}");
    }
    cluster.stop_all().await;
}
