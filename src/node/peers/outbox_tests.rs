//! Reading the journal for a channel. Without these tests a channel with few messages in a long journal could repeat its
//! reading from the beginning, and an unreadable message could be retried for ever without a report.

use std::fs::File;
use std::path::Path;

use tokio::sync::mpsc::UnboundedReceiver;

use super::*;
use crate::channel::window::Cursor;
use crate::node::NodeError;
use crate::node::health::failures::Failures;
use crate::node::store_worker::StoreWorker;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::SnapshotId;
use crate::process::message::{Body, Marker, Message};
use crate::process::record::Record;
use crate::process::record::Turn;
use crate::store::Medium;
use crate::store::Store;

const KEEP_EVERY: u64 = 1024;
/// The turns of three messages, far apart.
const SENT_IN: [u64; 3] = [1, 3 * KEEP_EVERY, 5 * KEEP_EVERY];
const TURNS: u64 = 5 * KEEP_EVERY + 10;

/// A medium without syncs; the tests need no durability.
struct Unsynced;

impl Medium for Unsynced {
    fn sync(&self, _: &File) -> std::io::Result<()> {
        Ok(())
    }
}

fn process(id: &str) -> ProcessId {
    ProcessId::parse(id).expect("a valid id")
}

fn message(number: u64) -> Message {
    Message {
        clock: Lamport(number),
        body: Body::from(Marker {
            snapshot: SnapshotId::parse("s").expect("a valid id"),
            initiator: process("p"),
        }),
    }
}

fn open(dir: &Path) -> Store {
    Store::open_on(dir, "c", &process("p"), Box::new(Unsynced)).expect("it opens")
}

/// A journal with mostly other messages, and the channel from p to q in it.
fn journal(store: &Store, turns: u64) -> Outgoing {
    let mut channel = Outgoing::default();
    let (mut seq, mut other) = (Seq(0), Seq(0));
    for number in 1..=turns {
        let position = Lsn(number);
        let next = if SENT_IN.contains(&number) {
            (process("q"), &mut seq)
        } else {
            (process("r"), &mut other)
        };
        *next.1 = next.1.next();
        if next.0 == process("q") {
            channel.send(*next.1, &message(number), position);
        }
        let sent = Record::Sent {
            to: next.0,
            seq: *next.1,
            message: message(number),
        };
        let turn = Turn {
            position,
            time: Hlc(number),
            clock: Lamport(number),
            records: vec![sent],
        };
        store.commit(&turn).expect("it is written");
    }
    channel
}

fn outbox(store: Store, channel: Outgoing) -> (Arc<Outbox>, UnboundedReceiver<NodeError>) {
    let (failures, failed) = Failures::new();
    let outbox = Outbox::new(
        process("q"),
        StoreWorker::new(Arc::new(store), failures),
        channel,
    );
    (Arc::new(outbox), failed)
}

/// The start of the next digest reading up to message 2.
fn counted(outbox: &Outbox) -> u64 {
    let reading = outbox.window().digest(Seq(2)).err();
    reading.map_or(0, |reading| reading.start().0)
}

fn start(outbox: &Outbox, after: Seq) -> Lsn {
    outbox.window().read(after).start()
}

