//! Power cuts: whatever subset of the real store's writes a disk has kept, nothing acknowledged is lost.
//!
//! The store's system calls are traced while it runs, is killed and is closed. From the trace, images are built of a
//! disk on which only synced data is certain: of the rest, everything, any subset, or parts of single writes are lost.
//! Without this, durability would rest on what the engine promises; the last test shows that this is not enough.

#[path = "../required/mod.rs"]
mod required;
#[path = "../teller/mod.rs"]
mod teller;

mod disk;
mod kills;
mod life;
mod lines;
mod trace;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use disk::{Disk, Loss};
use snapledger::process::ids::Lsn;
use snapledger::store::{Store, StoreError};
use teller::{CLUSTER, OPEN_SNAPSHOTS_MAX, Random, process_id, topology};
use tempfile::TempDir;
use trace::Traced;

/// Images per test; `SNAPLEDGER_IMAGES` sets another number.
const IMAGES: u64 = 300;
/// Images without the store's own sync; most of them lack something.
const LYING_IMAGES: u64 = 45;
const SEED: u64 = 1;
/// Far more than the images that exist at the same time take.
const ROOM_BYTES: u64 = 1 << 30;

/// The results of the images.
#[derive(Debug, Default)]
struct Tally {
    images: u64,
    lost: u64,
    refused: u64,
    /// Images in which an unacknowledged turn survived.
    ahead: u64,
    /// Images with at least one acknowledged turn.
    acknowledged: u64,
    leftovers: u64,
}

#[test]
fn no_image_of_a_power_cut_lacks_what_was_acknowledged() {
    let Some(tally) = cut("honest", IMAGES) else {
        return;
    };
    assert_eq!((tally.lost, tally.refused), (0, 0), "{tally:?}");
    assert!(tally.acknowledged > tally.images / 2, "{tally:?}");
    assert!(tally.ahead > 0, "no cut fell into a commit: {tally:?}");
}

#[test]
fn without_our_own_sync_acknowledged_turns_are_lost() {
    let Some(tally) = cut("lying", LYING_IMAGES) else {
        return;
    };
    let bad = tally.lost + tally.refused;
    assert!(bad > tally.images / 3, "the test is blind: {tally:?}");
}

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("it is a number"))
}

// Runs a store on such a medium and examines many power cuts. `None` if nothing can be traced.
fn cut(medium: &'static str, images: u64) -> Option<Tally> {
    let seed = number("SNAPLEDGER_SEED", SEED);
    let images = number("SNAPLEDGER_IMAGES", images);
    println!(
        "seed {seed}; again: SNAPLEDGER_SEED={seed} SNAPLEDGER_IMAGES={images} cargo test --test power_cut"
    );
    let started = Instant::now();
    let traced = life::traced(medium, seed)?;
    let took = started.elapsed();
    let mut random = Random::new(seed);
    let mut tally = Tally::default();
    for number in 0..images {
        let losses = [Loss::All, Loss::Some, Loss::Torn];
        let loss = losses[usize::try_from(number % 3).expect("below three")];
        let at = random.index(traced.events.len());
        examine(&traced, (at, loss), &mut random, &mut tally);
    }
    println!(
        "{medium}: {} events traced in {took:.1?}, {tally:?}, all in {:.1?}",
        traced.events.len(),
        started.elapsed()
    );
    Some(tally)
}

fn examine(traced: &Traced, (at, loss): (usize, Loss), random: &mut Random, tally: &mut Tally) {
    let image = scratch();
    let disk = Disk::at(traced, at);
    tally.leftovers += u64::from(disk.write(image.path(), loss, random));
    let digests: BTreeMap<u64, &str> = traced.acknowledged(traced.events.len()).collect();
    let acknowledged = traced.acknowledged(at).last().map_or(0, |(last, _)| last);
    tally.images += 1;
    tally.acknowledged += u64::from(acknowledged > 0);
    match recovered(image.path()) {
        Err(error) => {
            println!("at event {at}, {loss:?}: refused: {error}");
            tally.refused += 1;
        }
        Ok((position, digest)) => {
            tally.ahead += u64::from(position > acknowledged);
            if position < acknowledged {
                tally.lost += 1;
            } else if position > 0 {
                assert_eq!(digest, digests[&position], "at event {at}, {loss:?}");
            }
        }
    }
}

fn recovered(dir: &Path) -> Result<(u64, String), StoreError> {
    let (me, topology) = (process_id("p"), topology());
    let store = Store::open(dir, CLUSTER, &me)?;
    let (process, committed) = store.recover(&me, &topology, OPEN_SNAPSHOTS_MAX)?;
    let Lsn(position) = committed.position();
    Ok((position, life::digest(&process)))
}

// In memory if there is room: the images themselves need not be durable.
fn scratch() -> TempDir {
    let memory = "/dev/shm";
    let system = rustix::fs::statvfs(memory);
    let made = match system.is_ok_and(|system| system.f_bavail * system.f_frsize > ROOM_BYTES) {
        true => tempfile::tempdir_in(memory),
        false => tempfile::tempdir(),
    };
    made.expect("a temporary directory")
}
