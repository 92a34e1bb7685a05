//! Stores of every format as they were written, as text: one line each with tree, key and value.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::images;

/// The cluster of the fixtures; their process is `p`.
pub(crate) const CLUSTER: &str = "golden";

/// Every value of a store: tree, key, bytes.
pub(crate) type Values = BTreeMap<(String, Vec<u8>), Vec<u8>>;

pub(crate) fn path_of(format: u64) -> PathBuf {
    let path = format!("tests/fixtures/format-{format}/values.txt");
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

pub(crate) fn fixture_of(format: u64) -> Values {
    let text = fs::read_to_string(path_of(format)).expect("the fixture is part of the source");
    let line = |line: &str| {
        let mut words = line.split(' ');
        let mut word = || words.next().expect("three words a line");
        let bytes = |word: &str| hex::decode(word).expect("hexadecimal");
        ((word().to_owned(), bytes(word())), bytes(word()))
    };
    text.lines().map(line).collect()
}

pub(crate) fn write(path: &Path, values: &Values) {
    let lines = values.iter().map(|((tree, key), value)| {
        format!("{tree} {} {}\n", hex::encode(key), hex::encode(value))
    });
    let parent = path.parent().expect("it is in a directory");
    fs::create_dir_all(parent).expect("there is room");
    fs::write(path, lines.collect::<String>()).expect("there is room");
}

/// Returns the contents of these trees, as far as they exist.
pub(crate) fn export(dir: &Path, trees: &[&str]) -> Values {
    let db = images::engine(dir);
    let mut values = Values::new();
    let there = db.tree_names();
    let is_there = |name: &&&str| there.iter().any(|tree| tree == name.as_bytes());
    for name in trees.iter().filter(is_there) {
        for pair in &db.open_tree(name).expect("it is readable") {
            let (key, value) = pair.expect("it is readable");
            values.insert(((*name).to_owned(), key.to_vec()), value.to_vec());
        }
    }
    values
}

pub(crate) fn import(values: &Values) -> TempDir {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let db = images::engine(dir.path());
    for ((tree, key), value) in values {
        let tree = db.open_tree(tree).expect("it is readable");
        tree.insert(key, &value[..]).expect("the disk has room");
    }
    dir
}

// A framed number, built by hand: version, kind, length, checksum, payload.
pub(crate) fn number(value: u64) -> Vec<u8> {
    let head = [1, 7, 8, 0, 0, 0];
    let checksum = crc32c::crc32c_append(crc32c::crc32c(&head), &value.to_le_bytes());
    [&head[..], &checksum.to_le_bytes(), &value.to_le_bytes()].concat()
}
