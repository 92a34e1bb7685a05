//! The archive: a process whose disk is lost is restored from it, and one that was taken over stops; in a directory and on S3. Without
//! this a lost disk would lose what was acknowledged, or two programs would both be the process.

use std::path::Path;
use std::process::{Command, Output};

use assert_cmd::cargo::cargo_bin;
use rustix::process::Signal;
use serde_json::json;

use crate::archive_place::Place;
use crate::await_it::until;
use crate::killed::{IDS, SEED, balances_after, load_until_killed, retry_everything, seed};
use crate::programs::Programs;
use crate::snapshots::assert_proven;
use crate::stores::pay;

fn run(arguments: &[&str]) -> Output {
    let mut command = Command::new(cargo_bin!("snapledger"));
    command.args(arguments).output().expect("the program runs")
}

/// Runs `restore --archive` for a process, into the directory of its store.
pub(crate) fn restored(programs: &Programs, place: &Place, id: &str) -> Output {
    restored_into(programs, place, id, &programs.path(id))
}

/// Runs `restore --archive` for a process of these programs.
pub(crate) fn restored_into(_: &Programs, place: &Place, id: &str, into: &str) -> Output {
    Command::new(cargo_bin!("snapledger"))
        .args(["restore", "--archive", &place.url(), "--cluster", "killed"])
        .args(["--process", id, "--into", into])
        .envs(place.environment())
        .output()
        .expect("the program runs")
}

