//! The assembly of a snapshot, from its start to a complete revision.
//!
//! [`Assembly`] is a state machine without I/O. It takes events and the time ([`Assembly::handle`]) and yields actions
//! ([`Assembly::poll`]); [`Assembly::wake_at`] is the time of its next timer. The node executes the actions; the simulation
//! executes the same actions over its own network, disk and clock.
//!
//! - When every part is present, a complete revision is published. It is final.
//! - Before that, a partial revision is published at the deadline, or as soon as every missing part or marker is explained by a
//!   silent process or a stopped channel. Parts that arrive later lead to further revisions; those that arrive within two
//!   seconds share one.
//! - Several processes may assemble one snapshot: a stand-in, or several that started it under one id. An assembly that may
//!   have rivals first asks its peers for a complete revision and adopts it. While the initiator is up, all others stand back
//!   for a limited time and leave publishing to it. Two processes never use the same revision number (`initiator.rs`).
//! - A part with damaged or missing contents is not published but fetched again.
//!
//! Over 500 lines: one state machine, whose steps share every field.

mod fetching;
mod initiator;
mod membership;
mod protocol;
mod view;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use fetching::Fetches;
pub use initiator::{REVISIONS_EACH, is_over, is_own_number, numbered_by, own_numbers_after};
pub use membership::Membership;
pub use protocol::{Action, End, Event, Extent, Finish, Job, Newest, NextRevision, Timing};
pub use view::{ClusterView, PeerSight, PeerState};

use super::global::GlobalState;
use super::part::Part;
use crate::process::ids::{Hash, Lsn, ProcessId};

const MS: u64 = 1_000;
const SECOND: u64 = 1_000 * MS;
/// The interval at which an assembly without a revision checks whether waiting is useless.
const LOOK_EARLY_EVERY_US: u64 = 200 * MS;
/// The interval at which it checks, after its first revision, whether a missing process is back. Hundreds of such assemblies
/// may be running.
const LOOK_LATE_EVERY_US: u64 = SECOND;
/// Late parts that arrive within this time share a revision.
const GATHER_US: u64 = 2 * SECOND;
/// The time limit for one process to return its unfinished part; the rest is published without it.
const AS_IT_IS_MAX_US: u64 = SECOND;
/// How long other assemblers leave the snapshot to an assembler that is up again, beyond the configured deadline.
const STAND_BACK_US: u64 = 10 * SECOND;

/// A snapshot that this process assembles.
#[derive(Debug)]
pub struct Assembly {
    membership: Arc<Membership>,
    view: ClusterView,
    state: GlobalState,
    timing: Timing,
    /// Whether another process may have completed the snapshot: this process was restarted, is not the initiator, or has
    /// published a partial revision.
    may_have_rivals: bool,
    /// The time since which the designated assembler, another process, has been up.
    assembler_up_since_us: Option<u64>,
    fetches: Fetches,
    /// The number of closed channels of each process in the newest revision.
    published_channels: BTreeMap<ProcessId, usize>,
    /// The cuts of the parts in published revisions. A part with another cut was recorded by another store.
    cuts: BTreeMap<ProcessId, (Lsn, Hash)>,
    /// Whether the own part is damaged. This node cannot recreate it while it runs.
    own_is_damaged: bool,
    /// The processes whose store was lost since the state was recorded here.
    lost: Vec<ProcessId>,
    /// The processes that have deleted the snapshot. They are asked no more.
    not_kept: BTreeSet<ProcessId>,
    /// Those of them that the newest revision names.
    told_not_kept: BTreeSet<ProcessId>,
    phase: Phase,
    look_at_us: u64,
    look_every_us: u64,
    actions: VecDeque<Action>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    New,
    /// Waits for parts, for the deadline, or for a reason to stop waiting.
    Waiting {
        /// Whether publishing is left to the designated assembler.
        stands_back: bool,
    },
    /// A late part has arrived, or a missing process is back: waits for more.
    Gathering {
        until_us: u64,
    },
    Asking(Why),
    Adopting(Then),
    /// Checks whether another process has published as much.
    Comparing,
    Counting(Which),
    Publishing(Which),
    Over,
}

