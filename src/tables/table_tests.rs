//! Writers of one table. Without these, two programs could write the same rows, or a table of another cluster be continued.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;

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
    let refused = async |version, line: &str| {
        let created = log.create(&key(version), line.as_bytes().to_vec()).await;
        assert_eq!(created.expect("there is room"), Creation::Created);
        let refused = open(&storage, "n1").await.map(|_| ());
        refused.expect_err("it is not ours").to_string()
    };
    let said = refused(1, r#"{"commitInfo":{"operation":"OPTIMIZE"}}"#).await;
    assert!(
        said.contains("version 1: another program wrote it"),
        "{said}"
    );
    let newer = r#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}"#;
    let said = refused(2, newer).await;
    assert!(said.contains("version 7"), "{said}");
    log.delete(&key(0)).await.expect("it may be deleted");
    let refused = open(&storage, "n1").await.map(|_| ());
    let said = refused.expect_err("the description is gone").to_string();
    assert!(said.contains("version 0: it is missing"), "{said}");
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
