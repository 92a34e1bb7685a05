//! The task that ships what is kept in the archive beside the journal, and deletes there what is too old. It holds nothing back:
//! turns and snapshots never wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::attach::Beginning;
use super::figures::ArchiveFigures;
use super::watermark::Watermark;
use crate::archive::{ArchiveError, gaps};
use crate::node::error::Unanswered;
use crate::node::handle::Handle;
use crate::node::health::clock_jump::JumpDetector;
use crate::node::peers::Peers;
use crate::node::replication::pins::Pins;
use crate::node::store_worker::StoreWorker;
use crate::offsite::memory;
use crate::offsite::outbound::{NotShipped, Outbound, StoreReader};
use crate::offsite::retention::{Deleted, Limit, Retention};
use crate::process::clock::Hlc;
use crate::shipping::gaps::NotedGaps;
use crate::shipping::object::SnapshotName;
use crate::store::{Store, StoreError};

/// The interval of looks for something to ship.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The pauses before something is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// The shortest time between two log lines of one kind.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// A round of deletions follows when the limit has moved by this part of the age that is kept, within these bounds.
const ROUNDS_PER_AGE: u32 = 20;
const ROUND_EVERY_MIN: Duration = Duration::from_secs(1);
const ROUND_EVERY_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the task needs of its node.
pub(in crate::node) struct KeeperContext {
    pub(in crate::node) beginning: Beginning,
    /// The age up to which the archive is kept; `None` for ever.
    pub(in crate::node) keep: Option<Duration>,
    pub(in crate::node) watermark: Arc<Watermark>,
    pub(in crate::node) figures: ArchiveFigures,
}

struct Keeper {
    outbound: Outbound,
    keep: Option<Duration>,
    watermark: Arc<Watermark>,
    figures: ArchiveFigures,
    worker: StoreWorker,
    peers: Arc<Peers>,
    pins: Arc<Pins>,
    said: Option<Instant>,
    /// The gaps that are noted in the archive.
    gaps: NotedGaps,
}

/// Starts the task.
pub(in crate::node) fn spawn(tasks: &mut JoinSet<()>, node: &Handle, context: KeeperContext) {
    let worker = node.parts().worker.clone();
    let written = node.parts().written.clone();
    let (peers, pins) = (
        Arc::clone(&node.shared.peers),
        Arc::clone(&node.shared.pins),
    );
    let KeeperContext {
        beginning,
        keep,
        watermark,
        figures,
    } = context;
    tasks.spawn(async move {
        let outbound = open(beginning, &figures).await;
        let keeper = Keeper {
            outbound,
            keep,
            watermark,
            figures,
            worker,
            peers,
            pins,
            said: None,
            gaps: NotedGaps::default(),
        };
        keeper.run(written).await;
    });
}