/// Why unfinished parts were requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    /// The deadline has passed.
    Deadline,
    /// Waiting may be useless.
    InVain,
    /// Processes that were missing are back.
    News,
    /// More is present than the newest revision holds.
    More,
}

/// The next step if no complete revision was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Then {
    Begin,
    Look,
    Publish,
}

/// The kind of revision to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    /// A revision of what is present.
    Partial,
    /// A revision of all parts, except those that turn out to be damaged.
    Complete,
}

impl Assembly {
    /// Assembles a snapshot that was just started on this process.
    #[must_use]
    pub fn begun(membership: Arc<Membership>, state: GlobalState, timing: Timing) -> Self {
        Self {
            membership,
            view: ClusterView::default(),
            published_channels: closed_channels(&state),
            cuts: cuts_of(&state).collect(),
            not_kept: state.not_kept().cloned().collect(),
            told_not_kept: state.not_kept().cloned().collect(),
            state,
            timing,
            may_have_rivals: false,
            assembler_up_since_us: None,
            fetches: Fetches::default(),
            own_is_damaged: false,
            lost: Vec::new(),
            phase: Phase::New,
            look_at_us: 0,
            look_every_us: LOOK_EARLY_EVERY_US,
            actions: VecDeque::new(),
        }
    }

    /// Resumes a snapshot that was started in an earlier run or by another process. Another process may have completed it
    /// since, and stores may have been lost, because `store forget` runs while the node is stopped.
    #[must_use]
    pub fn resumed(
        membership: Arc<Membership>,
        state: GlobalState,
        timing: Timing,
        lost: Vec<ProcessId>,
    ) -> Self {
        Self {
            may_have_rivals: true,
            lost,
            ..Self::begun(membership, state, timing)
        }
    }

    /// The parts that are present. `revision` is the number of the newest revision, 0 before the first.
    #[must_use]
    pub fn state(&self) -> &GlobalState {
        &self.state
    }

    /// The processes whose store was lost since the state was recorded here.
    #[must_use]
    pub fn lost(&self) -> &[ProcessId] {
        &self.lost
    }

