//! Objects that are larger than any of their kind, or empty. Without this, a damaged or hostile archive could have a reader
//! fill its memory, or end where it could go on.

use std::fs::File;
use std::path::{Path, PathBuf};

use snapledger::archive::walk::Segments;
use snapledger::archive::{ArchiveError, Objects, epochs, journal, kept, links, probe};
use snapledger::offsite::Source;
use snapledger::offsite::refill::Wanted;
use snapledger::process::ids::Lsn;
use snapledger::shipping::SegmentIndex;
use snapledger::shipping::chain::{Chain, Link};
use snapledger::shipping::object::{ObjectKey, PartKey, PieceKey, RevisionKey, StateKey};
use snapledger::shipping::segment::SEGMENT_BYTES_MAX;
use tempfile::TempDir;

use crate::shipped::{Scene, owner, refilled};

/// Of claims, links, boundaries and the probe.
const SMALL_BYTES_MAX: u64 = 64 << 10;

/// An archive in a directory.
struct Shelf {
    scene: Scene,
    files: TempDir,
}

impl Shelf {
    async fn new(seed: u64) -> Self {
        let files = tempfile::tempdir().expect("a temporary directory");
        let url = format!("file://{}", files.path().display());
        let archive = Objects::open(&url).expect("the directory is there");
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut scene = Scene::open(archive, dir, seed).await;
        scene.live(60);
        scene.checkpoint();
        scene.live(2);
        scene.ship().await;
        Self { scene, files }
    }

    fn source(&self) -> Source {
        Source::new(&self.scene.archive, owner())
    }

    fn file(&self, key: &str) -> PathBuf {
        self.files.path().join("test").join(key)
    }

    /// The key of an object of a kind, below the folder of the cluster.
    async fn one<K: ObjectKey>(&self) -> String {
        let source = self.source();
        let (folder, prefix) = match K::FOLDER == RevisionKey::FOLDER {
            true => (source.cluster().clone(), ""),
            false => (source.process().clone(), "p/"),
        };
        let keys = kept::list::<K>(&folder).await.expect("it is a directory");
        let key = keys.last().expect("there are some");
        format!("{prefix}{key}")
    }
}

/// Lets a file have so many bytes while `work` is done: zeros that take no room on the disk.
async fn resized<T>(file: &Path, bytes: u64, work: impl AsyncFnOnce() -> T) -> T {
    let before = std::fs::read(file).ok();
    let sized = File::create(file).and_then(|file| file.set_len(bytes));
    sized.expect("the directory is there");
    let done = work().await;
    match before {
        Some(before) => std::fs::write(file, before).expect("there is room"),
        None => std::fs::remove_file(file).expect("it was created"),
    }
    done
}

fn assert_refused(said: &str, key: &str, most: u64) {
    let size = format!("it has {} bytes", most + 1);
    let limit = format!("more than {most}");
    for part in [key, &size, &limit] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[tokio::test]
async fn an_oversized_segment_is_refused_before_it_is_read() {
    let shelf = Shelf::new(31).await;
    let (source, key) = (shelf.source(), format!("p/journal/{:020}", 3));
    let process = source.process();
    let walked = async || {
        let mut segments = Segments::along(process, Chain::behind(Link::default()));
        loop {
            match segments.next().await {
                Ok(Some(_)) => {}
                Ok(None) => unreachable!("a segment of the chain is not readable"),
                Err(error) => break error.to_string(),
            }
        }
    };
    let read = async || {
        let read = journal::segment(process, SegmentIndex(3)).await;
        read.expect_err("it is too large").to_string()
    };
    let size = SEGMENT_BYTES_MAX + 1;
    let file = shelf.file(&key);
    for said in [
        resized(&file, size, walked).await,
        resized(&file, size, read).await,
    ] {
        assert_refused(&said, &key, SEGMENT_BYTES_MAX);
    }
}

#[tokio::test]
async fn an_oversized_claim_boundary_and_probe_are_refused_before_they_are_read() {
    let shelf = Shelf::new(32).await;
    let source = shelf.source();
    let process = source.process();
    probe::probe(process, 7).await.expect("a directory");
    let boundary = Link::default();
    journal::set_boundary(process, boundary)
        .await
        .expect("there is room");
    let claims = process.list("epochs").await.expect("it is a directory");
    let claim = format!("p/epochs/{}", claims.last().expect("it has one"));
    let size = SMALL_BYTES_MAX + 1;

    let read = async || epochs::newest_claim(process).await.map(drop);
    let refused = resized(&shelf.file(&claim), size, read).await;
    let said = refused.expect_err("it is too large").to_string();
    assert_refused(&said, &claim, SMALL_BYTES_MAX);

    let key = format!("p/boundary/{:020}", 0);
    let read = async || journal::boundary(process).await.map(drop);
    let refused = resized(&shelf.file(&key), size, read).await;
    let said = refused.expect_err("it is too large").to_string();
    assert_refused(&said, &key, SMALL_BYTES_MAX);

    let key = "p/probe/exclusive";
    let read = async || probe::probe(process, 8).await;
    let refused = resized(&shelf.file(key), size, read).await;
    let said = refused.expect_err("it is too large").to_string();
    assert_refused(&said, key, SMALL_BYTES_MAX);
}

#[tokio::test]
async fn an_oversized_link_is_passed_over() {
    let shelf = Shelf::new(33).await;
    let source = shelf.source();
    let process = source.process();
    let newest = async || {
        let link = links::newest(process, SegmentIndex(0), Lsn(u64::MAX)).await;
        link.expect("a link is a hint").expect("there are several")
    };
    let before = newest().await;
    let names = process.list("links").await.expect("it is a directory");
    let key = format!("p/links/{}", names.last().expect("there are some"));
    let found = resized(&shelf.file(&key), SMALL_BYTES_MAX + 1, newest).await;
    assert!(found.index < before.index);
}

#[tokio::test]
async fn what_is_oversized_beside_the_journal_is_left_out_before_it_is_read() {
    let shelf = Shelf::new(34).await;
    for (key, most) in [
        (shelf.one::<StateKey>().await, StateKey::BYTES_MAX),
        (shelf.one::<PartKey>().await, PartKey::BYTES_MAX),
        (shelf.one::<RevisionKey>().await, RevisionKey::BYTES_MAX),
        (shelf.one::<PieceKey>().await, PieceKey::BYTES_MAX),
    ] {
        let refill = async || {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let made = refilled(&shelf.scene.archive, dir.path(), Wanted::ALL).await;
            made.expect("the journal is whole").1.left_out
        };
        let left_out = resized(&shelf.file(&key), most + 1, refill).await;
        let named = left_out.iter().find(|why| why.contains(&key));
        assert_refused(named.expect("it is named"), &key, most);
    }
}

// An archive of which a file system lost the end of a file is damaged; another attempt does not help.
#[tokio::test]
async fn an_empty_object_is_damaged() {
    let shelf = Shelf::new(35).await;
    let (source, key) = (shelf.source(), format!("p/journal/{:020}", 3));
    let process = source.process();
    let read = async || {
        [
            journal::head(process, SegmentIndex(3)).await.map(drop),
            journal::segment(process, SegmentIndex(3)).await.map(drop),
        ]
    };
    for read in resized(&shelf.file(&key), 0, read).await {
        let error = read.expect_err("it is empty");
        assert!(matches!(error, ArchiveError::Damaged { .. }), "{error}");
        assert!(error.to_string().contains(&key), "{error}");
    }
}