async fn open(beginning: Beginning, figures: &ArchiveFigures) -> Outbound {
    let Beginning {
        source,
        epoch,
        outbound,
    } = beginning;
    if let Some(outbound) = outbound {
        return outbound;
    }
    let mut pause = PAUSE_FIRST;
    loop {
        match Outbound::open(source.clone(), epoch).await {
            Ok(outbound) => return outbound,
            Err(error) => {
                figures.retried();
                tracing::warn!(%error, "cannot list what the archive keeps; trying again");
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

impl StoreReader for StoreWorker {
    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, NotShipped> {
        self.look_up(work).await.map_err(|error| match error {
            Unanswered::Store(error) => NotShipped::Damaged(error),
            Unanswered::Unavailable(_) | Unanswered::Ahead(_) | Unanswered::OtherJournal(_) => {
                NotShipped::Stopping
            }
        })
    }
}

impl Keeper {
    async fn run(mut self, mut written: watch::Receiver<u64>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut clock: Option<JumpDetector> = None;
        let (mut round_from, mut pause) = (Instant::now(), PAUSE_FIRST);
        written.mark_changed();
        loop {
            looks.tick().await;
            if self.watermark.loss().is_some() {
                continue;
            }
            let is_steady = self.is_steady(&mut clock);
            let round_every = self.keep.map(|keep| keep / ROUNDS_PER_AGE);
            let is_due = is_steady && self.pins.are_known() && Instant::now() >= round_from;
            let has_new = written.has_changed().unwrap_or(false);
            let has_parts = has_new || self.outbound.has_waiting_parts();
            written.mark_unchanged();
            let mut done = self.ship(has_parts, is_due).await;
            self.figures.kept(self.outbound.take_shipped());
            if is_due && done.is_ok() {
                done = self.delete_due().await;
                let every = round_every.unwrap_or(ROUND_EVERY_MAX);
                round_from = Instant::now() + every.clamp(ROUND_EVERY_MIN, ROUND_EVERY_MAX);
            }
            match done {
                Ok(()) => pause = PAUSE_FIRST,
                Err(NotShipped::Stopping) => return,
                Err(error) => {
                    written.mark_changed();
                    self.figures.retried();
                    self.say(
                        &error,
                        "the archive does not take what is kept beside the journal; trying again",
                    );
                    sleep(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    // Notes gaps that peers have shown.
    async fn ship_gaps(&mut self) -> Result<(), NotShipped> {
        let gaps = memory::gaps_of(self.worker.store());
        if gaps != self.gaps {
            let process = self.outbound.source().process();
            gaps::put(process, &gaps.without(&self.gaps)).await?;
            self.gaps = gaps;
        }
        Ok(())
    }

    async fn ship(&mut self, has_parts: bool, is_due: bool) -> Result<(), NotShipped> {
        self.ship_gaps().await?;
        self.outbound.ship_pins(&self.worker).await?;
        if is_due && let Some(limit) = self.limit().await {
            self.outbound.set_limit(limit);
        }
        loop {
            let archived = self.watermark.position();
            match self.outbound.ship_state(&self.worker, archived).await {
                Ok(true) => {}
                Ok(false) => break,
                Err(error) => self.pass_over(error)?,
            }
        }
        if has_parts && let Err(error) = self.outbound.ship_parts(&self.worker).await {
            self.pass_over(error)?;
        }
        while let Err(error) = self.outbound.ship_pinned(&self.worker).await {
            self.pass_over(error)?;
        }
        loop {
            match self.outbound.ship_revisions(&self.worker).await {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) => self.pass_over(error)?,
            }
        }
    }

    // What is damaged here cannot be shipped; everything else is.
    fn pass_over(&mut self, error: NotShipped) -> Result<(), NotShipped> {
        match error {
            NotShipped::Damaged(_) => {
                self.say(&error, "not archived, because it cannot be read here");
                Ok(())
            }
            error => Err(error),
        }
    }

    // Deletion by the age of a wrong clock would be permanent.
    fn is_steady(&self, clock: &mut Option<JumpDetector>) -> bool {
        let wall = self.peers.wall();
        if self.keep.is_none() || !wall.is_settled() {
            return false;
        }
        let (now_us, now) = (wall.wall_us(), Instant::now());
        let clock = clock.get_or_insert_with(|| JumpDetector::believed(now_us, now));
        clock.is_steady(now_us, now)
    }

    async fn limit(&self) -> Option<Limit> {
        let age_us = u64::try_from(self.keep?.as_micros()).unwrap_or(u64::MAX);
        let since = Hlc::at(self.peers.wall().wall_us().saturating_sub(age_us));
        let kept = self
            .worker
            .read(|store| Ok(store.archived().kept_snapshots()));
        let kept = kept.await.ok()?;
        Some(Limit {
            since,
            kept: kept.iter().map(SnapshotName::of).collect(),
        })
    }

    // Pins that were set while everything else was shipped go first, so that nothing is deleted that they hold.
    async fn delete_due(&mut self) -> Result<(), NotShipped> {
        self.outbound.ship_pins(&self.worker).await?;
        match self.limit().await {
            Some(limit) => self.delete(&limit).await,
            None => Ok(()),
        }
    }

    async fn delete(&mut self, limit: &Limit) -> Result<(), NotShipped> {
        loop {
            let (source, epoch) = (self.outbound.source().clone(), self.outbound.epoch());
            // The task ends wherever it waits for the archive.
            let mut goes_on = || true;
            let (deleted, ended) = Retention::new(&source, epoch, limit, &mut goes_on)
                .round()
                .await;
            self.outbound.forget(&deleted);
            self.figures.deleted(deleted.objects());
            if deleted.objects() > 0 {
                let Deleted {
                    segments,
                    states,
                    revisions,
                    parts,
                    pieces,
                    pins,
                    ..
                } = deleted;
                tracing::info!(
                    segments,
                    states,
                    revisions,
                    parts,
                    pieces,
                    pins,
                    "deleted data before the limit of the archive"
                );
            }
            ended.map_err(NotShipped::Archive)?;
            if !deleted.is_more {
                return Ok(());
            }
        }
    }

    fn say(&mut self, error: &NotShipped, what: &'static str) {
        let now = Instant::now();
        if self.said.is_none_or(|said| now - said >= SAY_EVERY) {
            self.said = Some(now);
            let is_damaged = matches!(error, NotShipped::Archive(ArchiveError::Damaged { .. }));
            match is_damaged {
                true => tracing::error!(%error, "{what}"),
                false => tracing::warn!(%error, "{what}"),
            }
        }
    }
}
