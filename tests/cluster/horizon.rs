//! The past is deleted together with the snapshots beyond the limits, and requests for it get the instant from which
//! answers exist. Without this a journal fills the disk, or the remainder is taken for the whole.

use std::time::Duration;

use serde_json::{Value, json};
use snapledger::process::clock::Hlc;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::{AuditAtRequest, audit_at_request};
use tonic::Code;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Answer, Rest, asked, request};
use crate::retention::{checked, deleted};
use crate::wiped::forget;

const IDS: [&str; 2] = ["n1", "n2"];

async fn take(cluster: &Cluster, id: &str) {
    let n1 = cluster.rest("n1");
    n1.post("/v1/snapshots", &json!({"snapshot_id": id})).await;
    cluster.has_everywhere(id).await;
}

fn paths(at: &str) -> [String; 3] {
    [
        format!("/v1/processes/n1/accounts/a/balance?at={at}"),
        format!("/v1/processes/n2/accounts/a/balance?at={at}"),
        format!("/v1/audit?at={at}"),
    ]
}

// The first answer that reports the horizon; from the reported instant there must be an answer.
async fn since(rest: &Rest, path: &str) -> String {
    let gone = until(&format!("{path} is before the horizon"), async || {
        let answer = rest.get(path).await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    told(&gone)
}

fn told(gone: &Answer) -> String {
    assert_eq!(gone.status, 410, "{gone:?}");
    assert_eq!(gone.problem(), "before-horizon");
    let problem = gone.json();
    let since = problem["since"].as_str().expect("an instant");
    let detail = problem["detail"].as_str().expect("a sentence");
    assert!(detail.contains(since), "{detail}");
    since.to_owned()
}

async fn audit(rest: &Rest, query: &str) -> Value {
    rest.read(&format!("/v1/audit?{query}")).await
}

/// The time of the first entry of account `a`. The statement reports since when it is kept if the request reaches
/// further back.
async fn first_entry(node: &Rest) -> String {
    let statement = node.read("/v1/accounts/a/history").await;
    let first = statement["entries"][0]["time"].as_str().expect("a time");
    let begun = statement["kept_since"].as_str().expect("it began once");
    assert!(begun < first, "{statement}");
    let path = format!("/v1/accounts/a/history?from={first}");
    assert_eq!(node.read(&path).await["kept_since"], Value::Null);
    first.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_horizon_is_410_with_the_instant_from_which_there_is_an_answer() {
    let mut cluster = Cluster::planned(&IDS).with_max_count(2).started().await;
    cluster.connected().await;
    let [n1, n2] = IDS.map(|id| cluster.rest(id));
    for id in IDS {
        cluster.deposit(id, "a", 100).await;
    }
    let before = audit(&n1, "at=2026-01-01T00:00:00Z").await;
    assert_eq!(before["totals"]["balances"], 0, "everything is kept so far");
    let early = first_entry(&n1).await;
    let cut = audit(&n1, &format!("at={early}")).await["cut"]["token"].clone();
    let cut = cut.as_str().expect("a token").to_owned();

    for number in 1..=6 {
        cluster.deposit("n1", "a", 1).await;
        take(&cluster, &format!("s{number}")).await;
    }
    for path in paths(&early) {
        let since = since(&n1, &path).await;
        let then = path.replace(&early, &since);
        let answer = n1.get(&then).await;
        assert_eq!(answer.status, 200, "{then}: {answer:?}");
        assert_eq!(n2.get(&then).await.body, answer.body);
    }
    let old_cut = n2.get(&format!("/v1/audit?cut={cut}")).await;
    let since = told(&old_cut);
    let statement = n2
        .read("/v1/processes/n1/accounts/a/history?order=oldest")
        .await;
    assert!(statement["kept_since"].as_str().is_some(), "{statement}");
    let path = "/v1/processes/n1/accounts/a/history?order=oldest";
    let table = n2.send(asked(path, &[("accept", "text/csv")])).await;
    assert_eq!(
        table.header("snapledger-kept-since"),
        statement["kept_since"]
    );
    let first = &statement["entries"][0];
    assert!(
        first["balance_after"].as_i64() > Some(101),
        "it goes on from what was: {first}"
    );
    let mut history = HistoryServiceClient::new(cluster.grpc("n2"));
    let point = Some(audit_at_request::Point::AtUs(0));
    let status = history.audit_at(AuditAtRequest { point }).await;
    let status = status.expect_err("it is not kept");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    let document = n1.read("/v1/snapshots/s6").await;
    let kept = audit(&n1, &format!("at={since}")).await;
    assert_eq!(kept["verification"]["conserved"], true);

    cluster.stop_all().await;
    for id in IDS {
        let report = checked(&cluster.store(id));
        assert!(report.journal_from > 1, "{id}: {report:?}");
        cluster.start(id).await;
    }
    cluster.connected().await;
    let [n1, n2] = IDS.map(|id| cluster.rest(id));
    assert_eq!(n2.read("/v1/snapshots/s6").await, document);
    for path in paths(&early) {
        told(&n2.get(&path).await);
    }
    n1.balance_is("a", 106).await;
    cluster.stop_all().await;
}

/// Pinned snapshots need no journal; deleted ones are in the journal as long as it is kept.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_lists_the_snapshots_that_are_kept_and_no_other() {
    let mut cluster = Cluster::planned(&IDS).with_max_count(3).started().await;
    cluster.connected().await;
    let n1 = cluster.rest("n1");
    for number in 1..=7 {
        cluster.deposit("n1", "a", 1).await;
        take(&cluster, &format!("s{number}")).await;
        // A journal begins at a recorded state, and one state per 64 turns is kept.
        for _ in 0..64 {
            cluster.deposit("n1", "b", 1).await;
        }
        if number == 2 {
            let path = "/v1/snapshots/s1/pin";
            let pinned = request("PUT", path, &[], String::new());
            assert_eq!(n1.send(pinned).await.status, 200);
        }
    }
    // The journal begins after the pinned snapshot and what is between is deleted: s5 may remain, in the journal only.
    let path = "/v1/processes/n1/accounts/a/history";
    let n2 = cluster.rest("n2");
    until("the journal begins behind s1", async || {
        let gone = n1.get("/v1/snapshots/s4").await.status == 410;
        let page = n2.read(&format!("{path}?order=oldest&limit=1")).await;
        let first = page["entries"][0]["balance_after"].as_i64();
        (gone && first > Some(2)).then_some(())
    })
    .await;
    let listed = |page: &Value| {
        let listed = page["snapshots"].as_array().expect("a list").iter();
        let listed = listed.map(|one| (one["snapshot_id"].clone(), one["balance"].clone()));
        listed.collect::<Vec<_>>()
    };
    let expected = [("s1", 1), ("s5", 5), ("s6", 6), ("s7", 7)];
    let expected: Vec<_> = expected
        .into_iter()
        .map(|(id, balance)| (json!(id), json!(balance)))
        .collect();
    let page = n2.read(&format!("{path}?order=oldest")).await;
    assert_eq!(listed(&page), expected, "{page:#}");
    assert_eq!(page["snapshots_left_out"], false);
    let page = n2.read(path).await;
    let newest_first: Vec<_> = expected.iter().rev().cloned().collect();
    assert_eq!(listed(&page), newest_first, "{page:#}");
    let newest = n2.read(&format!("{path}?limit=1")).await;
    assert!(
        !listed(&newest).contains(&expected[0]),
        "it is on the last page"
    );
    let since = page["kept_since"].as_str().expect("something went");
    let later = n2.read(&format!("{path}?from={since}")).await;
    assert!(!listed(&later).contains(&expected[0]), "it is older");
    cluster.stop_all().await;
}

/// Without this two pinned snapshots cannot be compared once the journal begins after them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_difference_of_pinned_snapshots_is_explained_though_the_journal_begins_later() {
    let mut cluster = Cluster::planned(&IDS).with_max_count(2).started().await;
    cluster.connected().await;
    let n1 = cluster.rest("n1");
    for id in ["first", "second"] {
        cluster.deposit("n1", "a", 10).await;
        take(&cluster, id).await;
        let path = format!("/v1/snapshots/{id}/pin");
        let pinned = request("PUT", &path, &[], String::new());
        assert_eq!(n1.send(pinned).await.status, 200);
    }
    let early = audit(&n1, "").await["at"].clone();
    let early = early.as_str().expect("an instant");
    let path = "/v1/snapshots/first/diff/second";
    let before = n1.get(path).await;
    for number in 1..=6 {
        cluster.deposit("n1", "a", 1).await;
        take(&cluster, &format!("s{number}")).await;
    }
    let [of_n1, ..] = paths(early);
    since(&n1, &of_n1).await;
    for id in IDS {
        let answer = cluster.rest(id).get(path).await;
        assert_ne!(answer.header("etag"), "", "{}", answer.body);
        assert_eq!(answer.body, before.body);
        let totals = &answer.json()["totals"];
        assert_eq!(totals[0]["explained"], true, "{totals:#}");
        let path = "/v1/snapshots/first/diff/s6";
        let totals = &cluster.rest(id).read(path).await["totals"];
        assert_eq!(totals[0]["explained"], true, "{totals:#}");
    }
    cluster.stop_all().await;
}

/// The journal knows a snapshot for longer than the history contains it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_lists_no_snapshot_that_was_deleted() {
    let mut cluster = Cluster::up(&["n1"]).await;
    for id in ["s1", "s2"] {
        cluster.deposit("n1", "a", 1).await;
        take(&cluster, id).await;
    }
    deleted(&cluster, "n1", "s1").await;
    let page = cluster.rest("n1").read("/v1/accounts/a/history").await;
    let listed = page["snapshots"].as_array().expect("a list");
    assert_eq!(listed.len(), 1, "{page:#}");
    assert_eq!(listed[0]["snapshot_id"], "s2");
    assert_eq!(page["entries"].as_array().map(Vec::len), Some(2));
    cluster.stop_all().await;
}

