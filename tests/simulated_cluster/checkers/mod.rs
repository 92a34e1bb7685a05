//! The checkers of the invariants. They are independent of scenarios: they see durable turns, answers, parts and revisions, and
//! compare them with a truth of their own.

mod archived;
mod books;
mod cuts;
mod durability;
mod money;
mod past;
mod pins;
mod recordings;
mod requests;
mod rest;
mod revisions;
mod rivals;
mod truth;

use std::collections::{BTreeMap, BTreeSet};

use snapledger::history::audit::Audit;
use snapledger::history::global::GlobalState;
use snapledger::history::part::Part;
use snapledger::history::pin::Pin;
use snapledger::process::Process;
use snapledger::process::answer::Answer;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{AccountId, Hash, Lsn, ProcessId, RequestId, SnapshotId};
use snapledger::process::record::Turn;
use snapledger::process::recording::Recording;
use snapledger::process::topology::Topology;

use crate::disk::Disk;
use crate::network::Route;
use crate::plan::Plan;
use crate::world::{Checked, Figures, Place};

use archived::Archived;
use durability::Durability;
use past::Past;
pub(crate) use past::{Asked, Told};
pub(crate) use pins::Answered;
use pins::Pins;
use recordings::Recordings;
use requests::Requests;
use revisions::Revisions;
pub(crate) use truth::Happened;
use truth::Truth;

/// All checkers of one run, with their knowledge.
pub(crate) struct Checkers {
    pub(crate) figures: Figures,
    truth: Truth,
    archived: Archived,
    durability: Durability,
    requests: Requests,
    past: Past,
    pins: Pins,
    recordings: Recordings,
    revisions: Revisions,
    /// The process that is down permanently.
    lost: Option<Place>,
    /// The process whose store was an older copy.
    put_back: Option<PutBack>,
}

/// A process whose store was replaced by an older copy.
struct PutBack {
    process: ProcessId,
    /// Whether the store is still that copy.
    is_still: bool,
    /// The snapshots that had begun by then.
    begun: BTreeSet<SnapshotId>,
}

/// A durable revision.
pub(crate) struct Publication<'a> {
    /// The process that publishes it.
    pub(crate) by: &'a ProcessId,
    pub(crate) state: &'a GlobalState,
    pub(crate) disk: &'a Disk,
    pub(crate) topology: &'a Topology,
}

impl Checkers {
    /// `keeps_turns`: whether disks may be lost that an archive restores.
    pub(crate) fn new(plan: &Plan, keeps_turns: bool) -> Self {
        Self {
            figures: Figures::default(),
            truth: Truth::new(plan, keeps_turns),
            archived: Archived::new(plan.ids.len()),
            durability: Durability::new(plan.ids.len()),
            requests: Requests::default(),
            past: Past::default(),
            pins: Pins::default(),
            recordings: Recordings::default(),
            revisions: Revisions::default(),
            lost: None,
            put_back: None,
        }
    }

    /// A turn is released.
    pub(crate) fn released(&mut self, place: Place, turn: &Turn, hash: Hash) -> Checked {
        // Another program of the process may have done it, or a start may have found it.
        if self.truth.keeps_turns && turn.position <= self.truth.position(place) {
            return self.archived.same(place, turn.position, hash);
        }
        self.durability.released(place, turn.position, hash);
        self.happened(place, turn, hash)
    }

    /// Something of a turn leaves for which other processes, or clients, must be able to rely on the archive.
    pub(crate) fn left(&mut self, place: Place, position: Lsn, hash: Hash) -> Checked {
        self.archived.left(place, position, hash)
    }

    /// An answer about an instant, after this turn, is given to other processes.
    pub(crate) fn told_others(&mut self, place: Place, position: Lsn, hash: Hash) -> Checked {
        match position {
            Lsn(0) => Ok(()),
            _ => self.archived.left(place, position, hash),
        }
    }

    // Takes a turn that no crash can lose.
    fn happened(&mut self, place: Place, turn: &Turn, hash: Hash) -> Checked {
        self.figures.turns += 1;
        self.truth.happened(place, turn)?;
        self.archived.happened(place, turn.position, hash);
        self.recordings.happened(self.truth.id(place), turn);
        self.requests.happened(place, turn)?;
        let (snapshots, messages) = self.truth.counts();
        (self.figures.snapshots, self.figures.messages) = (snapshots, messages);
        Ok(())
    }

