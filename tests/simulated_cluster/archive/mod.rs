//! The archive of the simulated cluster: an object store whose requests are late, lost or repeated, and that is unreachable for
//! stretches. The real `shipping` runs on it: the start of a process, its writer, and what waits for it. So does the real `offsite`: what
//! is kept beside the journal, retention, and restores from it.
//!
//! [`objects`] is the store, [`requests`] the way to it, [`starting`] executes a start, [`shipper`] ships the journal and releases
//! behind it, [`losing`] loses disks and restores them, [`zombie`] lets the old program go on. [`desk`] runs the asynchronous code of the
//! program: [`keeping`] ships what is kept and deletes what is too old, [`refilling`] fills disks. [`kept`] checks each change there.
//!
//! Everything here is drawn from a source of its own, so that a run without an archive does not change.

pub(crate) mod desk;
pub(crate) mod keeping;
pub(crate) mod kept;
pub(crate) mod late;
pub(crate) mod losing;
pub(crate) mod objects;
pub(crate) mod refilling;
pub(crate) mod requests;
pub(crate) mod shipper;
pub(crate) mod starting;
pub(crate) mod zombie;

use std::collections::BTreeSet;

use snapledger::process::ids::{ProcessId, SnapshotId};
use snapledger::shipping::hold::Waits;

use crate::disk::Disk;
use crate::plan::{MS, Odds, Plan, SECOND};
use crate::random::Random;
use crate::sabotage::Sabotage;
use crate::world::{Checked, Place};

use desk::Desk;
use kept::HeldBack;
use objects::{Folder, Storage};
use zombie::Zombie;

/// The archive of a run.
pub(crate) struct Archive {
    pub(crate) random: Random,
    /// `None`: nothing is shipped.
    pub(crate) plan: Option<ArchivePlan>,
    storage: Storage,
    desk: Desk,
    /// The folders, and the one that each process uses: a store that was given up leaves its folder behind.
    folders: Vec<Folder>,
    folder_of: Vec<usize>,
    /// The end of the newest stretch without answers.
    down_until: u64,
    /// The number of requests so far.
    requests: u64,
    /// The number of disks lost so far.
    losses: u64,
    /// The process whose disk is lost and not restored yet, and the attempts so far.
    restoring: Option<Place>,
    attempts: u64,
    /// The snapshots whose part is lost with a disk, because they were too old to be kept.
    forgotten: BTreeSet<SnapshotId>,
    /// The program that goes on after its disk was given up for lost.
    pub(crate) zombie: Option<Zombie>,
    /// A copy of a directory, and the newest start that it knows.
    copy: Option<(Disk, u64)>,
    /// Sabotage.
    held_back: Option<HeldBack>,
}

/// The parameters of the archive of one run. Times are in microseconds.
#[derive(Debug)]
pub(crate) struct ArchivePlan {
    pub(crate) waits: Waits,
    pub(crate) window: usize,
    /// The maximum number of turns in a segment.
    turns_max: usize,
    delay_max: u64,
    lag_max: u64,
    lost_answer: Odds,
    /// The odds that a request arrives only after it was repeated.
    late: Odds,
    outage: Odds,
    /// The process whose disk is lost, and how often.
    lost: Option<(Place, u64)>,
    /// What is kept beside the journal; `None`: nothing.
    pub(crate) kept: Option<KeptPlan>,
}

/// What is kept in the archive, and how long.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KeptPlan {
    /// The age up to which it is kept; `None`: for ever.
    age: Option<u64>,
    /// About the interval of looks for something to ship and to delete.
    every: u64,
}

impl Archive {
    /// The archive of a seed. If disks are lost, no store is wiped in that run: a process without other losses must come back
    /// as if nothing had happened.
    pub(crate) fn drawn(seed: u64, plan: &mut Plan) -> Self {
        let mut random = Random::new(!seed);
        let storage = Storage::default();
        let ids = plan.ids.iter().map(ProcessId::as_str);
        let folders = ids.map(|id| Folder::new(&storage, 0, id)).collect();
        let drawn = ArchivePlan::drawn(&mut random, plan);
        Self {
            random,
            plan: drawn,
            storage,
            desk: Desk::new(),
            folders,
            folder_of: (0..plan.ids.len()).collect(),
            down_until: 0,
            requests: 0,
            losses: 0,
            restoring: None,
            attempts: 0,
            forgotten: BTreeSet::new(),
            zombie: None,
            copy: None,
            held_back: None,
        }
    }

    /// What waits for the archive; `None` without one.
    pub(crate) fn waits(&self) -> Option<Waits> {
        self.plan.as_ref().map(|plan| plan.waits)
    }

    /// Whether turns wait for the archive.
    pub(crate) fn holds(&self) -> bool {
        self.waits().is_some_and(Waits::holds_start)
    }