#[test]
fn what_was_counted_is_not_counted_again_when_nobody_waited_for_it() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let channel = journal(&store, TURNS);
    let mut right = ChannelDigest::default();
    right.pass(Seq(1), &message(SENT_IN[0]));
    right.pass(Seq(2), &message(SENT_IN[1]));
    let (outbox, _failed) = outbox(store, channel);
    let nobody = Asker::new();
    for step in 1..=2 {
        outbox.counted(Seq(2), &nobody).expect("it is readable");
        assert!(counted(&outbox) < 2 * step * KEEP_EVERY, "it ends soon");
        assert!(counted(&outbox) >= step * KEEP_EVERY - step, "it goes on");
    }
    let asking = Arc::new(());
    let asker = Arc::downgrade(&asking);
    assert_eq!(outbox.counted(Seq(2), &asker).expect("readable"), right);
    assert_eq!(counted(&outbox), SENT_IN[1], "no further than it must");
    assert_eq!(start(&outbox, Seq(2)), Lsn(SENT_IN[1]));

    let earlier = outbox.counted(Seq(1), &asker).expect("readable");
    assert_eq!(earlier.flow.sequence, Seq(1), "from the landmark");
    let (from, found) = (start(&outbox, Seq(2)), outbox.journaled(Seq(2), &asker));
    assert!(from <= Lsn(SENT_IN[2]));
    let found: Vec<Seq> = found.expect("readable").iter().map(|one| one.seq).collect();
    assert_eq!(found, [Seq(3)]);

    assert!(
        outbox
            .journaled(Seq(1), &nobody)
            .expect("readable")
            .is_empty()
    );
    let start = start(&outbox, Seq(1)).0;
    assert!((KEEP_EVERY..=SENT_IN[1]).contains(&start), "{start}");
}

#[test]
fn one_reads_the_journal_at_a_time() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let channel = journal(&store, 5);
    let (outbox, _failed) = outbox(store, channel);
    // With a single blocking thread, earlier work has ended when later work ends.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build();
    runtime.expect("a runtime").block_on(async {
        let other = Arc::clone(&outbox.reading).lock_owned().await;
        let mut reading = Box::pin(outbox.read(Seq(0)));
        tokio::select! {
            biased;
            _ = &mut reading => unreachable!("another one reads"),
            () = tokio::task::yield_now() => {}
        }
        let later = tokio::task::spawn_blocking(|| {}).await;
        later.expect("it ends");
        assert_eq!(outbox.window().cursor(), Cursor::default());
        drop(other);
        assert_eq!(reading.await.map(|read| read.len()), Ok(1));
        let cursor = Cursor {
            after: Seq(1),
            position: Lsn(1),
        };
        assert_eq!(outbox.window().cursor(), cursor);
    });
}

#[tokio::test]
async fn what_is_damaged_stops_the_channel_and_says_what_it_is() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let channel = journal(&store, SENT_IN[1]);
    drop(store);
    damage(dir.path(), SENT_IN[1] - 5);
    let (outbox, mut failed) = outbox(open(dir.path()), channel);
    let read = [
        outbox.read(Seq(0)).await.map(|_| ()),
        outbox.read(Seq(1)).await.map(|_| ()),
        outbox.sent_by(Seq(1)).await.map(|_| ()),
    ];
    let named = format!(
        "cannot read the messages for q: the store is damaged: journal entry {}",
        SENT_IN[1] - 5
    );
    for read in &read[..2] {
        let Err(Closed::Stopped(why)) = read else {
            unreachable!("{read:?}")
        };
        assert!(why.contains(&named), "{why}");
    }
    assert_eq!(read[2], Ok(()), "what is damaged lies behind it");
    assert!(failed.try_recv().is_err(), "the node goes on");
}

#[test]
fn a_store_that_has_failed_ends_the_node() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (outbox, mut failed) = outbox(open(dir.path()), Outgoing::default());
    let closed = outbox.closed(StoreError::Failed("EIO".to_owned()));
    assert!(matches!(closed, Closed::Broken(_)));
    let why = failed.try_recv().expect("it is reported");
    assert_eq!(why.exit_code(), 3);
}

fn damage(dir: &Path, position: u64) {
    if let Ok(log) = File::open(dir.join("db")) {
        log.lock().expect("files can be locked");
    }
    let config = sled::Config::new().path(dir).segment_size(16 * 1024 * 1024);
    let db = config.open().expect("no store is open there");
    let tree = db.open_tree("journal").expect("the tree is there");
    for entry in tree.scan_prefix(position.to_be_bytes()) {
        let (key, value) = entry.expect("it is readable");
        let mut value = value.to_vec();
        *value.last_mut().expect("it has bytes") ^= 1;
        tree.insert(key, value).expect("it is written");
    }
}
