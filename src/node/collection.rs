//! The life of one snapshot at the node that assembles it: complete when every part is there; partial at the deadline
//! or as soon as whoever is missing is known to be down, and complete when they come back.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep_until, timeout_at};

use super::collector::Collector;
use super::gather::WantedPart;
use crate::history::global::GlobalState;
use crate::history::part::Part;
use crate::process::ids::ProcessId;

const LOOK_EVERY: Duration = Duration::from_millis(200);
/// The same once a revision is published: there may be hundreds of these.
const LOOK_LATE_EVERY: Duration = Duration::from_secs(1);
/// Parts that come late and together make one revision.
const TOGETHER: Duration = Duration::from_secs(2);
/// Parts that wait to be taken up; more wait where they come from.
const PARTS_WAITING: usize = 16;
/// How long an initiator that returned is left to finish its snapshot by itself, besides the deadline.
const STAND_BACK_MAX: Duration = Duration::from_secs(10);

/// One snapshot that is being collected.
pub(super) struct Collection {
    collector: Arc<Collector>,
    state: GlobalState,
    started: Instant,
    deadline: Instant,
    /// Whether another process may have completed it: this one was away, or stands in itself.
    asks_others: bool,
    /// Since when the initiator, another process, is seen to be up.
    initiator_back: Option<Instant>,
    arriving: mpsc::Receiver<Part>,
    fetching: JoinSet<()>,
    /// How much the newest revision held.
    said: (usize, usize),
    /// Whether the own part has turned out to be damaged: nobody can give it anew in this life of the node.
    own_is_damaged: bool,
    /// Whose store was lost since the state was recorded here.
    lost: Vec<ProcessId>,
}

impl Collection {
    /// Of what is there so far; it counts from the first instant and is published as it is at the second.
    pub(super) fn new(
        collector: &Arc<Collector>,
        state: GlobalState,
        (started, deadline): (Instant, Instant),
    ) -> Self {
        Self {
            collector: Arc::clone(collector),
            said: known(&state),
            state,
            started,
            deadline,
            asks_others: false,
            initiator_back: None,
            arriving: mpsc::channel(1).1,
            fetching: JoinSet::new(),
            own_is_damaged: false,
            lost: Vec::new(),
        }
    }

    /// It was begun in an earlier life. Others are asked whether they have it complete, before it is completed here a
    /// second time, and some of their stores may have been lost since: a node is told of that while it is stopped.
    pub(super) fn going_on(self, lost: Vec<ProcessId>) -> Self {
        Self {
            asks_others: true,
            lost,
            ..self
        }
    }

    /// Ends when the snapshot is complete, or when the node goes down.
    pub(super) async fn run(mut self) {
        let snapshot = self.state.snapshot.clone();
        if !self.is_adopted().await {
            self.collect().await;
        }
        // What is still on its way would be held for ever.
        self.fetching.shutdown().await;
        self.collector.release(&snapshot);
    }

    async fn collect(&mut self) {
        self.fetch();
        // What is all there and cannot be published as it is, is collected further.
        while self.wait_for_all().await {
            if self.is_adopted().await || !self.publish().await || self.is_whole() {
                return;
            }
        }
    }

    // Whether all that is missing is of stores that were lost since: it never comes.
    fn is_in_vain(&self) -> bool {
        if self.lost.is_empty() {
            return false;
        }
        let parts = &self.state.parts;
        let open = parts.values().flat_map(|part| &part.open);
        let mut missing = self.collector.unfinished(&self.state);
        missing.retain(|process| !parts.contains_key(process));
        let mut waited_for = open.chain(&missing);
        waited_for.all(|process| self.lost.contains(process))
    }

