//! Writers of one table. Without these, two programs could write the same rows, or a table of another cluster be continued.

use std::sync::Arc;

use object_store::memory::InMemory;
use object_store::path::Path;

use super::*;

fn storage() -> Objects {
    Objects::over(Arc::new(InMemory::new()), Path::default(), "memory:///")
}

async fn open(storage: &Objects, process: &str) -> Result<DeltaTable, TablesError> {
    let prefix = format!("{process}:");
    let wanted = Wanted {
        prefix: &prefix,
        count: None,
    };
    DeltaTable::open(storage, Table::Entries, "c", wanted).await
}

fn up_to(process: &str, value: i64) -> Addition {
    Addition {
        snapshot: None,
        files: Vec::new(),
        numbers: vec![Number {
            name: format!("{process}:position"),
            value,
        }],
    }
}

#[tokio::test]
async fn of_two_writers_of_the_same_rows_one_commits() {
    let storage = storage();
    let mut one = open(&storage, "n1").await.expect("it is new");
    let mut other = open(&storage, "n1").await.expect("it is there");
    let mut third = open(&storage, "n2").await.expect("it is there");
    assert!(one.commit(up_to("n1", 5)).await.expect("there is room"));
    assert!(third.commit(up_to("n2", 9)).await.expect("there is room"));
    assert!(!other.commit(up_to("n1", 5)).await.expect("there is room"));
    assert!(one.commit(up_to("n1", 6)).await.expect("there is room"));
    let again = open(&storage, "n1").await.expect("it is there");
    assert_eq!(again.number("n1:position"), Some(6));
    assert_eq!(again.number("n2:position"), None, "it is of another writer");
    assert_eq!(again.next, 4, "the version of the loser was not added");
}

#[tokio::test]
async fn older_versions_are_read_only_as_far_as_numbers_are_missing() {
    let storage = storage();
    let mut one = open(&storage, "n1").await.expect("it is new");
    for value in 1..=3 {
        assert!(one.commit(up_to("n1", value)).await.expect("there is room"));
    }
    let log = storage.below("entries");
    let old = format!("{LOG}/{:020}.json", 1);
    log.delete(&old).await.expect("it may be deleted");
    let wanted = Wanted {
        prefix: "n1:",
        count: Some(1),
    };
    let again = DeltaTable::open(&storage, Table::Entries, "c", wanted).await;
    assert_eq!(again.expect("it is there").number("n1:position"), Some(3));
    let missing = open(&storage, "n1").await.map(|_| ());
    let missing = missing.expect_err("a version is gone").to_string();
    assert!(missing.contains("version 1: it is missing"), "{missing}");
}

#[tokio::test]
async fn a_log_that_another_program_wrote_is_not_continued() {
    let storage = storage();
    open(&storage, "n1").await.expect("it is new");
    let wanted = Wanted {
        prefix: "n1:",
        count: None,
    };
    let other = DeltaTable::open(&storage, Table::Entries, "d", wanted).await;
    assert!(matches!(other, Err(TablesError::OtherCluster { .. })));
    let log = storage.below("entries");
    let newer = br#"{"protocol":{"minReaderVersion":3,"minWriterVersion":7}}"#;
    let created = log.create(&key(1), newer.to_vec()).await;
    assert_eq!(created.expect("there is room"), Creation::Created);
    let refused = open(&storage, "n1").await.map(|_| ());
    let refused = refused.expect_err("it is newer").to_string();
    assert!(refused.contains("version 7"), "{refused}");
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
        folder: "n1",
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
    assert!(one.commit(up_to("n1", 1)).await.expect("there is room"));
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
