//! What commands that read an archive ask of it: each segment once, and few lists. Without this a command could ask four times for
//! each, as an audit did, and nobody would see it but in the bill and on slow storage.

use std::collections::BTreeMap;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;
use serde_json::json;

use crate::archive_place::{Place, objects};
use crate::await_it::until;
use crate::killed::IDS;
use crate::programs::Programs;
use crate::stores::pay;
use crate::tables::stop;

/// The deposits at each process; each is a segment of its own.
const DEPOSITS: usize = 40;
/// For each process: lists, claims, a recorded state, and what is asked for behind the end.
const BESIDES: u64 = 40;

fn run(place: &Place, arguments: &[&str]) {
    let output = Command::new(cargo_bin!("snapledger"))
        .args(arguments)
        .args(["--archive", &place.url(), "--cluster", "killed"])
        .envs(place.environment())
        .output()
        .expect("the program runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_segment_is_asked_for_once() {
    let place = Place::s3().await;
    let Place::S3(server) = &place else {
        unreachable!("it is on S3");
    };
    let mut programs = Programs::planned(&IDS).archived_in(&place, "sync", "30s");
    programs.start().await;
    let paid = json!({ "amount": 3 });
    for id in IDS {
        for _ in 0..DEPOSITS {
            let answer = programs
                .rest(id)
                .post("/v1/accounts/a/deposits", &paid)
                .await;
            assert_eq!(answer.status, 200, "{answer:?}");
        }
    }
    pay(&programs.rest("n1"), ("n2", "a"), 3).await;
    let id = programs.rest("n1").start_snapshot().await;
    programs.rest("n1").snapshot(&id, "complete").await;
    pay(&programs.rest("n2"), ("n3", "a"), 3).await;
    let archived = |folder: &str| objects(&server.objects().join("killed").join(folder)).len();
    until("the snapshot in the archive", async || {
        let parts = IDS.iter().all(|id| archived(&format!("{id}/parts")) > 0);
        (parts && archived("snapshots") > 0).then_some(())
    })
    .await;
    stop(&mut programs, &IDS).await;

    let journals = IDS.map(|id| objects(&server.objects().join(format!("killed/{id}/journal"))));
    let segments = journals.iter().map(Vec::len).sum::<usize>() as u64;
    assert!(segments >= (IDS.len() * DEPOSITS) as u64, "{segments}");
    server.take_kinds();
    for command in [
        &["audit"][..],
        &["archive", "check"],
        &["snapshot", "verify", &id],
    ] {
        run(&place, command);
        let kinds: BTreeMap<String, u64> = server.take_kinds();
        let all: u64 = kinds.values().sum();
        println!("{command:?}: {all} requests for {segments} segments: {kinds:?}");
        let processes = IDS.len() as u64;
        // Behind the end of a journal one is asked for that is not there, by each walk.
        assert!(
            kinds["GET journal"] <= segments + 4 * processes,
            "{command:?}: {kinds:?}"
        );
        assert!(
            all <= segments + BESIDES * processes,
            "{command:?}: {kinds:?}"
        );
        let puts = kinds
            .keys()
            .filter(|kind| !kind.starts_with("GET") && *kind != "list");
        assert_eq!(puts.count(), 0, "{command:?}: {kinds:?}");
    }
}