/// Restores the store of a process, and returns what was said. What has failed for a moment may be repeated.
pub(crate) fn restore(programs: &Programs, place: &Place, id: &str) -> String {
    let mut output = restored(programs, place, id);
    for _ in 0..20 {
        if output.status.success() {
            break;
        }
        output = restored(programs, place, id);
    }
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert!(output.status.success(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_loses_nothing_that_was_acknowledged_where_everything_waits_for_the_archive() {
    lost_disk(&Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_disk_loses_nothing_that_was_acknowledged_where_everything_waits_for_s3() {
    lost_disk(&Place::s3().await).await;
}

/// Loses the disk of n2 under load, restores it, and repeats every request.
pub(crate) async fn lost_disk(place: &Place) {
    let mut programs = Programs::planned(&IDS).archived_in(place, "sync", "30s");
    programs.start().await;
    seed(&programs).await;
    let asked = load_until_killed(&mut programs).await;
    std::fs::remove_dir_all(programs.path("n2")).expect("it has a store");

    let (code, said) = programs.refused("n2");
    assert_eq!(code, Some(2), "{said}");
    let command = format!("restore --archive {}", place.url());
    assert!(said.contains(&command), "{said}");
    assert!(said.contains("another archive URL"), "{said}");
    assert!(
        !Path::new(&programs.path("n2")).exists(),
        "nothing was created"
    );

    restore(&programs, place, "n2");
    programs.start().await;
    retry_everything(&programs, &asked).await;
    let expected = balances_after(&asked);
    for ((node, account), balance) in &expected {
        programs.rest(node).balance_is(account, *balance).await;
    }
    let rest = programs.rest("n2");
    let id = rest.start_snapshot().await;
    let total = expected.values().sum();
    assert_proven(&rest.snapshot(&id, "complete").await, total);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_says_what_may_be_missing() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]);
    let lost = "the lost process had archive.journal =";
    for (journal, said) in [
        ("sync", "nothing that it acknowledged is missing"),
        (
            "peers",
            "answers to clients of its last moments may be missing",
        ),
        ("async", "what was not archived yet is missing"),
    ] {
        programs = programs.archived_in(&place, journal, "30s");
        programs.start().await;
        let paid = json!({ "amount": 1 });
        let rest = programs.rest("n1");
        let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        programs.kill();
        std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
        let report = restore(&programs, &place, "n1");
        let sentence = format!("{lost} {journal:?}: {said}");
        assert!(report.contains(&sentence), "{sentence} in {report}");
        // An archive cannot know of what was done without it.
        assert!(report.contains("has run with \"off\""), "{report}");
    }
}

// The money that went out of a lost store is unbooked in the one that was made from its peers, until a person books it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_rebuilt_store_could_not_book_is_known_after_another_loss() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1", "n2"]);
    programs.start().await;
    for (account, amount) in [("a", 10), ("suspense", 2)] {
        let path = format!("/v1/accounts/{account}/deposits");
        let paid = json!({ "amount": amount });
        let answer = programs.rest("n2").post(&path, &paid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let id = programs.rest("n1").start_snapshot().await;
    programs.rest("n1").snapshot(&id, "complete").await;
    pay(&programs.rest("n2"), ("n1", "b"), 3).await;
    programs.rest("n1").balance_is("b", 3).await;
    programs.kill();
    let [one, two] = ["n1", "n2"].map(|id| programs.path(id));
    std::fs::remove_dir_all(&two).expect("it has a store");
    for arguments in [
        &["restore", "--process", "n2", "--from", &one, "--into", &two][..],
        &["store", "forget", &one, "--peer", "n2"],
    ] {
        let output = run(arguments);
        assert!(output.status.success(), "{output:?}");
    }
    let mut programs = programs.archived_in(&place, "sync", "30s");
    // What is asked again after the loss is an instant before it: a restored process answers about later ones only after a while.
    let figures = async |programs: &Programs, query: &str| {
        until("an audit with n2", async || {
            let audit = programs.rest("n2").read(&format!("/v1/audit{query}")).await;
            let processes = audit["processes"].as_array()?;
            // Otherwise the figures may be those of a snapshot.
            audit["complete"].as_bool().filter(|complete| *complete)?;
            let n2 = processes.iter().find(|one| one["process"] == "n2")?;
            let booked = (n2["booked"].as_i64(), n2["unbooked"].as_i64());
            Some((audit["at"].as_str()?.to_owned(), booked))
        })
        .await
    };
    let expected = (Some(-2), Some(-1));
    programs.start().await;
    let (at, booked) = figures(&programs, "").await;
    assert_eq!(booked, expected);
    programs.kill();
    std::fs::remove_dir_all(&two).expect("it has a store");
    restore(&programs, &place, "n2");
    programs.start().await;
    assert_eq!(
        figures(&programs, &format!("?at={at}")).await,
        (at, expected)
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_restored_elsewhere_stops_when_it_wakes_up() {
    wakes_up(&Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_was_restored_elsewhere_from_s3_stops_when_it_wakes_up() {
    wakes_up(&Place::s3().await).await;
}

async fn wakes_up(place: &Place) {
    let mut programs = Programs::planned(&["n1", "n2"]).archived_in(place, "peers", "30s");
    programs.start().await;
    let paid = json!({ "amount": SEED });
    assert_eq!(
        programs
            .rest("n2")
            .post("/v1/accounts/a/deposits", &paid)
            .await
            .status,
        200
    );
    let id = programs.rest("n1").start_snapshot().await;
    programs.rest("n1").snapshot(&id, "complete").await;
    programs.freeze("n2");
    let mut zombie = programs.give_up("n2");
    // The store elsewhere has the place of the old one; the frozen program keeps its files open.
    std::fs::rename(programs.path("n2"), programs.path("lost")).expect("it has a store");
    restore(&programs, place, "n2");
    let thawed = rustix::process::Pid::from_child(&zombie);
    rustix::process::kill_process(thawed, Signal::CONT).expect("it is frozen");
    let status = until("the end of the process that was taken over", async || {
        zombie.try_wait().expect("a child")
    })
    .await;
    assert_eq!(status.code(), Some(3));
    programs.start_one("n2").await;
    programs.rest("n2").balance_is("a", SEED).await;
    let id = programs.rest("n1").start_snapshot().await;
    assert_proven(&programs.rest("n1").snapshot(&id, "complete").await, SEED);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_work_is_refused_while_the_archive_is_too_far_behind() {
    archive_behind(&Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_work_is_refused_while_s3_is_too_far_behind() {
    archive_behind(&Place::s3().await).await;
}

async fn archive_behind(place: &Place) {
    let mut programs = Programs::planned(&["n1"]).archived_in(place, "peers", "1s");
    programs.start().await;
    let rest = programs.rest("n1");
    let pay = async || {
        rest.post("/v1/accounts/a/deposits", &json!({ "amount": 1 }))
            .await
    };
    assert_eq!(pay().await.status, 200);
    place.goes_away();
    let mut paid = 1;
    let refused = until("a refusal", async || {
        let answer = pay().await;
        paid += i64::from(answer.status == 200);
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(refused.status, 503, "{refused:?}");
    assert!(refused.problem().contains("archive"), "{refused:?}");
    place.comes_back();
    until("accepted work", async || {
        (pay().await.status == 200).then_some(())
    })
    .await;
    rest.balance_is("a", paid + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_everything_waits_reads_are_refused_too_and_readiness_says_why() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "1s");
    programs.start().await;
    let rest = programs.rest("n1");
    let paid = json!({ "amount": 1 });
    let path = "/v1/accounts/a/deposits";
    assert_eq!(rest.post(path, &paid).await.status, 200);
    place.goes_away();
    let waiting = tokio::spawn({
        let (rest, paid) = (rest.clone(), paid.clone());
        async move { rest.post(path, &paid).await }
    });
    let unready = until("a node that is not ready", async || {
        let answer = rest.get("/readyz").await;
        (answer.status == 503).then(|| answer.json())
    })
    .await;
    let checks = unready["checks"].as_array().expect("a list");
    let archive = checks.iter().find(|check| check["check"] == "archive");
    assert_eq!(archive.expect("a check")["ok"], false, "{unready}");
    let refused = rest.get("/v1/accounts/a").await;
    assert_eq!(refused.problem(), "archive-behind", "{refused:?}");
    // What was accepted before is not waited for until its client gives up.
    let unanswered = waiting.await.expect("it is answered");
    assert_eq!(unanswered.problem(), "not-archived", "{unanswered:?}");
    place.comes_back();
    until("an answer", async || {
        (rest.get("/v1/accounts/a").await.status == 200).then_some(())
    })
    .await;
    rest.balance_is("a", 2).await;
    assert_eq!(rest.get("/readyz").await.status, 200);
}
