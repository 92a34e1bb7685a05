//! What an archive keeps of a process that others still need something of, through the program. Without this, what was
//! acknowledged to clients and never reached its receiver is lost with a disk, although everything waits for the archive.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use serde_json::json;

use crate::archive::{restore, restored};
use crate::archive_place::{Place, name, objects};
use crate::await_it::until;
use crate::programs::Programs;
use crate::rest::{Rest, request};

const SENT: i64 = 250;

async fn pay_in(rest: &Rest, times: u32) {
    for _ in 0..times {
        let paid = json!({ "amount": 10 });
        let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
}

async fn send(rest: &Rest) {
    let sent = json!({
        "from_account": "a", "to_account": "b", "to_process": "x", "amount": SENT
    });
    let answer = rest.post("/v1/transfers", &sent).await;
    assert_eq!(answer.status, 200, "{answer:?}");
}

async fn channel_to_x(rest: &Rest) -> serde_json::Value {
    let cluster = rest.read("/v1/cluster").await;
    let channels = cluster["channels"].as_array().expect("a list");
    let found = channels.iter().find(|one| one["to"] == "x");
    found.expect("there is one").clone()
}

/// The objects in a folder of the cluster.
fn archived(place: &Place, folder: &str) -> Vec<PathBuf> {
    objects(&place.object(&format!("killed/{folder}")))
}

/// Waits until the archive has a recorded state behind so many.
async fn has_states(place: &Place, count: usize) {
    until("a recorded state in the archive", async || {
        (archived(place, "n1/states").len() >= count).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_process_has_not_received_is_kept_whatever_its_age() {
    let place = Place::directory();
    let programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    let mut programs = programs.with_other_make("x");
    programs.start().await;
    let rest = programs.rest("n1");
    pay_in(&rest, 90).await;
    rest.start_snapshot().await;
    has_states(&place, 1).await;
    send(&rest).await;
    // States within 64 turns are thinned.
    pay_in(&rest, 130).await;
    let newest = rest.start_snapshot().await;
    pay_in(&rest, 3).await;
    has_states(&place, 2).await;
    let is_there = || {
        let snapshots = archived(&place, "snapshots");
        snapshots.iter().any(|one| name(one).ends_with(&newest))
    };
    until("the newest snapshot in the archive", async || {
        is_there().then_some(())
    })
    .await;
    programs.kill();
    let file = programs.path("cluster.toml");
    let text = std::fs::read_to_string(&file).expect("it is planned");
    let kept = text.replace("[archive]\n", "[archive]\nkeep = \"1s\"\n");
    std::fs::write(&file, kept).expect("a file in it");
    programs.start().await;
    // Its state is as old as the snapshot, and what is before that goes first.
    until("the newest snapshot deleted in the archive", async || {
        (!is_there()).then_some(())
    })
    .await;
    programs.kill();
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    let said = restore(&programs, &place, "n1");
    assert!(!said.contains("left out"), "{said}");
    programs.start().await;
    let channel = channel_to_x(&programs.rest("n1")).await;
    assert_ne!(channel["state"], "stopped", "{channel}");
    programs.kill();
    assert_good(&programs);
}

/// Takes snapshots, each finished, and waits until the archive has them.
async fn snapshots(rest: &Rest, place: &Place, count: usize) -> Vec<String> {
    let mut taken = Vec::new();
    for _ in 0..count {
        let id = rest.start_snapshot().await;
        rest.snapshot(&id, "complete").await;
        taken.push(id);
    }
    until("the snapshots in the archive", async || {
        let archived = archived(place, "snapshots");
        let has = |id: &String| archived.iter().any(|one| name(one).ends_with(id));
        taken.iter().all(has).then_some(())
    })
    .await;
    taken
}

async fn pin(rest: &Rest, place: &Place, id: &str) {
    let pin = format!("/v1/snapshots/{id}/pin");
    let answer = rest.send(request("PUT", &pin, &[], String::new())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    until("the pin in the archive", async || {
        (archived(place, "pins").len() == 1).then_some(())
    })
    .await;
}

// Without this a process whose history is limited comes back with everything since its archive began.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_process_begins_where_its_max_age_lets_it() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n1");
    pay_in(&rest, 90).await;
    let entries = rest.read("/v1/accounts/a/history?order=oldest").await;
    let early = entries["entries"][0]["time"].as_str().expect("a time");
    let early = format!("/v1/accounts/a/balance?at={early}");
    let old = snapshots(&rest, &place, 4).await;
    pin(&rest, &place, &old[0]).await;
    pay_in(&rest, 3).await;
    has_states(&place, 1).await;
    let (states, began) = (archived(&place, "n1/states").len(), Instant::now());
    programs.kill();
    let mut programs = programs.with_history("max_age = \"1s\"");
    programs.start().await;
    let rest = programs.rest("n1");
    while began.elapsed() < Duration::from_millis(1_100) {
        pay_in(&rest, 1).await;
    }
    // States within 64 turns are thinned.
    pay_in(&rest, 70).await;
    let newest = snapshots(&rest, &place, 1).await;
    pay_in(&rest, 3).await;
    has_states(&place, states + 1).await;
    let balance = rest.read("/v1/accounts/a").await["balance"].clone();
    programs.kill();
    let lose = || std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    lose();
    let said = restore(&programs, &place, "n1");
    assert!(said.contains("left out: turns 1 to "), "{said}");
    let deleted = said.lines().find(|line| line.starts_with("left out"));
    let deleted = deleted.and_then(|line| line.split(". They").next());
    assert!(deleted.is_some_and(|line| line.ends_with("Z: 2")), "{said}");
    assert!(said.contains("`audit --archive` reads them"), "{said}");
    assert_good(&programs);
    lose();
    let everything = Command::new(cargo_bin!("snapledger"))
        .args(["restore", "--archive", &place.url(), "--cluster", "killed"])
        .args(["--process", "n1", "--into", &programs.path("n1")])
        .args(["--since", "1970-01-01"])
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&everything.stdout);
    assert!(everything.status.success(), "{everything:?}");
    assert!(!said.contains("left out"), "{said}");
    lose();
    let said = restore(&programs, &place, "n1");
    assert!(
        said.contains("left out: turns 1 to "),
        "as the lost process"
    );

    programs.start().await;
    let rest = programs.rest("n1");
    assert_eq!(rest.read("/v1/accounts/a").await["balance"], balance);
    let gone = rest.get(&early).await;
    assert_eq!(gone.problem(), "before-horizon", "{gone:?}");
    for id in [&old[0], &newest[0]] {
        rest.snapshot(id, "complete").await;
    }
    for id in &old[1..3] {
        let gone = rest.get(&format!("/v1/snapshots/{id}")).await;
        assert_eq!(gone.problem(), "deleted", "{gone:?}");
    }
}

fn assert_good(programs: &Programs) {
    let checked = Command::new(cargo_bin!("snapledger"))
        .args(["store", "check", &programs.path("n1")])
        .output()
        .expect("the program runs");
    assert!(checked.status.success(), "{checked:?}");
}

fn restored_without_messages(programs: &Programs, place: &Place) -> Output {
    Command::new(cargo_bin!("snapledger"))
        .args(["restore", "--archive", &place.url(), "--cluster", "killed"])
        .args(["--process", "n1", "--into", &programs.path("n1")])
        .arg("--without-messages")
        .output()
        .expect("the program runs")
}

// Without this, a damaged segment takes money with it that was on its way, and nothing says so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_without_messages_that_are_needed_is_refused_unless_it_is_asked_for() {
    let place = Place::directory();
    let programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    let mut programs = programs.with_other_make("x");
    programs.start().await;
    let rest = programs.rest("n1");
    pay_in(&rest, 40).await;
    send(&rest).await;
    rest.start_snapshot().await;
    pay_in(&rest, 3).await;
    has_states(&place, 1).await;
    programs.kill();
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    let segment = place.object(&format!("killed/n1/journal/{:020}", 3));
    let mut bytes = std::fs::read(&segment).expect("it is archived");
    *bytes.last_mut().expect("it has turns") ^= 1;
    std::fs::write(&segment, bytes).expect("it is a file");

    let refused = restored(&programs, &place, "n1");
    let wrong = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{wrong}");
    let lost = format!("messages 1 to 1 for x (transfers: 1, minor units: {SENT})");
    assert!(wrong.contains(&lost), "{wrong}");
    assert!(wrong.contains("--without-messages"), "{wrong}");
    let made = restored_without_messages(&programs, &place);
    let report = String::from_utf8_lossy(&made.stdout);
    assert!(made.status.success(), "{made:?}");
    assert!(
        report.contains(&format!("not restored: {lost}")),
        "{report}"
    );
    programs.start().await;
    programs.rest("n1").balance_is("a", 43 * 10 - SENT).await;
}

// Without this, a pinned snapshot is deleted in the archive by the process that was restored from it, or, if the archive had deleted
// it before it was pinned, is gone with the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pin_is_restored_with_what_it_holds() {
    let place = Place::directory();
    let programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.keep_archived("1s");
    let mut programs = programs;
    programs.start().await;
    let rest = programs.rest("n1");
    pay_in(&rest, 2).await;
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    // The newest complete one stays.
    let newest = rest.start_snapshot().await;
    rest.snapshot(&newest, "complete").await;
    let has = |id: &str| {
        archived(&place, "snapshots")
            .iter()
            .any(|one| name(one).ends_with(id))
    };
    let parts = || archived(&place, "n1/parts").len();
    until("the older snapshot deleted in the archive", async || {
        (has(&newest) && !has(&id) && parts() == 1).then_some(())
    })
    .await;
    let pin = format!("/v1/snapshots/{id}/pin");
    let answer = rest.send(request("PUT", &pin, &[], String::new())).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    until("pin and snapshot in the archive", async || {
        let is_there = archived(&place, "pins").len() == 1 && has(&id) && parts() == 2;
        is_there.then_some(())
    })
    .await;
    programs.kill();
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    let said = restore(&programs, &place, "n1");
    assert!(said.contains("snapshots pinned: 1"), "{said}");
    programs.start().await;
    let rest = programs.rest("n1");
    let shown = rest.read(&pin).await;
    assert_eq!(shown["pinned"], true, "{shown}");
    let shown = rest.read(&format!("/v1/snapshots/{id}")).await;
    assert_eq!(shown["status"], "complete", "{shown}");
}