    // Publishes what there is to say meanwhile. Says whether the last revision is still to be published.
    async fn wait_for_all(&mut self) -> bool {
        let mut look = self.looks();
        while !self.is_whole() || self.stands_back() {
            let early = self.is_early();
            // The initiator that is there publishes what there is to say.
            let stands_back = self.stands_back();
            if !early && self.is_in_vain() {
                let (snapshot, lost) = (&self.state.snapshot, &self.lost);
                tracing::info!(%snapshot, ?lost, "stays partial: what is missing was lost");
                return false;
            }
            let partial = tokio::select! {
                Some(part) = self.arriving.recv() => {
                    self.take(part);
                    if early {
                        self.collector.show(&self.state);
                        None
                    } else {
                        self.if_more().await
                    }
                }
                () = sleep_until(self.deadline), if early && !stands_back => {
                    Some(self.as_it_is().await)
                }
                _ = look.tick() => {
                    if stands_back && self.is_adopted().await {
                        return false;
                    }
                    if early && stands_back {
                        None
                    } else if early {
                        self.if_in_vain().await
                    } else if self.is_back() {
                        self.if_more().await
                    } else {
                        None
                    }
                }
            };
            if let Some(partial) = partial {
                self.state = partial;
                self.settle();
                // The last part has just come, and the initiator is there: what is complete it publishes itself.
                if self.is_whole() && self.stands_back() {
                    continue;
                }
                if self.is_said().await {
                    look = self.looks();
                    continue;
                }
                // What came meanwhile may have made it complete, and a complete revision is the last.
                if !self.publish().await || self.is_whole() {
                    return false;
                }
                if early {
                    look = self.looks();
                }
            }
        }
        true
    }

    // Nothing is published here yet.
    fn is_early(&self) -> bool {
        self.state.revision == 0
    }

    fn looks(&self) -> Interval {
        let every = match self.is_early() {
            true => LOOK_EVERY,
            false => LOOK_LATE_EVERY,
        };
        let mut looks = interval(every);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks
    }

    fn is_whole(&self) -> bool {
        self.collector.has_all(&self.state)
    }

    fn take(&mut self, part: Part) {
        self.collector.events.note_part(&part);
        let known = self.state.parts.get(&part.process);
        // One that is finished stays; what comes later cannot know more.
        if !known.is_some_and(Part::is_finished) {
            add(&mut self.state, part);
            self.settle();
        }
    }

    // One that turns out not to be the initiator leaves the snapshot to the one that is.
    fn settle(&mut self) {
        self.state.settle_initiator();
        self.asks_others |= self.state.initiator != self.collector.config.me;
    }

    fn fetch(&mut self) {
        let (found, arriving) = mpsc::channel(PARTS_WAITING);
        self.arriving = arriving;
        self.fetching = JoinSet::new();
        for process in self.wanting() {
            let collector = Arc::clone(&self.collector);
            let wanted = self.wanted(process);
            self.fetching
                .spawn(collector.fetch_finished(wanted, found.clone()));
        }
    }

    // Whose finished part is not here and may come.
    fn wanting(&self) -> Vec<ProcessId> {
        let me = &self.collector.config.me;
        let mut processes = self.collector.unfinished(&self.state);
        processes.retain(|process| process != me || !self.own_is_damaged);
        processes
    }

    // Whether another process has it complete; its revision is in this history then.
    async fn is_adopted(&self) -> bool {
        self.asks_others && self.collector.adopt(&self.state.snapshot).await
    }

    // Whether the initiator is there and may be about to publish: who only stands in for it leaves that to it, for
    // a while.
    fn stands_back(&mut self) -> bool {
        let initiator = &self.state.initiator;
        let assembler = self.collector.assembler(initiator);
        let is_me = *assembler == self.collector.config.me;
        let is_up = self.collector.peers.is_up(assembler) && !self.lost.contains(assembler);
        if is_me || !is_up {
            self.initiator_back = None;
            return false;
        }
        let since = self.initiator_back.get_or_insert_with(Instant::now);
        since.elapsed() < self.collector.config.snapshot.deadline + STAND_BACK_MAX
    }

    // Whether somebody who was missing is up again.
    fn is_back(&self) -> bool {
        let mut missing = self.collector.unfinished(&self.state);
        missing.retain(|process| !self.state.parts.contains_key(process));
        missing
            .iter()
            .any(|process| self.collector.peers.is_up(process))
    }

    // What is there now, if it is more than was said before and still not all. A part that is here and was open grows
    // by what the missing send when they return: it is asked for again only if one of these has something.
    async fn if_more(&mut self) -> Option<GlobalState> {
        self.gather().await;
        if self.is_whole() || self.stands_back() {
            return None;
        }
        for part in self.unfinished(|known| !known).await {
            self.take(part);
        }
        if known(&self.state) <= self.said {
            return None;
        }
        Some(self.as_it_is().await)
    }

