//! What the archive keeps beside the journal. Without this, a restored process would replay its whole journal, and its history
//! would be gone with its peers.

use serde_json::json;

use crate::archive::{restore, restored_into};
use crate::archive_place::Place;
use crate::await_it::until;
use crate::programs::Programs;
use crate::rest::Rest;
use crate::snapshots::assert_proven;

/// A counter of a node.
pub(crate) async fn counted(rest: &Rest, name: &str) -> u64 {
    let text = rest.get("/metrics").await.body;
    let mut lines = text.lines();
    let line = lines.find_map(|line| line.strip_prefix(&format!("snapledger_{name} ")));
    line.and_then(|count| count.parse().ok())
        .unwrap_or_default()
}

/// What a process says of its past, and of the history.
async fn told(rest: &Rest, instants: &[String], snapshots: &[String]) -> Vec<String> {
    let mut told = Vec::new();
    for at in instants {
        let path = format!("/v1/processes/n2/accounts/cash/balance?at={at}");
        told.push(rest.read(&path).await["balance"].to_string());
    }
    let statement = rest.read("/v1/accounts/cash/history").await;
    told.push(statement["entries"].to_string());
    for id in snapshots {
        let answer = rest.get(&format!("/v1/snapshots/{id}")).await;
        told.push(format!("{} {}", answer.header("etag"), answer.body));
    }
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_process_has_its_states_its_past_and_its_history() {
    restored_whole(&Place::directory()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_process_has_its_states_its_past_and_its_history_from_s3() {
    restored_whole(&Place::s3().await).await;
}

async fn restored_whole(place: &Place) {
    let mut programs = Programs::planned(&["n1", "n2"]).archived_in(place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n2");
    let paid = json!({ "amount": 1 });
    let answer = rest.post("/v1/accounts/cash/deposits", &paid).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let first = rest.start_snapshot().await;
    rest.snapshot(&first, "complete").await;
    let (mut instants, mut snapshots) = (Vec::new(), vec![first]);
    for amount in 1..=4 {
        let paid = json!({ "amount": 10 * amount });
        let paid = rest.post("/v1/accounts/cash/deposits", &paid).await.json();
        instants.push(paid["time"].as_str().expect("an instant").to_owned());
        let sent = json!({
            "from_account": "cash", "to_account": "cash", "amount": amount, "to_process": "n1"
        });
        assert_eq!(rest.post("/v1/transfers", &sent).await.status, 200);
        let id = programs.rest("n1").start_snapshot().await;
        programs.rest("n1").snapshot(&id, "complete").await;
        rest.snapshot(&id, "complete").await;
        snapshots.push(id);
    }
    let before = told(&rest, &instants, &snapshots).await;
    until("everything in the archive", async || {
        for id in ["n1", "n2"] {
            let rest = programs.rest(id);
            // Neighbouring states are thinned before they are shipped.
            let kept = [
                ("archive_states_total", 1),
                ("archive_parts_total", 5),
                ("archive_revisions_total", 5),
            ];
            for (name, least) in kept {
                if counted(&rest, name).await < least {
                    return None;
                }
            }
        }
        Some(())
    })
    .await;
    programs.kill();
    std::fs::remove_dir_all(programs.path("n2")).expect("it has a store");
    let said = restore(&programs, place, "n2");
    assert!(
        said.contains("5 own parts of snapshots, and 5 published revisions"),
        "{said}"
    );
    assert!(!said.contains("left out"), "{said}");
    // Nobody else is there to ask.
    programs.start_one("n2").await;
    let rest = programs.rest("n2");
    assert_eq!(told(&rest, &instants, &snapshots).await, before);
    programs.start_one("n1").await;
    let id = rest.start_snapshot().await;
    assert_proven(&rest.snapshot(&id, "complete").await, 101);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_was_shortened_before_begins_in_the_archive_with_a_state() {
    let mut programs = Programs::planned(&["n1"]);
    let file = programs.path("cluster.toml");
    let text = std::fs::read_to_string(&file).expect("it is planned");
    std::fs::write(&file, text + "[history]\nmax_count = 1\n").expect("a file in it");
    programs.start().await;
    let rest = programs.rest("n1");
    let mut first = None;
    let mut paid = 0;
    until("a shortened journal", async || {
        let answer = rest
            .post("/v1/accounts/a/deposits", &json!({ "amount": 1 }))
            .await
            .json();
        paid += 1;
        first = first
            .take()
            .or_else(|| answer["time"].as_str().map(str::to_owned));
        let id = rest.start_snapshot().await;
        rest.snapshot(&id, "complete").await;
        let at = first.as_deref().unwrap_or_default();
        let asked = rest
            .get(&format!("/v1/processes/n1/accounts/a/balance?at={at}"))
            .await;
        (asked.status == 410).then_some(())
    })
    .await;
    programs.kill();
    let place = Place::directory();
    let mut programs = programs.archived_in(&place, "sync", "30s");
    programs.start().await;
    for _ in 0..3 {
        let rest = programs.rest("n1");
        let answer = rest
            .post("/v1/accounts/a/deposits", &json!({ "amount": 1 }))
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
        paid += 1;
    }
    programs.kill();
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    let said = restore(&programs, &place, "n1");
    assert!(said.contains("its journal begins with turn"), "{said}");
    programs.start().await;
    programs.rest("n1").balance_is("a", paid).await;
    // Another start finds the state that is there.
    programs.kill();
    programs.start().await;
    programs.rest("n1").balance_is("a", paid).await;
}

// Without this, whoever runs processes on machines that come and go would have to run a command for each that is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_may_restores_itself_into_an_empty_directory() {
    let place = Place::directory();
    let programs = Programs::planned(&["n1", "n2"]).archived_in(&place, "sync", "30s");
    let itself = ("SNAPLEDGER_ARCHIVE_RESTORE".to_owned(), "empty".to_owned());
    let mut programs = programs.with_environment(vec![itself.clone()]);
    // Nothing is archived yet.
    programs.start().await;
    let (rest, paid) = (programs.rest("n2"), json!({ "amount": 7 }));
    let answer = rest.post("/v1/accounts/cash/deposits", &paid).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    programs.kill();
    let dir = programs.path("n2");
    std::fs::remove_dir_all(&dir).expect("it has a store");
    std::fs::create_dir(&dir).expect("a directory");
    let note = format!("{dir}/note");
    std::fs::write(&note, "of a store").expect("a file in it");
    let (code, wrong) = programs.refused("n2");
    assert_eq!(code, Some(2), "{wrong}");
    for part in [
        &*dir,
        "no whole store",
        "not empty",
        "move its content away",
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    // An option that was not given.
    assert!(!wrong.contains("--dir"), "{wrong}");
    // By hand it is the same.
    let programs = programs.with_environment(Vec::new());
    let (code, wrong) = programs.refused("n2");
    assert_eq!(code, Some(2), "{wrong}");
    for part in [
        "move its content away. Restore it: snapledger restore",
        &format!("--into {dir}"),
    ] {
        assert!(wrong.contains(part), "{part}: {wrong}");
    }
    let mut programs = programs.with_environment(vec![itself]);
    std::fs::remove_file(&note).expect("it is there");
    programs.start().await;
    programs.rest("n2").balance_is("cash", 7).await;
    let id = programs.rest("n2").start_snapshot().await;
    let n1 = programs.rest("n1");
    assert_proven(&n1.snapshot_from_elsewhere(&id, "complete").await, 7);
}

// Without this, a restore that cannot succeed stops a healthy process, whose directory is then refused.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_fails_leaves_the_process_alone() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n1");
    let pay = async || {
        let paid = json!({ "amount": 1 });
        let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    pay().await;
    pay().await;
    let segment = place.object(&format!("killed/n1/journal/{:020}", 2));
    let whole = std::fs::read(&segment).expect("it is archived");
    let mut changed = whole.clone();
    *changed.last_mut().expect("it has turns") ^= 1;
    std::fs::write(&segment, &changed).expect("it is a file");
    let into = programs.path("elsewhere");
    let output = restored_into(&programs, &place, "n1", &into);
    assert!(!output.status.success(), "{output:?}");
    std::fs::write(&segment, &whole).expect("it is a file");
    pay().await;
    // It takes over as soon as nothing is wrong.
    let output = restored_into(&programs, &place, "n1", &into);
    assert!(output.status.success(), "{output:?}");
    let mut taken_over = programs.give_up("n1");
    let status = until("the end of the process", async || {
        taken_over.try_wait().expect("a child")
    })
    .await;
    assert_eq!(status.code(), Some(3));
}
