//! Writers of one table. Without these, two programs could write the same rows, or a table of another cluster be continued.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;
use serde_json::json;

use super::*;

fn storage() -> Objects {
    Objects::over(Arc::new(InMemory::new()), Path::default(), "memory:///")
}

async fn open(storage: &Objects, process: &str) -> Result<DeltaTable, TablesError> {
    DeltaTable::open(storage, Table::Entries, "c", process).await
}

fn up_to(value: i64) -> Addition {
    Addition {
        snapshot: None,
        files: Vec::new(),
        numbers: Numbers::from([("position".to_owned(), value)]),
    }
}

#[tokio::test]
async fn of_two_writers_of_the_same_rows_one_commits() {
    let storage = storage();
    let mut one = open(&storage, "n1").await.expect("it is new");
    let mut other = open(&storage, "n1").await.expect("it is there");
    let mut third = open(&storage, "n2").await.expect("it is there");
    assert!(one.commit(up_to(5)).await.expect("there is room"));
    assert!(third.commit(up_to(9)).await.expect("there is room"));
    assert!(!other.commit(up_to(5)).await.expect("there is room"));
    assert!(one.commit(up_to(6)).await.expect("there is room"));
    let again = open(&storage, "n1").await.expect("it is there");
    assert_eq!(again.number("position"), Some(6));
    assert_eq!(again.next, 4, "the version of the loser was not added");
    let again = open(&storage, "n2").await.expect("it is there");
    assert_eq!(again.number("position"), Some(9), "it is repeated");
}

// Without this each start would read the log back to the last version of its process: for days, after a year.
#[tokio::test]
async fn a_long_log_is_continued_by_its_newest_version_alone() {
    let storage = storage();
    let mut other = open(&storage, "n2").await.expect("it is new");
    assert!(other.commit(up_to(1)).await.expect("there is room"));
    let mut one = open(&storage, "n1").await.expect("it is there");
    for value in 1..=100 {
        assert!(one.commit(up_to(value)).await.expect("there is room"));
    }
    let log = storage.below("entries");
    // Versions that a start would need are gone or damaged; others are found without them.
    for version in [3, 50, 99, 100] {
        log.delete(&key(version)).await.expect("it may be deleted");
    }
    let mut found = open(&storage, "n2").await.expect("it is there");
    assert_eq!((found.next, found.number("position")), (102, Some(1)));
    assert!(found.commit(up_to(2)).await.expect("there is room"));
    // A writer that is far behind finds the end at once, too.
    assert!(!other.commit(up_to(3)).await.expect("there is room"));
    assert_eq!(other.next, 103);
    one.refresh().await.expect("it is there");
    assert_eq!(one.next, 103);
    assert!(one.commit(up_to(101)).await.expect("there is room"));
    let end = open(&storage, "n3").await.expect("it is there");
    assert_eq!((end.next, end.number("position")), (104, None));
}