    // Takes what arrives soon after a late part, so that those who come back together make one revision.
    async fn gather(&mut self) {
        let end = Instant::now() + TOGETHER;
        while !self.is_whole() {
            match timeout_at(end, self.arriving.recv()).await {
                Ok(Some(part)) => self.take(part),
                _ => return,
            }
        }
    }

    // What is there now, parts with open channels included.
    async fn as_it_is(&self) -> GlobalState {
        let mut state = self.state.clone();
        for part in self.unfinished(|_| true).await {
            add(&mut state, part);
        }
        state.settle_initiator();
        state
    }

    // Whether another process has published as much already: who is not the initiator has nothing to add then.
    async fn is_said(&mut self) -> bool {
        if self.state.initiator == self.collector.config.me || self.is_whole() {
            return false;
        }
        let snapshot = self.state.snapshot.clone();
        let published = self
            .collector
            .parts
            .blocking(move |store| store.published(&snapshot));
        let Ok(Some(published)) = published.await else {
            return false;
        };
        if known(&published.state) < known(&self.state) {
            return false;
        }
        let was_early = self.is_early();
        self.state.revision = published.state.revision;
        self.said = known(&self.state);
        if was_early {
            self.asks_others = true;
            self.fetch();
        }
        true
    }

    // Unfinished parts as they are now, of those processes that are wanted by whether anything of them is here.
    async fn unfinished(&self, wanted: impl Fn(bool) -> bool) -> Vec<Part> {
        let mut processes = self.wanting();
        processes.retain(|process| wanted(self.state.parts.contains_key(process)));
        let wanted = processes.into_iter().map(|process| self.wanted(process));
        self.collector.fetch_as_they_are(wanted.collect()).await
    }

    fn wanted(&self, process: ProcessId) -> WantedPart {
        WantedPart {
            process,
            snapshot: self.state.snapshot.clone(),
            initiator: self.state.initiator.clone(),
            is_late: !self.is_early(),
        }
    }

    // What is there now, if waiting for the rest is of no use.
    async fn if_in_vain(&self) -> Option<GlobalState> {
        if !self.collector.is_anything_broken() {
            return None;
        }
        let now = self.as_it_is().await;
        self.collector.is_explained(&now).then_some(now)
    }

    // Publishes the state as the next revision. Says whether collecting can go on: a storage error takes the node down,
    // and the snapshot is collected again after the next start.
    async fn publish(&mut self) -> bool {
        self.settle();
        let Ok(damaged) = self.collector.count(&mut self.state).await else {
            return false;
        };
        if !damaged.is_empty() && !self.leave_out(&damaged) {
            self.fetch();
            return true;
        }
        let was_early = self.is_early();
        let published = self.collector.publish(self.state.clone(), self.started);
        let Ok(revision) = published.await else {
            return false;
        };
        self.state.revision = revision;
        self.said = known(&self.state);
        if was_early && !self.is_whole() {
            // From now on its parts are late ones, and somebody may stand in for this process.
            self.asks_others = true;
            self.fetch();
        }
        true
    }

    // What is damaged here is as good as not here, and is to be fetched again. Says whether the rest is to be published
    // nevertheless: not where a revision that holds more may be.
    fn leave_out(&mut self, damaged: &[ProcessId]) -> bool {
        self.own_is_damaged |= damaged.contains(&self.collector.config.me);
        for process in damaged {
            self.state.parts.remove(process);
        }
        let is_due = Instant::now() >= self.deadline;
        self.is_early() && (is_due || !self.state.parts.is_empty())
    }
}

// A process of another make that tells a snapshot otherwise than before is not believed.
fn add(state: &mut GlobalState, part: Part) {
    let process = part.process.clone();
    let part = match state.parts.get(&process) {
        Some(known) => part.told_again(known),
        None => Some(part),
    };
    match part {
        Some(part) => _ = state.parts.insert(process, part),
        None => {
            let snapshot = &state.snapshot;
            tracing::error!(%snapshot, %process, "tells its part otherwise than before; that is left out");
        }
    }
}

/// How much of a global state is there: recorded states, then closed channels.
fn known(state: &GlobalState) -> (usize, usize) {
    let channels = state.parts.values().map(|part| part.channels.len());
    (state.parts.len(), channels.sum())
}
