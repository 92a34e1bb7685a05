//! Watching one snapshot: its events as they come, until a revision is published that is the newest.
//!
//! Who has seen a partial revision and asks for what comes behind it waits for the next one, as long as this node
//! collects the snapshot. What is over here is answered from the history.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::error::Unavailable;
use super::events::{Event, Happening, Log};
use super::handle::{Handle, SnapshotView, view};
use crate::process::ids::SnapshotId;

/// Hands out the events of one snapshot.
pub struct Watch {
    handle: Handle,
    snapshot: SnapshotId,
    /// The last event that the watcher has.
    seen: Option<String>,
    following: Following,
}

enum Following {
    /// What happens here, from this place on.
    Log(Arc<Log>, usize),
    /// Only what the history holds.
    History,
    Over,
}

impl Handle {
    /// Watches a snapshot from its beginning, or behind the last event that was seen. `None` where it is not in the
    /// history of this process and not collected here.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn watch(
        &self,
        snapshot: &SnapshotId,
        seen: Option<&str>,
    ) -> Result<Option<Watch>, Unavailable> {
        if self.snapshot(snapshot).await?.is_none() {
            return Ok(None);
        }
        let log = self.shared.collector.events.log(snapshot);
        Ok(Some(Watch {
            handle: self.clone(),
            snapshot: snapshot.clone(),
            seen: seen.map(str::to_owned),
            following: log.map_or(Following::History, |log| {
                let place = log.place_behind(seen);
                Following::Log(log, place)
            }),
        }))
    }

    /// A snapshot as soon as a revision of it is published, or as it is when patience ends or the node stops. `None` as
    /// with [`Handle::watch`].
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn finished(
        &self,
        snapshot: &SnapshotId,
        patience: Duration,
    ) -> Result<Option<SnapshotView>, Unavailable> {
        let Some(mut watch) = self.watch(snapshot, None).await? else {
            return Ok(None);
        };
        let published = async {
            while let Some(event) = watch.next().await? {
                if matches!(event.what, Happening::Published { .. }) {
                    break;
                }
            }
            Ok::<(), Unavailable>(())
        };
        if let Ok(ended) = timeout(patience, published).await {
            ended?;
        }
        self.snapshot(snapshot).await
    }
}

impl Watch {
    /// Whether there is nothing that the watcher has not seen, and nothing will come.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn is_over(&self) -> Result<bool, Unavailable> {
        match self.following {
            Following::Log(..) => Ok(false),
            Following::History => Ok(self.newest().await?.is_none()),
            Following::Over => Ok(true),
        }
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

    /// The revision that an event says was published.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn published(&self, event: &Event) -> Result<Option<SnapshotView>, Unavailable> {
        match event.what {
            Happening::Published { revision } => {
                let snapshot = self.snapshot.clone();
                let parts = self.handle.parts();
                let found = parts.blocking(move |store| store.revision(&snapshot, revision));
                Ok(found.await?.map(view))
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
                    self.following = Following::Over;
                }
                return Ok(Some(event));
            }
            if ended || length.changed().await.is_err() {
                self.following = Following::History;
            }
        }
        if matches!(self.following, Following::Over) {
            return Ok(None);
        }
        self.following = Following::Over;
        self.newest().await
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
