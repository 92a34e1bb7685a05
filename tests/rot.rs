//! Rot: a bit that flips in the engine's own log is named, or does no harm.
//!
//! Without this, a single bit could take back everything that was acknowledged after it: the engine takes a damaged
//! record for the torn end of its log, and the node would go on from an older state without a word.

mod teller;

use std::fs;
use std::path::Path;

use snapledger::store::{Store, StoreError};
use teller::images;
use teller::{CLUSTER, Random, Teller, balances, open, process_id, recover, topology};
use tempfile::TempDir;

const FLIPS: u64 = 40;

// A store whose last word is a turn, and the process on it.
fn lived() -> (TempDir, Teller) {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let store = open(dir.path());
    let mut teller = Teller::new(1, recover(&store));
    for _ in 0..30 {
        teller.work(&store);
        teller.random_turns(&store);
    }
    (dir, teller)
}

fn restart(dir: &Path, teller: &Teller) -> Result<(), StoreError> {
    let store = Store::open(dir, CLUSTER, &process_id("p"))?;
    let (recovered, _) =
        store.recover(&process_id("p"), &topology(), teller::OPEN_SNAPSHOTS_MAX)?;
    assert_eq!(recovered.registers(), teller.process.registers());
    assert_eq!(balances(&recovered), teller.balances);
    Ok(())
}

#[test]
fn a_flipped_bit_in_the_log_is_named_or_harmless() {
    let (dir, teller) = lived();
    let log = fs::read(dir.path().join("db")).expect("it is readable");
    let mut random = Random::new(1);
    let mut named = 0;
    for _ in 0..FLIPS {
        let copy = tempfile::tempdir().expect("a temporary directory");
        images::copy(dir.path(), copy.path());
        let mut rotten = log.clone();
        let place = random.index(rotten.len());
        rotten[place] ^= 1 << random.below(8);
        fs::write(copy.path().join("db"), rotten).expect("there is room");
        if let Err(error) = restart(copy.path(), &teller) {
            assert!(!matches!(error, StoreError::InUse(_)), "{error}");
            named += 1;
        }
    }
    assert!(named > 0, "no flip did any harm: the test is blind");
}

#[test]
fn a_journal_that_ends_too_early_names_both_figures() {
    let (dir, teller) = lived();
    let end = teller.process.registers().position.0;
    let db = images::engine(dir.path());
    let journal = db.open_tree("journal").expect("it is readable");
    while let Some((key, _)) = journal.last().expect("it is readable") {
        if key[..8] < end.to_be_bytes()[..] {
            break;
        }
        journal.remove(key).expect("it can be removed");
    }
    drop((journal, db));
    let error = restart(dir.path(), &teller).expect_err("a turn is gone");
    let sentence = error.to_string();
    let figures = format!(
        "it ends at entry {}, and entry {end} was acknowledged",
        end - 1
    );
    assert!(sentence.contains(&figures), "{sentence}");
    fs::remove_file(dir.path().join("witness")).expect("it is there");
    let store = open(dir.path());
    assert_eq!(store.position().0, end - 1, "the operator has decided");
    assert_eq!(
        store.identity().boot,
        2,
        "a start that is refused is not counted"
    );
}
