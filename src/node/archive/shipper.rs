//! The task that ships the journal: it reads durable turns, keeps puts in flight, and moves the watermark.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::ValueEnum as _;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until, timeout};

use super::attach::Attached;
use super::figures::{ArchiveFigures, Behind};
use super::look_back;
use super::look_back::{Change, KeptBack, LookBack};
use super::tables_health::TablesHealth;
use super::trouble::{PAUSE_FIRST, PAUSE_MAX, Trouble, answer};
use super::turns::read_turns;
use super::watermark::Watermark;
use crate::archive::{ArchiveError, NotFenced, Objects, links};
use crate::config::ArchiveSettings;
use crate::node::health::admission::Admission;
use crate::node::health::failures::Failures;
use crate::node::store_worker::StoreWorker;
use crate::offsite::memory;
use crate::process::ids::Hash;
use crate::shipping::SegmentIndex;
use crate::shipping::chain::{LINK_EVERY, Link};
use crate::shipping::writer::{Action, Event, Writer};
use crate::store::StoreError;

/// The interval of looks at the lag.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The interval at which a writer looks whether the archive still has what was archived, and, without work, whether another has
/// taken over.
const LOOK_ROUND_EVERY: Duration = Duration::from_secs(5);
/// The interval at which the store remembers what is archived.
const REMEMBER_EVERY: Duration = Duration::from_secs(1);
/// How long the put of a link is repeated.
const LINK_PATIENCE: Duration = Duration::from_secs(600);
/// The time for which a stopping node waits for the archive.
const STOP_MAX: Duration = Duration::from_secs(10);

/// What a shipper needs of its node.
pub(in crate::node) struct Surroundings {
    pub(in crate::node) worker: StoreWorker,
    pub(in crate::node) watermark: Arc<Watermark>,
    pub(in crate::node) figures: ArchiveFigures,
    pub(in crate::node) admission: Arc<watch::Sender<Admission>>,
    pub(in crate::node) failures: Failures,
    pub(in crate::node) tables: Arc<TablesHealth>,
    pub(in crate::node) trouble: Arc<Trouble>,
}

/// Ships the journal of a process.
struct Shipper {
    writer: Writer,
    objects: Objects,
    settings: ArchiveSettings,
    around: Surroundings,
    requests: JoinSet<Answer>,
    /// The look whether the archive still has what was archived.
    look_back: JoinSet<Result<LookBack, ArchiveError>>,
    /// Requests that wait while it has not, and how often that was so.
    kept_back: KeptBack,
    losses: u64,
    /// The segments that were put and are not archived.
    puts: BTreeMap<SegmentIndex, Put>,
    /// The turns that were put, and their bytes.
    turns: u64,
    bytes: u64,
    /// When a segment was last shipped, and when turns were last read that wait for more.
    shipped: Instant,
    gathered: Instant,
    /// What is archived, when the store last remembered that, and whether it is newer than what it remembers.
    archived: Link,
    remembered: Instant,
    is_newer: bool,
    /// The newest segment with a link in the archive, and the put of that link.
    linked: SegmentIndex,
    link: JoinSet<()>,
}

/// The answer to a request.
struct Answer {
    /// The number of losses of the archive before the request.
    losses: u64,
    event: Result<Event, ArchiveError>,
}

