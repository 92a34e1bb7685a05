//! The errors of a damaged backup, and the exclusion of deletions.

use super::*;
use crate::process::clock::{Hlc, Lamport};
use crate::process::ids::{AccountId, Amount, Lsn};
use crate::process::record::{Record, Turn};
use crate::store::Store;
use crate::store::export::ExportError;
use crate::store::fixture::process;
use crate::store::opening::addresses::{Addresses, MetProcess};

fn turn(position: u64) -> Turn {
    Turn {
        position: Lsn(position),
        time: Hlc::at(position),
        clock: Lamport(position),
        records: vec![Record::Deposited {
            account: AccountId::parse("a").expect("a valid id"),
            amount: Amount::new(1).expect("positive"),
        }],
    }
}

fn read(bytes: &[u8]) -> Result<(tempfile::TempDir, BackedUp), ExportError> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made = Store::restore_backup(dir.path(), &mut &*bytes, &|_| {})?;
    Ok((dir, made))
}

// Without this half a store is taken for the whole.
#[test]
fn what_was_cut_off_or_changed_on_its_way_is_no_backup() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = Store::open(dir.path(), "test", &process("p")).expect("a new store");
    for position in 1..=20 {
        store.commit(&turn(position)).expect("the disk has room");
    }
    let mut met = Addresses::default();
    let peer = MetProcess {
        process: process("q"),
        rest: None,
    };
    met.insert("h:1".to_owned(), peer);
    store.remember(&met).expect("the disk has room");
    let mut bytes = Vec::new();
    store.back_up(&mut bytes).expect("it is whole");
    let (copy, made) = read(&bytes).expect("it is whole");
    assert_eq!((made.position, made.time), (Lsn(20), Hlc::at(20)));
    assert_eq!((&*made.cluster, made.bytes), ("test", bytes.len() as u64));
    Store::check(copy.path()).expect("it is whole");
    // Without this the copy cannot start while its peers are down.
    assert_eq!(Addresses::read(copy.path()), met);
    let copied = Store::open(copy.path(), "test", &process("p")).expect("it opens");
    assert_eq!(copied.identity().store, store.identity().store);
    let turns: Vec<Turn> = copied
        .journal()
        .turns(Lsn(1))
        .map(|turn| turn.expect("it is whole"))
        .collect();
    assert_eq!(turns, (1..=20).map(turn).collect::<Vec<_>>());
    for cut in [0, 10, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(&bytes[..cut]).is_err(), "cut off at {cut}");
    }
    for place in [0, 18, 30, bytes.len() / 2, bytes.len() - 1] {
        let mut flipped = bytes.clone();
        flipped[place] ^= 1;
        assert!(read(&flipped).is_err(), "flipped at {place}");
    }
}

// Without this a chunk or turn is deleted after the backup has chosen it and before it is copied.
#[test]
fn nothing_is_deleted_while_a_backup_is_read() {
    let standstill = Standstill::default();
    let deleting = standstill.deleting();
    assert!(deleting.is_some() && standstill.deleting().is_none());
    drop(deleting);
    let hold = standstill.hold();
    assert!(standstill.is_wanted() && standstill.deleting().is_none());
    drop(hold);
    assert!(!standstill.is_wanted() && standstill.deleting().is_some());
}