    /// A process has recovered. Turns that were durable and not released count from now on.
    pub(crate) fn recovered(&mut self, place: Place, disk: &Disk, process: &Process) -> Checked {
        self.durability.recovered(place, disk)?;
        self.requests.recovered(place);
        for turn in disk.turns(self.truth.position(place).next()) {
            let turn = turn?;
            let hash = disk.hash_at(turn.position).unwrap_or_default();
            self.happened(place, &turn, hash)?;
        }
        self.truth.same(place, process)
    }

    /// A client receives an answer.
    pub(crate) fn answered(
        &mut self,
        place: Place,
        request: &RequestId,
        answer: Answer,
    ) -> Checked {
        self.requests.answered(place, request, answer)
    }

    /// A part is durable.
    pub(crate) fn stored(
        &self,
        place: Place,
        recording: &Recording,
        part: &Part,
        disk: &Disk,
    ) -> Checked {
        // If a store was lost, a recording that waited for its markers ends without them.
        let has_ended =
            self.is_of_the_loss(&part.snapshot) && part.open.iter().eq(recording.open());
        if part.snapshot != recording.snapshot || !(part.is_finished() || has_ended) {
            return Err(format!(
                "the stored part of {} is not finished",
                recording.snapshot
            ));
        }
        match self.is_of_the_loss(&part.snapshot) {
            true => Ok(()),
            false => cuts::part(&self.truth, place, (part, disk)),
        }
    }

    /// A revision is durable.
    pub(crate) fn published(&mut self, publication: &Publication<'_>) -> Checked {
        self.figures.revisions += 1;
        let Publication { state, disk, .. } = publication;
        if !self.is_of_the_loss(&state.snapshot) {
            for (process, part) in &state.parts {
                cuts::part(&self.truth, self.truth.place_of(process), (part, disk))?;
            }
            cuts::consistent(&self.truth, state)?;
            money::conserved(&self.truth, state, disk)?;
        }
        revisions::honest(publication)?;
        let put_back = self.put_back.as_ref();
        // A process on an older copy may repeat a number and does not know what it has published under it.
        let is_forgotten = |it: &PutBack| {
            it.is_still && it.process == *publication.by && it.begun.contains(&state.snapshot)
        };
        if put_back.is_some_and(is_forgotten) {
            return Ok(());
        }
        let put_back = put_back.map(|it| &it.process);
        revisions::unchanged(publication, put_back, &self.recordings)?;
        let may_not_know = self.is_of_the_loss(&state.snapshot);
        let by = publication.by;
        self.revisions.published(by, state, may_not_know)
    }

    /// A revision of another process is durable here, or was found here after a crash.
    pub(crate) fn taken_over(&mut self, by: &ProcessId, state: &GlobalState) -> Checked {
        match self.may_be_numbered_twice(state) {
            true => Ok(()),
            false => self.revisions.taken_over(by, state),
        }
    }

    /// A process and a peer have different revisions with one number.
    pub(crate) fn contradicted(&self, state: &GlobalState) -> Checked {
        let GlobalState {
            snapshot, revision, ..
        } = state;
        match self.may_be_numbered_twice(state) {
            true => Ok(()),
            false => Err(format!("{snapshot} has two revisions {revision}")),
        }
    }

    // An older copy of a store does not know which numbers were used.
    fn may_be_numbered_twice(&self, state: &GlobalState) -> bool {
        let put_back = self.put_back.as_ref();
        put_back.is_some_and(|it| it.begun.contains(&state.snapshot))
    }

    /// Whether this revision was published.
    pub(crate) fn knows(&self, state: &GlobalState) -> bool {
        self.revisions.knows(state)
    }

    /// A store was wiped together with the state of its process; `known_by` others may know it. A new store is in its place.
    pub(crate) fn wiped(&mut self, place: Place, store: [u8; 16], known_by: usize) {
        if let Some(put_back) = &mut self.put_back {
            put_back.is_still = false;
            if self.truth.place_of(&put_back.process) == place {
                self.revisions.lost_with(&put_back.process, &put_back.begun);
            }
        }
        self.truth.wiped(place, store, known_by);
        self.durability.wiped(place);
        self.archived.put_back(place, Lsn(0));
        self.requests.wiped(place);
    }

    /// A lost store of a process was restored from the archive, as this disk has it. What it lacks must not have left the
    /// process, but for answers to clients where these do not wait. Returns whether any were lost.
    pub(crate) fn restored(&mut self, place: Place, disk: &Disk) -> Checked<bool> {
        let process = self.truth.id(place).clone();
        self.put_back = Some(PutBack {
            process,
            is_still: true,
            begun: self.truth.begun().clone(),
        });
        let end = disk.head().0;
        self.archived.restored(place, disk)?;
        self.durability.wiped(place);
        let is_lost = self.truth.position(place) > end;
        if is_lost {
            self.truth.restored(place, end)?;
            self.requests.put_back(place, end);
        }
        Ok(is_lost)
    }

