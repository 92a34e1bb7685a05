//! Stores of stopped nodes: copied, restored, truncated; and what nodes then report about their channels.

use std::fs::{self, File};
use std::path::Path;

use serde_json::{Value, json};
use snapledger::store::{Store, StoreError};
use tempfile::TempDir;

use crate::await_it::until;
use crate::nodes::Cluster;
use crate::rest::Rest;

/// Checks the store of a stopped node, waiting until reads in progress have ended.
pub(crate) async fn is_whole(store: &Path) {
    until("a closed store", async || match Store::check(store) {
        Err(StoreError::InUse(_)) => None,
        checked => Some(checked.expect("a good store")),
    })
    .await;
}

/// A copy of the store of a stopped node.
pub(crate) fn copy_of(store: &Path) -> TempDir {
    await_release(store);
    copy_as_it_is(store)
}

/// A copy of a store whose node may run but does not write now.
pub(crate) fn copy_as_it_is(store: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a temporary directory");
    copy_files(store, copy.path());
    copy
}

/// Replaces the store of a stopped node by a copy.
pub(crate) fn put_back(copy: &Path, store: &Path) {
    await_release(store);
    fs::remove_dir_all(store).expect("there was a store");
    fs::create_dir(store).expect("there is room");
    copy_files(copy, store);
}

/// Removes the newest turns from a stopped node's journal, from a position on.
pub(crate) fn cut_short(store: &Path, from: u64) {
    edit(store, "journal", |journal| {
        let tail = journal.range(from.to_be_bytes()..).keys();
        for key in tail.collect::<Vec<_>>() {
            let key = key.expect("it is readable");
            journal.remove(key).expect("it can be removed");
        }
    });
}

/// Flips a bit of each value with this key prefix in a stopped node's store.
pub(crate) fn spoil(store: &Path, tree: &str, prefix: &[u8]) {
    edit(store, tree, |tree| {
        let found: Vec<_> = tree.scan_prefix(prefix).collect();
        assert!(!found.is_empty(), "there is nothing to spoil");
        for pair in found {
            let (key, value) = pair.expect("it is readable");
            let mut value = value.to_vec();
            *value.last_mut().expect("no value is empty") ^= 1;
            tree.insert(key, value).expect("there is room");
        }
    });
}

/// Removes the values with this key prefix from a stopped node's store.
pub(crate) fn remove(store: &Path, tree: &str, prefix: &[u8]) {
    edit(store, tree, |tree| {
        let found: Vec<_> = tree.scan_prefix(prefix).keys().collect();
        assert!(!found.is_empty(), "there is nothing to remove");
        for key in found {
            let key = key.expect("it is readable");
            tree.remove(key).expect("it can be removed");
        }
    });
}

fn edit(store: &Path, tree: &str, work: impl FnOnce(&sled::Tree)) {
    await_release(store);
    let config = sled::Config::new().path(store);
    // A store can be opened only with the segment size that it was created with.
    let db = config.segment_size(16 * 1024 * 1024).open();
    let db = db.expect("the engine under the store opens");
    work(&db.open_tree(tree).expect("it is readable"));
    drop(db);
    await_release(store);
}

// sled completes its last writes on its own threads and holds its log until then.
fn await_release(store: &Path) {
    let log = File::open(store.join("db")).expect("there is a store");
    log.lock().expect("files can be locked");
}

fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("the directory is there") {
        let path = entry.expect("it is readable").path();
        if path.is_file() && !path.ends_with("LOCK") {
            let name = path.file_name().expect("a file has a name");
            fs::copy(&path, to.join(name)).expect("there is room");
        }
    }
}

/// Sends money; returns the journal position.
pub(crate) async fn pay(rest: &Rest, to: (&str, &str), amount: u64) -> u64 {
    let (to_process, to_account) = to;
    let body = json!({
        "from_account": "a", "to_process": to_process, "to_account": to_account, "amount": amount,
    });
    let answer = rest.post("/v1/transfers", &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let position = &answer.json()["journal_position"];
    position.as_u64().expect("a position")
}

async fn channel(rest: &Rest, (from, to): (&str, &str)) -> Value {
    let cluster = rest.read("/v1/cluster").await;
    let channels = cluster["channels"].as_array().expect("a list");
    let mut channels = channels.iter();
    let found = channels.find(|one| one["from"] == from && one["to"] == to);
    found.expect("it is one of its channels").clone()
}

/// Waits until a channel is stopped at both ends with all these words in the reason.
pub(crate) async fn stopped(cluster: &Cluster, ends: (&str, &str), words: &[&str]) {
    for id in [ends.0, ends.1] {
        stopped_at(&cluster.rest(id), ends, words).await;
    }
}

/// Waits until one end of a channel is stopped with all these words in the reason, and the peer has an error as well.
pub(crate) async fn stopped_at(rest: &Rest, ends: (&str, &str), words: &[&str]) {
    until(&format!("{ends:?} stopped with {words:?}"), async || {
        let channel = channel(rest, ends).await;
        let error = channel["error"].as_str().unwrap_or_default();
        let named = words.iter().all(|word| error.contains(word));
        (channel["state"] == "stopped" && named).then_some(())
    })
    .await;
    let cluster = rest.read("/v1/cluster").await;
    let mut peers = cluster["peers"].as_array().expect("a list").iter();
    let touched = |peer: &&Value| peer["process"] == ends.0 || peer["process"] == ends.1;
    let peer = peers.find(touched).expect("it is a peer");
    assert!(peer["error"].is_string(), "{peer}");
}

/// Waits until a channel is open.
pub(crate) async fn open(rest: &Rest, ends: (&str, &str)) {
    until(&format!("{ends:?} open"), async || {
        (channel(rest, ends).await["state"] == "open").then_some(())
    })
    .await;
}
