//! Watching one snapshot: its events as they occur, until the newest revision is published.
//!
//! A watcher that has seen a partial revision and resumes after it waits for the next one while this node assembles the
//! snapshot. For other snapshots the history answers, with the steps of the newest revision; for one that another node
//! assembles, as soon as a revision enters the history.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, interval, timeout};

use super::events::{Event, Happening, Log};
use super::steps;
use super::views::SnapshotView;
use crate::history::part::Part;
use crate::node::error::Unavailable;
use crate::node::handle::Handle;
use crate::process::ids::SnapshotId;

/// The maximum waiting time for the marker of an id that may not exist. It is answered as unknown after this.
const MARKER_MAX: Duration = Duration::from_secs(1);
/// The interval at which a snapshot assembled by another process is looked for again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Yields the events of one snapshot.
pub struct Watch {
    handle: Handle,
    snapshot: SnapshotId,
    /// The id of the last event that the watcher has.
    seen: Option<String>,
    following: Following,
}

/// Whether a snapshot that is waited for exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Begun {
    /// This or another process has said that it has begun.
    Somewhere,
    /// Its id is all that is known.
    Perhaps,
}

enum Following {
    /// The log of this node, from this index.
    Log(Arc<Log>, usize),
    /// The snapshot is assembled by another node; its revision enters the own history.
    Elsewhere,
    /// The log has ended; the history may have a newer revision.
    History,
    /// The remaining events of a published revision.
    Steps(VecDeque<Event>),
}

impl Handle {
    /// Watches a snapshot from its beginning, or after the last event seen. `None` if it is neither in the history of this
    /// process nor assembled here.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn watch(
        &self,
        snapshot: &SnapshotId,
        seen: Option<&str>,
    ) -> Result<Option<Watch>, Unavailable> {
        let Some(view) = self.find_or_assemble(snapshot).await? else {
            return Ok(None);
        };
        let mut watch = Watch {
            handle: self.clone(),
            snapshot: snapshot.clone(),
            seen: seen.map(str::to_owned),
            following: Following::Elsewhere,
        };
        if let Some(log) = self.shared.events.log(snapshot) {
            let place = log.place_behind(seen);
            watch.following = Following::Log(log, place);
        } else if view.root.is_some() {
            watch.following = Following::Steps(watch.steps(&view).await?);
        }
        Ok(Some(watch))
    }

    /// A snapshot as soon as a revision of it is in the own history, or as it is when `patience` ends or the node stops. If
    /// nothing is known of it here, its marker may be in flight and is waited for: for all of `patience` if the snapshot is known
    /// to have begun, otherwise for a short time.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn finished(
        &self,
        snapshot: &SnapshotId,
        begun: Begun,
        patience: Duration,
    ) -> Result<Option<SnapshotView>, Unavailable> {
        let marker_max = match begun {
            Begun::Somewhere => patience,
            Begun::Perhaps => MARKER_MAX,
        };
        if let Ok(ended) = timeout(patience, self.follow(snapshot, marker_max)).await {
            ended?;
        }
        self.find_or_assemble(snapshot).await
    }

    /// The own part of a snapshot as it is. If the state is not recorded, its marker may be in flight and is waited for, for a
    /// short time.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn part_soon(
        &self,
        snapshot: &SnapshotId,
        patience: Duration,
    ) -> Result<Option<Part>, Unavailable> {
        let recorded = self.parts().own_recorded(snapshot);
        tokio::select! {
            recorded = timeout(patience.min(MARKER_MAX), recorded) => match recorded {
                Ok(part) => part.map(Some),
                Err(_) => self.part(snapshot).await,
            },
            () = self.closing() => self.part(snapshot).await,
        }
    }

    // Waits until a revision is in the own history, none will come, or the node stops.
    async fn follow(&self, snapshot: &SnapshotId, marker_max: Duration) -> Result<(), Unavailable> {
        let mut arrivals = self.shared.in_progress.arrivals();
        let mut written = self.parts().written.clone();
        let mut looks = interval(LOOK_EVERY);
        let began = Instant::now();
        loop {
            let watch = self.watch(snapshot, None).await?;
            let is_followed = watch.is_some();
            if let Some(watch) = watch {
                watch.until_published().await?;
            }
            // An assembly that stood back has published nothing; the revision comes from its rival.
            let view = self.find_or_assemble(snapshot).await?;
            let is_published = view.is_some_and(|view| view.root.is_some());
            // For a moment after a marker has arrived here, the assembler may not know of the snapshot itself.
            let may_come = is_followed || began.elapsed() < marker_max;
            if is_published || !may_come || self.store().retention().is_deleted(snapshot) {
                return Ok(());
            }
            tokio::select! {
                Ok(()) = arrivals.changed() => {}
                Ok(()) = written.changed() => {}
                _ = looks.tick() => {}
                () = self.closing() => return Ok(()),
            }
        }
    }
}

