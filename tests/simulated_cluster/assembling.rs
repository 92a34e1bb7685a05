//! The snapshots that a process assembles. The real `history::assembly` decides; its actions are executed here over the
//! simulated network, disk and clock, as `node/snapshots/collection.rs` executes them over the real ones.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use snapledger::history::assembly::{
    Action, Assembly, End, Event as Happening, Extent, Job, Newest, Timing,
};
use snapledger::history::global::GlobalState;
use snapledger::history::part::Part;
use snapledger::process::clock::Hlc;
use snapledger::process::ids::{ProcessId, SnapshotId};
use snapledger::process::refusal::Refusal;
use snapledger::process::reply::Initiated;

use crate::fetch::{Fetch, Purpose};
use crate::plan::{MS, SECOND};
use crate::world::{Checked, Event, Life, Place, World};

/// The maximum delay of a timer.
const TIMER_LATE_MAX: u64 = 2 * MS;
/// The interval at which a process checks whether its own state is written before it resumes a snapshot.
const WRITTEN_EVERY: u64 = 10 * MS;

/// A snapshot that is being assembled.
pub(crate) struct Collection {
    pub(crate) assembly: Assembly,
    pub(crate) began: u64,
    /// Whether it was started in an earlier life or by another process.
    pub(crate) is_resumed: bool,
    /// The time since which every part is present.
    pub(crate) whole_since: Option<u64>,
    /// The time since which another process is known to be the initiator.
    pub(crate) follows_since: Option<u64>,
    /// The last request for a complete revision.
    pub(crate) question: Option<Question>,
    /// Fetched parts that have not been taken yet.
    pub(crate) delivered: VecDeque<Part>,
    /// The running fetches, by number.
    pub(crate) fetches: BTreeMap<Place, u64>,
    pub(crate) job: Option<Running>,
    /// The number of jobs and fetches so far.
    numbers: u64,
    wake_at: Option<u64>,
    pub(crate) last_change: u64,
}

/// The job whose answer an assembly awaits.
pub(crate) enum Running {
    /// The unfinished parts of these processes.
    Asking {
        number: u64,
        waiting: BTreeSet<Place>,
        got: Vec<Part>,
    },
    /// A complete revision of one of these processes.
    Adopting {
        number: u64,
        waiting: BTreeSet<Place>,
    },
    /// The sync of a revision, and the stamp it covers.
    Publishing { state: Box<GlobalState>, stamp: u64 },
}

/// A request to all other processes for a complete revision.
#[derive(Debug, Clone)]
pub(crate) struct Question {
    pub(crate) at: u64,
    pub(crate) asked: BTreeSet<Place>,
    /// Whether the initiator, another process, was up at the time and its store not lost.
    pub(crate) initiator_is_up: bool,
}

impl Collection {
    /// Whether nothing more is expected of it.
    pub(crate) fn is_settled(&self, somebody_is_lost: bool, now: u64) -> bool {
        let is_quiet = !self.is_publishing() && now > self.last_change + 3 * SECOND;
        somebody_is_lost && self.assembly.state().revision > 0 && is_quiet
    }

    /// Whether a revision is being written to the disk.
    pub(crate) fn is_publishing(&self) -> bool {
        matches!(self.job, Some(Running::Publishing { .. }))
    }

    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn take_delivered(&mut self) -> Option<Happening> {
        if !self.assembly.takes_parts() {
            return None;
        }
        let part = self.delivered.pop_front()?;
        Some(Happening::Arrived(Box::new(part)))
    }
}

impl World {
    /// Handles the start of a snapshot, which may have been started before.
    pub(crate) fn initiated(
        &mut self,
        life: Life,
        initiated: Result<Initiated, Refusal>,
        time: Hlc,
    ) -> Checked {
        let initiated = match initiated {
            Ok(initiated) if initiated.fresh => initiated,
            Ok(_) => return Ok(()),
            Err(_) => {
                self.sometimes.saw("snapshot refused");
                return Ok(());
            }
        };
        if self.is_zombie_acting() {
            return Ok(());
        }
        let mut lives = self.nodes.iter().filter_map(|node| node.life.as_ref());
        if lives.any(|alive| alive.collections.contains_key(&initiated.snapshot)) {
            self.sometimes.saw("one id started at several processes");
        }
        let clock = initiated.clock;
        let state = GlobalState::begun(initiated.snapshot, initiated.initiator, time, clock);
        let timing = self.timing(0);
        let membership = Arc::clone(&self.nodes[life.place].membership);
        self.assemble(life, Assembly::begun(membership, state, timing), false)
    }

