//! An archive is read back before it is needed. Without this, damage would be found on the day of the loss.

use std::path::{Path, PathBuf};
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use serde_json::{Value, json};

use crate::archive::restored_into;
use crate::archive_place::Place;
use crate::archive_states::counted;
use crate::await_it::until;
use crate::programs::Programs;
use crate::stores::pay;

// Runs the check: its exit code, what it says, and its error.
fn check(url: &str, more: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(cargo_bin!("snapledger"))
        .args(["archive", "check", "--archive", url])
        .args(more)
        .output()
        .expect("the program runs");
    let [said, wrong] =
        [output.stdout, output.stderr].map(|text| String::from_utf8(text).expect("text"));
    (output.status.code(), said, wrong)
}

// What is said of n2, and of all.
fn checked(place: &Place, code: i32) -> (Value, Value) {
    let more = ["--cluster", "killed", "--output", "json"];
    let (found, said, wrong) = check(&place.url(), &more);
    assert_eq!(found, Some(code), "{said}{wrong}");
    let all: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(all["whole"], code == 0, "{all}");
    (all["processes"][1].clone(), all)
}

// The files below a directory, in order.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).expect("it is there") {
        let path = entry.expect("it is readable").path();
        match path.is_dir() {
            true => files.append(&mut self::files(&path)),
            false => files.push(path),
        }
    }
    files.sort();
    files
}

fn flip(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let middle = bytes.len() * 3 / 4;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("there is room");
}

async fn archived(place: &Place) -> (Programs, i64) {
    let mut programs = Programs::planned(&["n1", "n2"]).archived_in(place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n2");
    // A state without accounts has no chunks.
    for to in ["n1", "n2", "n2", "n2", "n2", "n2", "n2"] {
        let paid = json!({ "amount": 10 });
        let answer = programs
            .rest(to)
            .post("/v1/accounts/a/deposits", &paid)
            .await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let id = rest.start_snapshot().await;
    rest.snapshot(&id, "complete").await;
    pay(&rest, ("n1", "b"), 3).await;
    programs.rest("n1").balance_is("b", 3).await;
    until("everything in the archive", async || {
        for id in ["n1", "n2"] {
            let rest = programs.rest(id);
            for name in ["states", "parts", "revisions"] {
                if counted(&rest, &format!("archive_{name}_total")).await < 1 {
                    return None;
                }
            }
        }
        Some(())
    })
    .await;
    let said = rest.read("/v1/audit").await;
    let position = said["cut"]["positions"]["n2"].as_i64();
    programs.kill();
    (programs, position.expect("a number"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_says_what_a_restore_would_give() {
    let place = Place::directory();
    let (programs, position) = archived(&place).await;
    let before = files(&place.object(""));
    let (n2, all) = checked(&place, 0);
    assert_eq!(files(&place.object("")), before, "nothing is written");
    assert_eq!(n2["restore"], "whole", "{all}");
    assert!(n2["last_turn"].as_i64() >= Some(position), "{all}");
    assert_eq!(n2["first_turn"], 1, "{all}");
    assert_eq!(n2["parts"], 1, "{all}");
    assert_eq!(all["history"]["revisions"], 1, "{all}");
    let segments = files(&place.object("killed/n2/journal"));
    assert_eq!(n2["segments"], segments.len(), "{all}");
    let (_, said, _) = check(&place.url(), &["--cluster", "killed"]);
    assert!(
        said.contains("whole") && said.contains("published revisions: 1"),
        "{said}"
    );

    let (code, said, wrong) = check(
        &place.url(),
        &["--cluster", "killed", "--output", "json", "--quick"],
    );
    assert_eq!(code, Some(0), "{wrong}");
    let quick: Value = serde_json::from_str(&said).expect("JSON");
    let quick = quick["processes"][1].as_object().expect("an object");
    for (member, shown) in quick {
        match &**member {
            "restore" => assert_eq!(shown, "not_read"),
            member => assert_eq!(*shown, n2[member], "{member}"),
        }
    }

    // Chunks, without which there are no contents of states and parts.
    let chunks = files(&place.object("killed/n2/chunks"));
    chunks.iter().for_each(|path| flip(path));
    let (n2, all) = checked(&place, 1);
    assert_eq!(n2["restore"], "partly", "{all}");
    assert!(n2["last_turn"].as_i64() >= Some(position), "{all}");
    let named = n2["wrong"][0].as_str().expect("a sentence");
    assert!(named.contains("killed/n2/chunks/"), "{all}");
    assert_ne!(all["history"]["wrong"], json!([]), "{all}");
    assert_eq!(all["processes"][0]["restore"], "whole", "{all}");
    chunks.iter().for_each(|path| flip(path));
    checked(&place, 0);

    without_a_segment(&place, &programs, &segments[2]);
}

// Behind it a state is, and then none.
fn without_a_segment(place: &Place, programs: &Programs, lost: &Path) {
    let aside = place.object("killed/aside");
    std::fs::rename(lost, &aside).expect("it is there");
    let (n2, all) = checked(place, 1);
    assert_eq!(n2["restore"], "partly", "{all}");
    assert!(n2["first_turn"].as_i64() > Some(1), "{all}");
    let name = lost
        .file_name()
        .expect("it has one")
        .to_str()
        .expect("text");
    assert!(n2["wrong"].to_string().contains(name), "{all}");
    let made = restored_into(programs, place, "n2", &programs.path("without"));
    assert!(made.status.success(), "{made:?}");
    std::fs::remove_dir_all(place.object("killed/n2/states")).expect("it has states");
    let (n2, all) = checked(place, 1);
    assert_eq!(n2["restore"], "refused", "{all}");
    assert!(n2["whole_until"].as_i64() >= Some(1), "{all}");
    let (_, said, _) = check(&place.url(), &["--cluster", "killed"]);
    assert!(
        said.contains("a restore is refused") && said.contains(name),
        "{said}"
    );
    let made = restored_into(programs, place, "n2", &programs.path("refused"));
    assert_eq!(made.status.code(), Some(1), "{made:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_names_what_is_not_there() {
    let place = Place::directory();
    archived(&place).await;
    std::fs::rename(place.object("killed/n1"), place.object("n1")).expect("it is there");
    let more = ["--cluster", "killed", "--output", "json"];
    let (code, said, wrong) = check(&place.url(), &more);
    assert_eq!(code, Some(1), "{said}{wrong}");
    let all: Value = serde_json::from_str(&said).expect("JSON");
    assert_eq!(all["not_archived"], json!(["n1"]), "{all}");
    let lacking = all["history"]["lacking"].to_string();
    assert!(lacking.contains("the part of process n1 is not"), "{all}");
    assert_eq!(all["history"]["wrong"], json!([]), "peers have it: {all}");
    let alone = [&more[..], &["--process", "n2"]].concat();
    let (code, said, wrong) = check(&place.url(), &alone);
    assert_eq!(code, Some(0), "{said}{wrong}");

    let nowhere = format!("{}/nowhere", place.url());
    for (url, more, named) in [
        (
            place.url(),
            &["--cluster", "other"][..],
            "no cluster other; it has killed",
        ),
        (
            place.url(),
            &["--cluster", "killed", "--process", "n9"],
            "no process n9",
        ),
        (nowhere, &[], "nowhere"),
    ] {
        let (code, said, wrong) = check(&url, more);
        assert_eq!((code, &*said), (Some(1), ""), "{wrong}");
        assert!(wrong.contains(named), "{named}: {wrong}");
    }
}
