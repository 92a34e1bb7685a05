//! The past of a cluster as its archive alone tells it. Without this, whoever has the archive would have to trust a node, and a
//! cluster could only be restored to the last archived turn.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use assert_cmd::cargo::cargo_bin;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::analytics::{DOC, ask, python, sorted};
use crate::archive_place::{name, objects};
use crate::await_it::until;
use crate::killed::{IDS, SEED, seed};
use crate::programs::Programs;

/// Runs a command on the archive of a cluster: its exit code, and what it said and complained of.
pub(crate) fn run(programs: &Programs, arguments: &[&str]) -> (Option<i32>, String, String) {
    run_of("killed", programs, arguments)
}

/// The same on the archive of a cluster of this name.
pub(crate) fn run_of(
    cluster: &str,
    programs: &Programs,
    arguments: &[&str],
) -> (Option<i32>, String, String) {
    let url = format!("file://{}", programs.path("archive"));
    let output = Command::new(cargo_bin!("snapledger"))
        .args(arguments)
        .args(["--archive", &url, "--cluster", cluster])
        // As a shell of an operator has it; no node is asked.
        .env("SNAPLEDGER_REST", "http://127.0.0.1:1")
        .output()
        .expect("the program runs");
    let [said, wrong] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    // A program that ends takes nothing back.
    assert!(!wrong.contains("trying again"), "{wrong}");
    (output.status.code(), said, wrong)
}

fn audit(programs: &Programs, at: &str) -> Value {
    let (code, said, wrong) = run(programs, &["audit", "--at", at, "--output", "json"]);
    let found: Value = serde_json::from_str(&said).expect("JSON");
    // Nothing is known of the instant.
    let is_unknown = found["processes"] == json!([]);
    assert_eq!(code, Some(i32::from(is_unknown)), "{wrong}");
    found
}

