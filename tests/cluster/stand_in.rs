//! The initiator of a snapshot is down: a process that has seen the marker assembles it on request, marks its revisions
//! as its own, and adopts the complete revision when the initiator is back. Without this the death of one process would
//! hide what the others have recorded, one revision could have two contents, or a check would report the stores as
//! damaged.

use serde_json::{Value, json};
use snapledger::config::Keep;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::{Answer, Rest};
use crate::snapshots::{assert_proven, global};
use crate::stores::is_whole;

const IDS: [&str; 3] = ["n1", "n2", "n3"];

async fn shown(rest: &Rest, path: &str) -> (String, String) {
    let Answer { headers, body, .. } = rest.get(path).await;
    let tag = headers["etag"].to_str().expect("a tag").to_owned();
    (tag, body)
}

// The revision of this node once the initiator's death is detected.
async fn revision(rest: &Rest, path: &str, wanted: u64) -> Value {
    until(&format!("revision {wanted} of {path}"), async || {
        let answer = rest.get(path).await;
        let known = answer.status == 200;
        known
            .then(|| answer.json())
            .filter(|json| json["revision"] == wanted)
    })
    .await
}

fn missing(snapshot: &Value) -> Vec<(&str, &str)> {
    let missing = snapshot["missing"].as_array().expect("a list").iter();
    let named = missing.map(|one| (one["process"].as_str(), one["reason"].as_str()));
    named
        .map(|(process, reason)| (process.expect("a name"), reason.expect("a reason")))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_process_assembles_for_an_initiator_that_is_gone_until_it_returns() {
    // What the initiator has published stays with it; otherwise nothing would be left to assemble.
    let mut cluster = Cluster::planned(&IDS)
        .with_keep(Keep::Initiator)
        .started()
        .await;
    cluster.connected().await;
    for id in IDS {
        cluster.deposit(id, "a", 100).await;
    }
    cluster.stop("n3").await;
    let one = cluster.rest("n1");
    let id = one.start_snapshot().await;
    let path = format!("/v1/snapshots/{id}");
    let first = one.snapshot(&id, "partial").await;
    assert_eq!(missing(&first), [("n3", "down")]);
    cluster.stop("n1").await;

    let two = cluster.rest("n2");
    reads_of_its_contents_assemble_nothing(&two, &path).await;
    let partial = revision(&two, &path, 2_000_001).await;
    assert_eq!(
        (&partial["status"], &partial["initiator"]),
        (&json!("partial"), &json!("n1"))
    );
    assert_eq!(missing(&partial), [("n1", "down"), ("n3", "down")]);
    assert_eq!(
        partial["processes"][0], first["processes"][1],
        "the part of n2"
    );
    let told = global(&cluster, "n2", &id).await;
    assert!(
        told.success && !told.is_complete && told.error.contains("n1"),
        "{}",
        told.error
    );

    let before = shown(&two, &path).await;
    cluster.stop("n2").await;
    cluster.start("n2").await;
    assert_eq!(
        shown(&two, &path).await,
        before,
        "it stays readable for ever"
    );

    cluster.start("n3").await;
    let partial = revision(&two, &path, 2_000_002).await;
    assert_eq!(missing(&partial), [("n1", "down")]);
    let three = cluster.rest("n3");
    let own = revision(&three, &path, 3_000_001).await;
    assert_eq!(own["processes"], partial["processes"]);

    cluster.start("n1").await;
    let complete = one.snapshot(&id, "complete").await;
    assert_proven(&complete, 300);
    assert_eq!(complete["processes"][0], first["processes"][0]);
    for stand_in in [&two, &three] {
        stand_in.snapshot(&id, "complete").await;
        shows_the_same(stand_in, &one, &path).await;
    }
    cluster.stop_all().await;
    for id in IDS {
        is_whole(&cluster.store(id)).await;
    }
}

// Only a request for the snapshot itself makes this node assemble it.
async fn reads_of_its_contents_assemble_nothing(rest: &Rest, path: &str) {
    until("the death of n1", async || {
        let cluster = rest.read("/v1/cluster").await;
        let mut peers = cluster["peers"].as_array().expect("a list").iter();
        peers
            .any(|peer| peer["process"] == "n1" && peer["state"] == "down")
            .then_some(())
    })
    .await;
    for of_it in ["balances", "channels", "revisions", "pin", "export"] {
        let answer = rest.get(&format!("{path}/{of_it}")).await;
        assert_eq!(answer.status, 404, "{of_it}: {answer:?}");
    }
    let listed = rest.read("/v1/snapshots").await;
    assert_eq!(listed["snapshots"], json!([]));
}

// The same bytes on every node, contents included, and exactly one snapshot.
async fn shows_the_same(stand_in: &Rest, initiator: &Rest, path: &str) {
    assert_eq!(shown(stand_in, path).await, shown(initiator, path).await);
    let balances = format!("{path}/balances");
    let balances = (
        stand_in.read(&balances).await,
        initiator.read(&balances).await,
    );
    assert_eq!(balances.0, balances.1);
    assert_eq!(balances.0["balances"].as_array().map(Vec::len), Some(3));
    let listed = stand_in.read("/v1/snapshots").await;
    assert_eq!(
        listed["snapshots"].as_array().map(Vec::len),
        Some(1),
        "{listed}"
    );
}
