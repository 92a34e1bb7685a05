//! The directory itself is never written to, whatever it contains and however damaged it is. Without this, examining a
//! store after an accident could destroy what is left of it.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use snapledger::process::ids::ProcessId;
use snapledger::store::Store;

use crate::sample::{self, Sample};
use crate::teller::images;
use crate::{assert_bad, examine, restore, run};

/// Every file and directory with its bytes and its modification and status-change times.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Untouched(BTreeMap<PathBuf, (Vec<u8>, [i64; 4])>);

impl Untouched {
    pub(crate) fn note(dir: &Path) -> Self {
        let mut found = BTreeMap::new();
        let mut pending = vec![dir.to_path_buf()];
        while let Some(path) = pending.pop() {
            let Ok(facts) = fs::metadata(&path) else {
                continue;
            };
            let mut bytes = Vec::new();
            if facts.is_dir() {
                let entries = fs::read_dir(&path).expect("it is listed");
                pending.extend(entries.map(|entry| entry.expect("it is listed").path()));
            } else {
                bytes = fs::read(&path).expect("it is read");
            }
            let times = [
                facts.mtime(),
                facts.mtime_nsec(),
                facts.ctime(),
                facts.ctime_nsec(),
            ];
            found.insert(path, (bytes, times));
        }
        Self(found)
    }

    #[track_caller]
    pub(crate) fn assert(&self, dir: &Path) {
        let now = Self::note(dir);
        let names = |all: &Self| all.0.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&now), names(self), "files came or went");
        for (path, before) in &self.0 {
            assert!(now.0[path] == *before, "{} was written to", path.display());
        }
    }
}

#[test]
fn the_proof_that_nothing_is_touched_can_fail() {
    let sample = Sample::new();
    let before = Untouched::note(sample.path());
    drop(Store::open(sample.path(), sample::CLUSTER, &sample::me()).expect("it opens"));
    assert!(
        before != Untouched::note(sample.path()),
        "a start of a node writes"
    );
}

#[test]
fn a_directory_without_a_store_stays_as_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    for command in ["check", "stats"] {
        assert_bad(&run(command, dir.path(), &[]), "there is no store in ");
        assert_bad(
            &run(command, &dir.path().join("absent"), &[]),
            "there is no store in ",
        );
    }
}

/// Naming the directory of all stores yields an error that lists them.
#[test]
fn a_directory_of_stores_is_no_store_and_they_are_named() {
    let root = tempfile::tempdir().expect("a temporary directory");
    for id in ["n2", "n1"] {
        let me = ProcessId::parse(id).expect("a valid id");
        drop(Store::open(&root.path().join(id), "demo", &me).expect("a new store"));
        images::await_release(&root.path().join(id));
    }
    fs::create_dir(root.path().join("other")).expect("there is room");
    let shown = root.path().display();
    let sentence =
        format!("there is no store in {shown}, but in {shown}/n1, {shown}/n2; name one of these");
    for command in ["check", "stats", "migrate", "vouch"] {
        assert_bad(&run(command, root.path(), &[]), &sentence);
    }
    assert_bad(&run("forget", root.path(), &["--peer", "n3"]), &sentence);
    let into = root.path().join("restored");
    assert_bad(&restore(root.path(), &into), &sentence);
}

#[test]
fn a_store_in_use_is_left_alone() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let me = ProcessId::parse("n1").expect("a valid id");
    let open = Store::open(dir.path(), "demo", &me).expect("a new store");
    for command in ["check", "stats"] {
        let asked = run(command, dir.path(), &[]);
        assert_bad(&asked, "is in use by a running node");
        assert_bad(&asked, "`snapledger backup --rest URL --into COPY`");
    }
    drop(open);
    assert_eq!(
        run("stats", dir.path(), &[]).status.code(),
        Some(0),
        "it is free again"
    );
}

#[test]
fn a_read_only_store_is_read() {
    let sample = Sample::new();
    fs::remove_file(sample.path().join("LOCK")).expect("it is there");
    let set = |mode: u32| {
        for entry in fs::read_dir(sample.path()).expect("it is listed") {
            let path = entry.expect("it is listed").path();
            let mode = if path.is_dir() { mode | 0o111 } else { mode };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("it is ours");
        }
        let mode = fs::Permissions::from_mode(mode | 0o111);
        fs::set_permissions(sample.path(), mode).expect("it is ours");
    };
    set(0o444);
    let output = run("check", sample.path(), &[]);
    set(0o644);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}

#[test]
fn what_an_interrupted_start_left_is_told_and_stays() {
    let sample = Sample::new();
    fs::write(sample.path().join("snap.00AB.generating"), "half of it").expect("there is room");
    fs::write(sample.path().join("shopping.txt"), "milk").expect("there is room");
    let examination = examine(sample.path());
    assert!(
        examination.findings.is_empty(),
        "{:?}",
        examination.findings
    );
    let told = |text: &str| examination.notes.iter().any(|note| note.contains(text));
    assert!(
        told("snap.00AB.generating is left over from an interrupted start"),
        "{:?}",
        examination.notes
    );
    assert!(
        told("shopping.txt does not belong to a store"),
        "{:?}",
        examination.notes
    );
}

#[test]
fn a_file_outside_of_the_log_is_wrong() {
    let sample = Sample::new();
    let blobs = sample.path().join("blobs");
    fs::create_dir_all(&blobs).expect("there is room");
    fs::write(blobs.join("77"), "x").expect("there is room");
    assert_bad(
        &run("check", sample.path(), &[]),
        "file blobs/77: it lies outside of the log",
    );
}

#[test]
fn a_place_without_room_is_named() {
    let sample = Sample::new();
    let nowhere = ["--scratch", "/proc/nowhere"];
    let output = run("check", sample.path(), &nowhere);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        stderr.contains("/proc/nowhere") && stderr.contains("--scratch"),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(2), "{stderr}");
}

#[test]
fn the_copy_is_gone_afterwards() {
    let sample = Sample::new();
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let scratch_path = scratch.path().display().to_string();
    for command in ["check", "stats"] {
        let output = run(command, sample.path(), &["--scratch", &scratch_path]);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
    }
    let mut left = fs::read_dir(scratch.path()).expect("it is listed");
    assert!(left.next().is_none(), "the copy is still there");
}
