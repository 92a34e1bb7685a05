//! The task that ships the journal: it reads durable turns, keeps puts in flight, and moves the watermark.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use super::attach::Attached;
use super::figures::ArchiveFigures;
use super::watermark::Watermark;
use crate::archive::{ArchiveError, Fenced, NotFenced, Objects, journal};
use crate::config::ArchiveSettings;
use crate::config::Shipping as Journal;
use crate::node::health::admission::Admission;
use crate::node::health::failures::Failures;
use crate::node::store_worker::StoreWorker;
use crate::shipping::JournalPoint;
use crate::shipping::segment::Turns;
use crate::shipping::writer::{Action, Event, Writer};
use crate::store::{Store, StoreError};

/// The interval of looks at the lag.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The interval at which a writer without work looks whether another has taken over.
const LOOK_AHEAD_EVERY: Duration = Duration::from_secs(5);
/// The pauses before a failed request is repeated.
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// The shortest time between two log lines about a failing archive.
const SAY_EVERY: Duration = Duration::from_secs(60);
/// The time for which a stopping node waits for the archive.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What a shipper needs of its node.
pub(in crate::node) struct Surroundings {
    pub(in crate::node) worker: StoreWorker,
    pub(in crate::node) watermark: Arc<Watermark>,
    pub(in crate::node) figures: ArchiveFigures,
    pub(in crate::node) admission: Arc<watch::Sender<Admission>>,
    pub(in crate::node) failures: Failures,
}

/// Ships the journal of a process.
struct Shipper {
    writer: Writer,
    objects: Objects,
    settings: ArchiveSettings,
    around: Surroundings,
    requests: JoinSet<Result<Event, ArchiveError>>,
    /// When a segment was last shipped.
    shipped: Instant,
}

/// A running shipper.
pub(in crate::node) struct RunningShipper {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
    watermark: Arc<Watermark>,
}

impl RunningShipper {
    /// Ships behind what is archived.
    pub(in crate::node) fn start(
        attached: Attached,
        settings: ArchiveSettings,
        around: Surroundings,
    ) -> Self {
        let (stop, stops) = watch::channel(false);
        let watermark = Arc::clone(&around.watermark);
        let Fenced { writer, fence } = attached.fenced;
        around
            .worker
            .store()
            .journal()
            .note_shipped(fence.journal.position);
        watermark.archived(fence.journal.position);
        let shipper = Shipper {
            writer,
            objects: attached.objects,
            settings,
            around,
            requests: JoinSet::new(),
            shipped: Instant::now(),
        };
        let task = tokio::spawn(shipper.run(stops));
        Self {
            stop,
            task,
            watermark,
        }
    }

    /// Ships what is durable, for a bounded time, then ends all waiting for the archive.
    pub(in crate::node) async fn stop(self) {
        let _ended = self.stop.send(true);
        let task = self.task.abort_handle();
        if timeout(STOP_MAX, self.task).await.is_err() {
            task.abort();
            tracing::warn!(
                "the archive does not have the whole journal yet; the next start ships the rest"
            );
        }
        self.watermark.close();
    }
}

