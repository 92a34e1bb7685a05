//! A lost store that is made again without what is too old for it. Without this a restore brings back everything since the archive
//! began, and retention deletes it again: the time and the disk that it needs grow with the age of the archive.

use std::time::Duration;

use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutPayload};
use snapledger::archive::kept;
use snapledger::offsite::Source;
use snapledger::offsite::refill::{Filled, Since, Wanted};
use snapledger::process::clock::Hlc;
use snapledger::process::ids::Lsn;
use snapledger::shipping::object::StateKey;
use snapledger::store::{Store, StoreError};

use crate::expired::{lived, oldest_unacknowledged, waiting};
use crate::refilled::time_of;
use crate::shipped::{Scene, in_memory, owner, refilled};
use crate::teller::{account, balances, process_id, recover};

async fn restored(scene: &Scene, dir: &std::path::Path, since: Since) -> (Store, Filled) {
    let wanted = Wanted {
        since: Some(since),
        ..Wanted::ALL
    };
    let made = refilled(&scene.archive, dir, wanted).await;
    made.expect("the journal is whole")
}

/// Compares what a store says with what was: from its first state on the same, before it that this is gone.
fn compare(scene: &Scene, made: &Store, since: Hlc) -> u64 {
    let process = recover(made);
    let teller = &scene.teller;
    assert_eq!(process.registers(), teller.process.registers());
    assert_eq!(balances(&process), balances(&teller.process));
    let begin = Lsn(made.journal().begins_at().0 - 1);
    let mut gone = 0;
    for (cut, balances) in &teller.balances_at {
        for (name, balance) in balances {
            let found = made
                .past()
                .balance_at(&process_id("p"), &account(name), *cut);
            match found {
                Ok(found) => assert_eq!((found, *cut >= begin), (Some(*balance), true)),
                Err(StoreError::BeforeHorizon { since: told, .. }) => {
                    assert_eq!((told, *cut < begin), (since, true));
                    gone += 1;
                }
                Err(error) => unreachable!("{error}"),
            }
        }
    }
    gone
}

#[tokio::test]
async fn a_store_begins_where_retention_would_have_let_it() {
    let scene = lived(Scene::new(31).await).await;
    let limit = time_of(&scene.store, Lsn(scene.store.journal().position().0 / 2));
    let newest = scene.store.archived().newest_state();
    let newest = scene.store.archived().state(newest.expect("it has states"));
    let newest = newest.expect("it is readable").expect("it is there").time;
    let age = Duration::from_micros(newest.wall_us() - limit.wall_us());
    let mut begins = Lsn(0);
    for since in [Since::Instant(limit), Since::Age(age)] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (made, filled) = restored(&scene, dir.path(), since).await;
        let older = filled.older.expect("it is long enough");
        assert_eq!((older.first, older.last.next()), (Lsn(1), filled.first));
        assert!(older.since <= limit, "{older:?}");
        assert_eq!(filled.left_out, Vec::<String>::new());
        assert_eq!(filled.lost_messages, []);
        assert!(compare(&scene, &made, older.since) > 0, "something is gone");
        begins = made.journal().begins_at();
        drop(made);
        Store::check(dir.path()).expect("a good store");
    }
    // The archive may have states that were thinned in the store.
    let state = scene.store.archived().state(Lsn(begins.0 - 1));
    let has_state = state.expect("it is readable").is_some();
    let trimmed = scene.store.retention().trim(limit, || true);
    assert!(trimmed.expect("it is whole").turns > 0);
    let own = scene.store.journal().begins_at();
    assert!(
        own == begins || (own < begins && !has_state),
        "{own}, {begins}"
    );
}

// Without this, money that was on its way is lost with the disk, although the archive has it.
#[tokio::test]
async fn a_store_begins_before_what_is_still_needed_whatever_its_age() {
    let scene = waiting(32).await;
    let now = time_of(&scene.store, scene.store.journal().position());
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (made, filled) = restored(&scene, dir.path(), Since::Instant(now)).await;
    let older = filled.older.expect("there is a state before the message");
    let sent = oldest_unacknowledged(&scene.teller.process);
    assert!(older.last < sent, "{older:?}, sent in turn {sent}");
    assert_eq!(filled.lost_messages, []);
    compare(&scene, &made, older.since);
    drop(made);
    Store::check(dir.path()).expect("a good store");
}

#[tokio::test]
async fn nothing_is_left_out_if_no_state_is_old_enough() {
    let scene = lived(Scene::new(33).await).await;
    for since in [
        Since::Instant(Hlc(1)),
        Since::Age(Duration::from_secs(3_600)),
    ] {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (made, filled) = restored(&scene, dir.path(), since).await;
        assert_eq!((filled.older, filled.first), (None, Lsn(1)));
        assert_eq!(compare(&scene, &made, Hlc(0)), 0, "everything is there");
    }
}

async fn overwrite(storage: &dyn ObjectStore, key: &str) {
    let path = Path::from(format!("test/p/{key}"));
    let put = storage.put(&path, PutPayload::from_static(b"?"));
    put.await.expect("it is in memory");
}

// Without this, one damaged object would cost a part of the journal that is wanted, or the whole restore.
#[tokio::test]
async fn behind_a_damaged_state_a_store_begins_at_an_earlier_one() {
    let (archive, storage) = in_memory();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let scene = lived(Scene::open(archive, dir, 34).await).await;
    let since = Since::Instant(Hlc(u64::MAX));
    let begun = async || {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (made, filled) = restored(&scene, dir.path(), since).await;
        let older = filled.older.expect("there is a state");
        compare(&scene, &made, older.since);
        (older.last, filled.left_out)
    };
    let (newest, left_out) = begun().await;
    assert_eq!(left_out, Vec::<String>::new());
    let source = Source::new(&scene.archive, owner());
    let states = kept::list::<StateKey>(source.process()).await;
    let states = states.expect("it is in memory");
    let damaged = states.iter().rfind(|key| key.cut == newest);
    let damaged = damaged.expect("it begins with it").to_string();
    overwrite(&*storage, &damaged).await;
    let (earlier, left_out) = begun().await;
    assert!(Lsn(0) < earlier && earlier < newest, "{earlier}, {newest}");
    assert!(
        left_out.len() == 1 && left_out[0].contains(&damaged),
        "{left_out:?}"
    );
    // What is before it is not read, or does not matter.
    for segment in 2..5 {
        overwrite(&*storage, &format!("journal/{segment:020}")).await;
    }
    assert_eq!(begun().await.0, earlier);
}
