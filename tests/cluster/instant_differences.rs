//! The differences between a snapshot and an instant equal those of balances requested one by one, are the same from
//! every node, come with the explaining sums, and name processes that cannot be compared. Without this an auditor would
//! have to use the nearest snapshots, and could take a missing process for an unchanged one.

use serde_json::{Value, json};
use snapledger::process::clock::Hlc;
use snapledger::process::ids::SnapshotId;
use snapledger::proto::snapledger::difference::Body;
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::peer_service_client::PeerServiceClient;
use snapledger::proto::snapledger::{ChangesSinceRequest, DiffRequest};
use snapledger::transport::wire::state_to_wire;
use tonic::Code;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Rest, asked};

const IDS: [&str; 3] = ["n1", "n2", "n3"];
const ACCOUNTS: [&str; 4] = ["a", "b", "c", "d"];
const OPERATIONS: usize = 60;

/// A deterministic sequence of numbers.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).expect("it is below the bound")
    }

    fn of<'a>(&mut self, names: &[&'a str]) -> &'a str {
        names[self.below(names.len())]
    }
}

// A random operation; returns its time unless the bank refused it.
async fn operate(cluster: &Cluster, numbers: &mut Numbers) -> Option<String> {
    let rest = cluster.rest(numbers.of(&IDS));
    let account = numbers.of(&ACCOUNTS);
    let amount = 1 + numbers.below(40);
    let (path, body) = match numbers.below(4) {
        0 => (
            format!("/v1/accounts/{account}/deposits"),
            json!({ "amount": amount }),
        ),
        1 => (
            format!("/v1/accounts/{account}/withdrawals"),
            json!({ "amount": amount }),
        ),
        _ => {
            let (to, process) = (numbers.of(&ACCOUNTS), numbers.of(&IDS));
            let body = json!({
                "from_account": account, "to_account": to, "amount": amount, "to_process": process
            });
            ("/v1/transfers".to_owned(), body)
        }
    };
    let answer = rest.post(&path, &body).await;
    let time = answer.json()["time"].as_str().map(str::to_owned);
    time.filter(|_| answer.status == 200)
}

/// The history of the cluster, with its snapshots.
struct Told {
    snapshots: Vec<String>,
    instants: Vec<String>,
}

async fn told(cluster: &Cluster, seed: u64) -> Told {
    let mut numbers = Numbers(seed);
    let mut told = Told {
        snapshots: Vec::new(),
        instants: Vec::new(),
    };
    for id in IDS {
        cluster.deposit(id, "a", 500).await;
    }
    for step in 0..OPERATIONS {
        let time = operate(cluster, &mut numbers).await;
        told.instants.extend(time.filter(|_| step % 9 == 8));
        if step % 25 == 12 {
            let rest = cluster.rest(numbers.of(&IDS));
            let id = rest.start_snapshot().await;
            for id in IDS.iter().filter(|_| numbers.below(2) == 0) {
                cluster.deposit(id, "d", 1).await;
            }
            rest.snapshot(&id, "complete").await;
            told.snapshots.push(id);
        }
    }
    for id in IDS {
        let rest = cluster.rest(id);
        until("every snapshot in every history", async || {
            for snapshot in &told.snapshots {
                let found = rest.get(&format!("/v1/snapshots/{snapshot}")).await;
                if found.status != 200 || found.json()["status"] != "complete" {
                    return None;
                }
            }
            Some(())
        })
        .await;
    }
    told
}

async fn balance(rest: &Rest, (process, account): (&str, &str), query: &str) -> Option<i64> {
    let path = format!("/v1/processes/{process}/accounts/{account}/balance?{query}");
    let found = rest.read(&path).await;
    let existed = found["existed"].as_bool().expect("it is said");
    existed.then(|| found["balance"].as_i64().expect("a number"))
}

// Account by account.
async fn one_by_one(rest: &Rest, snapshot: &str, at: &str) -> Vec<Value> {
    let mut lines = Vec::new();
    for process in IDS {
        for account in ACCOUNTS {
            let asked = (process, account);
            let before = balance(rest, asked, &format!("snapshot={snapshot}")).await;
            let after = balance(rest, asked, &format!("at={at}")).await;
            if before != after {
                lines.push(json!({
                    "process": process, "account": account, "before": before, "after": after
                }));
            }
        }
    }
    lines
}

