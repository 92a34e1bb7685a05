//! Object storage that cannot be used: the node does not start, and says what is wrong. Without this an operator would look for
//! a fault of the program, or, worse, the storage would be used.

use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use crate::archive::{restore, restored};
use crate::archive_place::{Place, name, objects};
use crate::archived_past::{audited, run};
use crate::await_it::until;
use crate::programs::Programs;
use crate::s3::{S3, Way};
use crate::stores::{copy_of, put_back};

/// Starts a node that must not start; returns its exit code and what it says.
fn refused(place: &Place, changes: &[(&str, Option<&str>)]) -> (Option<i32>, String) {
    let mut environment = place.environment();
    environment.retain(|(name, _)| changes.iter().all(|(changed, _)| changed != name));
    for (name, value) in changes {
        environment.extend(value.map(|value| ((*name).to_owned(), value.to_owned())));
    }
    let programs = Programs::planned(&["n1"]).archived_in(place, "peers", "1s");
    programs.with_environment(environment).refused("n1")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_replaces_objects_is_refused() {
    let server = S3::start().await;
    server.behave(Way {
        ignores_conditions: true,
        ..Way::default()
    });
    let place = Place::S3(server);
    let (code, said) = refused(&place, &[]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("If-None-Match"), "{said}");
    assert!(said.contains("conditional writes"), "{said}");
    let written = files_below(&place.object("killed"));
    assert_eq!(written, ["n1/probe/exclusive"], "nothing is shipped");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_credentials_the_node_says_which_to_set() {
    let place = Place::s3().await;
    let nowhere = nowhere();
    let (code, said) = refused(
        &place,
        &[
            ("AWS_ACCESS_KEY_ID", None),
            ("AWS_SECRET_ACCESS_KEY", None),
            // Not the service of a cloud that the test may run in.
            ("AWS_METADATA_ENDPOINT", Some(&nowhere)),
        ],
    );
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("AWS_ACCESS_KEY_ID"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_named() {
    let place = Place::s3().await;
    let (code, said) = refused(&place, &[("AWS_SECRET_ACCESS_KEY", Some("wrong"))]);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("credentials"), "{said}");
    assert!(said.contains("SignatureDoesNotMatch"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bucket_that_is_not_there_is_named() {
    let place = Place::s3().await;
    let elsewhere = [("SNAPLEDGER_ARCHIVE_URL", Some("s3://nowhere/archive"))];
    let (code, said) = refused(&place, &elsewhere);
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("s3://nowhere/archive"), "{said}");
    assert!(said.contains("no such bucket"), "{said}");
    assert!(!said.contains("<?xml"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_without_a_server_is_named() {
    let place = Place::s3().await;
    let nowhere = nowhere();
    let (code, said) = refused(&place, &[("AWS_ENDPOINT", Some(&nowhere))]);
    // A supervisor may start it again.
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(&nowhere), "{said}");
    assert!(said.contains("nothing listens"), "{said}");
}

// Without this the program ends with a backtrace in its first request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn variables_that_the_client_cannot_use_are_named() {
    let place = Place::s3().await;
    for (name, value) in [
        ("AWS_ENDPOINT", Some("127.0.0.1:9000")),
        ("AWS_ENDPOINT", Some("http://")),
        ("AWS_ACCESS_KEY_ID", Some("AKTEST\n")),
        ("AWS_SESSION_TOKEN", Some("token\n")),
        ("AWS_REGION", Some("us-east-1\n")),
        ("AWS_ALLOW_HTTP", None),
    ] {
        let (code, said) = refused(&place, &[(name, value)]);
        assert_eq!(code, Some(2), "{name}: {said}");
        assert!(said.contains(name), "{said}");
        assert!(!said.contains("panicked"), "{said}");
    }
}

#[test]
fn a_url_of_another_kind_is_refused_with_those_that_are_not() {
    let place = Place::directory();
    for (url, part) in [
        ("ftp://ledger/archive", "s3://"),
        ("s3://user:secret@ledger/archive", "environment"),
        ("file:///nowhere/at/all", "create the directory"),
        ("file:///etc/passwd", "not a directory"),
        ("file:///", "file:///DIRECTORY"),
    ] {
        let (code, said) = refused(&place, &[("SNAPLEDGER_ARCHIVE_URL", Some(url))]);
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(part), "{said}");
        assert!(!said.contains("secret@"), "{said}");
    }
}

// Without this a node could not use storage that is written once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_permission_to_delete_is_needed() {
    let server = S3::start().await;
    server.behave(Way {
        keeps_all: true,
        ..Way::default()
    });
    let place = Place::S3(server);
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "1s");
    for _ in 0..2 {
        programs.start().await;
        let paid = json!({ "amount": 1 });
        let rest = programs.rest("n1");
        let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        programs.kill();
    }
}

// Without this an orderly stop would look like a crash in the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_waits_for_the_archive_can_be_stopped() {
    let place = Place::s3().await;
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "peers", "30s");
    // So that it has a store, and the wait is that of a thread.
    programs.start().await;
    programs.kill();
    place.goes_away();
    let Place::S3(server) = &place else {
        unreachable!("it is on S3");
    };
    let before = server.requests();
    let mut node = programs.begin("n1");
    until("a second attempt", async || {
        (server.requests() > before + 1).then_some(())
    })
    .await;
    kill_process(Pid::from_child(&node), Signal::TERM).expect("it runs");
    let status = until("the end of the node", async || {
        node.try_wait().expect("a child")
    })
    .await;
    let mut said = String::new();
    let stderr = node.stderr.as_mut().expect("it is heard");
    stderr.read_to_string(&mut said).expect("text");
    assert_eq!(status.code(), Some(0), "{said}");
    assert!(!said.contains("panicked"), "{said}");
}

// Without this a node would ship its journal to a directory where nothing is mounted, and what it promises would rest on that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_without_what_was_shipped_is_refused_until_a_new_one_is_begun() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    let (archive, mounted) = (place.object("killed"), place.object("../mounted"));
    pay(&mut programs).await;
    std::fs::rename(&archive, &mounted).expect("it is there");
    let (code, said) = programs.refused("n1");
    assert_eq!(code, Some(2), "{said}");
    let command = format!("store new-archive {}", programs.path("n1"));
    for part in ["Mount that archive", "correct the URL", &command] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!archive.exists(), "nothing is written there");
    std::fs::rename(&mounted, &archive).expect("it is there");
    pay(&mut programs).await;

    // A chain that lost its newest segments: the fence of the second start, and what follows.
    let journal = archive.join("n1/journal");
    for lost in objects(&journal).iter().rev().take(2) {
        std::fs::remove_file(lost).expect("it is there");
    }
    let (code, said) = programs.refused("n1");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("does not have what n1 has shipped"), "{said}");

    std::fs::remove_dir_all(&archive).expect("it is there");
    begin_new_archive(&programs.path("n1"));
    pay(&mut programs).await;
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    restore(&programs, &place, "n1");
    programs.start().await;
    programs.rest("n1").balance_is("a", 3).await;
}