#[tokio::test]
async fn a_log_that_another_program_wrote_is_not_continued() {
    let storage = storage();
    open(&storage, "n1").await.expect("it is new");
    let other = DeltaTable::open(&storage, Table::Entries, "d", "n1").await;
    assert!(matches!(other, Err(TablesError::OtherCluster { .. })));
    let log = storage.below("entries");
    let renamed = Table::Entries
        .delta_schema()
        .to_string()
        .replacen("position", "place", 1);
    let renamed = json!({"metaData": {
        "id": "i", "schemaString": renamed, "partitionColumns": [],
        "configuration": {"snapledger.cluster": "c", "snapledger.layout": "2"},
    }});
    // What another program has done, and what is said about it.
    let obstacles = [
        (
            r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}"#.to_owned(),
            "version 7",
        ),
        (
            r#"{"remove":{"path":"x","dataChange":true}}"#.to_owned(),
            "added or removed rows",
        ),
        (
            r#"{"add":{"path":"x","dataChange":true}}"#.to_owned(),
            "added or removed rows",
        ),
        (renamed.to_string(), "changed the columns"),
    ];
    for (action, why) in obstacles {
        foreign(&log, 1, &action).await;
        // What is behind it does not hide it.
        foreign(&log, 2, r#"{"commitInfo":{"operation":"VACUUM END"}}"#).await;
        let refused = open(&storage, "n1").await.map(|_| ());
        let said = refused.expect_err("it is not ours").to_string();
        assert!(said.contains("version 1: ") && said.contains(why), "{said}");
        for version in [1, 2] {
            log.delete(&key(version)).await.expect("it may be deleted");
        }
    }
    foreign(&log, 1, r#"{"commitInfo":{"operation":"VACUUM END"}}"#).await;
    log.delete(&key(0)).await.expect("it may be deleted");
    let refused = open(&storage, "n1").await.map(|_| ());
    let said = refused.expect_err("the description is gone").to_string();
    assert!(said.contains("version 0: it is missing"), "{said}");
}

async fn foreign(log: &Objects, version: u64, action: &str) {
    let created = log.create(&key(version), action.as_bytes().to_vec()).await;
    assert_eq!(created.expect("there is room"), Creation::Created);
}

// Without this, one compaction of the tables by another engine would stop every process from writing them, for good.
#[tokio::test]
async fn versions_that_leave_the_rows_as_they_are_are_passed_over() {
    let storage = storage();
    let mut one = open(&storage, "n1").await.expect("it is new");
    let mut other = open(&storage, "n2").await.expect("it is there");
    assert!(one.commit(up_to(5)).await.expect("there is room"));
    assert!(other.commit(up_to(7)).await.expect("there is room"));
    let log = storage.below("entries");
    let compacted = concat!(
        r#"{"commitInfo":{"operation":"OPTIMIZE","engineInfo":"another"}}"#,
        "\n",
        r#"{"txn":{"appId":"n1:position","version":99}}"#,
        "\n",
        r#"{"remove":{"path":"n1/1.parquet","dataChange":false}}"#,
        "\n",
        r#"{"add":{"path":"all.parquet","dataChange":false}}"#,
    );
    let set = log::first_version(Table::Entries, "c", "i", 1);
    let set = String::from_utf8(set).expect("it is JSON");
    let set = set.replace(
        "\"engineInfo\":\"snapledger\"",
        "\"engineInfo\":\"another\"",
    );
    let read = log::read_version(set.as_bytes()).expect("it is a version");
    assert!(!read.is_ours && read.description.is_some(), "{set}");
    for (version, actions) in [
        (3, compacted),
        (4, r#"{"commitInfo":{"operation":"VACUUM END"}}"#),
        (5, set.as_str()),
    ] {
        foreign(&log, version, actions).await;
    }
    let again = open(&storage, "n1").await.expect("the rows are the same");
    assert_eq!((again.next, again.number("position")), (6, Some(5)));
    // One that knows the numbers already goes on behind them, too.
    assert!(one.commit(up_to(6)).await.expect("there is room"));
    assert_eq!(one.next, 7);
    assert!(other.commit(up_to(8)).await.expect("there is room"));
    let again = open(&storage, "n1").await.expect("it is there");
    assert_eq!((again.next, again.number("position")), (8, Some(6)));
}

// Without this the rows of an attempt whose answer was lost would be written again.
#[tokio::test]
async fn an_attempt_whose_answer_was_lost_is_found_again() {
    let storage = storage();
    let mut one = open(&storage, "n1").await.expect("it is new");
    let mut same = open(&storage, "n1").await.expect("it is there");
    assert!(one.commit(up_to(5)).await.expect("there is room"));
    assert_eq!(same.number("position"), None);
    same.refresh().await.expect("it is there");
    assert_eq!((same.next, same.number("position")), (2, Some(5)));
    assert!(same.commit(up_to(6)).await.expect("there is room"));
}

#[tokio::test]
async fn a_file_that_a_crash_left_is_used_by_the_next_attempt() {
    let storage = storage();
    let one = open(&storage, "n1").await.expect("it is new");
    let file = || ParquetFile {
        bytes: b"rows".to_vec(),
        rows: 1,
        ranges: Vec::new(),
    };
    let place = Place {
        process: "n1",
        name: "1",
    };
    let first = one.put(file(), place).await.expect("there is room");
    let second = one.put(file(), place).await.expect("there is room");
    assert_eq!(first, second);
    let other = ParquetFile {
        bytes: b"other".to_vec(),
        ..file()
    };
    let other = one.put(other, place).await.expect("there is room");
    assert_ne!(first.path, other.path, "another file is not replaced");
}

// Without this, a log that something else has written to could have a writer fill its memory.
#[tokio::test]
async fn an_oversized_version_is_refused_before_it_is_read() {
    let files = tempfile::tempdir().expect("a temporary directory");
    let url = format!("file://{}", files.path().display());
    let storage = Objects::open(&url).expect("the directory is there");
    let mut one = open(&storage, "n1").await.expect("it is new");
    assert!(one.commit(up_to(1)).await.expect("there is room"));
    let version = files.path().join("entries").join(key(1));
    let version = std::fs::File::create(version).expect("it is there");
    version
        .set_len(VERSION_BYTES_MAX + 1)
        .expect("it takes no room");
    let refused = open(&storage, "n1").await.map(drop);
    let said = refused.expect_err("it is too large").to_string();
    for part in [&key(1), &VERSION_BYTES_MAX.to_string()] {
        assert!(said.contains(part.as_str()), "{said}");
    }
}