async fn pages(rest: &Rest, path: &str) -> Vec<Value> {
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = rest.read(&format!("{path}&limit=2{cursor}")).await;
        paged.extend(page["accounts"].as_array().expect("a list").clone());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return paged,
        }
    }
}

fn number(value: &Value) -> i64 {
    match value {
        Value::Null => 0,
        value => value.as_i64().expect("a number"),
    }
}

fn assert_explained(diff: &Value, audit: &Value) {
    let totals = diff["totals"].as_array().expect("a list");
    assert_eq!(totals.len(), IDS.len());
    let all: i64 = totals.iter().map(|one| number(&one["after"])).sum();
    assert_eq!(json!(all), audit["totals"]["balances"], "{diff:#}");
    for total in totals {
        assert_eq!(total["explained"], true, "{diff:#}");
        let lines = diff["accounts"].as_array().expect("a list").iter();
        let own = lines.filter(|line| line["process"] == total["process"]);
        let changed: i64 = own
            .map(|line| number(&line["after"]) - number(&line["before"]))
            .sum();
        let expected = number(&total["after"]) - number(&total["before"]);
        assert_eq!(changed, expected, "{diff:#}");
    }
}

async fn check(cluster: &Cluster, snapshot: &str, at: &str) -> usize {
    let path = format!("/v1/snapshots/{snapshot}/diff?at={at}");
    let rest = cluster.rest("n1");
    let whole = rest.get(&path).await;
    assert_eq!(whole.status, 200, "{whole:?}");
    assert_eq!(whole.header("cache-control"), "no-store");
    let diff = whole.json();
    assert_eq!(
        (&diff["from"], &diff["to_at"]),
        (&json!(snapshot), &json!(at))
    );
    assert_eq!(
        (&diff["complete"], &diff["missing"]),
        (&json!(true), &json!([]))
    );
    let expected = one_by_one(&rest, snapshot, at).await;
    assert_eq!(diff["accounts"], json!(expected), "{snapshot} until {at}");
    assert_explained(&diff, &rest.read(&format!("/v1/audit?at={at}")).await);
    assert_eq!(pages(&cluster.rest("n3"), &path).await, expected);
    let table = [("accept", "text/csv")];
    let lines = [("accept", "application/x-ndjson")];
    let csv = rest.send(asked(&path, &table)).await.body;
    assert_eq!(csv.lines().count(), expected.len() + 1);
    let ndjson = rest.send(asked(&path, &lines)).await.body;
    let read = ndjson.lines().map(serde_json::from_str);
    let read: Vec<Value> = read.collect::<Result<_, _>>().expect("each is JSON");
    assert_eq!(read, expected);
    for id in IDS {
        let rest = cluster.rest(id);
        assert_eq!(rest.get(&path).await.body, whole.body, "{id}");
        assert_eq!(rest.send(asked(&path, &table)).await.body, csv, "{id}");
        assert_eq!(rest.send(asked(&path, &lines)).await.body, ndjson, "{id}");
    }
    expected.len()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_and_an_instant_differ_as_the_balances_asked_one_by_one() {
    let mut cluster = Cluster::up(&IDS).await;
    let told = told(&cluster, 0x9e37_79b9_7f4a_7c15).await;
    assert!(told.snapshots.len() > 1 && told.instants.len() > 2);
    let mut differ = 0;
    for snapshot in &told.snapshots {
        for at in &told.instants {
            differ += check(&cluster, snapshot, at).await;
        }
    }
    assert!(differ > 0, "nothing ever differed: the test is blind");
    // The answer stays the same after a restart.
    let (snapshot, at) = (&told.snapshots[0], &told.instants[1]);
    let path = format!("/v1/snapshots/{snapshot}/diff?at={at}");
    let today = cluster.rest("n2").get(&path).await;
    cluster.stop_all().await;
    let mut cluster = cluster.started_again(&IDS).await;
    cluster.connected().await;
    cluster.deposit("n3", "c", 1).await;
    assert_eq!(cluster.rest("n2").get(&path).await.body, today.body);
    cluster.stop_all().await;
}

// Snapshot `s`, then a deposit of 20 at n2.
async fn paid_in_since(cluster: &Cluster) -> String {
    cluster.deposit("n1", "a", 100).await;
    cluster.deposit("n2", "b", 50).await;
    let rest = cluster.rest("n1");
    let body = json!({"snapshot_id": "s"});
    assert_eq!(rest.post("/v1/snapshots", &body).await.status, 202);
    rest.snapshot("s", "complete").await;
    let rest = cluster.rest("n2");
    let body = json!({ "amount": 20 });
    let paid = rest.post("/v1/accounts/b/deposits", &body).await.json();
    let time = paid["time"].as_str().map(str::to_owned);
    time.expect("an instant")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_gone_is_named_and_what_is_asked_wrongly_refused() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let at = paid_in_since(&cluster).await;
    let rest = cluster.rest("n1");
    let path = format!("/v1/snapshots/s/diff?at={at}");
    let before = rest.read(&path).await;
    let changed = json!([{"process": "n2", "account": "b", "before": 50, "after": 70}]);
    assert_eq!(before["accounts"], changed);
    for (query, field) in [
        ("s/diff", "at"),
        ("s/diff?at=2199-01-01T00:00:00Z", "at"),
        ("s/diff?at=then", "at"),
        (&*format!("s/diff/s?at={at}"), "at"),
        (&*format!("s/diff?at={at}&process=n1"), "process"),
        (&*format!("s/diff?at={at}&limit=0"), "limit"),
    ] {
        let refused = rest.get(&format!("/v1/snapshots/{query}")).await;
        assert_eq!(
            (refused.status, &*refused.problem()),
            (400, "malformed"),
            "{query}"
        );
        assert_eq!(refused.json()["field"], field, "{query}");
    }
    let unknown = rest.get(&format!("/v1/snapshots/t/diff?at={at}")).await;
    assert_eq!(unknown.status, 404);

    cluster.stop("n2").await;
    let found = until("n2 is missed", async || {
        let found = rest.read(&path).await;
        (found["complete"] == false).then_some(found)
    })
    .await;
    assert_eq!(
        found["missing"],
        json!([{"process": "n2", "at": at, "reason": "down"}])
    );
    assert_eq!(found["accounts"], json!([]), "n1 is the same");
    let totals = found["totals"].as_array().expect("a list");
    assert_eq!((totals.len(), &totals[0]["process"]), (1, &json!("n1")));
    let csv = rest.send(asked(&path, &[("accept", "text/csv")])).await;
    let named = format!("{}/n2", at.replace(':', "%3A"));
    assert_eq!(csv.header("snapledger-missing"), named);

    cluster.start("n2").await;
    until("n2 answers", async || {
        (rest.read(&path).await == before).then_some(())
    })
    .await;
    // Another journal has other turns at the same positions.
    cluster.stop("n2").await;
    cluster.wipe("n2");
    cluster.start("n2").await;
    cluster.deposit("n2", "b", 1).await;
    let found = until("n2 is asked", async || {
        let at = rest.read("/v1/audit").await["at"].clone();
        let at = at.as_str().expect("an instant");
        let found = rest.read(&format!("/v1/snapshots/s/diff?at={at}")).await;
        let missing = found["missing"].as_array().expect("a list");
        let is_lost = |one: &Value| {
            (&one["process"], &one["reason"]) == (&json!("n2"), &json!("other_journal"))
        };
        missing.iter().any(is_lost).then_some(found)
    })
    .await;
    assert_eq!(found["complete"], false);
    cluster.stop_all().await;
}

// Without this an account that changes between two pages is listed twice or not at all.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_until_now_are_all_about_the_instant_of_the_first() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    paid_in_since(&cluster).await;
    cluster.deposit("n1", "a", 1).await;
    let rest = cluster.rest("n1");
    let path = "/v1/snapshots/s/diff?at=now&limit=1";
    let first = rest.read(path).await;
    let changed = json!([{"process": "n1", "account": "a", "before": 100, "after": 101}]);
    assert_eq!(first["accounts"], changed);
    let cursor = first["next_cursor"].as_str().expect("there is more");
    cluster.deposit("n2", "b", 5).await;
    let second = rest.read(&format!("{path}&cursor={cursor}")).await;
    assert_eq!(second["to_at"], first["to_at"]);
    let changed = json!([{"process": "n2", "account": "b", "before": 50, "after": 70}]);
    assert_eq!(
        (&second["accounts"], &second["next_cursor"]),
        (&changed, &Value::Null)
    );
    cluster.stop_all().await;
}

