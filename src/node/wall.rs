//! The clock of a node: what turns are labelled with, and what is said of clocks that are wrong. The rules are those of
//! `process/wall.rs`; here are the readings, the greetings of the peers, and the reports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::handle::Handle;
use super::peers::{PeerState, PeerView};
use crate::config::{ClockSettings, Transport, WallClock};
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::process::wall::{ClockReading, Offset, Wall};
use crate::proto::snapledger::Greeting;
use crate::transport::TooEarly;

/// How long a start waits for the clocks of the peers: eight greetings.
const SETTLE_MAX: Duration = Duration::from_secs(2);
const SETTLE_LOOK_EVERY: Duration = Duration::from_millis(20);
/// As often as peers are greeted.
const COMPARE_EVERY: Duration = Duration::from_millis(250);

/// Whether turns may be labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClockState {
    /// The wall clock is still to be compared.
    Comparing,
    /// They may.
    Settled,
    /// The node stops before the wall clock was compared.
    Closed,
}

/// What a peer has said of its clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PeerClocks {
    /// Its wall clock.
    pub(super) wall: Offset,
    /// The one it believes; `None` while it compares itself.
    pub(super) believed: Option<Offset>,
}

impl PeerClocks {
    /// From the answer to a greeting, which was given half way between these readings. `None` where it says nothing of clocks.
    pub(super) fn of(
        answer: &Greeting,
        asked: ClockReading,
        answered: ClockReading,
    ) -> Option<Self> {
        let half = answered.elapsed_us.saturating_sub(asked.elapsed_us) / 2;
        let then = ClockReading {
            elapsed_us: asked.elapsed_us + half,
            ..answered
        };
        let offset = |us: u64| (us > 0).then(|| then.offset_of(us));
        Some(Self {
            wall: offset(answer.wall_us)?,
            believed: offset(answer.believed_us),
        })
    }
}

/// The clock of one node.
pub(super) struct Clock {
    source: WallClock,
    started: Instant,
    ahead_max: Duration,
    wall: Mutex<Wall>,
    standing: watch::Sender<ClockState>,
    /// Whose clock is further away than is followed, and the newest figure, microseconds.
    skewed: Mutex<BTreeMap<ProcessId, i64>>,
    /// Whose newest turn is dated further ahead than is followed, and when that is.
    ahead: Mutex<BTreeMap<ProcessId, Hlc>>,
}

impl Clock {
    /// At a start, over a journal whose newest time this is.
    pub(super) fn new(settings: &ClockSettings, newest: Hlc) -> Self {
        let started = Instant::now();
        let now = read(&settings.wall, started);
        let bound_us = u64::try_from(settings.ahead_max.as_micros()).unwrap_or(u64::MAX);
        let wall = Wall::new(bound_us, newest, now);
        let standing = match wall.is_settled() {
            true => ClockState::Settled,
            false => ClockState::Comparing,
        };
        Self {
            source: settings.wall.clone(),
            started,
            ahead_max: settings.ahead_max,
            wall: Mutex::new(wall),
            standing: watch::channel(standing).0,
            skewed: Mutex::default(),
            ahead: Mutex::default(),
        }
    }

    /// Both clocks as they are.
    pub(super) fn reading(&self) -> ClockReading {
        read(&self.source, self.started)
    }

    /// The believed wall clock, microseconds since the Unix epoch. It labels; nothing is ordered by it.
    pub(super) fn wall_us(&self) -> u64 {
        self.wall().now_us(self.reading())
    }

    /// The same as a hybrid clock value.
    pub(super) fn now(&self) -> Hlc {
        Hlc::at(self.wall_us())
    }

    /// What is told to peers: the wall clock, and the believed one once turns may be labelled with it.
    pub(super) fn told(&self) -> (u64, Option<u64>) {
        let (wall, now) = (self.wall(), self.reading());
        let believed = wall.is_settled().then(|| wall.now_us(now));
        (now.wall_us, believed)
    }

    /// Why a time may not be received now: it would pull the clock here too far ahead.
    pub(super) fn too_early(&self, time: Hlc) -> Option<String> {
        let ahead_us = self.wall().too_early(self.reading(), time)?;
        Some(format!(
            "its time is {} ahead of the clock here, and clock.ahead_max is {:?}",
            seconds(i64::try_from(ahead_us).unwrap_or(i64::MAX)),
            self.ahead_max
        ))
    }

    /// Whether turns may be labelled.
    pub(super) fn is_settled(&self) -> bool {
        *self.standing.borrow() == ClockState::Settled
    }

    /// Resolves when turns may be labelled: true; or never will be.
    pub(super) async fn settled(&self) -> bool {
        let mut standing = self.standing.subscribe();
        let decided = standing.wait_for(|standing| *standing != ClockState::Comparing);
        decided
            .await
            .is_ok_and(|standing| *standing == ClockState::Settled)
    }