    /// Resumes a snapshot whose state was recorded here, from the newest revision or from the own part.
    pub(crate) fn resume(&mut self, life: Life, snapshot: &SnapshotId) -> Checked {
        if self.alive(life).is_none()
            || self.collection(life, snapshot).is_some()
            || self.is_zombie_acting()
        {
            return Ok(());
        }
        let Some((_, cut)) = self.recorded_here(life.place, snapshot) else {
            return Ok(());
        };
        let state = match self.newest(life.place, snapshot).cloned() {
            Some(newest) if newest.is_complete() => return Ok(()),
            Some(newest) => newest,
            None => match self.own_part(life.place, snapshot)? {
                Some(part) => {
                    let clock = part.state.clock.tick();
                    GlobalState::begun(part.snapshot, part.initiator, part.state.time, clock)
                }
                None => {
                    self.after(WRITTEN_EVERY, Event::Resume(life, snapshot.clone()));
                    return Ok(());
                }
            },
        };
        let lost = self.lost_since(life.place, cut);
        let began_us = state.initiated_at.wall_us();
        let timing = self.timing(self.wall_us(life.place).saturating_sub(began_us));
        let membership = Arc::clone(&self.nodes[life.place].membership);
        self.assemble(
            life,
            Assembly::resumed(membership, state, timing, lost),
            true,
        )
    }

    fn timing(&self, elapsed_us: u64) -> Timing {
        Timing {
            now_us: self.now,
            elapsed_us,
            deadline_us: self.plan.deadline,
            configured_deadline_us: self.plan.deadline,
        }
    }

    fn assemble(&mut self, life: Life, assembly: Assembly, is_resumed: bool) -> Checked {
        let state = assembly.state();
        self.trace.say(|| {
            format!(
                "collect {} at {} from revision {}",
                state.snapshot, life.place, state.revision
            )
        });
        let snapshot = state.snapshot.clone();
        let collection = Collection {
            assembly,
            began: self.now,
            is_resumed,
            whole_since: None,
            follows_since: None,
            question: None,
            delivered: VecDeque::new(),
            fetches: BTreeMap::new(),
            job: None,
            numbers: 0,
            wake_at: None,
            last_change: self.now,
        };
        if let Some(alive) = self.alive(life) {
            alive.collections.insert(snapshot.clone(), collection);
        }
        self.go_on_assembling(life, &snapshot)
    }

    pub(crate) fn collection(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
    ) -> Option<&mut Collection> {
        self.alive(life)?.collections.get_mut(snapshot)
    }

    /// Handles the expiry of a timer.
    pub(crate) fn wake_assembly(&mut self, life: Life, snapshot: &SnapshotId) -> Checked {
        let now = self.now;
        if let Some(collection) = self.collection(life, snapshot) {
            collection.wake_at = collection.wake_at.filter(|at| *at > now);
        }
        self.tell_assembly(life, snapshot, Happening::Time)
    }

    /// Passes an event to an assembly and executes the actions that follow.
    pub(crate) fn tell_assembly(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        happening: Happening,
    ) -> Checked {
        self.hand_to_assembly(life, snapshot, happening);
        self.go_on_assembling(life, snapshot)
    }

    /// Ends the job of an assembly.
    pub(crate) fn end_job(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        happening: Happening,
    ) -> Checked {
        if let Some(collection) = self.collection(life, snapshot) {
            collection.job = None;
        }
        self.tell_assembly(life, snapshot, happening)
    }

    fn hand_to_assembly(&mut self, life: Life, snapshot: &SnapshotId, happening: Happening) {
        let (now, view) = (self.now, self.cluster_view(life.place));
        let me = self.id(life.place).clone();
        let membership = Arc::clone(&self.nodes[life.place].membership);
        let Some(collection) = self.collection(life, snapshot) else {
            return;
        };
        let before = Extent::of(collection.assembly.state());
        collection.assembly.observe(view);
        collection.assembly.handle(now, happening);
        if Extent::of(collection.assembly.state()) != before {
            collection.last_change = now;
        }
        if collection.assembly.state().initiator != me {
            collection.follows_since.get_or_insert(now);
        }
        match membership
            .unfinished(&collection.assembly.state().parts)
            .is_empty()
        {
            true => _ = collection.whole_since.get_or_insert(now),
            false => collection.whole_since = None,
        }
    }

    fn go_on_assembling(&mut self, life: Life, snapshot: &SnapshotId) -> Checked {
        loop {
            let Some(collection) = self.collection(life, snapshot) else {
                return Ok(());
            };
            let happening = match collection.assembly.poll() {
                Some(action) => self.execute(life, snapshot, action)?,
                None => match collection.take_delivered() {
                    Some(happening) => Some(happening),
                    None => break,
                },
            };
            if let Some(happening) = happening {
                self.hand_to_assembly(life, snapshot, happening);
            }
        }
        let (now, late) = (self.now, self.random.below(TIMER_LATE_MAX));
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let wanted = collection.assembly.wake_at().map(|at| at.max(now) + late);
        let Some(at) = wanted.filter(|at| collection.wake_at.is_none_or(|due| due > *at)) else {
            return Ok(());
        };
        collection.wake_at = Some(at);
        self.at(at, Event::Assemble(life, snapshot.clone()));
        Ok(())
    }

