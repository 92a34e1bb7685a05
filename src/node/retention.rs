//! Retention: deletes snapshots beyond the limits of age or number, and then, in the background, what nothing needs any more:
//! chunks, and states and turns from before the retention horizon.
//!
//! Nothing is deleted that the tables lack, unless the disk is short and they are not written.
//!
//! Never deleted are pinned snapshots, the newest complete one, and those that this node assembles. A partial one is deleted at
//! its assembler once it is no longer assembled, and at other nodes once it is gone there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use super::archive::tables_health::TablesHealth;
use super::error::Unavailable;
use super::handle::Handle;
use super::health::admission::Admission;
use super::health::clock_jump::JumpDetector;
use super::peers::Peers;
use super::replication::pins::Pins;
use super::replication::replicator::Replicator;
use super::snapshots::assembler::Assembler;
use super::snapshots::in_progress::InProgress;
use super::snapshots::parts::Parts;
use crate::config::NodeConfig;
use crate::process::clock::Hlc;
use crate::process::ids::SnapshotId;
use crate::process::query::Recorded;
use crate::store::{Due, Limits, Swept, Trimmed};

const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The number of snapshots deleted together; they share three syncs.
const TOGETHER: usize = 64;
/// The interval of questions to assemblers about their partial snapshots.
const ASK_EVERY: Duration = Duration::from_secs(30);
/// The time limit for an assembler's answer.
const QUESTION_MAX: Duration = Duration::from_secs(1);
/// The pause before the next deletion, trim (which reads a whole state) or sweep, in multiples of the duration of the last one.
const REST: u32 = 20;

/// Ends background work when its task is dropped.
#[derive(Default)]
struct Ending(Arc<AtomicBool>);

impl Ending {
    fn goes_on(&self) -> impl Fn() -> bool + Send + 'static {
        let ended = Arc::clone(&self.0);
        move || !ended.load(Ordering::Relaxed)
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

// The pause before the same work is done again.
fn rest<T>(done: &Result<T, Unavailable>, began: Instant) -> Duration {
    match done {
        Ok(_) => began.elapsed() * REST,
        Err(error) => {
            tracing::warn!(%error, "retention failed");
            ASK_EVERY
        }
    }
}

/// Keeps the history within its limits.
struct Retention {
    config: Arc<NodeConfig>,
    peers: Arc<Peers>,
    parts: Parts,
    pins: Arc<Pins>,
    in_progress: Arc<InProgress>,
    replicator: Arc<Replicator>,
    assembler: Arc<Assembler>,
    admission: watch::Receiver<Admission>,
    tables: Arc<TablesHealth>,
    /// Whether it waits for the tables.
    waits: bool,
}

/// Starts retention, which ends at once if the history has no limits.
pub(super) fn spawn(tasks: &mut JoinSet<()>, node: &Handle) {
    let shared = &node.shared;
    let retention = Retention {
        config: Arc::clone(&shared.config),
        peers: Arc::clone(&shared.peers),
        parts: shared.parts.clone(),
        pins: Arc::clone(&shared.pins),
        in_progress: Arc::clone(&shared.in_progress),
        replicator: Arc::clone(&shared.replicator),
        assembler: Arc::clone(&shared.assembler),
        admission: shared.admission.clone(),
        tables: Arc::clone(&shared.tables),
        waits: true,
    };
    tasks.spawn(retention.run());
}

impl Retention {
    async fn run(mut self) {
        let config = Arc::clone(&self.config);
        let history = &config.history;
        if history.max_age.is_none() && history.max_count.is_none() {
            return;
        }
        // Deletion by the age of a wrong clock would be permanent.
        if !self.peers.wall().settled().await {
            return;
        }
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // An earlier sweep may have been interrupted.
        let (mut unswept, mut sweep_from) = (true, Instant::now());
        let (mut ask_from, mut delete_from, mut trim_from) =
            (Instant::now(), Instant::now(), Instant::now());
        let mut clock = JumpDetector::believed(self.peers.wall().wall_us(), Instant::now());
        loop {
            looks.tick().await;
            let is_steady = clock.is_steady(self.peers.wall().wall_us(), Instant::now());
            if !self.pins.are_known() || (!is_steady && history.max_age.is_some()) {
                continue;
            }
            let ask = Instant::now() >= ask_from;
            if ask {
                ask_from = Instant::now() + ASK_EVERY;
            }
            self.wait_for_tables();
            // Deletion, trim and sweep are independent: an obstacle to trimming does not stop the deletion of chunks.
            if Instant::now() >= delete_from {
                let began = Instant::now();
                let deleted = self.delete_due(ask).await;
                unswept |= deleted.as_ref().is_ok_and(|deleted| *deleted > 0);
                delete_from = Instant::now() + rest(&deleted, began);
            }
            if Instant::now() >= trim_from {
                let began = Instant::now();
                let trimmed = self.trim().await;
                unswept |= trimmed.as_ref().is_ok_and(|trimmed| trimmed.states > 0);
                trim_from = Instant::now() + rest(&trimmed, began);
            }
            if unswept && Instant::now() >= sweep_from {
                let began = Instant::now();
                let swept = self.sweep().await;
                unswept = !matches!(swept, Ok(Some(_)));
                sweep_from = Instant::now() + rest(&swept, began);
            }
        }
    }