    /// Ends the waiting of a start that is given up.
    pub(super) fn close(&self) {
        self.standing.send_if_modified(|standing| {
            let waits = *standing == ClockState::Comparing;
            if waits {
                *standing = ClockState::Closed;
            }
            waits
        });
    }

    /// How far the wall clock of this node is ahead of the believed one, microseconds.
    pub(super) fn skew_us(&self) -> i64 {
        self.wall().skew_us(self.reading())
    }

    /// How far the wall clock of a peer is ahead of the believed one here, microseconds.
    pub(super) fn skew_of(&self, clocks: PeerClocks) -> i64 {
        self.wall().skew_of(self.reading(), clocks.wall)
    }

    fn settle(&self, peers: &[Offset]) {
        let now = self.reading();
        let skew_us = {
            let mut wall = self.wall();
            wall.settle(now, peers);
            wall.skew_us(now)
        };
        if skew_us != 0 {
            let (skew, peers) = (seconds(skew_us), peers.len());
            tracing::error!(skew, peers, "the wall clock is wrong: the peers' is taken");
        }
        self.standing.send_if_modified(|standing| {
            let waits = *standing == ClockState::Comparing;
            if waits {
                *standing = ClockState::Settled;
            }
            waits
        });
    }

    // Takes note of a figure, and says so in the log where it begins or ends to be too large.
    fn note(&self, process: &ProcessId, skew_us: i64) {
        let is_skewed = self.wall().is_skewed(skew_us);
        let mut skewed = self.skewed();
        let skew = seconds(skew_us);
        let ahead_max = self.ahead_max;
        match (is_skewed, skewed.contains_key(process)) {
            (true, false) => tracing::warn!(%process, skew, ?ahead_max, "a wall clock is wrong"),
            (false, true) => tracing::info!(%process, skew, "the wall clocks agree again"),
            _ => {}
        }
        match is_skewed {
            true => _ = skewed.insert(process.clone(), skew_us),
            false => _ = skewed.remove(process),
        }
    }

    // How far a time is ahead of the believed clock, microseconds.
    fn ahead_us(&self, time: Hlc) -> u64 {
        time.wall_us().saturating_sub(self.wall_us())
    }

    // Takes note of the newest turn of a process, and says so in the log where it begins or ends to be dated too far ahead.
    fn note_newest(&self, process: &ProcessId, newest: Hlc) {
        let ahead_us = self.ahead_us(newest);
        let is_ahead = Duration::from_micros(ahead_us) > self.ahead_max;
        let mut noted = self.ahead();
        let ahead = seconds(i64::try_from(ahead_us).unwrap_or(i64::MAX));
        let ahead_max = self.ahead_max;
        match (is_ahead, noted.contains_key(process)) {
            (true, false) => {
                tracing::warn!(%process, ahead, ?ahead_max, "turns are dated ahead of the clock here");
            }
            (false, true) => tracing::info!(%process, "the times of its turns are over"),
            _ => {}
        }
        match is_ahead {
            true => _ = noted.insert(process.clone(), newest),
            false => _ = noted.remove(process),
        }
    }

    // Nothing is known of the clocks of those that are down.
    fn forget_but(&self, is_known: impl Fn(&ProcessId) -> bool) {
        self.skewed().retain(|process, _| is_known(process));
    }

    /// The clocks that are further away than is followed, each in a sentence.
    pub(super) fn warnings(&self, me: &ProcessId) -> Vec<String> {
        let skewed = self.skewed();
        let sentence = |(process, skew_us): (&ProcessId, &i64)| {
            let (skew, max) = (seconds(skew_us.saturating_abs()), self.ahead_max);
            let side = if *skew_us < 0 { "behind" } else { "ahead of" };
            match process == me {
                true => format!(
                    "the wall clock of this node is {skew} {side} the one it goes by, and is not followed: set it right"
                ),
                false => format!(
                    "the wall clock of {process} is {skew} {side} the one here; clock.ahead_max is {max:?}"
                ),
            }
        };
        let skewed: Vec<String> = skewed.iter().map(sentence).collect();
        let dated = |(process, newest): (&ProcessId, &Hlc)| {
            let ahead = seconds(i64::try_from(self.ahead_us(*newest)).unwrap_or(i64::MAX));
            let max = self.ahead_max;
            format!(
                "what {process} did is dated up to {ahead} ahead of the clock here, and is in answers about the past from then on; \
                 clock.ahead_max is {max:?}"
            )
        };
        let ahead = self.ahead();
        skewed.into_iter().chain(ahead.iter().map(dated)).collect()
    }