    // Returns the event of an immediate result.
    fn execute(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        action: Action,
    ) -> Checked<Option<Happening>> {
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(None);
        };
        match action {
            Action::Fetch {
                process, is_late, ..
            } => {
                let number = collection.number();
                let from = self.place_of(&process);
                if let Some(collection) = self.collection(life, snapshot) {
                    collection.fetches.insert(from, number);
                }
                self.ask_for_part(
                    life,
                    (&process, snapshot),
                    Purpose::Finished { number, is_late },
                );
            }
            Action::StopFetching => {
                collection.fetches.clear();
                collection.delivered.clear();
            }
            Action::Run(job) => return self.begin_job(life, snapshot, job),
            Action::NotePart(_) | Action::Show => {}
            Action::NoteContradiction(process) => {
                // Another store of the process may also have recorded the snapshot. Too rare to be counted.
                let is_other_store = self.plan.wiped == Some(self.place_of(&process));
                if !is_other_store && !self.plan.put_back && !self.archive.loses_disks() {
                    return Err(format!("{process} contradicts itself in {snapshot}"));
                }
                self.trace
                    .say(|| format!("part of another store of {process} left out of {snapshot}"));
            }
            Action::End(end) => self.end_assembly(life, snapshot, end)?,
        }
        Ok(None)
    }

    fn begin_job(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        job: Job,
    ) -> Checked<Option<Happening>> {
        match job {
            Job::Ask {
                processes,
                limit_us,
                ..
            } => {
                self.ask_as_they_are(life, snapshot, &processes, limit_us);
                Ok(None)
            }
            Job::Adopt { processes } => Ok(self.ask_for_complete(life, snapshot, &processes)),
            Job::ReadNewest => {
                let newest = self.newest(life.place, snapshot).map(|newest| Newest {
                    revision: newest.revision,
                    extent: Extent::of(newest),
                });
                if newest.is_some() {
                    self.sometimes.saw("stand-in that finds a revision");
                }
                Ok(Some(Happening::Newest(newest)))
            }
            Job::Count => self.count(life, snapshot),
            Job::Publish => {
                self.publish(life, snapshot)?;
                Ok(None)
            }
        }
    }

    /// The number of the job that begins now.
    pub(crate) fn number_job(&mut self, life: Life, snapshot: &SnapshotId) -> u64 {
        let collection = self.collection(life, snapshot);
        collection.map_or(0, Collection::number)
    }

    fn ask_as_they_are(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        processes: &[ProcessId],
        limit_us: u64,
    ) {
        let number = self.number_job(life, snapshot);
        for process in processes {
            self.ask_for_part(life, (process, snapshot), Purpose::AsItIs(number));
        }
        let waiting = processes.iter().map(|process| self.place_of(process));
        let waiting = waiting.collect();
        if let Some(collection) = self.collection(life, snapshot) {
            collection.job = Some(Running::Asking {
                number,
                waiting,
                got: Vec::new(),
            });
        }
        self.after(limit_us, Event::JobOver(life, snapshot.clone(), number));
    }

    /// Handles the answer to a request for an unfinished part.
    pub(crate) fn answered_as_it_is(
        &mut self,
        fetch: &Fetch,
        number: u64,
        part: Option<Part>,
    ) -> Checked {
        let collection = self.collection(fetch.by, &fetch.snapshot);
        let job = collection.and_then(|collection| collection.job.as_mut());
        let Some(Running::Asking {
            number: asked,
            waiting,
            got,
        }) = job
        else {
            return Ok(());
        };
        if *asked != number {
            return Ok(());
        }
        waiting.remove(&fetch.from);
        got.extend(part);
        match waiting.is_empty() {
            true => self.end_job_in_time(fetch.by, &fetch.snapshot, number),
            false => Ok(()),
        }
    }

    /// Handles the time limit of a job.
    pub(crate) fn end_job_in_time(
        &mut self,
        life: Life,
        snapshot: &SnapshotId,
        number: u64,
    ) -> Checked {
        let Some(collection) = self.collection(life, snapshot) else {
            return Ok(());
        };
        let happening = match &mut collection.job {
            Some(Running::Asking {
                number: asked, got, ..
            }) if *asked == number => Happening::Asked(std::mem::take(got)),
            Some(Running::Adopting { number: asked, .. }) if *asked == number => {
                Happening::Adopted(false)
            }
            _ => return Ok(()),
        };
        self.end_job(life, snapshot, happening)
    }

    fn note_adopted(&mut self, life: Life, snapshot: &SnapshotId) {
        self.sometimes.saw("complete revision adopted");
        let me = self.id(life.place).clone();
        let collection = self.collection(life, snapshot);
        let was_down =
            |one: &&mut Collection| one.is_resumed && one.assembly.state().initiator == me;
        if collection.filter(was_down).is_some() {
            self.sometimes
                .saw("snapshot completed by a rival while its initiator was down");
        }
    }

    fn end_assembly(&mut self, life: Life, snapshot: &SnapshotId, end: End) -> Checked {
        self.trace
            .say(|| format!("{snapshot} at {} ends {end:?}", life.place));
        match end {
            End::Complete => {}
            End::Adopted => self.note_adopted(life, snapshot),
            End::InVain => self.sometimes.saw("assembly that ends in vain"),
            End::Failed => return Err(format!("{snapshot} failed")),
        }
        if let Some(alive) = self.alive(life) {
            alive.collections.remove(snapshot);
        }
        Ok(())
    }
}
