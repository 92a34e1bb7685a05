//! Object storage at its worst: several creators of one object, lost answers, refusals for a moment, and objects that were changed or
//! cut. Without this a segment could be counted twice or not at all, or damage be restored as if it were the journal.

use std::path::PathBuf;
use std::sync::Arc;

use object_store::RetryConfig;
use object_store::aws::AmazonS3Builder;
use object_store::path::Path;
use serde_json::json;
use snapledger::archive::{Creation, Objects};
use tokio::task::JoinSet;

use crate::archive::{lost_disk, restored};
use crate::archive_place::{Place, name, objects};
use crate::await_it::until;
use crate::programs::Programs;
use crate::rest::Rest;
use crate::s3::{BUCKET, KEY_ID, PREFIX, S3, SECRET, Way};

const CREATORS: u8 = 16;
const KEYS: usize = 8;

/// The client of the program over an S3 server.
pub(crate) fn objects_at(endpoint: &str) -> Objects {
    snapledger::tls::install_provider();
    let attempts = RetryConfig {
        max_retries: 0,
        ..RetryConfig::default()
    };
    let storage = AmazonS3Builder::new()
        .with_endpoint(endpoint)
        .with_allow_http(true)
        .with_region("us-east-1")
        .with_bucket_name(BUCKET)
        .with_access_key_id(KEY_ID)
        .with_secret_access_key(SECRET)
        .with_retry(attempts)
        .build();
    let storage = Arc::new(storage.expect("everything is given"));
    Objects::over(storage, Path::from(PREFIX), &format!("s3://{BUCKET}"))
}