impl Shipper {
    async fn run(mut self, mut stops: watch::Receiver<bool>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked_ahead = Instant::now();
        loop {
            if let Err(end) = self.ship_all().await {
                return self.ends(end);
            }
            if *stops.borrow() && self.is_done() {
                return;
            }
            tokio::select! {
                Some(joined) = self.requests.join_next() => {
                    let Ok(answered) = joined else { continue };
                    if let Err(end) = self.answered(answered) {
                        return self.ends(end);
                    }
                }
                () = self.around.watermark.next_commit() => {}
                _ = stops.changed(), if !*stops.borrow() => {}
                _ = looks.tick() => {
                    self.report();
                    if self.requests.is_empty() && looked_ahead.elapsed() >= LOOK_AHEAD_EVERY {
                        looked_ahead = Instant::now();
                        if let Some(look) = self.writer.look_ahead() {
                            self.request(look);
                        }
                    }
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let (end, _) = self.around.worker.store().journal().end();
        self.around.watermark.position() >= end
    }

    // Ships as many segments as the window permits.
    async fn ship_all(&mut self) -> Result<(), End> {
        while self.writer.has_room() {
            let Some(before) = self.writer.shipped() else {
                return Ok(());
            };
            let (end, _) = self.around.worker.store().journal().end();
            if end <= before.position {
                return Ok(());
            }
            let wait = self.settings.linger.saturating_sub(self.shipped.elapsed());
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let bytes_max = self.settings.segment_max;
            let read = self
                .around
                .worker
                .run(move |store| read_turns(store, before, bytes_max));
            let turns = read.await.map_err(|_| End::Stopping)?;
            self.shipped = Instant::now();
            let put = self.writer.ship(turns);
            self.request(put);
        }
        Ok(())
    }

    fn answered(&mut self, answered: Result<Event, ArchiveError>) -> Result<(), End> {
        let event = answered.map_err(NotFenced::from)?;
        for action in self.writer.on(event) {
            match action {
                Action::Look(_) | Action::Put(_) | Action::ReadBoundary => self.request(action),
                Action::Archived(link) => {
                    let position = link.journal.position;
                    self.around.worker.store().journal().note_shipped(position);
                    self.around.watermark.archived(position);
                }
                Action::Opened(_) => {}
                Action::Stop(superseded) => {
                    let owner = self.writer.owner().clone();
                    return Err(NotFenced::Superseded(superseded, owner).into());
                }
                Action::Refuse(broken) => return Err(NotFenced::from(broken).into()),
            }
        }
        Ok(())
    }

    // Executes a request, repeating it until there is an answer.
    fn request(&mut self, action: Action) {
        let (objects, figures) = (self.objects.clone(), self.around.figures.clone());
        self.requests.spawn(async move {
            let mut pause = PAUSE_FIRST;
            let mut said: Option<Instant> = None;
            loop {
                let error = match execute(&objects, &figures, &action).await {
                    Ok(event) => return Ok(event),
                    Err(error @ ArchiveError::Damaged { .. }) => return Err(error),
                    Err(error) => error,
                };
                figures.retried();
                if said.is_none_or(|said| said.elapsed() >= SAY_EVERY) {
                    said = Some(Instant::now());
                    tracing::warn!(%error, "the archive does not answer; trying again");
                }
                sleep(pause).await;
                pause = (pause * 2).min(PAUSE_MAX);
            }
        });
    }

    // Publishes the lag, and refuses new work while it is too great.
    fn report(&self) {
        let Surroundings {
            watermark,
            figures,
            admission,
            ..
        } = &self.around;
        let lag = watermark.lag();
        figures.lags(lag, watermark.position().0, self.requests.len());
        let waits = matches!(self.settings.journal, Journal::Peers | Journal::Sync);
        let behind = (waits && lag > self.settings.lag_max).then_some(lag);
        let was_behind = admission.borrow().archive_behind.is_some();
        if behind.is_some() || was_behind {
            admission.send_modify(|admission| admission.archive_behind = behind);
        }
        match (was_behind, behind) {
            (false, Some(lag)) => {
                tracing::warn!(
                    lag_s = lag.as_secs(),
                    "the archive is too far behind; new work is refused"
                );
            }
            (true, None) => tracing::info!("the archive has caught up"),
            _ => {}
        }
    }

    fn ends(self, end: End) {
        match end {
            End::Stopping => {}
            End::Failed(error) => self.around.failures.report_archive(error),
        }
        self.around.watermark.close();
    }
}

/// Why a shipper ends before it is stopped.
enum End {
    /// The store does not answer any more.
    Stopping,
    /// Another writer has taken over, or the archive is damaged.
    Failed(NotFenced),
}

impl From<NotFenced> for End {
    fn from(error: NotFenced) -> Self {
        Self::Failed(error)
    }
}

async fn execute(
    objects: &Objects,
    figures: &ArchiveFigures,
    action: &Action,
) -> Result<Event, ArchiveError> {
    match action {
        Action::Look(index) => {
            let head = journal::head(objects, *index).await?;
            Ok(Event::Found(*index, head.map(Box::new)))
        }
        Action::Put(segment) => {
            let began = Instant::now();
            let event = journal::put(objects, segment).await?;
            figures.was_put(segment.body.len(), began.elapsed());
            Ok(event)
        }
        Action::ReadBoundary => Ok(Event::Boundary(journal::boundary(objects).await?)),
        Action::Opened(_) | Action::Archived(_) | Action::Stop(_) | Action::Refuse(_) => {
            unreachable!("it is no request")
        }
    }
}

// The durable turns behind a point, up to some bytes; at least one.
fn read_turns(store: &Store, before: JournalPoint, bytes_max: usize) -> Result<Turns, StoreError> {
    let mut body = Vec::new();
    let mut after = before;
    for turn in store.journal().stored_turns(before.position.next()) {
        let turn = turn?;
        if !body.is_empty() && body.len() + turn.framed.len() > bytes_max {
            break;
        }
        Turns::push(&mut body, &turn.framed);
        after = JournalPoint {
            position: turn.position,
            hash: turn.hash,
        };
    }
    Ok(Turns {
        before,
        after,
        body: body.into(),
    })
}