// Without this every page makes each process read all of its changes only to check whether it can compare.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whether_a_process_could_say_it_is_asked_without_the_accounts() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let at = paid_in_since(&cluster).await;
    let instant: jiff::Timestamp = at.parse().expect("an instant");
    let instant = u64::try_from(instant.as_microsecond()).expect("it is past 1970");
    let snapshot = SnapshotId::parse("s").expect("a valid id");
    let n2 = cluster.handle("n2");
    let part = n2.store().parts().get(&snapshot).expect("it is readable");
    let all = ChangesSinceRequest {
        cluster: n2.config().cluster.clone(),
        snapshot_id: snapshot.to_string(),
        state: part.map(|part| state_to_wire(&part.state)),
        time: Hlc::at(instant).0,
        ..ChangesSinceRequest::default()
    };
    let head_only = ChangesSinceRequest {
        head_only: true,
        ..all.clone()
    };
    let mut client = PeerServiceClient::new(cluster.grpc("n2"));
    for (request, accounts) in [(all, 1), (head_only, 0)] {
        let mut answer = client.changes_since(request).await.expect("it can");
        let head = answer.get_mut().message().await.expect("it goes on");
        let head = head.expect("there is a head");
        assert_eq!((&*head.process, head.changes.len()), ("n2", 0));
        let mut shown = 0;
        while let Some(message) = answer.get_mut().message().await.expect("it goes on") {
            shown += message.changes.len();
        }
        assert_eq!(shown, accounts);
    }
    cluster.stop_all().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn over_grpc_it_is_the_same() {
    let mut cluster = Cluster::up(&["n1", "n2"]).await;
    let at = paid_in_since(&cluster).await;
    let instant: jiff::Timestamp = at.parse().expect("an instant");
    let request = DiffRequest {
        from_snapshot_id: "s".to_owned(),
        to_snapshot_id: String::new(),
        at_us: u64::try_from(instant.as_microsecond()).ok(),
        ..DiffRequest::default()
    };
    let mut client = HistoryServiceClient::new(cluster.grpc("n1"));
    let both = DiffRequest {
        to_snapshot_id: "s".to_owned(),
        ..request.clone()
    };
    let neither = DiffRequest {
        at_us: None,
        ..request.clone()
    };
    let future = DiffRequest {
        at_us: Some(7_226_582_400_000_000),
        ..request.clone()
    };
    for odd in [both, neither, future] {
        let refused = client.diff(odd).await.expect_err("it is no question");
        assert_eq!(refused.code(), Code::InvalidArgument, "{refused}");
    }
    let mut shown = async || {
        let stream = client.diff(request.clone()).await.expect("an answer");
        let mut stream = stream.into_inner();
        let mut shown = Vec::new();
        while let Some(difference) = stream.message().await.expect("a stream") {
            shown.push(match difference.body.expect("it is set") {
                Body::Totals(totals) => format!("{} {}", totals.process, totals.explained),
                Body::Missing(missing) => format!(
                    "{} {} {} {:?}",
                    missing.process, missing.reason, missing.snapshot_id, missing.at_us
                ),
                Body::Account(change) => {
                    format!("{} {:?} {:?}", change.account, change.before, change.after)
                }
            });
        }
        shown
    };
    assert_eq!(shown().await, ["n1 true", "n2 true", "b Some(50) Some(70)"]);
    cluster.stop("n2").await;
    let missing = format!("n2 down  {:?}", request.at_us);
    until("n2 is missed", async || {
        (shown().await == ["n1 true".to_owned(), missing.clone()]).then_some(())
    })
    .await;
    cluster.stop_all().await;
}