    /// The snapshots for which a process recorded its state before an instant.
    pub(crate) fn recorded_before(
        &self,
        place: Place,
        at: Hlc,
    ) -> impl Iterator<Item = &SnapshotId> {
        let begun = self.truth.begun().iter();
        begun.filter(move |snapshot| {
            let cut = self.truth.cut(place, snapshot);
            cut.is_ok_and(|cut| cut.time < at)
        })
    }

    /// Checks that a process is as it is.
    pub(crate) fn is_same(&self, place: Place, process: &Process) -> Checked {
        self.truth.same(place, process)
    }

    /// Checks what an account of a process held at an instant.
    pub(crate) fn balance(
        &self,
        place: Place,
        account: &AccountId,
        at: Hlc,
        found: Option<i128>,
    ) -> Checked {
        let held = self.truth.balance_at(place, account, at);
        match found == held {
            true => Ok(()),
            false => Err(format!("{account:?} has {found:?} instead of {held:?}")),
        }
    }

    /// Checks that this is a turn of a process that counts.
    pub(crate) fn is_turn(&self, place: Place, position: Lsn, hash: Hash) -> Checked {
        self.archived.same(place, position, hash)
    }

    /// What had happened in a process by a turn.
    pub(crate) fn happened_by(&self, place: Place, position: Lsn) -> Happened {
        self.truth.happened_by(place, position)
    }

    /// What has happened in a process so far.
    pub(crate) fn happened_to(&self, place: Place) -> Happened {
        self.truth.happened_to(place)
    }

    /// A process has its earlier store, from the time when this had happened.
    pub(crate) fn put_back(&mut self, place: Place, happened: Happened) {
        let process = self.truth.id(place).clone();
        self.put_back = Some(PutBack {
            process,
            is_still: true,
            begun: self.truth.begun().clone(),
        });
        // Others cannot know that these numbers were used.
        self.revisions
            .lost_with(self.truth.id(place), &BTreeSet::new());
        self.durability.wiped(place);
        self.archived.put_back(place, happened.position());
        self.requests.put_back(place, happened.position());
        self.truth.put_back(place, happened);
    }

    /// Whether a store was lost during this snapshot or after it, so that its recording is gone.
    pub(crate) fn is_of_the_loss(&self, snapshot: &SnapshotId) -> bool {
        self.truth.is_of_the_loss(snapshot)
    }

    /// The instants with a complete answer.
    pub(crate) fn instants(&self) -> Vec<Hlc> {
        self.past.instants()
    }

    /// Checks the answer about an instant. Returns whether it had been answered before.
    pub(crate) fn audited(&mut self, audit: &Audit) -> Checked<bool> {
        self.past.audited(audit)
    }

    /// Checks what a process reports about one of its accounts at an instant.
    pub(crate) fn held(
        &self,
        (place, account, at): (Place, &AccountId, Hlc),
        told: &Told,
    ) -> Checked {
        told.check(self.truth.balance_at(place, account, at))
            .map_err(|why| format!("{account:?} of {place} at {at}: {why}"))
    }

    /// Checks a complete answer about an account at an instant.
    pub(crate) fn told(&mut self, asked: Asked, told: &Told) -> Checked {
        self.past.told(asked, told)
    }

    /// An update of a pin is answered that a majority of all processes knows.
    pub(crate) fn pinned(&mut self, answered: Answered) -> Checked {
        self.pins.answered(answered)
    }

    /// Checks that all answered updates of pins, or newer ones, are among these.
    pub(crate) fn pins_kept(&self, pins: &BTreeMap<SnapshotId, Pin>) -> Checked {
        self.pins.kept(pins)
    }

    /// A process is down permanently.
    pub(crate) fn lost(&mut self, place: Place) {
        self.lost = Some(place);
    }

    /// Whether a marker of a durable recording has never been put into a frame of its channel.
    pub(crate) fn has_unsent_marker(&self, route: Route, transmitted: u64) -> bool {
        self.truth.has_marker_after(route, transmitted)
    }

    /// Whether several recordings of a process were ever open at once.
    pub(crate) fn overlapped(&self) -> bool {
        self.truth.overlapped
    }

    /// Whether money was ever credited to another account than the named one.
    pub(crate) fn suspended(&self) -> bool {
        self.truth.suspended
    }
}