/// An undelivered message is in the journal only.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_peer_has_not_taken_yet_stays_whatever_its_age() {
    let mut cluster = Cluster::planned(&IDS);
    cluster.history().max_age = Some(Duration::from_millis(100));
    let mut cluster = cluster.started().await;
    cluster.connected().await;
    cluster.deposit("n1", "a", 100).await;
    take(&cluster, "whole").await;
    cluster.stop("n2").await;
    let n1 = cluster.rest("n1");
    let body = json!({"from_account": "a", "to_account": "b", "to_process": "n2", "amount": 7});
    assert_eq!(n1.post("/v1/transfers", &body).await.status, 200);
    n1.post("/v1/snapshots", &json!({"snapshot_id": "half"}))
        .await;
    n1.snapshot("half", "partial").await;
    // The state before the message is the oldest that may be deleted.
    until("something went", async || {
        cluster.handle("n1").store().past().horizon()
    })
    .await;
    cluster.stop("n1").await;
    for id in IDS {
        cluster.start(id).await;
    }
    cluster.rest("n2").balance_is("b", 7).await;
    cluster.rest("n1").balance_is("a", 93).await;
    cluster.stop_all().await;
}

/// Its marker was lost with its store, so a recording that waits for it is never finished.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_for_a_store_that_was_lost_goes_with_its_age() {
    let mut cluster = Cluster::planned(&IDS).with_max_count(1).started().await;
    cluster.connected().await;
    cluster.deposit("n1", "a", 100).await;
    cluster.stop("n2").await;
    let n1 = cluster.rest("n1");
    n1.post("/v1/snapshots", &json!({"snapshot_id": "waiting"}))
        .await;
    n1.snapshot("waiting", "partial").await;
    cluster.stop("n1").await;
    cluster.wipe("n2");
    forget(&cluster, "n1", "n2").await;
    for id in IDS {
        cluster.start(id).await;
    }
    cluster.connected().await;
    for number in 1..=3 {
        cluster.deposit("n1", "a", 1).await;
        take(&cluster, &format!("s{number}")).await;
    }
    until("it no longer exists", async || {
        let answer = n1.get("/v1/snapshots/waiting").await;
        (answer.status == 410).then_some(())
    })
    .await;
    until("the journal begins behind it", async || {
        cluster.handle("n1").store().past().horizon()
    })
    .await;
    n1.balance_is("a", 103).await;
    cluster.stop_all().await;
}