/// Transfers of increasing amounts, with an audit after each; then all nodes are killed.
pub(crate) async fn audited(journal: &str) -> (Programs, Vec<Value>) {
    let mut programs = Programs::planned(&IDS).with_archive(journal);
    programs.start().await;
    seed(&programs).await;
    let rest = programs.rest("n1");
    let mut said = Vec::new();
    for amount in 1..=5 {
        let paid = json!({
            "from_account": "cash", "to_process": "n2", "to_account": "b", "amount": amount
        });
        assert_eq!(rest.post("/v1/transfers", &paid).await.status, 200);
        said.push(rest.read("/v1/audit").await);
    }
    programs.kill();
    (programs, said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_of_the_archive_says_what_the_nodes_said() {
    let (programs, said) = audited("peers").await;
    for said in &said {
        let found = audit(&programs, said["at"].as_str().expect("an instant"));
        for member in ["complete", "totals", "processes"] {
            assert_eq!(found[member], said[member], "{member}: {found}");
        }
        assert_eq!(found["cut"]["positions"], said["cut"]["positions"]);
        assert_eq!(found["verification"]["conserved"], true, "{found}");
    }
    let later = audit(&programs, "now");
    assert_eq!(later["complete"], false, "{later}");
    assert_eq!(later["missing"][0]["reason"], "not_archived", "{later}");
    assert_eq!(later["processes"], json!([]), "{later}");
    // Without this, the zeros would be taken for those of an empty cluster.
    for at in ["now", "1970-01-02"] {
        let (code, said, wrong) = run(&programs, &["audit", "--at", at]);
        assert_eq!((code, &*said), (Some(1), ""), "{wrong}");
        let proposed = wrong.trim().split(" --at ").nth(1);
        let found = audit(&programs, proposed.expect("an instant"));
        assert_eq!(found["complete"], true, "{found}");
    }
    // What it proposes is a command of this program.
    let (code, said, wrong) = run(&programs, &["audit"]);
    assert_eq!(code, Some(0), "{wrong}");
    let again = said.trim().split("repeat this audit with ").nth(1);
    let again = again.expect("a proposal").split(' ').collect::<Vec<_>>();
    let output = Command::new(cargo_bin!("snapledger"))
        .arg("audit")
        .args(&again)
        .output()
        .expect("the program runs");
    assert_eq!(output.status.code(), Some(0), "{again:?}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), said);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_is_restored_to_an_instant_and_goes_on_from_there() {
    let (mut programs, said) = audited("sync").await;
    let (then, into) = (&said[2], programs.path("earlier"));
    let at = then["at"].as_str().expect("an instant");
    let (code, _, wrong) = run(&programs, &["restore", "--at", "now", "--into", &into]);
    assert_eq!(code, Some(1), "{wrong}");
    // What the error proposes is accepted, and so is what an audit without an instant was of.
    let newest = wrong.split("--at ").nth(1).expect("an instant");
    let (newest, _) = newest.split_once(';').expect("the other way");
    let (code, found, wrong) = run(&programs, &["audit", "--output", "json"]);
    assert_eq!(code, Some(0), "{wrong}");
    let found: Value = serde_json::from_str(&found).expect("JSON");
    assert_eq!(found["at"], newest, "{found}");
    assert_eq!(audit(&programs, newest), found);
    let newer = programs.path("newer");
    let (code, _, wrong) = run(&programs, &["restore", "--at", newest, "--into", &newer]);
    assert_eq!(code, Some(0), "{wrong}");
    let as_it_ended = ["restore", "--at", "now", "--short", "--into"];
    let (code, said, wrong) = run(
        &programs,
        &[&as_it_ended[..], &[&programs.path("ended")]].concat(),
    );
    assert_eq!(code, Some(0), "{wrong}");
    let total = 3 * SEED;
    assert!(
        said.contains(&format!("{total} minor units in total")),
        "{said}"
    );
    let (code, said, wrong) = run(&programs, &["restore", "--at", at, "--into", &into]);
    assert_eq!(code, Some(0), "{wrong}");
    assert!(said.contains(at), "{said}");
    for id in IDS {
        std::fs::remove_dir_all(programs.path(id)).expect("it has a store");
        std::fs::rename(format!("{into}/{id}"), programs.path(id)).expect("it was restored");
    }
    // The archive goes on behind the instant.
    let (code, wrong) = programs.refused("n1");
    assert_eq!(code, Some(2), "{wrong}");
    assert!(wrong.contains("another archive URL"), "{wrong}");
    std::fs::rename(programs.path("archive"), programs.path("old")).expect("it is there");
    std::fs::create_dir(programs.path("archive")).expect("a new archive");
    programs.start().await;
    let rest = programs.rest("n1");
    let arrived = until("what was on its way", async || {
        let now = rest.read("/v1/audit?at=now").await;
        (now["totals"]["in_flight"] == 0 && now["complete"] == true).then_some(now)
    })
    .await;
    for member in ["deposits", "withdrawals"] {
        assert_eq!(
            arrived["totals"][member], then["totals"][member],
            "{arrived}"
        );
    }
    assert_eq!(arrived["verification"]["conserved"], true, "{arrived}");
    programs.rest("n2").balance_is("b", 1 + 2 + 3).await;
    let before = rest.read(&format!("/v1/audit?at={at}")).await;
    assert_eq!(
        before["totals"], then["totals"],
        "what was said of the past stays said"
    );
    let paid = json!({
        "from_account": "cash", "to_process": "n2", "to_account": "b", "amount": 7
    });
    assert_eq!(rest.post("/v1/transfers", &paid).await.status, 200);
    programs.rest("n2").balance_is("b", 1 + 2 + 3 + 7).await;
}

// Without this, nothing could be audited, restored to an instant or exported from an archive that deletes old turns.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shortened_archive_is_audited_restored_and_exported() {
    let mut programs = Programs::planned(&IDS).with_archive_kept("sync", "500ms");
    programs.start().await;
    seed(&programs).await;
    let rest = programs.rest("n1");
    let began = rest.read("/v1/audit").await;
    until_shortened(&programs, &IDS).await;
    let said = rest.read("/v1/audit").await;
    programs.kill();
    let at = said["at"].as_str().expect("an instant");
    let found = audit(&programs, at);
    for member in ["complete", "totals", "processes"] {
        assert_eq!(found[member], said[member], "{member}: {found}");
    }
    assert_eq!(found["verification"]["conserved"], true, "{found}");
    let early = began["at"].as_str().expect("an instant");
    let into = programs.path("earlier");
    for refused in [
        &["audit", "--at", early][..],
        &["restore", "--at", early, "--into", &into],
    ] {
        let (code, _, wrong) = run(&programs, refused);
        assert_eq!(code, Some(1), "{wrong}");
        assert!(wrong.contains("later"), "{wrong}");
    }
    let (code, report, wrong) = run(&programs, &["restore", "--at", at, "--into", &into]);
    assert_eq!(code, Some(0), "{wrong}");
    let total = 3 * SEED;
    let says = format!("{total} minor units in total");
    assert!(report.contains(&says), "{report}");
    let tables = programs.path("tables");
    let (code, report, wrong) = run(&programs, &["tables", "export", "--into", &tables]);
    assert_eq!(code, Some(0), "{wrong}");
    assert!(report.contains("balances"), "{report}");
    nothing_is_known_behind_a_gap_that_was_deleted(&programs, at);
    // The archive goes on behind the instant.
    std::fs::rename(programs.path("archive"), programs.path("old")).expect("it is there");
    std::fs::create_dir(programs.path("archive")).expect("a new archive");
    for id in IDS {
        std::fs::remove_dir_all(programs.path(id)).expect("it has a store");
        std::fs::rename(format!("{into}/{id}"), programs.path(id)).expect("it was restored");
    }
    programs.start().await;
    let restored = programs
        .rest("n1")
        .read(&format!("/v1/audit?at={at}"))
        .await;
    assert_eq!(restored["totals"], said["totals"], "{restored}");
}

// As of a process that was restored before all that is kept, and that has not caught up with the others since.
fn nothing_is_known_behind_a_gap_that_was_deleted(programs: &Programs, at: &str) {
    let note = programs.path("archive/killed/n2/gaps");
    let note = Path::new(&note).join(format!("{0:020}-from-{0:020}", 1));
    std::fs::create_dir_all(note.parent().expect("a folder")).expect("an archive");
    std::fs::write(&note, b"{}").expect("a folder");
    let into = programs.path("unknown");
    let (code, _, wrong) = run(programs, &["restore", "--at", at, "--into", &into]);
    assert_eq!(code, Some(1), "{wrong}");
    for says in ["n2", "other_journal", "no instant before it"] {
        assert!(wrong.contains(says), "{says}: {wrong}");
    }
    // It is not that nobody had a turn by then.
    for id in ["n1", "n3"] {
        let noted = programs.path(&format!("archive/killed/{id}/gaps"));
        std::fs::create_dir_all(&noted).expect("an archive");
        std::fs::copy(&note, Path::new(&noted).join(name(&note))).expect("a folder");
    }
    let (code, _, wrong) = run(programs, &["restore", "--at", at, "--into", &into]);
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains("other_journal"), "{wrong}");
    for id in IDS {
        let noted = programs.path(&format!("archive/killed/{id}/gaps"));
        std::fs::remove_dir_all(noted).expect("it is there");
    }
}

// Pays and takes snapshots until the archive has deleted turns of these processes.
async fn until_shortened(programs: &Programs, ids: &[&str]) {
    let rest = programs.rest("n1");
    until("turns are deleted in the archive", async || {
        let paid = json!({
            "from_account": "cash", "to_process": "n2", "to_account": "b", "amount": 1
        });
        assert_eq!(rest.post("/v1/transfers", &paid).await.status, 200);
        rest.start_snapshot().await;
        ids.iter()
            .all(|id| is_shortened(programs, id))
            .then_some(())
    })
    .await;
}

fn is_shortened(programs: &Programs, id: &str) -> bool {
    let boundary = programs.path(&format!("archive/killed/{id}/boundary"));
    // The first one says where the segments begin that are to be deleted.
    let first = "0".repeat(20);
    let boundaries = objects(Path::new(&boundary));
    boundaries.iter().any(|one| !one.ends_with(&first))
}

// Each process deletes by its own limit. Without this, an audit or export could take all journals for whole because one is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_which_one_journal_is_shortened_is_audited_and_exported() {
    let mut programs = Programs::planned(&IDS).with_archive("sync");
    programs.start().await;
    seed(&programs).await;
    let rest = programs.rest("n1");
    let began = rest.read("/v1/audit").await;
    for keep in ["500ms", "forever"] {
        programs.kill_one("n2");
        programs.keep_archived(keep);
        programs.start_one("n2").await;
        until_shortened(&programs, &["n2"]).await;
    }
    let shortened = IDS.map(|id| is_shortened(&programs, id));
    assert_eq!(shortened, [false, true, false]);
    let id = rest.start_snapshot().await;
    let taken = rest.snapshot(&id, "complete").await;
    until("the snapshot is archived", async || {
        let verified = run(&programs, &["snapshot", "verify", &id]);
        (verified.0 == Some(0)).then_some(())
    })
    .await;
    let balances = format!("/v1/snapshots/{id}/balances?limit=1000");
    let balances = rest.read(&balances).await["balances"].take();
    let said = rest.read("/v1/audit").await;
    programs.kill();

    let at = said["at"].as_str().expect("an instant");
    let found = audit(&programs, at);
    for member in ["complete", "totals", "processes"] {
        assert_eq!(found[member], said[member], "{member}: {found}");
    }
    assert_eq!(found["verification"]["conserved"], true, "{found}");
    let early = began["at"].as_str().expect("an instant");
    let (code, _, wrong) = run(&programs, &["audit", "--at", early]);
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains("process n2 only from"), "{wrong}");

    let tables = programs.path("tables");
    let first = exported(&programs, &tables);
    for process in first["processes"].as_array().expect("a list") {
        let position = &said["cut"]["positions"][process["process"].as_str().expect("an id")];
        assert!(
            process["journal_position"].as_u64() >= position.as_u64(),
            "{first}"
        );
    }
    let again = exported(&programs, &tables);
    for process in again["processes"].as_array().expect("a list") {
        let added = process["added"].as_object().expect("numbers");
        assert!(added.values().all(|rows| *rows == 0), "{again}");
    }
    assert_tables_have(&tables, &taken, &balances, at);
}

