//! The clock of a node, which labels turns, and the warnings about wrong clocks. The rules are in `process/wall.rs`;
//! `clock_watch` compares the clock with those of the peers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use crate::config::{ClockSettings, WallClock};
use crate::process::clock::Hlc;
use crate::process::ids::ProcessId;
use crate::process::wall::{ClockReading, Offset, Wall};
use crate::proto::snapledger::Greeting;

/// Whether turns may be labelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ClockState {
    /// The wall clock has not been compared yet.
    Comparing,
    /// Turns may be labelled.
    Settled,
    /// The node stops before the wall clock was compared.
    Closed,
}

/// The clocks that a peer has reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::node) struct PeerClocks {
    /// Its wall clock.
    pub(in crate::node) wall: Offset,
    /// Its believed clock; `None` while it is comparing.
    pub(in crate::node) believed: Option<Offset>,
}

impl PeerClocks {
    /// The clocks in the answer to a greeting, taken as of the middle between the two readings. `None` if the answer reports no
    /// clocks.
    pub(in crate::node) fn of(
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
pub(in crate::node) struct Clock {
    source: WallClock,
    started: Instant,
    ahead_max: Duration,
    wall: Mutex<Wall>,
    standing: watch::Sender<ClockState>,
    /// The processes whose clock is further away than is followed, with the newest difference in microseconds.
    skewed: Mutex<BTreeMap<ProcessId, i64>>,
    /// The processes whose newest turn is dated further ahead than is followed, with that time.
    ahead: Mutex<BTreeMap<ProcessId, Hlc>>,
}

impl Clock {
    /// The clock at a start over a journal with this newest time.
    pub(in crate::node) fn new(settings: &ClockSettings, newest: Hlc) -> Self {
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

    /// A reading of both clocks.
    pub(in crate::node) fn reading(&self) -> ClockReading {
        read(&self.source, self.started)
    }

    /// The believed wall clock, microseconds since the Unix epoch. It only labels; nothing is ordered by it.
    pub(in crate::node) fn wall_us(&self) -> u64 {
        self.wall().now_us(self.reading())
    }

    /// The believed wall clock as a hybrid clock value.
    pub(in crate::node) fn now(&self) -> Hlc {
        Hlc::at(self.wall_us())
    }

    /// The clocks reported to peers: the wall clock, and the believed one once turns may be labelled with it.
    pub(in crate::node) fn told(&self) -> (u64, Option<u64>) {
        let (wall, now) = (self.wall(), self.reading());
        let believed = wall.is_settled().then(|| wall.now_us(now));
        (now.wall_us, believed)
    }

    /// Why a time may not be received now, if it would move this clock too far ahead.
    pub(in crate::node) fn too_early(&self, time: Hlc) -> Option<String> {
        let ahead_us = self.wall().too_early(self.reading(), time)?;
        Some(format!(
            "its time is {} ahead of this node's clock, and clock.ahead_max is {:?}",
            seconds(i64::try_from(ahead_us).unwrap_or(i64::MAX)),
            self.ahead_max
        ))
    }

    /// Whether the wall clock is still to be compared with those of the peers.
    pub(super) fn is_comparing(&self) -> bool {
        *self.standing.borrow() == ClockState::Comparing
    }

    /// Compares with the wall clocks of the peers. Returns whether the believed clock has jumped to the own wall clock.
    pub(in crate::node) fn compare(&self, peers: &[Offset]) -> bool {
        self.wall().compare(self.reading(), peers)
    }

    /// Whether turns may be labelled.
    pub(in crate::node) fn is_settled(&self) -> bool {
        *self.standing.borrow() == ClockState::Settled
    }

    /// Resolves to true once turns may be labelled, or to false if they never will be.
    pub(in crate::node) async fn settled(&self) -> bool {
        let mut standing = self.standing.subscribe();
        let decided = standing.wait_for(|standing| *standing != ClockState::Comparing);
        decided
            .await
            .is_ok_and(|standing| *standing == ClockState::Settled)
    }

    /// Ends the waiting of a start that is abandoned.
    pub(in crate::node) fn close(&self) {
        self.standing.send_if_modified(|standing| {
            let waits = *standing == ClockState::Comparing;
            if waits {
                *standing = ClockState::Closed;
            }
            waits
        });
    }

    /// How far the wall clock of this node is ahead of the believed one, microseconds.
    pub(in crate::node) fn skew_us(&self) -> i64 {
        self.wall().skew_us(self.reading())
    }

    /// How far the wall clock of a peer is ahead of the believed clock of this node, microseconds.
    pub(in crate::node) fn skew_of(&self, clocks: PeerClocks) -> i64 {
        self.wall().skew_of(self.reading(), clocks.wall)
    }

    pub(in crate::node) fn settle(&self, peers: &[Offset]) {
        let now = self.reading();
        let skew_us = {
            let mut wall = self.wall();
            wall.settle(now, peers);
            wall.skew_us(now)
        };
        if skew_us != 0 {
            let (skew, peers) = (seconds(skew_us), peers.len());
            tracing::error!(
                skew,
                peers,
                "the wall clock is wrong; the clock of the peers is followed instead"
            );
        }
        self.standing.send_if_modified(|standing| {
            let waits = *standing == ClockState::Comparing;
            if waits {
                *standing = ClockState::Settled;
            }
            waits
        });
    }

    // Records a difference, and logs when it becomes too large or acceptable again.
    pub(in crate::node) fn note(&self, process: &ProcessId, skew_us: i64) {
        let is_skewed = self.wall().is_skewed(skew_us);
        let mut skewed = self.skewed();
        let skew = seconds(skew_us);
        let ahead_max = self.ahead_max;
        match (is_skewed, skewed.contains_key(process)) {
            (true, false) => tracing::warn!(%process, skew, ?ahead_max, "wall clocks differ"),
            (false, true) => tracing::info!(%process, skew, "the wall clocks agree again"),
            _ => {}
        }
        match is_skewed {
            true => _ = skewed.insert(process.clone(), skew_us),
            false => _ = skewed.remove(process),
        }
    }

    // How far a time is ahead of the believed clock, microseconds.
    pub(in crate::node) fn ahead_us(&self, time: Hlc) -> u64 {
        time.wall_us().saturating_sub(self.wall_us())
    }

    // Records the newest turn of a process, and logs when it becomes dated too far ahead or no longer is.
    pub(super) fn note_newest(&self, process: &ProcessId, newest: Hlc) {
        let ahead_us = self.ahead_us(newest);
        let is_ahead = Duration::from_micros(ahead_us) > self.ahead_max;
        let mut noted = self.ahead();
        let ahead = seconds(i64::try_from(ahead_us).unwrap_or(i64::MAX));
        let ahead_max = self.ahead_max;
        match (is_ahead, noted.contains_key(process)) {
            (true, false) => {
                tracing::warn!(%process, ahead, ?ahead_max, "turns are dated ahead of this node's clock");
            }
            (false, true) => {
                tracing::info!(%process, "the times of its turns are no longer in the future")
            }
            _ => {}
        }
        match is_ahead {
            true => _ = noted.insert(process.clone(), newest),
            false => _ = noted.remove(process),
        }
    }

    // Drops the differences of processes that are down; their clocks are unknown.
    pub(super) fn forget_but(&self, known: &BTreeSet<&ProcessId>) {
        self.skewed().retain(|process, _| known.contains(process));
    }

    /// The clocks that are further away than is followed, each as a sentence.
    pub(in crate::node) fn warnings(&self, me: &ProcessId) -> Vec<String> {
        let skewed = self.skewed();
        let sentence = |(process, skew_us): (&ProcessId, &i64)| {
            let (skew, max) = (seconds(skew_us.saturating_abs()), self.ahead_max);
            let side = if *skew_us < 0 { "behind" } else { "ahead of" };
            match process == me {
                true => format!(
                    "the wall clock of this node is {skew} {side} the clock it follows, and is not followed; correct it"
                ),
                false => format!(
                    "the wall clock of {process} is {skew} {side} this node's clock; clock.ahead_max is {max:?}"
                ),
            }
        };
        let skewed: Vec<String> = skewed.iter().map(sentence).collect();
        let dated = |(process, newest): (&ProcessId, &Hlc)| {
            let ahead = seconds(i64::try_from(self.ahead_us(*newest)).unwrap_or(i64::MAX));
            let max = self.ahead_max;
            format!(
                "turns of {process} are dated up to {ahead} ahead of this node's clock and appear in answers about \
                 the past from that time on; clock.ahead_max is {max:?}"
            )
        };
        let ahead = self.ahead();
        skewed.into_iter().chain(ahead.iter().map(dated)).collect()
    }

    fn wall(&self) -> MutexGuard<'_, Wall> {
        self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(in crate::node) fn ahead(&self) -> MutexGuard<'_, BTreeMap<ProcessId, Hlc>> {
        self.ahead.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn skewed(&self) -> MutexGuard<'_, BTreeMap<ProcessId, i64>> {
        self.skewed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(source: &WallClock, started: Instant) -> ClockReading {
    ClockReading {
        wall_us: source.read_us(),
        elapsed_us: u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX),
    }
}

/// A difference of clocks as text, in seconds with three decimals.
pub(in crate::node) fn seconds(us: i64) -> String {
    let ms = us / 1_000;
    format!(
        "{}{}.{:03} s",
        if ms < 0 { "-" } else { "" },
        ms.unsigned_abs() / 1_000,
        ms.unsigned_abs() % 1_000
    )
}

/// Microseconds as seconds, for display and Prometheus.
pub(super) fn micros_as_seconds(us: i64) -> f64 {
    Duration::from_micros(us.unsigned_abs())
        .as_secs_f64()
        .copysign(if us < 0 { -1.0 } else { 1.0 })
}