// Without this an operator who goes back to an old URL, or begins anew where something is left, reads of a directory that there is
// not, or of damage, and is not told what to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_on_the_archive_before_a_new_one_says_so_and_one_on_what_is_left_of_it() {
    let (old, new) = (Place::directory(), Place::directory());
    let mut programs = Programs::planned(&["n1"]).archived_in(&old, "sync", "30s");
    pay(&mut programs).await;
    pay(&mut programs).await;
    let store = programs.path("n1");
    begin_new_archive(&store);
    let mut programs = programs.archived_in(&new, "sync", "30s");
    pay(&mut programs).await;
    let mut programs = programs.archived_in(&old, "sync", "30s");
    let (code, said) = programs.refused("n1");
    assert_eq!(code, Some(2), "{said}");
    let command = format!("store new-archive {store}");
    for part in ["up to start 2 of this store", "Correct the URL", &command] {
        assert!(said.contains(part), "{part}: {said}");
    }
    for part in ["another directory", "store vouch"] {
        assert!(!said.contains(part), "{part}: {said}");
    }
    begin_new_archive(&store);
    pay(&mut programs).await;

    // It was emptied while the node ran, and what was put behind is left.
    let journal = old.object("killed").join("n1/journal");
    let left = objects(&journal).pop().expect("it has segments");
    let kept = std::fs::read(&left).expect("it is readable");
    std::fs::remove_dir_all(old.object("killed")).expect("it is there");
    std::fs::create_dir_all(&journal).expect("there is room");
    std::fs::write(&left, kept).expect("there is room");
    begin_new_archive(&store);
    let (code, said) = programs.refused("n1");
    assert_eq!(code, Some(2), "{said}");
    for part in [
        "lacks segment 1 of the journal of n1",
        "later objects",
        "another archive URL",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(!said.contains("damaged"), "{said}");
    let elsewhere = Place::directory();
    let mut programs = programs.archived_in(&elsewhere, "sync", "30s");
    pay(&mut programs).await;
    std::fs::remove_dir_all(&store).expect("it has a store");
    restore(&programs, &elsewhere, "n1");
    programs.start().await;
    programs.rest("n1").balance_is("a", 5).await;
}