/// A segment that is not archived.
struct Put {
    hash: Hash,
    began: Instant,
    bytes: usize,
    /// The pause before it is put once more: the archive has said that it exists, and does not show it.
    pause: Duration,
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
        let Attached {
            writer,
            archived,
            objects,
            beginning: _,
        } = attached;
        let position = archived.journal.position;
        around.worker.store().journal().note_shipped(position);
        watermark.archived(position);
        watermark.saw(archived);
        let mode = settings.journal.to_possible_value();
        tracing::info!(
            url = objects.url(),
            journal = mode.as_ref().map_or("", |mode| mode.get_name()),
            archived = %position,
            "the journal is archived up to this turn"
        );
        let (end, _) = around.worker.store().journal().end();
        watermark.committed(end);
        let shipper = Shipper {
            writer,
            objects,
            settings,
            around,
            requests: JoinSet::new(),
            look_back: JoinSet::new(),
            kept_back: KeptBack::default(),
            losses: 0,
            puts: BTreeMap::new(),
            turns: 0,
            bytes: 0,
            shipped: Instant::now(),
            gathered: Instant::now(),
            archived,
            remembered: Instant::now(),
            is_newer: false,
            linked: SegmentIndex::default(),
            link: JoinSet::new(),
        };
        let task = tokio::spawn(shipper.run(stops));
        Self {
            stop,
            task,
            watermark,
        }
    }

    /// Lets the last turns be made although too much waits for the archive.
    pub(in crate::node) fn end_waiting_for_room(&self) {
        self.watermark.end_waiting_for_room();
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
        let mut looked_round = Instant::now();
        loop {
            let is_stopping = *stops.borrow();
            let more_at = match self.ship_all(is_stopping).await {
                Ok(more_at) => more_at,
                Err(end) => return self.ends(end),
            };
            if *stops.borrow() && self.is_done() {
                return;
            }
            tokio::select! {
                Some(joined) = self.requests.join_next() => {
                    let answered = joined.map_err(|_| End::Unexpected);
                    if let Err(end) = answered.and_then(|answered| self.answered(answered)) {
                        return self.ends(end);
                    }
                }
                Some(joined) = self.look_back.join_next() => {
                    if let Ok(looked) = joined {
                        self.looked_back(looked);
                    }
                }
                () = self.around.watermark.next_commit() => {}
                () = sleep_until(more_at.unwrap_or_else(Instant::now)), if more_at.is_some() => {}
                _ = stops.changed(), if !*stops.borrow() => {}
                _ = looks.tick() => {
                    self.report();
                    self.remember().await;
                    if looked_round.elapsed() >= LOOK_ROUND_EVERY {
                        looked_round = Instant::now();
                        self.look_round();
                    }
                }
            }
        }
    }

    fn is_done(&self) -> bool {
        let (end, _) = self.around.worker.store().journal().end();
        self.around.watermark.position() >= end
    }

    // Ships as many segments as the window permits. Returns when a segment is shipped that waits for further turns now.
    async fn ship_all(&mut self, is_stopping: bool) -> Result<Option<Instant>, End> {
        while self.writer.has_room() {
            let Some(before) = self.writer.shipped() else {
                return Ok(None);
            };
            let (end, _) = self.around.worker.store().journal().end();
            if end <= before.position {
                return Ok(None);
            }
            let (now, due) = (Instant::now(), self.shipped + self.settings.linger);
            let lingers = due > now && !is_stopping;
            if lingers && now < self.gathered + LOOK_EVERY {
                return Ok(Some(due.min(self.gathered + LOOK_EVERY)));
            }
            let bytes_max = self.settings.segment_max;
            let worker = &self.around.worker;
            let read = worker.spawn(move |store| read_turns(store, before, bytes_max));
            let turns = read.await.map_err(|_| End::Stopping)?;
            let turns = turns.map_err(End::Unreadable)?;
            let is_full = turns.body.len() >= bytes_max || turns.after.position < end;
            if lingers && !is_full {
                self.gathered = now;
                return Ok(Some(due));
            }
            self.shipped = now;
            self.turns += turns.after.position.0 - before.position.0;
            self.bytes += turns.body.len() as u64;
            let put = self.writer.ship(turns);
            self.request(put);
        }
        Ok(None)
    }

    fn look_round(&mut self) {
        if self.look_back.is_empty() {
            let (objects, newest) = (self.objects.clone(), self.archived);
            let watermark = Arc::clone(&self.around.watermark);
            self.look_back
                .spawn(async move { look_back::look(objects, &watermark, newest).await });
        }
        if self.requests.is_empty()
            && let Some(look) = self.writer.look_ahead()
        {
            self.request(look);
        }
    }

    // From a loss until the archive has again what was archived, nothing more is put and nothing counts.
    fn looked_back(&mut self, looked: Result<LookBack, ArchiveError>) {
        let url = self.objects.url();
        match look_back::note(looked, &self.around.watermark) {
            Some(Change::Lost(loss)) => {
                self.losses += 1;
                tracing::error!(
                    url,
                    %loss,
                    "the archive is lost: nothing counts as archived until it is there again. Bring it back; or, if it was \
                     emptied, stop the node and begin a new one with snapledger store new-archive and another archive.url"
                );
            }
            Some(Change::IsBack) => {
                tracing::warn!(url, "the archive is there again");
                for action in self.kept_back.take() {
                    self.request(action);
                }
            }
            None => {}
        }
    }

    fn answered(&mut self, answer: Answer) -> Result<(), End> {
        let event = answer.event.map_err(NotFenced::from)?;
        // Where it was put, or found, may have been another archive.
        let is_of_before = answer.losses != self.losses || self.around.watermark.loss().is_some();
        let event = match event {
            Event::Created(index) if is_of_before => Event::Exists(index),
            Event::Found(index, _) if is_of_before => {
                self.request(Action::Look(index));
                return Ok(());
            }
            event => event,
        };
        for action in self.writer.on(event) {
            match action {
                Action::Look(_) | Action::Put(_) | Action::ReadBoundary => self.request(action),
                Action::Archived(link) => {
                    (self.archived, self.is_newer) = (link, true);
                    if link.is_due_behind(self.linked, LINK_EVERY) {
                        self.link(link);
                    }
                    let position = link.journal.position;
                    self.around.worker.store().journal().note_shipped(position);
                    self.around.watermark.archived(position);
                    let waiting = self.puts.split_off(&link.index.next());
                    for put in std::mem::replace(&mut self.puts, waiting).into_values() {
                        self.around.figures.was_put(put.bytes, put.began.elapsed());
                    }
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
        if self.around.watermark.loss().is_some() {
            self.kept_back.keep(action);
            return;
        }
        let losses = self.losses;
        let (objects, figures) = (self.objects.clone(), self.around.figures.clone());
        let trouble = Arc::clone(&self.around.trouble);
        let wait = self.pause_before(&action);
        self.requests.spawn(async move {
            sleep(wait).await;
            let event = answer(&objects, &action, &figures, &trouble).await;
            Answer { losses, event }
        });
    }

    // Puts a link to an acknowledged segment, unless the put of the one before is still under way.
    fn link(&mut self, link: Link) {
        while self.link.try_join_next().is_some() {}
        if !self.link.is_empty() {
            return;
        }
        self.linked = link.index;
        let objects = self.objects.patient(LINK_PATIENCE);
        self.link.spawn(async move {
            if let Err(error) = links::put(&objects, link).await {
                tracing::warn!(%error, "a link to the newest segments is not written; the next one follows");
            }
        });
    }

    // Notes a put. One that is repeated although the archive has answered waits first: it is said to exist and cannot be read.
    fn pause_before(&mut self, action: &Action) -> Duration {
        let Action::Put(segment) = action else {
            return Duration::ZERO;
        };
        let (index, hash) = (segment.head.index(), segment.head.hash());
        if let Some(put) = self.puts.get_mut(&index).filter(|put| put.hash == hash) {
            self.around.figures.retried();
            tracing::warn!(%index, "the archive says that a segment exists and does not show it; putting it again");
            let pause = put.pause;
            put.pause = (pause * 2).min(PAUSE_MAX);
            return pause;
        }
        let put = Put {
            hash,
            began: Instant::now(),
            bytes: segment.body.len(),
            pause: PAUSE_FIRST,
        };
        self.puts.insert(index, put);
        Duration::ZERO
    }

    // Notes in the store what is archived; its next start walks from there. The store has the turns of that segment.
    async fn remember(&mut self) {
        if !self.is_newer || self.remembered.elapsed() < REMEMBER_EVERY {
            return;
        }
        let link = self.archived;
        let worker = &self.around.worker;
        let remembered = worker.run(move |store| memory::remember(store, link)).await;
        (self.remembered, self.is_newer) = (Instant::now(), remembered.is_err());
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
        figures.lags(self.behind(lag));
        let is_behind = lag > self.settings.lag_max;
        let (behind, lost) = (is_behind.then_some(lag), watermark.loss());
        let (was_behind, was_lost) = {
            let before = admission.borrow();
            (before.archive_behind.is_some(), before.archive_lost)
        };
        if behind.is_some() || was_behind || lost != was_lost {
            admission.send_modify(|admission| {
                (admission.archive_behind, admission.archive_lost) = (behind, lost);
            });
        }
        match (was_behind, behind) {
            (false, Some(lag)) => {
                tracing::warn!(
                    lag_s = lag.as_secs(),
                    refuses_work = self.settings.waits().holds_start(),
                    "the archive is too far behind"
                );
            }
            (true, None) => tracing::info!("the archive has caught up"),
            _ => {}
        }
    }

    // Turns that are not put yet are counted as large as those that were.
    fn behind(&self, lag: Duration) -> Behind {
        let watermark = &self.around.watermark;
        let (end, _) = self.around.worker.store().journal().end();
        let put = self.writer.shipped().map(|point| point.position);
        let waiting = end.0.saturating_sub(put.unwrap_or(end).0);
        let rest = waiting.saturating_mul(self.bytes.div_ceil(self.turns.max(1)));
        let in_flight: u64 = self.puts.values().map(|put| put.bytes as u64).sum();
        let segments = rest.div_ceil(self.settings.segment_max.max(1) as u64);
        Behind {
            lag,
            archived: watermark.position(),
            in_flight: self.puts.len() as u64,
            bytes: in_flight.saturating_add(rest),
            segments: segments.saturating_add(self.puts.len() as u64),
            is_lost: watermark.loss().is_some(),
        }
    }

    fn ends(self, end: End) {
        match end {
            End::Stopping => {}
            End::Failed(error) => self.around.failures.report_archive(error),
            End::Unreadable(error) => self.around.failures.report("archive", error),
            End::Unexpected => self.around.failures.report_end("archive"),
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
    /// A turn here cannot be read.
    Unreadable(StoreError),
    /// A request ended without an answer.
    Unexpected,
}

impl From<NotFenced> for End {
    fn from(error: NotFenced) -> Self {
        Self::Failed(error)
    }
}