// In DuckDB, if there is one.
fn assert_tables_have(tables: &str, taken: &Value, balances: &Value, at: &str) {
    let Some(duckdb) = python("duckdb, duckdb_extension_delta, pytz") else {
        return;
    };
    let id = &taken["snapshot_id"];
    let asked = json!({
        "snapshot": id, "earlier": id, "instant": at, "process": "n2", "account": "b",
    });
    let answers = ask(&duckdb, &["duckdb", DOC, tables, &asked.to_string()]);
    let row = |one: &Value| json!([one["process"], one["account"], one["balance"]]);
    let balances = balances.as_array().expect("a list");
    let expected: Vec<Value> = balances.iter().map(row).collect();
    let found = sorted(&answers["balances at a snapshot"]);
    assert_eq!(found, sorted(&json!(expected)));
    let totals = &taken["totals"];
    let expected = ["deposits", "withdrawals", "balances", "in_flight"].map(|name| &totals[name]);
    let found = &answers["conservation at a snapshot"][0];
    assert_eq!([&found[0], &found[1], &found[2], &found[3]], expected);
}

// What `tables export` says that it has added.
fn exported(programs: &Programs, into: &str) -> Value {
    let export = ["tables", "export", "--into", into, "--output", "json"];
    let (code, said, wrong) = run(programs, &export);
    assert_eq!(code, Some(0), "{wrong}");
    serde_json::from_str(&said).expect("JSON")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_audit_waits_for_what_the_archive_does_not_have() {
    let mut programs = Programs::planned(&["n1"]).with_archive("peers");
    programs.start().await;
    let rest = programs.rest("n1");
    let paid = json!({ "amount": 1 });
    assert_eq!(
        rest.post("/v1/accounts/a/deposits", &paid).await.status,
        200
    );
    take_archive_away(&programs);
    let answer = rest.get("/v1/audit?at=now").await;
    // It waits for a second, `archive.lag_max`. What it would have said could be lost with the disk.
    assert_eq!(answer.status, 503, "{answer:?}");
    let kind = answer.json()["type"].to_string();
    assert!(kind.contains("archive-behind"), "{kind}");
    bring_archive_back(&programs);
    let answer = until("an answer", async || {
        let answer = rest.get("/v1/audit?at=now").await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    assert_eq!(answer.json()["totals"]["balances"], 1);
}

// Nothing can be created where a file has the place of the directory.
fn take_archive_away(programs: &Programs) {
    let (archive, away) = (programs.path("archive"), programs.path("away"));
    std::fs::rename(&archive, &away).expect("it has an archive");
    std::fs::write(&archive, b"").expect("a file in its place");
}

fn bring_archive_back(programs: &Programs) {
    let (archive, away) = (programs.path("archive"), programs.path("away"));
    std::fs::remove_file(&archive).expect("the file is there");
    std::fs::rename(&away, &archive).expect("the archive is there");
}

// Without this, a statement would show a deposit that was not answered and that a lost disk takes away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_statement_shows_nothing_that_the_archive_does_not_have() {
    let mut programs = Programs::planned(&["n1"]).with_archive("sync");
    programs.start().await;
    let rest = programs.rest("n1");
    let (deposits, history) = ("/v1/accounts/a/deposits", "/v1/accounts/a/history");
    assert_eq!(
        rest.post(deposits, &json!({ "amount": 1 })).await.status,
        200
    );
    take_archive_away(&programs);
    let paid = json!({ "amount": 77 });
    let unanswered = timeout(Duration::from_millis(300), rest.post(deposits, &paid)).await;
    assert!(unanswered.is_err(), "{unanswered:?}");
    let asked = timeout(Duration::from_millis(300), rest.get(history)).await;
    let shown = asked.is_ok_and(|answer| answer.status == 200);
    assert!(!shown, "the deposit could be lost with the disk");
    bring_archive_back(&programs);
    let said = until("both deposits", async || {
        let answer = rest.get(history).await;
        (answer.status == 200).then(|| answer.json())
    })
    .await;
    assert!(said.to_string().contains("77"), "{said}");
}

// Without this, a cluster would be restored in which n2 has money that n1 never sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn journals_that_contradict_each_other_are_not_restored() {
    let (programs, _) = audited("sync").await;
    let journal = format!("{}/killed/n1/journal", programs.path("archive"));
    for lost in objects(Path::new(&journal)).iter().rev().take(8) {
        std::fs::remove_file(lost).expect("it is there");
    }
    let into = programs.path("earlier");
    let (code, _, wrong) = run(
        &programs,
        &["restore", "--at", "now", "--short", "--into", &into],
    );
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains("n1"), "{wrong}");
    assert!(!std::path::Path::new(&into).exists(), "nothing was made");
    let found = audit(&programs, "now");
    assert_eq!(found["verification"]["conserved"], Value::Null, "{found}");
}