fn begin_new_archive(store: &str) {
    let begun = Command::new(cargo_bin!("snapledger"))
        .args(["store", "new-archive", store])
        .output()
        .expect("the program runs");
    assert!(begun.status.success(), "{begun:?}");
}

// Without this a mistyped prefix would leave traces in the archive of another cluster.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_of_another_store_is_refused_and_left_as_it_is() {
    let place = Place::s3().await;
    let mut others = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    pay(&mut others).await;
    // So that a probe would be seen.
    std::fs::remove_dir_all(place.object("killed/n1/probe")).expect("its start has probed");
    let before = files_below(&place.object(""));
    let elsewhere = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&elsewhere, "sync", "30s");
    pay(&mut programs).await;
    let programs = programs.archived_in(&place, "sync", "30s");
    let Place::S3(server) = &place else {
        unreachable!("it is on S3");
    };
    let puts = server.puts();
    let (code, said) = programs.refused("n1");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("written by store"), "{said}");
    assert_eq!(server.puts(), puts, "nothing is put");
    assert_eq!(files_below(&place.object("")), before);
}

// The files below a directory, relative to it, sorted.
fn files_below(directory: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(one) = directories.pop() {
        for entry in std::fs::read_dir(one).expect("it is there") {
            let entry = entry.expect("it can be read");
            if entry.file_type().expect("it has a type").is_dir() {
                directories.push(entry.path());
                continue;
            }
            let path = entry.path();
            let below = path.strip_prefix(directory).expect("it is below");
            files.push(below.display().to_string());
        }
    }
    files.sort_unstable();
    files
}

// Without this a restore ends at the hole although what is behind it was acknowledged, and says that all is well.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_is_missing_among_the_newest_is_named_by_a_restore() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n1");
    for _ in 0..12 {
        let paid = json!({ "amount": 1 });
        let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    programs.kill();
    let journal = place.object("killed").join("n1/journal");
    let segments = objects(&journal);
    // More than the default window is behind it.
    let hole = &segments[segments.len() - 6];
    std::fs::remove_file(hole).expect("it is there");
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    let output = restored(&programs, &place, "n1");
    let said = String::from_utf8([output.stdout, output.stderr].concat()).expect("text");
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains(name(hole)), "{said}");
    assert!(said.contains("it is missing"), "{said}");
}

// Starts the node, deposits 1, and kills it.
async fn pay(programs: &mut Programs) {
    programs.start().await;
    let rest = programs.rest("n1");
    let paid = json!({ "amount": 1 });
    let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    programs.kill();
}

// The URL of a port on which nothing listens.
fn nowhere() -> String {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    format!("http://{address}")
}

// Without this a supervisor that starts an older copy of a directory again and again makes it take the process over.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_copy_is_refused_however_often_it_is_started() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    pay(&mut programs).await;
    let store = programs.path("n1");
    let copy = copy_of(Path::new(&store));
    pay(&mut programs).await;
    put_back(copy.path(), Path::new(&store));
    let claims = place.object("killed").join("n1/epochs");
    let claims = || objects(&claims).len();
    let (before, mut said_first) = (claims(), None);
    for _ in 0..3 {
        let (code, said) = programs.refused("n1");
        assert_eq!(code, Some(2), "{said}");
        let said = said[said.find("this directory").expect("what is refused")..].to_owned();
        for part in ["start 2 ", &format!("store vouch {store}")] {
            assert!(said.contains(part), "{part}: {said}");
        }
        // The same number each time: it does not count.
        assert_eq!(*said_first.get_or_insert(said.clone()), said);
    }
    assert_eq!(claims(), before, "nothing is claimed");
    let vouched = Command::new(cargo_bin!("snapledger"))
        .args(["store", "vouch", &store])
        .output()
        .expect("the program runs");
    assert!(vouched.status.success(), "{vouched:?}");
    pay(&mut programs).await;
    programs.start().await;
    programs.rest("n1").balance_is("a", 3).await;
}

// Without this, an audit would end where a segment was deleted by mistake, and say nothing of the turns behind it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_is_missing_before_later_ones_is_named() {
    let (programs, _) = audited("sync").await;
    let journal = format!("{}/killed/n1/journal", programs.path("archive"));
    let segments = objects(Path::new(&journal));
    let last = name(segments.last().expect("it has segments"));
    let index: u64 = last.parse().expect("an index");
    // Further behind than any put that was in flight.
    let later = format!("{journal}/{:020}", index + 100);
    std::fs::rename(format!("{journal}/{last}"), later).expect("it is there");
    let (code, _, wrong) = run(&programs, &["audit"]);
    assert_eq!(code, Some(1), "{wrong}");
    assert!(wrong.contains(last) && wrong.contains("missing"), "{wrong}");
}
