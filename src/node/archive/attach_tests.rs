//! Starts of a store on an archive in memory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tempfile::TempDir;

use super::*;
use crate::archive::gaps;
use crate::archive::watched::{Seen, watched};
use crate::config::{SelfRestore, Shipping};
use crate::node::fixture::process;
use crate::process::clock::{Hlc, Lamport};
use crate::process::record::{Record, Turn};

/// A store of p, and its archive.
struct World {
    dir: TempDir,
    archive: Objects,
    seen: Arc<Seen>,
}

impl World {
    fn new() -> Self {
        let (archive, seen) = watched();
        let dir = tempfile::tempdir().expect("a temporary directory");
        Self { dir, archive, seen }
    }

    fn open(&self) -> Store {
        let opened = Store::open_uncounted(self.dir.path(), "c", &process("p"));
        opened.expect("it opens")
    }

    async fn attach(&self, store: &mut Store) -> Result<Attached, NotAttached> {
        let owner = Owner {
            cluster: "c".to_owned(),
            process: "p".to_owned(),
        };
        let source = Source::new(&self.archive, owner.clone());
        let archive = Archive {
            settings: ArchiveSettings {
                url: "memory:".to_owned(),
                journal: Shipping::Peers,
                window: 4,
                // A segment for each turn.
                segment_max: 1,
                linger: Duration::ZERO,
                lag_max: Duration::ZERO,
                keep: None,
                tables: None,
                instants: None,
                restore: SelfRestore::Never,
            },
            objects: source.process().clone(),
            source,
            owner,
            max_age: None,
        };
        archive.attach(store).await
    }

    // Puts an object of the process.
    async fn put(&self, key: &str) {
        let key = format!("c/p/{key}");
        let put = self.archive.create(&key, Vec::new()).await;
        put.expect("it is in memory");
    }

    // The files of the directory.
    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let entries = std::fs::read_dir(self.dir.path()).expect("it is there");
        let paths = entries.map(|entry| entry.expect("it is readable").path());
        let files = paths.filter(|path| path.is_file());
        files
            .map(|path| (path.clone(), std::fs::read(&path).expect("it is readable")))
            .collect()
    }

    // Puts the volume back as it was: the files are the same, with what they had.
    fn put_back(&self, files: &BTreeMap<PathBuf, Vec<u8>>) {
        for (path, bytes) in files {
            std::fs::write(path, bytes).expect("there is room");
        }
    }
}

fn pass(store: &Store, at: u64) {
    let turn = Turn {
        position: store.journal().position().next(),
        time: Hlc::at(at),
        clock: Lamport(at),
        records: vec![Record::ClockAdvanced],
    };
    store.commit(&turn).expect("the disk has room");
}

// Ships everything that the archive lacks, as the running writer does.
async fn ship(store: &Store, attached: &mut Attached) {
    loop {
        let shipped = attached.writer.shipped().expect("it is open");
        if shipped.position == store.journal().end().0 {
            return;
        }
        let turns = read_turns(store, shipped, 1).expect("it is whole");
        let put = attached.writer.ship(turns);
        let event = ask(&attached.objects, &put).await.expect("it is in memory");
        attached.writer.on(event);
    }
}

// Without this the gap behind the turns of an archive is noted by no start, if the first that takes them ends early: what others have
// seen of the lost turns is denied, and their ids are used again.
#[tokio::test]
async fn a_volume_that_was_put_back_has_a_gap_even_if_its_first_start_fails_behind_the_turns() {
    let world = World::new();
    let mut store = world.open();
    let mut attached = world.attach(&mut store).await.expect("it is the first");
    pass(&store, 10);
    ship(&store, &mut attached).await;
    store.sync().expect("it is written");
    let before = world.files();
    for at in [20, 30] {
        pass(&store, at);
    }
    ship(&store, &mut attached).await;
    let archived = store.journal().end();
    drop(store);
    world.put_back(&before);

    let mut store = world.open();
    assert!(store.journal().end() < archived, "it is older");
    let stray = format!("states/{:020}-{:020}-{:010}", 99, 99, 1);
    world.put(&stray).await;
    let failed = world.attach(&mut store).await.err();
    assert!(
        matches!(failed, Some(NotAttached::Hole { .. })),
        "{failed:?}"
    );
    drop(store);
    let deleted = world.archive.delete(&format!("c/p/{stray}")).await;
    deleted.expect("it is there");

    let mut store = world.open();
    assert_eq!(store.journal().end(), archived, "it has taken them");
    world.attach(&mut store).await.expect("it is the same");
    assert!(store.gaps().is_at_end());
    let noted = memory::gaps_of(&store);
    assert!(!noted.knows(archived.0, Hlc(u64::MAX)));
    let there = gaps::read(&world.archive.below("c").below("p")).await;
    assert_eq!(there.expect("it is in memory"), noted);
}

// Without this a start would list all that was ever archived, or list the gaps and put what was booked again for each segment.
#[tokio::test]
async fn a_start_lists_few_names_however_much_is_archived_and_however_much_it_ships() {
    let world = World::new();
    let mut listed = Vec::new();
    for turns in [1, 10, 100] {
        let mut store = world.open();
        for at in 0..turns {
            pass(&store, 1_000 * turns + at);
        }
        // Before the turns of this start.
        store.note_gap_at_end().expect("it is written");
        pass(&store, 1_000 * turns + turns);
        world.seen.take_listed();
        world.attach(&mut store).await.expect("it is the same");
        listed.push(world.seen.take_listed());
        for one in 0..1_000 {
            // Of long ago.
            world.put(&format!("links/{:020}-{:020}", 0, one)).await;
            world
                .put(&format!("states/{:020}-{one:020}-{:010}", 0, 1))
                .await;
        }
    }
    // Its claims and gaps.
    assert!(listed.iter().all(|names| *names < 20), "{listed:?}");
}

// Without this a start that ships a long journal looks like one that hangs, or writes a line for each segment.
#[test]
fn a_long_first_shipping_is_spoken_of_every_ten_seconds() {
    let (mut walk, began) = (Walk::default(), Instant::now());
    let seconds = [0, 1, 9, 10, 11, 19, 20, 45, 46, 54, 55];
    let due = seconds.map(|second| walk.is_due(began + Duration::from_secs(second)));
    let said = seconds.iter().zip(due).filter(|(_, due)| *due);
    let said: Vec<u64> = said.map(|(second, _)| *second).collect();
    assert_eq!(said, [10, 20, 45, 55]);
}