    fn wall(&self) -> MutexGuard<'_, Wall> {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ahead(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Hlc>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn skewed(&self) -> MutexGuard<'_, BTreeMap<ProcessId, i64>> {
        self.skewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Handle {
    /// What is wrong though the node does its work, each in a sentence.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let shared = &self.shared;
        let mut warnings = shared.peers.wall().warnings(&shared.config.me);
        warnings.extend(shared.links.warnings());
        warnings.extend(shared.collector.warnings());
        warnings
    }

    /// How far the wall clock of this node is ahead of the one it labels turns with, seconds.
    #[must_use]
    pub fn clock_skew_seconds(&self) -> f64 {
        micros_as_seconds(self.shared.peers.wall().skew_us())
    }

    /// The processes that have done something which is dated more than `clock.ahead_max` ahead of the clock of this node: it
    /// is not in answers about the past before that time.
    #[must_use]
    pub fn dated_ahead(&self) -> BTreeMap<ProcessId, Hlc> {
        self.shared.peers.wall().ahead().clone()
    }

    /// How far the wall clock of a peer is ahead of the one that this node labels turns with, seconds; `None` where it is
    /// not known.
    #[must_use]
    pub fn clock_skew_seconds_of(&self, peer: &PeerView) -> Option<f64> {
        let wall = self.shared.peers.wall();
        peer.clocks
            .map(|clocks| micros_as_seconds(wall.skew_of(clocks)))
    }

    pub(super) fn too_early(&self) -> TooEarly {
        let wall = Arc::clone(self.shared.peers.wall());
        Arc::new(move |time| wall.too_early(time))
    }
}

/// Compares the clock with those of the peers, for ever; first of all before turns are labelled.
pub(super) async fn watch(handle: Handle) {
    let clock = handle.shared.peers.wall();
    if *clock.standing.borrow() == ClockState::Comparing {
        let told = wait_for_peers(&handle).await;
        clock.settle(&told);
    }
    let mut looks = interval(COMPARE_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let told = peer_clocks(&handle);
        let walls: Vec<Offset> = told.iter().map(|(_, clocks)| clocks.wall).collect();
        let has_leapt = clock.wall().compare(clock.reading(), &walls);
        if has_leapt {
            let peers = walls.len();
            tracing::warn!(peers, "the wall clock was set, and is followed from now on");
        }
        let me = &handle.config().me;
        let is_told = |process: &ProcessId| told.iter().any(|(peer, _)| peer == process);
        clock.forget_but(|process| process == me || is_told(process));
        let skews = told
            .into_iter()
            .map(|(peer, clocks)| (peer, clock.skew_of(clocks)));
        for (process, skew_us) in skews.chain([(me.clone(), clock.skew_us())]) {
            clock.note(&process, skew_us);
            handle.shared.metrics.skewed(&process, skew_us);
        }
        for (process, newest) in newest_turns(&handle) {
            let ahead_us = clock.ahead_us(newest);
            handle.shared.metrics.dated_ahead(&process, ahead_us);
            clock.note_newest(&process, newest);
        }
    }
}

// The clocks of the peers, as soon as a majority of the cluster is known; of those who answer in time otherwise.
async fn wait_for_peers(handle: &Handle) -> Vec<Offset> {
    let members = handle.config().members.iter();
    let natives = members
        .filter(|member| member.transport != Transport::Unary)
        .count();
    let until = Instant::now() + SETTLE_MAX;
    loop {
        let told = peer_clocks(handle);
        if (told.len() + 1) * 2 > natives || Instant::now() > until {
            let offsets = told
                .iter()
                .map(|(_, clocks)| clocks.believed.unwrap_or(clocks.wall));
            return offsets.collect();
        }
        sleep(SETTLE_LOOK_EVERY).await;
    }
}

// Of this process and of its peers, as far as they have said so.
fn newest_turns(handle: &Handle) -> Vec<(ProcessId, Hlc)> {
    let peers = handle.peers().into_iter();
    let peers = peers.map(|peer| (peer.process, peer.settled));
    let own = (handle.config().me.clone(), handle.shared.clocks.settled());
    peers.chain([own]).collect()
}

// Of those that are up, and whose program tells.
fn peer_clocks(handle: &Handle) -> Vec<(ProcessId, PeerClocks)> {
    let peers = handle.peers().into_iter();
    let up = peers.filter(|peer| peer.state == PeerState::Up);
    up.filter_map(|peer| Some((peer.process, peer.clocks?)))
        .collect()
}

fn read(source: &WallClock, started: Instant) -> ClockReading {
    ClockReading {
        wall_us: source.read_us(),
        elapsed_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    }
}

/// A difference of clocks, for people.
pub(super) fn seconds(us: i64) -> String {
    let ms = us / 1_000;
    format!(
        "{}{}.{:03} s",
        if ms < 0 { "-" } else { "" },
        ms.unsigned_abs() / 1_000,
        ms.unsigned_abs() % 1_000
    )
}

/// Microseconds as seconds, for figures that people and Prometheus read.
pub(super) fn micros_as_seconds(us: i64) -> f64 {
    Duration::from_micros(us.unsigned_abs())
        .as_secs_f64()
        .copysign(if us < 0 { -1.0 } else { 1.0 })
}