    // Tables are made from the history: they must not stop the node that they are made from.
    fn wait_for_tables(&mut self) {
        let is_short = self.admission.borrow().disk.is_short();
        let waits = !is_short || !self.tables.is_late(Instant::now().into_std());
        self.parts.worker.store().retention().wait_for_tables(waits);
        match (std::mem::replace(&mut self.waits, waits), waits) {
            (true, false) => tracing::warn!(
                "the disk is short and the tables are not written: retention deletes what they lack"
            ),
            (false, true) => tracing::info!("retention waits for the tables again"),
            _ => {}
        }
    }

    async fn delete_due(&self, ask: bool) -> Result<usize, Unavailable> {
        let limits = Limits {
            began: self.age_limit(),
            count: self.config.history.max_count,
        };
        let due = self
            .parts
            .worker
            .run(move |store| Ok(store.retention().due(&limits)))
            .await?;
        let mut deleted = 0;
        for due in due.chunks(TOGETHER) {
            let mut going = Vec::new();
            for due in due {
                if (due.complete || self.is_settled(due, ask).await)
                    && self.is_free(&due.snapshot).await?
                {
                    going.push(due.snapshot.clone());
                }
            }
            deleted += self.delete(going).await?;
        }
        Ok(deleted)
    }

    fn age_limit(&self) -> Option<Hlc> {
        let age = self.config.history.max_age?;
        let age_us = u64::try_from(age.as_micros()).unwrap_or(u64::MAX);
        Some(Hlc::at(self.peers.wall().wall_us().saturating_sub(age_us)))
    }

    // Every instant within the age limit stays available; without an age limit every instant since the oldest snapshot that is
    // not kept only by a pin.
    async fn trim(&self) -> Result<Trimmed, Unavailable> {
        let (limit, ending) = (self.age_limit(), Ending::default());
        let goes_on = ending.goes_on();
        let trimmed = self.parts.worker.run(move |store| {
            match limit.or_else(|| store.retention().oldest_unpinned()) {
                Some(instant) => store.retention().trim(instant, goes_on),
                None => Ok(Trimmed::default()),
            }
        });
        let trimmed = trimmed.await?;
        let Trimmed { states, turns } = trimmed;
        if trimmed != Trimmed::default() {
            tracing::info!(states, turns, "deleted data before the horizon");
        }
        Ok(trimmed)
    }

    // The claims last as long as the deletion, even if this task ends earlier.
    async fn delete(&self, mut going: Vec<SnapshotId>) -> Result<usize, Unavailable> {
        let mut claims = Vec::new();
        going.retain(|snapshot| {
            let revisions = self.replicator.claim(snapshot);
            let claimed =
                revisions.and_then(|claim| Some((claim, self.in_progress.claim(snapshot)?)));
            let is_claimed = claimed.is_some();
            claims.extend(claimed);
            is_claimed
        });
        let in_progress = Arc::clone(&self.in_progress);
        let deleted = self.parts.worker.run(move |store| {
            let _claims = claims;
            let deleted = store.retention().delete(&going)?;
            // While they are claimed none of them can come back: its arrival is told after its deletion.
            in_progress.deleted(&deleted);
            Ok(deleted)
        });
        let deleted = deleted.await?;
        if let Some(oldest) = deleted.first() {
            tracing::info!(deleted = deleted.len(), %oldest, "deleted snapshots from the history");
        }
        Ok(deleted.len())
    }

    // Whether this process's part is stored, or does not exist, or can never be finished.
    async fn is_free(&self, snapshot: &SnapshotId) -> Result<bool, Unavailable> {
        let recorded = Recorded(snapshot.clone());
        let seen = self.parts.queue.query_from_within(recorded).await?;
        Ok(seen.is_none_or(|seen| seen.recording.is_none() || seen.is_in_vain()))
    }

    // Whether a partial snapshot is no longer assembled.
    async fn is_settled(&self, due: &Due, ask: bool) -> bool {
        let assembler = self.assembler.assembler(&due.initiator);
        if *assembler == self.config.me {
            return !self.in_progress.is_claimed(&due.snapshot);
        }
        let client = self.peers.client(assembler);
        let Some(client) = client.filter(|_| ask && self.peers.is_up(assembler)) else {
            return false;
        };
        let there = self.replicator.fetch_revision(&client, &due.snapshot, None);
        matches!(timeout(QUESTION_MAX, there).await, Ok(Ok(None)))
    }

    async fn sweep(&self) -> Result<Option<Swept>, Unavailable> {
        let ending = Ending::default();
        let goes_on = ending.goes_on();
        let swept = self
            .parts
            .worker
            .run(move |store| store.retention().sweep(goes_on))
            .await;
        if let Err(Unavailable::Damaged(why)) = &swept {
            tracing::error!(why, "chunks are not swept");
        }
        let swept = swept?;
        if let Some(swept) = swept.filter(|swept| swept.deleted > 0) {
            let Swept {
                needed,
                deleted,
                bytes,
            } = swept;
            tracing::info!(needed, deleted, bytes, "swept chunks");
        }
        Ok(swept)
    }
}