impl Watch {
    /// Whether the watcher has seen everything and nothing more will come.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn is_over(&self) -> Result<bool, Unavailable> {
        match &self.following {
            Following::Log(..) | Following::Elsewhere => Ok(false),
            Following::History => Ok(self.newest().await?.is_none()),
            Following::Steps(events) => Ok(events.is_empty()),
        }
    }

    // The events of a published revision that the watcher has not seen.
    async fn steps(&self, view: &SnapshotView) -> Result<VecDeque<Event>, Unavailable> {
        let seen = self.seen.as_deref();
        let earlier = seen.and_then(steps::revision_of);
        let earlier = match earlier.filter(|earlier| *earlier != view.state.revision) {
            Some(earlier) => self.handle.revision(&self.snapshot, earlier).await?,
            None => None,
        };
        let earlier = earlier.map_or_else(VecDeque::new, |view| steps::steps(&view.state));
        Ok(steps::behind(steps::steps(&view.state), seen, &earlier))
    }

    async fn until_published(mut self) -> Result<(), Unavailable> {
        while let Some(event) = self.next().await? {
            if matches!(event.what, Happening::Published { .. }) {
                break;
            }
        }
        Ok(())
    }

    /// The next event; `None` at the end, or when the node stops.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn next(&mut self) -> Result<Option<Event>, Unavailable> {
        let closing = self.handle.clone();
        tokio::select! {
            next = self.advance() => next,
            () = closing.closing() => Ok(None),
        }
    }

    /// The revision of a publication event.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn published(&self, event: &Event) -> Result<Option<SnapshotView>, Unavailable> {
        match event.what {
            Happening::Published { revision } => {
                let snapshot = self.snapshot.clone();
                let parts = self.handle.parts();
                let found = parts
                    .worker
                    .run(move |store| store.history().revision(&snapshot, revision));
                Ok(found.await?.map(SnapshotView::of))
            }
            _ => Ok(None),
        }
    }

    async fn advance(&mut self) -> Result<Option<Event>, Unavailable> {
        while let Following::Log(log, place) = &mut self.following {
            let mut length = log.length();
            let (_, ended) = *length.borrow_and_update();
            if let Some((event, is_followed)) = log.at(*place) {
                *place += 1;
                self.seen = Some(event.id.clone());
                if matches!(event.what, Happening::Published { .. }) && !is_followed {
                    self.following = Following::Steps(VecDeque::new());
                }
                return Ok(Some(event));
            }
            if ended || length.changed().await.is_err() {
                self.following = Following::History;
            }
        }
        if matches!(self.following, Following::Elsewhere) {
            self.arrival().await?;
            let view = self.handle.known(&self.snapshot).await?;
            let events = match view.filter(|view| view.root.is_some()) {
                Some(view) => self.steps(&view).await?,
                None => VecDeque::new(),
            };
            self.following = Following::Steps(events);
        }
        if let Following::Steps(events) = &mut self.following {
            return Ok(events.pop_front());
        }
        self.following = Following::Steps(VecDeque::new());
        self.newest().await
    }

    // Waits for a revision. Requesting the snapshot periodically makes this node assemble it if its initiator dies.
    async fn arrival(&self) -> Result<(), Unavailable> {
        let mut arrivals = self.handle.shared.in_progress.arrivals();
        while self.newest().await?.is_none() {
            if timeout(LOOK_EVERY, arrivals.changed()).await.is_err() {
                self.handle.known_or_assembled(&self.snapshot).await?;
            }
        }
        Ok(())
    }

    // The newest revision as one event, unless it was seen.
    async fn newest(&self) -> Result<Option<Event>, Unavailable> {
        let view = self.handle.known(&self.snapshot).await?;
        let published = view.filter(|view| view.root.is_some());
        let event = published.map(|view| Event {
            id: Happening::lasting_id(view.state.revision),
            noted_us: view.state.finished_at.wall_us(),
            what: Happening::Published {
                revision: view.state.revision,
            },
        });
        Ok(event.filter(|event| Some(&event.id) != self.seen.as_ref()))
    }
}