    /// Whether fetched parts are accepted in the present phase.
    #[must_use]
    pub fn takes_parts(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. } | Phase::Gathering { .. })
    }

    /// Updates the view of the other processes. Must be called before each event, so that decisions use the present view.
    pub fn observe(&mut self, view: ClusterView) {
        self.view = view;
    }

    /// The next action to execute, in order.
    pub fn poll(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// The latest time at which [`Event::Time`] must come; `None` while an answer is awaited and after the end.
    #[must_use]
    pub fn wake_at(&self) -> Option<u64> {
        let phase_us = match self.phase {
            Phase::New => Some(0),
            Phase::Waiting { stands_back } if self.is_early() && !stands_back => {
                Some(self.look_at_us.min(self.deadline_at_us()))
            }
            Phase::Waiting { .. } => Some(self.look_at_us),
            Phase::Gathering { until_us } => Some(until_us),
            Phase::Asking(_)
            | Phase::Adopting(_)
            | Phase::Comparing
            | Phase::Counting(_)
            | Phase::Publishing(_) => None,
            Phase::Over => return None,
        };
        let times = [phase_us, self.fetches.next_due_us()];
        times.into_iter().flatten().min()
    }

    /// Handles an event. After the end, and for fetches that were dropped, events are ignored.
    pub fn handle(&mut self, now_us: u64, event: Event) {
        match (self.phase, event) {
            (Phase::Over, _) => return,
            (_, Event::Failed) => self.end(End::Failed),
            (_, Event::FetchEnded { process, is_done }) => {
                self.fetches.ended(&process, is_done, now_us);
            }
            (_, Event::NotKept(process)) => {
                self.fetches.ended(&process, true, now_us);
                self.not_kept.insert(process);
            }
            (Phase::New, _) => self.begin(now_us),
            (Phase::Waiting { stands_back }, Event::Time) => self.time_passed(now_us, stands_back),
            (Phase::Waiting { .. }, Event::Arrived(part)) => self.arrived(now_us, *part),
            (Phase::Gathering { until_us }, Event::Time) if now_us >= until_us => {
                self.gathered(now_us);
            }
            (Phase::Gathering { until_us }, Event::Arrived(part)) => {
                self.take(*part);
                self.gather(now_us, until_us);
            }
            (Phase::Asking(why), Event::Asked(parts)) => self.asked(now_us, why, parts),
            (Phase::Adopting(_), Event::Adopted(true)) => self.end(End::Adopted),
            (Phase::Adopting(then), Event::Adopted(false)) => self.not_adopted(now_us, then),
            (Phase::Comparing, Event::Newest(newest)) => self.compared(now_us, newest),
            (
                Phase::Counting(which),
                Event::Counted {
                    counted,
                    mut damaged,
                    contradicted,
                },
            ) => {
                self.state.counted = counted;
                damaged.extend(self.leave_out(contradicted));
                self.counted(now_us, which, &damaged);
            }
            (Phase::Publishing(which), Event::Published(revision)) => {
                self.published(now_us, which, revision);
            }
            (_, event) => debug_assert!(
                matches!(event, Event::Time),
                "{event:?} while {:?}",
                self.phase
            ),
        }
        if self.phase != Phase::Over {
            let due = self
                .fetches
                .begin_due(&self.membership.me, &self.view, now_us);
            self.actions.extend(due);
        }
    }

    /// The revision that [`Job::Publish`] must make durable.
    #[must_use]
    pub fn next_revision(&self, finish: Finish) -> NextRevision {
        let topology = &self.membership.topology;
        let last_complete = finish.last_complete.as_ref();
        let since_us = finish.now_us.saturating_sub(self.timing.now_us);
        let parts = &self.state.parts;
        let state = GlobalState {
            completeness: self
                .view
                .completeness(topology, parts, last_complete)
                .without_parts_of(&self.not_kept),
            finished_at: finish.time.max(self.state.initiated_at),
            finished_clock: finish.clock,
            duration_us: self.timing.elapsed_us.saturating_add(since_us),
            // A revision says of the start what its parts say.
            start: parts.get(&self.state.initiator).and_then(|part| part.start),
            ..self.state.clone()
        };
        NextRevision {
            after: self.membership.numbers_after(&state),
            state,
        }
    }

    fn begin(&mut self, now_us: u64) {
        match self.may_have_rivals {
            true => self.adopt(Then::Begin),
            false => self.collect(now_us),
        }
    }

    fn collect(&mut self, now_us: u64) {
        self.fetch(now_us);
        self.look_at_once(now_us);
        self.wait(now_us);
    }

    // Waits, unless a revision can be published or the assembly is over.
    fn wait(&mut self, now_us: u64) {
        let stands_back = self.stands_back(now_us);
        if self.is_whole() && !stands_back {
            match self.may_have_rivals {
                true => self.adopt(Then::Publish),
                false => self.count(Which::Complete),
            }
        } else if !self.is_early() && !self.has_untold() && self.is_in_vain() {
            self.end(End::InVain);
        } else {
            self.phase = Phase::Waiting { stands_back };
        }
    }

    fn arrived(&mut self, now_us: u64, part: Part) {
        self.take(part);
        if self.is_early() {
            self.actions.push_back(Action::Show);
            self.wait(now_us);
        } else {
            self.gather(now_us, now_us + GATHER_US);
        }
    }

    fn time_passed(&mut self, now_us: u64, stands_back: bool) {
        if self.is_early() && !stands_back && now_us >= self.deadline_at_us() {
            self.ask(now_us, Why::Deadline);
        } else if now_us >= self.look_at_us {
            self.look_at_us = now_us + self.look_every_us;
            // The designated assembler may have completed the snapshot.
            match stands_back && self.may_have_rivals {
                true => self.adopt(Then::Look),
                false => self.look(now_us, stands_back),
            }
        }
    }

    fn look(&mut self, now_us: u64, stands_back: bool) {
        let may_be_in_vain = self.view.is_anything_broken() || !self.not_kept.is_empty();
        if self.is_early() && !stands_back && may_be_in_vain {
            self.ask(now_us, Why::InVain);
        } else if !self.is_early() && (self.is_missing_one_back() || self.has_untold()) {
            self.gather(now_us, now_us + GATHER_US);
        } else {
            self.wait(now_us);
        }
    }

    fn gather(&mut self, now_us: u64, until_us: u64) {
        self.phase = Phase::Gathering { until_us };
        if self.is_whole() {
            self.gathered(now_us);
        }
    }

    fn gathered(&mut self, now_us: u64) {
        match self.is_whole() || self.stands_back(now_us) {
            true => self.wait(now_us),
            false => self.ask(now_us, Why::News),
        }
    }

    // A part with open channels grows only by messages of the missing processes that return. It is requested again only if one
    // of these processes has sent something.
    fn ask(&mut self, now_us: u64, why: Why) {
        let mut processes = self.wanted();
        processes.retain(|process| {
            let is_there = self.state.parts.contains_key(process);
            let can_answer = *process == self.membership.me || self.view.is_up(process);
            can_answer && !(is_there && why == Why::News)
        });
        if processes.is_empty() {
            return self.asked(now_us, why, Vec::new());
        }
        self.phase = Phase::Asking(why);
        self.actions.push_back(Action::Run(Job::Ask {
            processes,
            is_late: !self.is_early(),
            limit_us: AS_IT_IS_MAX_US,
        }));
    }

    fn asked(&mut self, now_us: u64, why: Why, parts: Vec<Part>) {
        if why == Why::News {
            for part in parts {
                self.take(part);
            }
            return match self.adds_to_what_is_published() || self.has_untold() {
                true => self.ask(now_us, Why::More),
                false => self.wait(now_us),
            };
        }
        let mut state = self.state.clone();
        for part in parts {
            self.actions.extend(add(&mut state, &self.cuts, part));
        }
        state.settle_initiator();
        let is_gone = |process: &ProcessId| self.not_kept.contains(process);
        let topology = &self.membership.topology;
        if why == Why::InVain && !self.view.explains(topology, &state.parts, is_gone) {
            return self.wait(now_us);
        }
        self.state = state;
        self.settle();
        self.say(now_us);
    }

    // Publishes what is present, unless another assembler may have done so.
    fn say(&mut self, now_us: u64) {
        if self.is_whole() {
            self.wait(now_us);
        } else if self.state.initiator == self.membership.me {
            self.count(Which::Partial);
        } else {
            self.phase = Phase::Comparing;
            self.actions.push_back(Action::Run(Job::ReadNewest));
        }
    }

    // An assembler other than the initiator publishes nothing if the newest revision holds as much, unless it now knows that a
    // missing part cannot come.
    fn compared(&mut self, now_us: u64, newest: Option<Newest>) {
        let extent = Extent::of(&self.state);
        let is_told = !self.has_untold();
        let Some(newest) = newest.filter(|newest| is_told && newest.extent >= extent) else {
            return self.count(Which::Partial);
        };
        let was_early = self.is_early();
        self.state.revision = newest.revision;
        self.published_channels = closed_channels(&self.state);
        self.cuts.extend(cuts_of(&self.state));
        if was_early {
            self.may_have_rivals = true;
            self.fetch(now_us);
        }
        self.look_at_once(now_us);
        self.wait(now_us);
    }

    fn adopt(&mut self, then: Then) {
        let processes = self.membership.topology.processes();
        let is_asked = |process: &&ProcessId| {
            **process != self.membership.me
                && !self.membership.foreign.contains(*process)
                && !self.view.is_silent(process)
        };
        let processes = processes.filter(is_asked).cloned().collect();
        self.phase = Phase::Adopting(then);
        self.actions
            .push_back(Action::Run(Job::Adopt { processes }));
    }

    fn not_adopted(&mut self, now_us: u64, then: Then) {
        match then {
            Then::Begin => self.collect(now_us),
            Then::Look => self.look(now_us, true),
            Then::Publish => self.count(Which::Complete),
        }
    }

    fn count(&mut self, which: Which) {
        self.settle();
        self.phase = Phase::Counting(which);
        self.actions.push_back(Action::Run(Job::Count));
    }

    // Leaves out parts that contradict the newest revision in the history: a rival has published the parts of other stores.
    fn leave_out(&mut self, contradicted: BTreeMap<ProcessId, (Lsn, Hash)>) -> Vec<ProcessId> {
        let mut left_out = Vec::new();
        for (process, cut) in contradicted {
            self.actions
                .push_back(Action::NoteContradiction(process.clone()));
            self.cuts.insert(process.clone(), cut);
            left_out.push(process);
        }
        left_out
    }

    // Removes damaged parts and fetches them again. The rest is still published if this process has not published a revision,
    // which might hold more.
    fn counted(&mut self, now_us: u64, which: Which, damaged: &[ProcessId]) {
        self.own_is_damaged |= damaged.contains(&self.membership.me);
        for process in damaged {
            self.state.parts.remove(process);
        }
        let is_due = now_us >= self.deadline_at_us();
        let is_worth_it = is_due || !self.state.parts.is_empty();
        if damaged.is_empty() || self.is_early() && is_worth_it {
            self.told_not_kept.clone_from(&self.not_kept);
            self.phase = Phase::Publishing(which);
            self.actions.push_back(Action::Run(Job::Publish));
            return;
        }
        self.fetch(now_us);
        if which == Which::Complete || self.is_early() {
            self.look_at_once(now_us);
        }
        self.wait(now_us);
    }

    fn published(&mut self, now_us: u64, which: Which, revision: u32) {
        let was_early = self.is_early();
        self.state.revision = revision;
        self.published_channels = closed_channels(&self.state);
        self.cuts.extend(cuts_of(&self.state));
        // A complete revision is final.
        if self.is_whole() {
            return self.end(End::Complete);
        }
        if was_early {
            // From here on missing parts are late ones, and another process may stand in for this one.
            self.may_have_rivals = true;
            self.fetch(now_us);
        }
        if was_early || which == Which::Complete {
            self.look_at_once(now_us);
        }
        self.wait(now_us);
    }

    fn end(&mut self, end: End) {
        self.phase = Phase::Over;
        self.fetches = Fetches::default();
        self.actions.push_back(Action::StopFetching);
        self.actions.push_back(Action::End(end));
    }

    fn fetch(&mut self, now_us: u64) {
        self.actions.push_back(Action::StopFetching);
        self.fetches = Fetches::new(self.wanted(), !self.is_early(), now_us);
    }

    fn look_at_once(&mut self, now_us: u64) {
        self.look_at_us = now_us;
        self.look_every_us = match self.is_early() {
            true => LOOK_EARLY_EVERY_US,
            false => LOOK_LATE_EVERY_US,
        };
    }

    // A finished part is kept; later ones cannot hold more.
    fn take(&mut self, part: Part) {
        let process = part.process.clone();
        let known = self.state.parts.get(&process);
        if !known.is_some_and(Part::is_finished) {
            self.actions.extend(add(&mut self.state, &self.cuts, part));
            self.settle();
        }
        self.actions.push_back(Action::NotePart(process));
    }

    // A process that turns out not to be the initiator leaves publishing to the initiator.
    fn settle(&mut self) {
        self.state.settle_initiator();
        self.may_have_rivals |= self.state.initiator != self.membership.me;
    }

    fn deadline_at_us(&self) -> u64 {
        self.timing.now_us.saturating_add(self.timing.deadline_us)
    }

    // Whether more is present than in the newest revision and nothing less: a part may have been removed as damaged.
    fn adds_to_what_is_published(&self) -> bool {
        let now = closed_channels(&self.state);
        let mut published_channels = self.published_channels.iter();
        let is_there = |(process, channels)| now.get(process) >= Some(channels);
        published_channels.all(is_there) && now != self.published_channels
    }

    // Whether this assembly has no published revision.
    fn is_early(&self) -> bool {
        self.state.revision == 0
    }

    fn is_whole(&self) -> bool {
        self.membership.unfinished(&self.state.parts).is_empty()
    }

    // The processes whose finished part is absent and may still come.
    fn wanted(&self) -> Vec<ProcessId> {
        let mut processes = self.membership.unfinished(&self.state.parts);
        processes.retain(|process| *process != self.membership.me || !self.own_is_damaged);
        processes.retain(|process| !self.not_kept.contains(process));
        processes
    }

    // The processes without a part.
    fn missing(&self) -> impl Iterator<Item = &ProcessId> {
        let processes = self.membership.topology.processes();
        processes.filter(|process| !self.state.parts.contains_key(*process))
    }

    fn is_missing_one_back(&self) -> bool {
        let mut missing = self.missing();
        missing.any(|process| self.view.is_up(process) && !self.not_kept.contains(process))
    }

    // Whether a missing part was deleted, and the newest revision does not say so.
    fn has_untold(&self) -> bool {
        let is_untold = |process: &ProcessId| {
            self.not_kept.contains(process) && !self.told_not_kept.contains(process)
        };
        self.missing().any(is_untold)
    }

    // Whether everything that is missing was lost with its store or deleted, so that it cannot come.
    fn is_in_vain(&self) -> bool {
        let is_lost = |process: &ProcessId| self.lost.contains(process);
        let is_gone = |process: &ProcessId| is_lost(process) || self.not_kept.contains(process);
        let mut parts = self.state.parts.iter();
        let is_final = |(process, part): (&ProcessId, &Part)| {
            is_gone(process) || part.open.iter().all(is_lost)
        };
        !self.is_whole() && parts.all(is_final) && self.missing().all(is_gone)
    }

    // Whether the designated assembler is up and may be about to publish. All others leave that to it for a limited time.
    fn stands_back(&mut self, now_us: u64) -> bool {
        let assembler = self.membership.assembler(&self.state.initiator, &self.view);
        let is_me = *assembler == self.membership.me;
        if is_me || !self.view.is_up(assembler) || self.lost.contains(assembler) {
            self.assembler_up_since_us = None;
            return false;
        }
        let since_us = *self.assembler_up_since_us.get_or_insert(now_us);
        let configured_us = self.timing.configured_deadline_us;
        let limit_us = configured_us.saturating_add(STAND_BACK_US);
        now_us.saturating_sub(since_us) < limit_us
    }
}

fn closed_channels(state: &GlobalState) -> BTreeMap<ProcessId, usize> {
    let parts = state.parts.iter();
    parts
        .map(|(process, part)| (process.clone(), part.channels.len()))
        .collect()
}

fn cuts_of(state: &GlobalState) -> impl Iterator<Item = (ProcessId, (Lsn, Hash))> {
    let parts = state.parts.iter();
    parts.map(|(process, part)| (process.clone(), part.state.cut()))
}

// Adds a part, unless it differs from the known one or from one that was published before its copy here was found damaged.
fn add(
    state: &mut GlobalState,
    cuts: &BTreeMap<ProcessId, (Lsn, Hash)>,
    part: Part,
) -> Option<Action> {
    let process = part.process.clone();
    let is_other = part.state.has_journal()
        && cuts
            .get(&process)
            .is_some_and(|cut| *cut != part.state.cut());
    let part = match state.parts.get(&process) {
        _ if is_other => None,
        Some(known) => part.told_again(known),
        None => Some(part),
    };
    match part {
        Some(part) => {
            state.parts.insert(process, part);
            None
        }
        None => Some(Action::NoteContradiction(process)),
    }
}

#[cfg(test)]
mod tests;
