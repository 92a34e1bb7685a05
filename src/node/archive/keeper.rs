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
use crate::offsite::origin::{NotShipped, StoreReader};
use crate::offsite::outbound::Outbound;
use crate::offsite::retention::{Deleted, Limit};
use crate::offsite::rounds::Look;
use crate::shipping::gaps::NotedGaps;
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
    type Origin = Store;

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
                    say(
                        &mut self.said,
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
        let (watermark, said) = (Arc::clone(&self.watermark), &mut self.said);
        let look = Look {
            archived: &|| watermark.position(),
            has_parts,
            damaged: &mut |error| say(said, error, "not archived, because it cannot be read here"),
        };
        self.outbound.ship(&self.worker, look).await
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
        let now_us = self.peers.wall().wall_us();
        let kept = self
            .worker
            .read(|store| Ok(store.archived().kept_snapshots()));
        Some(Limit::of_age(now_us, age_us, &kept.await.ok()?))
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
        let figures = self.figures.clone();
        let mut told = |deleted: Deleted| {
            figures.deleted(deleted.objects());
            say_deleted(&deleted);
        };
        self.outbound.delete(limit, &mut told).await
    }
}

fn say_deleted(deleted: &Deleted) {
    if deleted.objects() == 0 {
        return;
    }
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

fn say(said: &mut Option<Instant>, error: &NotShipped, what: &'static str) {
    let now = Instant::now();
    if said.is_none_or(|said| now - said >= SAY_EVERY) {
        *said = Some(now);
        let is_damaged = matches!(error, NotShipped::Archive(ArchiveError::Damaged { .. }));
        match is_damaged {
            true => tracing::error!(%error, "{what}"),
            false => tracing::warn!(%error, "{what}"),
        }
    }
}
