//! Processes that leave a cluster and that join it, as the archive knows them. Without this the journal of one that has left, which
//! ends there, would hold back every later audit of the archive, and no instant before one joined could be restored.

use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use serde_json::{Value, json};

use crate::archived_past::run;
use crate::await_it::until;
use crate::killed::IDS;
use crate::programs::Programs;

fn audit(programs: &Programs, at: Option<&str>) -> Value {
    let mut arguments = vec!["audit", "--output", "json"];
    arguments.extend(at.into_iter().flat_map(|at| ["--at", at]));
    let (code, said, wrong) = run(programs, &arguments);
    assert_eq!(code, Some(0), "{wrong}");
    serde_json::from_str(&said).expect("JSON")
}

async fn pay(programs: &Programs, path: &str, paid: Value) {
    let answer = programs.rest("n1").post(path, &paid).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn audited(programs: &Programs) -> (Value, String) {
    let rest = programs.rest("n1");
    // Processes that have just started vouch for each other once they have met.
    let said = until("a complete audit", async || {
        let said = rest.read("/v1/audit").await;
        (said["complete"] == true).then_some(said)
    })
    .await;
    let at = said["at"].as_str().expect("an instant").to_owned();
    (said, at)
}

/// Writes the cluster file without a process; returns it as it was.
pub(crate) fn plan_without(programs: &Programs, left: &str) -> String {
    let file = programs.path("cluster.toml");
    let whole = std::fs::read_to_string(&file).expect("it is planned");
    let (blocks, archive) = whole.split_once("[archive]").expect("it has an archive");
    let named = format!("id = {left:?}");
    let stays = blocks
        .split("[[process]]")
        .filter(|block| !block.contains(&named));
    let stays: Vec<&str> = stays.collect();
    let text = format!("{}[archive]{archive}", stays.join("[[process]]"));
    std::fs::write(&file, text).expect("a file in it");
    whole
}

/// Takes a process out of the cluster file, and lets the others, which are stopped, give it up.
pub(crate) fn leave(programs: &Programs, left: &str) {
    plan_without(programs, left);
    for id in IDS.iter().filter(|id| **id != left) {
        let mut forget = Command::new(cargo_bin!("snapledger"));
        forget.args(["store", "forget", &programs.path(id), "--peer", left]);
        let forgotten = forget.output().expect("the program runs");
        assert!(forgotten.status.success(), "{forgotten:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instant_before_a_process_joined_is_restored_without_it() {
    let mut programs = Programs::planned(&IDS).with_archive("sync");
    let whole = plan_without(&programs, "n3");
    for id in ["n1", "n2"] {
        programs.start_one(id).await;
    }
    pay(
        &programs,
        "/v1/accounts/a/deposits",
        json!({ "amount": 100 }),
    )
    .await;
    let (said, before) = audited(&programs).await;
    programs.kill();
    std::fs::write(programs.path("cluster.toml"), whole).expect("a file in it");
    for id in ["n1", "n2"] {
        programs.start_one(id).await;
    }
    let to_n3 = json!({ "from_account": "a", "to_process": "n3", "to_account": "b", "amount": 30 });
    pay(&programs, "/v1/transfers", to_n3).await;
    let waiting = programs.rest("n1").read("/v1/audit").await;
    let waiting = waiting["at"].as_str().expect("an instant").to_owned();
    programs.start_one("n3").await;
    programs.rest("n3").balance_is("b", 30).await;
    let sent = programs
        .rest("n1")
        .read(&format!("/v1/audit?at={waiting}"))
        .await;
    assert_eq!(sent["totals"]["in_flight"], 30, "{sent}");
    programs.kill();
    for (at, said) in [(&before, &said), (&waiting, &sent)] {
        let found = audit(&programs, Some(at));
        for member in ["complete", "totals", "processes", "cut", "verification"] {
            assert_eq!(found[member], said[member], "{member}: {found}");
        }
        assert_eq!(
            (&found["complete"], &found["joined_later"]),
            (&json!(true), &json!(["n3"]))
        );
    }
    let into = programs.path("waiting");
    let (code, report, wrong) = run(&programs, &["restore", "--at", &waiting, "--into", &into]);
    assert_eq!(code, Some(0), "{wrong}");
    assert!(report.contains("n3 had no turn by then"), "{report}");
    let into = programs.path("earlier");
    let (code, report, wrong) = run(&programs, &["restore", "--at", &before, "--into", &into]);
    assert_eq!(code, Some(0), "{wrong}");
    assert!(report.contains("n3 had no turn by then"), "{report}");
    assert!(report.contains("100 minor units in total"), "{report}");
    assert!(!std::path::Path::new(&into).join("n3").exists(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_has_left_holds_back_no_later_instant() {
    let mut programs = Programs::planned(&IDS).with_archive("sync");
    programs.start().await;
    pay(
        &programs,
        "/v1/accounts/a/deposits",
        json!({ "amount": 100 }),
    )
    .await;
    let to_n3 = json!({ "from_account": "a", "to_process": "n3", "to_account": "b", "amount": 30 });
    pay(&programs, "/v1/transfers", to_n3).await;
    programs.rest("n3").balance_is("b", 30).await;
    let (with_it, before) = audited(&programs).await;
    programs.kill();
    let ended = audit(&programs, None);
    leave(&programs, "n3");
    for id in ["n1", "n2"] {
        programs.start_one(id).await;
    }
    let to_n2 = json!({ "from_account": "a", "to_process": "n2", "to_account": "b", "amount": 5 });
    pay(&programs, "/v1/transfers", to_n2).await;
    programs.rest("n2").balance_is("b", 5).await;
    let (without_it, after) = audited(&programs).await;
    programs.kill();
    for (at, said) in [(&before, &with_it), (&after, &without_it)] {
        let found = audit(&programs, Some(at));
        for member in ["complete", "totals", "processes"] {
            assert_eq!(found[member], said[member], "{member}: {found}");
        }
    }
    // An audit without an instant is of a time at which it had left.
    let newest = audit(&programs, None);
    let at = newest["at"].as_str().expect("an instant");
    assert!(*at >= *after, "{at} is before {after}");
    assert_eq!(newest["totals"], without_it["totals"], "{newest}");
    assert_eq!(newest["complete"], true, "{newest}");
    let into = programs.path("later");
    let (code, report, wrong) = run(&programs, &["restore", "--at", at, "--into", &into]);
    assert_eq!(code, Some(0), "{wrong}");
    assert!(report.contains("n3 had left the cluster"), "{report}");
    assert!(!std::path::Path::new(&into).join("n3").exists(), "{report}");
    // What a node that is short of the instant may have done since is not known; one that has left is not such a node.
    let into = programs.path("too_late");
    let (code, _, wrong) = run(&programs, &["restore", "--at", "now", "--into", &into]);
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains(&format!("--at {at}")), "{wrong}");
    let into = programs.path("earlier");
    let at = ended["at"].as_str().expect("an instant");
    let (code, report, wrong) = run(&programs, &["restore", "--at", at, "--into", &into]);
    assert_eq!(code, Some(0), "{wrong}");
    assert!(report.contains("n3"), "{report}");
    assert!(std::path::Path::new(&into).join("n3").exists(), "{report}");
}