    /// Whether a disk is lost in this run that is restored without other losses.
    pub(crate) fn loses_disks(&self) -> bool {
        self.plan.as_ref().is_some_and(|plan| plan.lost.is_some())
    }

    /// Whether the part of a snapshot may be lost with a disk.
    pub(crate) fn has_forgotten(&self, snapshot: &SnapshotId) -> bool {
        self.forgotten.contains(snapshot)
    }

    /// Whether the disk of a process is lost and not restored yet.
    pub(crate) fn is_restoring(&self, place: Place) -> bool {
        self.restoring == Some(place)
    }

    pub(crate) fn folder(&mut self, place: Place) -> &mut Folder {
        &mut self.folders[self.folder_of[place]]
    }

    /// Gives a process without a store another URL.
    pub(crate) fn begin_anew(&mut self, place: Place) {
        let url = self.folders.len();
        let process = self.folder(place).source().owner().process.clone();
        self.folder_of[place] = url;
        self.folders.push(Folder::new(&self.storage, url, &process));
    }

    /// Puts an empty archive in the place of a process's own, as an operator does who forgets to mount it. Returns the own one.
    fn unmount(&mut self, place: Place) -> usize {
        let own = self.folder_of[place];
        self.begin_anew(place);
        own
    }

    /// Puts the own archive back. Fails if the empty one was used.
    fn mount(&mut self, place: Place, own: usize) -> Checked {
        let empty = std::mem::replace(&mut self.folder_of[place], own);
        match self.folders[empty].is_empty()? {
            true => Ok(()),
            false => Err(format!("{place} has used an archive that is not its own")),
        }
    }
}

impl KeptPlan {
    fn age(self) -> Option<u64> {
        self.age
    }

    fn deletes(self) -> bool {
        self.age.is_some()
    }

    fn drawn(random: &mut Random, sabotage: Option<Sabotage>) -> Option<Self> {
        let is_of_retention = sabotage.is_some_and(Sabotage::is_of_retention);
        let is_kept = random.below(2) == 0 || is_of_retention;
        let is_deleted = random.below(4) > 0 || is_of_retention;
        let age = match random.below(3) {
            0 => 0,
            1 => random.below(SECOND),
            _ => SECOND + random.below(4 * SECOND),
        };
        let every = (1 + random.below(4)) * 150 * MS;
        is_kept.then_some(Self {
            age: is_deleted.then_some(age),
            every,
        })
    }
}

impl ArchivePlan {
    fn drawn(random: &mut Random, plan: &mut Plan) -> Option<Self> {
        let waits = match (plan.sabotage, random.below(9)) {
            (Some(sabotage), drawn) if sabotage.is_of_archive() => match drawn < 5 {
                true => Waits::Processes,
                false => Waits::Everything,
            },
            (Some(_), _) | (None, 0..=3) => return None,
            (None, 4) => Waits::Nothing,
            (None, 5 | 6) => Waits::Processes,
            (None, _) => Waits::Everything,
        };
        let place = random.index(plan.ids.len());
        let is_lost = random.below(4) > 0 || plan.sabotage.is_some();
        if plan.sabotage.is_some() {
            plan.never_returns = None;
        }
        let is_lost = is_lost && plan.never_returns.is_none();
        let mut lost = None;
        match waits {
            // The disk is lost as another one is put back: the peers may know more than the archive.
            Waits::Nothing if is_lost && plan.wiped.is_none() => {
                plan.wiped = Some(place);
                plan.put_back = true;
            }
            Waits::Nothing => {}
            Waits::Processes | Waits::Everything => {
                plan.wiped = None;
                plan.put_back = false;
                lost = is_lost.then(|| (place, 1 + random.below(3)));
            }
        }
        let kept = KeptPlan::drawn(random, plan.sabotage);
        // What is kept takes many requests one after the other.
        let slow = if kept.is_some() { 12 } else { 60 };
        if kept.is_some() && (lost.is_some() || plan.put_back) {
            // So that something is shipped and deleted before a disk is lost.
            plan.pause_max *= 5;
        }
        Some(Self {
            waits,
            window: 1 + random.index(4),
            turns_max: 1 + random.index(4),
            delay_max: (1 + random.below(slow)) * MS,
            lag_max: (1 + random.below(3)) * SECOND,
            lost_answer: Odds::drawn(random, &[0, 4, 12]),
            late: Odds::drawn(random, &[0, 10, 30]),
            outage: Odds::drawn(random, &[0, 300, 1_000]),
            lost,
            kept,
        })
    }

    /// Whether an older state comes back from the archive: what was not archived may be known to the peers.
    pub(crate) fn forgets(&self) -> bool {
        self.waits == Waits::Nothing
    }
}
