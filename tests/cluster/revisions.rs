//! Published revisions do not change: a partial revision that was completed later can be read as it was, on every node,
//! with everything below it. Without this, it would be unknown what was missing yesterday, and a root noted then would
//! verify nothing.

use serde_json::{Value, json};
use snapledger::proto::snapledger::history_service_client::HistoryServiceClient;
use snapledger::proto::snapledger::{GetRequest, ListRequest, RevisionsRequest};
use tonic::Code;

use crate::asked_from_terminal::{ended, printed};
use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

const IDS: [&str; 3] = ["n1", "n2", "n3"];
/// Routes below a snapshot, and whether the process that was missing can be read there.
const BELOW: [&str; 6] = [
    "",
    "/balances",
    "/channels",
    "/export",
    "/diff/first",
    "/balances/n1/a/proof",
];

async fn revisions(rest: &Rest, id: &str) -> Vec<(u64, String, String)> {
    let answer = rest.read(&format!("/v1/snapshots/{id}/revisions")).await;
    let listed = answer["revisions"].as_array().expect("a list");
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let one = |one: &Value| {
        let number = one["revision"].as_u64().expect("a number");
        (number, text(&one["status"]), text(&one["root"]))
    };
    listed.iter().map(one).collect()
}

// A snapshot that is partial first, since n3 is down, and complete when n3 is back.
async fn completed_later(cluster: &mut Cluster) -> Value {
    let n1 = cluster.rest("n1");
    n1.post("/v1/snapshots", &json!({"snapshot_id": "first"}))
        .await;
    n1.snapshot("first", "complete").await;
    cluster.stop("n3").await;
    n1.post("/v1/snapshots", &json!({"snapshot_id": "s"})).await;
    let partial = n1.snapshot("s", "partial").await;
    cluster.start("n3").await;
    n1.snapshot("s", "complete").await;
    partial
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_earlier_revision_is_the_same_on_every_node_with_all_below_it() {
    let mut cluster = Cluster::up(&IDS).await;
    for id in IDS {
        cluster.deposit(id, "a", 100).await;
    }
    let partial = completed_later(&mut cluster).await;
    let number = partial["revision"].as_u64().expect("a number");
    let mut known: Vec<Vec<String>> = Vec::new();
    for id in IDS {
        let rest = cluster.rest(id);
        let listed = until(&format!("both revisions at {id}"), async || {
            let answer = rest.get("/v1/snapshots/s/revisions").await;
            let listed = (answer.status == 200).then(|| answer.json())?;
            (listed["revisions"].as_array()?.len() == 2).then_some(listed)
        })
        .await;
        assert_eq!(listed["ever_partial"], true, "{listed}");
        let mut printed = vec![listed.to_string()];
        for of in BELOW {
            let path = format!("/v1/snapshots/s{of}?revision={number}");
            let answer = rest.get(&path).await;
            assert_eq!(answer.status, 200, "{path}: {answer:?}");
            printed.push(answer.header("etag").to_owned());
            printed.push(answer.body);
        }
        known.push(printed);
        is_partial_as_then(&rest, &partial).await;
    }
    assert!(
        known.iter().all(|printed| *printed == known[0]),
        "{known:?}"
    );
    let [newest, earlier] = &revisions(&cluster.rest("n2"), "s").await[..] else {
        unreachable!("there are two");
    };
    assert_eq!((&*newest.1, &*earlier.1), ("complete", "partial"));
    assert_eq!(
        (earlier.0, &*earlier.2),
        (number, partial["root"].as_str().expect("a root"))
    );
    unknown_ones_are_named(&cluster.rest("n2")).await;
    from_a_terminal(&cluster.rest("n3"), number).await;
    latest_has_them_and_events_say_why_not(&cluster.rest("n3"), number).await;
    on_the_other_interface(&cluster, u32::try_from(number).expect("it is small")).await;
    cluster.stop_all().await;
}

async fn is_partial_as_then(rest: &Rest, partial: &Value) {
    let number = &partial["revision"];
    let answer = rest
        .get(&format!("/v1/snapshots/s?revision={number}"))
        .await;
    assert_eq!(answer.json(), *partial);
    assert!(
        answer.header("cache-control").contains("immutable"),
        "{answer:?}"
    );
    let balances = rest
        .get(&format!("/v1/snapshots/s/balances?revision={number}"))
        .await;
    assert_eq!(balances.header("snapledger-missing"), "s/n3");
    let pages = rest
        .read(&format!(
            "/v1/snapshots/s/balances?revision={number}&limit=1"
        ))
        .await;
    let cursor = pages["next_cursor"]
        .as_str()
        .expect("there is another page");
    let rest_of_it = rest
        .read(&format!(
            "/v1/snapshots/s/balances?revision={number}&limit=1&cursor={cursor}"
        ))
        .await;
    assert_eq!(rest_of_it["balances"][0]["process"], "n2");
    assert_eq!(rest_of_it["next_cursor"], Value::Null, "n3 is not in it");
    let path = format!("/v1/snapshots/s/diff/s?revision={number}&other_revision={number}");
    let same = rest.read(&path).await;
    assert_eq!(same["accounts"], json!([]), "{same}");
}

async fn from_a_terminal(rest: &Rest, number: u64) {
    let number = number.to_string();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let (export, proof) = (file("s.snapledger"), file("a.proof"));
    let earlier: [(&[&str], &str); 8] = [
        (&["snapshot", "show", "s"], "partial"),
        (&["snapshot", "balances", "s"], "process n3 is not in it"),
        (&["snapshot", "diff", "s", "first"], "missing"),
        (
            &["snapshot", "export", "s", "--out", &export],
            "revision 1,",
        ),
        (&["snapshot", "verify", "s"], "partial, revision 1, holds"),
        (
            &[
                "snapshot",
                "proof",
                "s",
                "a",
                "--process",
                "n1",
                "--out",
                &proof,
            ],
            "holds 100",
        ),
        (
            &[
                "account",
                "balance",
                "a",
                "--process",
                "n1",
                "--snapshot",
                "s",
            ],
            "100",
        ),
        (&["snapshot", "show", "latest"], "partial"),
    ];
    for (command, shown) in earlier {
        let printed = printed(rest, &[command, &["--revision", &number]].concat()).await;
        assert!(printed.contains(shown), "{command:?}: {printed}");
    }
    let same = [
        "diff",
        "s",
        "s",
        "--revision",
        &number,
        "--other-revision",
        "2",
    ];
    let differs = printed(rest, &[&["snapshot"], &same[..]].concat()).await;
    assert!(
        differs.contains("n3"),
        "only one of them holds it: {differs}"
    );
    let (code, _, stderr) = ended(rest, &["snapshot", "verify", &export, "--revision", "1"]).await;
    assert_eq!(code, Some(2), "{stderr}");
}

async fn latest_has_them_and_events_say_why_not(rest: &Rest, number: u64) {
    let answer = rest
        .get(&format!("/v1/snapshots/latest?revision={number}"))
        .await;
    assert_eq!(answer.json()["status"], "partial", "{answer:?}");
    assert_eq!(answer.header("content-location"), "/v1/snapshots/s");
    assert_eq!(answer.header("cache-control"), "no-store");
    let answer = rest
        .get("/v1/snapshots/latest?status=complete&wait=1")
        .await;
    assert_eq!(answer.json()["status"], "complete", "{answer:?}");
    let answer = rest
        .get(&format!("/v1/snapshots/s/events?revision={number}"))
        .await;
    assert_eq!((answer.status, &*answer.problem()), (400, "malformed"));
    assert!(
        answer.body.contains("events cover all revisions"),
        "{answer:?}"
    );
}

async fn unknown_ones_are_named(rest: &Rest) {
    let answer = rest.get("/v1/snapshots/s?revision=77").await;
    assert_eq!(
        (answer.status, &*answer.problem()),
        (404, "unknown-revision")
    );
    let detail = answer.json()["detail"].to_string();
    assert!(detail.contains("which has 1, 2"), "{detail}");
    assert!(
        detail.contains("revision 2 is complete and therefore final"),
        "{detail}"
    );
    let answer = rest.get("/v1/snapshots/s?revision=1000077").await;
    let detail = answer.json()["detail"].to_string();
    assert!(
        detail.contains("process \\\"n1\\\" assigns such numbers"),
        "{detail}"
    );
    for odd in ["0", "-1", "x", "", "4294967296"] {
        let answer = rest.get(&format!("/v1/snapshots/s?revision={odd}")).await;
        assert_eq!(
            (answer.status, &*answer.problem()),
            (400, "malformed"),
            "{odd}"
        );
    }
    let both = rest.get("/v1/snapshots/s?revision=1&wait=1").await;
    assert_eq!((both.status, &*both.problem()), (400, "malformed"));
    assert_eq!(rest.get("/v1/snapshots/none/revisions").await.status, 404);
    for (wanted, expected) in [("true", "s"), ("false", "first")] {
        let list = rest
            .read(&format!("/v1/snapshots?ever_partial={wanted}"))
            .await;
        let listed = list["snapshots"].as_array().expect("a list");
        assert_eq!(listed.len(), 1, "{list}");
        assert_eq!(listed[0]["snapshot_id"], expected);
        assert_eq!(listed[0]["ever_partial"].to_string(), wanted);
    }
}

async fn on_the_other_interface(cluster: &Cluster, number: u32) {
    let mut client = HistoryServiceClient::new(cluster.grpc("n3"));
    let snapshot_id = "s".to_owned();
    let request = GetRequest {
        snapshot_id: snapshot_id.clone(),
        revision: number,
    };
    let got = client.get(request).await.expect("an answer").into_inner();
    assert_eq!((&*got.status, got.ever_partial), ("partial", true));
    let missing = GetRequest {
        snapshot_id: snapshot_id.clone(),
        revision: 77,
    };
    let refused = client.get(missing).await.expect_err("there is none");
    assert_eq!(refused.code(), Code::NotFound);
    let asked = client.revisions(RevisionsRequest { snapshot_id }).await;
    let listed = asked.expect("an answer").into_inner().revisions;
    let numbers: Vec<u32> = listed.iter().map(|one| one.revision).collect();
    assert_eq!(numbers, [2, 1]);
    let asked = ListRequest {
        ever_partial: Some(true),
        ..ListRequest::default()
    };
    let listed = client.list(asked).await.expect("an answer").into_inner();
    let [one] = &listed.snapshots[..] else {
        unreachable!("one was ever partial: {listed:?}");
    };
    assert_eq!((&*one.snapshot_id, one.ever_partial), ("s", true));
}