/// The peer can no longer say whether it knew another store of the process then.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_balance_that_takes_an_audit_is_not_complete_where_a_peer_has_deleted_that_time() {
    let mut cluster = Cluster::planned(&IDS).started_again(&["n1"]).await;
    cluster.deposit("n1", "a", 100).await;
    let n1 = cluster.rest("n1");
    let alone = first_entry(&n1).await;
    cluster.start("n2").await;
    cluster.connected().await;
    cluster.deposit("n2", "a", 100).await;
    let path = format!("/v1/processes/n1/accounts/a/balance?at={alone}");
    // n2 joined later, and n1 has had no other store.
    let then = n1.read(&path).await;
    assert_eq!(
        (&then["balance"], &then["complete"]),
        (&100.into(), &true.into()),
        "{then}"
    );

    take(&cluster, "s1").await;
    until("n2 has deleted its first turns", async || {
        let store = cluster.handle("n2").store();
        store
            .retention()
            .trim(Hlc(u64::MAX), || true)
            .expect("it is whole");
        store.past().horizon()
    })
    .await;
    told(&n1.get(&format!("/v1/audit?at={alone}")).await);
    for id in IDS {
        let answer = cluster.rest(id).get(&path).await;
        assert_eq!(answer.problem(), "other-journal", "{answer:?}");
    }
    cluster.stop_all().await;
}