/// Lets many create each object at once: one of them wins, and the object is the winner's.
pub(crate) async fn one_of_many_wins(objects: &Objects) {
    for number in 0..KEYS {
        let key = format!("race/{number}");
        let mut creators = JoinSet::new();
        for creator in 0..CREATORS {
            let (objects, key) = (objects.clone(), key.clone());
            creators.spawn(async move {
                let created = objects.create(&key, vec![creator; 1000]).await;
                (creator, created.expect("the server answers"))
            });
        }
        let created = creators.join_all().await;
        let winners = created.iter().filter(|(_, of)| *of == Creation::Created);
        let winners: Vec<u8> = winners.map(|(creator, _)| *creator).collect();
        assert_eq!(winners.len(), 1, "of {key}");
        let found = objects.read(&key, 1000).await.expect("the server answers");
        assert_eq!(found, Some(vec![winners[0]; 1000]), "of {key}");
    }
    let names = objects.list("race").await.expect("the server answers");
    assert_eq!(names.len(), KEYS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_creators_of_an_object_one_wins() {
    let server = S3::start().await;
    one_of_many_wins(&objects_at(&server.endpoint())).await;
}

// Without this a put that is refused because of another one would count as done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_put_that_met_another_one_is_not_taken_for_an_object() {
    let server = S3::start().await;
    let objects = objects_at(&server.endpoint());
    server.behave(Way {
        conflict_every: 1,
        ..Way::default()
    });
    let refused = objects.create("a", vec![1]).await;
    let refused = refused.expect_err("it is not known whether there will be one");
    assert!(refused.may_pass(), "{refused}");
    server.behave(Way::default());
    let created = objects.create("a", vec![1]).await;
    assert_eq!(created.expect("the server answers"), Creation::Created);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_and_refusals_lose_nothing_and_double_nothing() {
    let server = S3::start().await;
    server.behave(Way {
        busy_every: 7,
        lost_every: 5,
        conflict_every: 11,
        ..Way::default()
    });
    let place = Place::S3(server);
    lost_disk(&place).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_had_to_be_repeated_is_counted() {
    let server = S3::start().await;
    let place = Place::S3(server);
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.start().await;
    let rest = programs.rest("n1");
    let pay = async || {
        rest.post("/v1/accounts/a/deposits", &json!({ "amount": 1 }))
            .await
    };
    assert_eq!(pay().await.status, 200);
    assert_eq!(figure(&rest, "snapledger_archive_retries_total").await, 0.0);
    let Place::S3(server) = &place else {
        unreachable!("it is on S3");
    };
    server.behave(Way {
        lost_every: 2,
        ..Way::default()
    });
    for _ in 0..6 {
        assert_eq!(pay().await.status, 200);
    }
    assert!(figure(&rest, "snapledger_archive_retries_total").await >= 3.0);
    rest.balance_is("a", 7).await;
}

/// The value of a metric without labels.
pub(crate) async fn figure(rest: &Rest, name: &str) -> f64 {
    let text = rest.get("/metrics").await.body;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let value = line.and_then(|value| value.trim().parse().ok());
    value.unwrap_or_else(|| unreachable!("there is no {name} in {text}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_that_was_changed_or_cut_is_named() {
    for place in [Place::directory(), Place::s3().await] {
        let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
        programs.start().await;
        let paid = json!({ "amount": 5 });
        for account in ["a", "b"] {
            let path = format!("/v1/accounts/{account}/deposits");
            assert_eq!(programs.rest("n1").post(&path, &paid).await.status, 200);
        }
        programs.kill();
        std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
        let (name, file) = longest(place.object("killed/n1/journal"));
        let whole = std::fs::read(&file).expect("an object");
        let mut changed = whole.clone();
        changed[whole.len() - 3] ^= 1;
        for damaged in [&changed, &whole[..whole.len() - 3]] {
            std::fs::write(&file, damaged).expect("it can be written");
            let output = restored(&programs, &place, "n1");
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            assert_eq!(output.status.code(), Some(1), "{said}");
            assert!(
                said.contains(&format!("killed/n1/journal/{name}")),
                "{said}"
            );
            assert!(said.contains("damaged"), "{said}");
            assert!(!PathBuf::from(programs.path("n1")).exists(), "{said}");
        }
        std::fs::write(&file, whole).expect("it can be written");
        crate::archive::restore(&programs, &place, "n1");
        programs.start().await;
        programs.rest("n1").balance_is("b", 5).await;
    }
}

fn longest(folder: PathBuf) -> (String, PathBuf) {
    let segments = objects(&folder).into_iter();
    let longest = segments.max_by_key(|file| file.metadata().expect("a file").len());
    let longest = longest.expect("it has segments");
    (name(&longest).to_owned(), longest)
}

// Without this, the node would ask thousands of times a second, and no figure and no line would say so.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_segment_that_exists_and_cannot_be_read_is_put_again_with_pauses() {
    let mut programs = Programs::planned(&["n1"]).with_archive("peers");
    programs.start().await;
    let rest = programs.rest("n1");
    let journal = PathBuf::from(programs.path("archive")).join("killed/n1/journal");
    let paid = json!({ "amount": 1 });
    let archived = async || figure(&rest, "snapledger_archive_position").await;
    // In the place of the next segments, where a directory exists and is no object.
    let segments = objects(&journal).len();
    let places: Vec<_> = (segments + 1..segments + 20)
        .map(|index| journal.join(format!("{index:020}")))
        .filter(|place| std::fs::create_dir_all(place.join("x")).is_ok())
        .collect();
    let before = archived().await;
    assert_eq!(
        rest.post("/v1/accounts/a/deposits", &paid).await.status,
        200
    );
    until("some attempts", async || {
        (figure(&rest, "snapledger_archive_retries_total").await >= 4.0).then_some(())
    })
    .await;
    assert!(figure(&rest, "snapledger_archive_retries_total").await < 100.0);
    for place in places {
        std::fs::remove_dir_all(place).expect("it is there");
    }
    until("the turn in the archive", async || {
        (archived().await > before).then_some(())
    })
    .await;
}

// Without this, answers of a busy process wait for turns that its segment has no room for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_segment_does_not_wait_for_more_turns() {
    let variables = [
        ("SNAPLEDGER_ARCHIVE_LINGER", "20s"),
        ("SNAPLEDGER_ARCHIVE_SEGMENT_MAX", "1B"),
        ("SNAPLEDGER_ARCHIVE_LAG_MAX", "60s"),
    ];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let programs = Programs::planned(&["n1"]).with_archive("sync");
    let mut programs = programs.with_environment(variables.to_vec());
    programs.start().await;
    let began = std::time::Instant::now();
    let paid = json!({ "amount": 1 });
    let answer = programs
        .rest("n1")
        .post("/v1/accounts/a/deposits", &paid)
        .await;
    assert_eq!(answer.status, 200);
    assert!(began.elapsed().as_secs() < 10, "{:?}", began.elapsed());
}

// Without this a note that an operator leaves in a folder would keep the process from starting and from being restored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_files_among_the_objects_are_passed_over() {
    let place = Place::directory();
    let mut programs = Programs::planned(&["n1"]).archived_in(&place, "sync", "30s");
    programs.start().await;
    let paid = json!({ "amount": 1 });
    let pay = async |programs: &Programs| {
        let rest = programs.rest("n1");
        let answer = rest.post("/v1/accounts/a/deposits", &paid).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    };
    pay(&programs).await;
    for folder in ["epochs", "boundary", "journal", "states", "links", "gaps"] {
        let folder = place.object("killed/n1").join(folder);
        std::fs::create_dir_all(&folder).expect("there is room");
        for name in ["readme.txt", "~"] {
            std::fs::write(folder.join(name), "not ours").expect("there is room");
        }
    }
    programs.kill();
    programs.start().await;
    pay(&programs).await;
    programs.kill();
    std::fs::remove_dir_all(programs.path("n1")).expect("it has a store");
    crate::archive::restore(&programs, &place, "n1");
    programs.start().await;
    programs.rest("n1").balance_is("a", 2).await;
}
