//! An archive that goes away under running nodes: its directory is renamed, or what it had is gone. Without this, what nodes
//! acknowledge rests on another directory, on the disk that it should survive, or on a bucket that lacks everything before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::archive::restore;
use crate::archive_faults::figure;
use crate::archive_place::Place;
use crate::await_it::until;
use crate::programs::Programs;
use crate::rest::Rest;
use crate::s3::Way;

const ACCOUNT: &str = "/v1/accounts/a/deposits";

async fn pay(rest: &Rest) -> u16 {
    let answer = rest.post(ACCOUNT, &json!({ "amount": 1 })).await;
    if answer.status == 503 {
        // One that was accepted before may have been done.
        let known = ["archive-behind", "not-archived"];
        assert!(known.contains(&&*answer.problem()), "{answer:?}");
    }
    answer.status
}

// Waits until the node says this of its archive; empty: that it is ready.
async fn says(rest: &Rest, part: &str) {
    until(&format!("{part:?} in /readyz"), async || {
        let answer = rest.get("/readyz").await;
        let is_it = match part {
            "" => answer.status == 200,
            part => answer.status == 503 && answer.body.contains(part),
        };
        is_it.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_in_the_place_of_the_archive_is_not_written() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n1");
    assert_eq!(pay(&rest).await, 200);
    let archive = PathBuf::from(place.url().trim_start_matches("file://"));
    let away = archive.with_file_name("away");
    std::fs::rename(&archive, &away).expect("it is there");
    std::fs::create_dir(&archive).expect("there is room");
    let held = tokio::spawn({
        let rest = rest.clone();
        async move { pay(&rest).await }
    });
    says(&rest, "another one than at the start").await;
    assert_eq!(pay(&rest).await, 503, "it is refused at once");
    // Fails if anything is in it.
    std::fs::remove_dir(&archive).expect("nothing was written");
    // Also where nothing has its place, which the client of a file system would make.
    assert_eq!(pay(&rest).await, 503);
    std::fs::rename(&away, &archive).expect("nothing was made");
    says(&rest, "").await;
    assert_eq!(held.await.expect("it does not panic"), 503);
    // It was done all the same.
    assert_eq!(pay(&rest).await, 200);
    programs.kill();
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    restore(&programs, &place, "n1");
    programs.start().await;
    programs.rest("n1").balance_is("a", 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_lacks_what_it_had_counts_nothing_until_it_is_back() {
    for place in [Place::directory(), Place::s3().await] {
        let mut environment = place.environment();
        environment.push(("SNAPLEDGER_ARCHIVE_TABLES".to_owned(), "1s".to_owned()));
        let programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
        let mut programs = programs.with_environment(environment);
        programs.start().await;
        let rest = programs.rest("n1");
        assert_eq!(pay(&rest).await, 200);
        let (archive, away) = (place.object("killed"), place.object("../away"));
        until("the first tables", async || {
            let position = figure(&rest, "snapledger_archive_tables_position").await;
            (position >= 1.0).then_some(())
        })
        .await;
        assert_eq!(pay(&rest).await, 200);
        std::fs::rename(&archive, &away).expect("it is there");
        says(&rest, "does not have segment").await;
        assert_eq!(pay(&rest).await, 503, "it is refused at once");
        assert!(!archive.join("tables").exists(), "not from memory");
        assert!(!archive.join("n1").exists(), "nothing is put");
        assert_eq!(figure(&rest, "snapledger_archive_lost").await, 1.0);
        bring_back(&away, &archive);
        says(&rest, "").await;
        assert_eq!(pay(&rest).await, 200);
        programs.kill();
        std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
        restore(&programs, &place, "n1");
        programs.start().await;
        programs.rest("n1").balance_is("a", 3).await;
    }
}

fn bring_back(away: &Path, archive: &Path) {
    // Other objects of the cluster may have been put.
    if archive.exists() {
        std::fs::remove_dir_all(archive).expect("it is a directory");
    }
    std::fs::rename(away, archive).expect("it was there");
}

// Without this a busy writer, whose puts succeed, would never look at what is before them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_busy_writer_notices_too_and_its_next_start_says_what_is_missing() {
    let place = Place::s3().await;
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n1");
    assert_eq!(pay(&rest).await, 200);
    let (archive, away) = (place.object("killed"), place.object("../away"));
    std::fs::rename(&archive, &away).expect("it is there");
    // What is put from now on is there, so the newest segment is.
    until("a refusal", async || {
        (pay(&rest).await == 503).then_some(())
    })
    .await;
    says(&rest, "does not have segment").await;
    bring_back(&away, &archive);
    programs.kill();
    let (code, said) = programs.refused("n1");
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("does not have what n1 has shipped"), "{said}");
}

// Without this an operator sees that the archive is behind, and has to find the log to see that a permission is missing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readiness_and_warnings_say_why_an_archive_does_not_take_the_journal() {
    for journal in ["peers", "async"] {
        let place = Place::s3().await;
        let mut programs = Programs::planned(&["n1"]).archived_in(&place, journal, "1s");
        programs.start().await;
        let rest = programs.rest("n1");
        assert_eq!(pay(&rest).await, 200);
        let Place::S3(server) = &place else {
            unreachable!("it is on S3");
        };
        let said = async |why: &str| {
            until(&format!("{why:?} in readiness or warnings"), async || {
                let (ready, cluster) = (rest.get("/readyz").await, rest.get("/v1/cluster").await);
                let is_ready = ready.status == 200;
                assert!(is_ready || journal == "peers", "nothing waits: {ready:?}");
                let shows = |body: &str| body.contains(why) && !body.contains("s3://");
                let is_said = shows(&cluster.body) && (shows(&ready.body) || is_ready);
                (is_said && is_ready == (journal == "async")).then_some(())
            })
            .await;
        };
        server.behave(Way {
            is_read_only: true,
            ..Way::default()
        });
        assert_eq!(pay(&rest).await, 200, "nothing waits yet");
        said("it cannot create objects: the storage refuses these credentials, or does not permit them this").await;
        server.behave(Way {
            is_away: true,
            ..Way::default()
        });
        said("it answers 503 Service Unavailable").await;
        server.behave(Way::default());
        says(&rest, "").await;
    }
}

// Without this an archive that is away for days is noticed by nobody, and its disk is the only copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_archive_that_is_away_shows_in_figures_and_warnings_where_nothing_waits() {
    let place = Place::s3().await;
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "async", "1s");
    programs.start().await;
    let rest = programs.rest("n1");
    let warnings = async || {
        let warnings = rest.read("/v1/cluster").await["warnings"].to_string();
        warnings.contains("further behind than archive.lag_max")
    };
    assert!(!warnings().await, "it is there");
    assert_eq!(pay(&rest).await, 200);
    place.goes_away();
    for _ in 0..3 {
        assert_eq!(pay(&rest).await, 200, "nothing waits");
    }
    until("a lag in figures and warnings", async || {
        let lag = figure(&rest, "snapledger_archive_lag_seconds").await;
        let bytes = figure(&rest, "snapledger_archive_lag_bytes").await;
        let segments = figure(&rest, "snapledger_archive_lag_segments").await;
        let is_shown = lag > 1.0 && bytes > 100.0 && segments >= 1.0;
        (is_shown && warnings().await).then_some(())
    })
    .await;
    assert_eq!(rest.get("/readyz").await.status, 200, "work is accepted");
    place.comes_back();
    until("no lag", async || {
        let bytes = figure(&rest, "snapledger_archive_lag_bytes").await;
        let segments = figure(&rest, "snapledger_archive_lag_segments").await;
        (bytes == 0.0 && segments == 0.0 && !warnings().await).then_some(())
    })
    .await;

    let text = rest.get("/metrics").await.body;
    let types = text.lines().filter_map(|line| {
        let name = line.strip_prefix("# TYPE snapledger_")?.split(' ').next()?;
        Some(name.trim_end_matches("_total").to_owned())
    });
    let page = include_str!("../../docs/metrics.md").lines();
    let documented = page.filter_map(|line| {
        let name = line.strip_prefix("| `")?.split('`').next()?;
        Some(name.trim_end_matches("_total").to_owned())
    });
    let of_archive = |name: &String| name.starts_with("archive_");
    let types: BTreeSet<String> = types.filter(of_archive).collect();
    assert!(types.len() > 10, "{types:?}");
    assert_eq!(types, documented.filter(of_archive).collect());
}
