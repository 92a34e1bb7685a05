//! Snapshots as they are shown: a single one, or a page of the history including those in progress.

use std::cmp::Reverse;
use std::ops::Deref;
use std::sync::Arc;

use crate::history::global::GlobalState;
use crate::history::known::{KnownSnapshot, SnapshotStatus};
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, ProcessId, SnapshotId};
use crate::store::{History, Published, ReadLease, SnapshotSummary, Store, StoreError, Stretch};

/// The present view of a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotView {
    /// The newest published revision; while in progress revision 0 with the parts present.
    pub state: Leased,
    /// The root hash of the revision; `None` while in progress.
    pub root: Option<Hash>,
    /// Whether a partial revision of the snapshot was ever published, this one included.
    pub ever_partial: bool,
}

/// A global state with the lease that keeps retention from deleting its chunks; the two stay together. Lists show only figures
/// and have no lease.
#[derive(Debug, Clone)]
pub struct Leased {
    state: Arc<GlobalState>,
    reading: Option<Arc<ReadLease>>,
}

impl Deref for Leased {
    type Target = GlobalState;

    fn deref(&self) -> &GlobalState {
        &self.state
    }
}

/// The filter of a list of snapshots.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// Only snapshots with this status.
    pub status: Option<SnapshotStatus>,
    /// Only snapshots started by this process.
    pub initiator: Option<ProcessId>,
    /// Only snapshots with a partial revision ever published, or only those without.
    pub ever_partial: Option<bool>,
    /// Only snapshots that are pinned, or only those that are not.
    pub pinned: Option<bool>,
    /// Only snapshots started at this instant or later.
    pub from: Option<Hlc>,
    /// Only snapshots started before this instant.
    pub to: Option<Hlc>,
    /// Only snapshots listed after this one, the last of the page before.
    pub before: Option<(Hlc, SnapshotId)>,
    /// The maximum number of snapshots.
    pub limit: usize,
}

impl From<&SnapshotSummary> for SnapshotStatus {
    fn from(line: &SnapshotSummary) -> Self {
        if line.complete {
            Self::Complete
        } else {
            Self::Partial
        }
    }
}

/// A page of the history.
#[derive(Debug, Clone, Default)]
pub struct SnapshotPage {
    /// The snapshots, newest first.
    pub views: Vec<SnapshotView>,
    /// The last place of the page, if there are more.
    pub next: Option<(Hlc, SnapshotId)>,
    /// The snapshots of the whole history, whatever the filter.
    pub counts: SnapshotCounts,
}

/// The number of snapshots with each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SnapshotCounts {
    /// Their newest revision is complete.
    pub complete: usize,
    /// Their newest revision is partial.
    pub partial: usize,
    /// No revision of them is published.
    pub in_progress: usize,
}

impl SnapshotFilter {
    pub(in crate::node) fn page(
        &self,
        store: &Store,
        running: Vec<Arc<GlobalState>>,
    ) -> Result<SnapshotPage, StoreError> {
        let (history, retention) = (store.history(), store.retention());
        let (complete, partial) = history.counts();
        let is_unpublished =
            |state: &&Arc<GlobalState>| history.revisions_of(&state.snapshot).is_empty();
        let counts = SnapshotCounts {
            complete,
            partial,
            in_progress: running.iter().filter(is_unpublished).count(),
        };
        let is_wanted = |id: &SnapshotId| {
            let pinned = self.pinned;
            pinned.is_none_or(|pinned| retention.is_pinned(id) == pinned)
        };
        // One more than is shown is read, to see whether there is another page.
        let published = history.newest_within(self.stretch(), self.limit + 1, |place, line| {
            self.wants(place.0, &line.initiator, line.into(), line.ever_partial)
                && is_wanted(&place.1)
        })?;
        let published = published.into_iter().map(SnapshotView::of);
        let mut views: Vec<_> = published.map(|view| view.was_partial(history)).collect();
        let is_published = |state: &GlobalState| {
            let mut published = views.iter();
            published.any(|view| view.state.snapshot == state.snapshot)
        };
        let running = running.into_iter().filter(|state| !is_published(state));
        let running: Vec<_> = running
            .map(SnapshotView::in_progress)
            .filter(|view| self.wants_view(view) && is_wanted(&view.state.snapshot))
            .collect();
        views.extend(running);
        views.sort_by_key(|view| Reverse(view.place()));
        let more = views.len() > self.limit;
        views.truncate(self.limit);
        let next = views.last().filter(|_| more).map(SnapshotView::place);
        Ok(SnapshotPage {
            views,
            next,
            counts,
        })
    }

    // No other part of the history can have a wanted snapshot.
    fn stretch(&self) -> Stretch {
        Stretch {
            before: self.before.clone(),
            from: self.from,
            to: self.to,
            is_partial: self.status == Some(SnapshotStatus::Partial),
        }
    }

    fn wants(
        &self,
        time: Hlc,
        initiator: &ProcessId,
        status: SnapshotStatus,
        ever_partial: bool,
    ) -> bool {
        self.status.is_none_or(|wanted| wanted == status)
            && self
                .ever_partial
                .is_none_or(|wanted| wanted == ever_partial)
            && self
                .initiator
                .as_ref()
                .is_none_or(|wanted| wanted == initiator)
            && self.from.is_none_or(|from| time >= from)
            && self.to.is_none_or(|to| time < to)
    }

    fn wants_view(&self, view: &SnapshotView) -> bool {
        let place = view.place();
        let older = self.before.as_ref().is_none_or(|before| place < *before);
        older
            && self.wants(
                place.0,
                &view.state.initiator,
                view.status(),
                view.ever_partial,
            )
    }
}

impl SnapshotView {
    /// What a peer is told of the snapshot.
    pub(in crate::node) fn known(&self) -> KnownSnapshot {
        KnownSnapshot::Begun {
            status: self.status(),
            initiator: self.state.initiator.clone(),
            started: Some((self.state.initiated_at, self.state.initiated_clock)),
            start: self.state.start,
        }
    }

    pub(in crate::node) fn of(published: Published) -> Self {
        Self::shown(Arc::new(published.state), Some(published.root))
    }

    pub(in crate::node) fn in_progress(state: Arc<GlobalState>) -> Self {
        Self::shown(state, None)
    }

    fn shown(state: Arc<GlobalState>, root: Option<Hash>) -> Self {
        let state = Leased {
            state,
            reading: None,
        };
        let ever_partial = root.is_some() && !state.is_complete();
        Self {
            state,
            root,
            ever_partial,
        }
    }

    pub(in crate::node) fn was_partial(mut self, history: History<'_>) -> Self {
        self.ever_partial |= history.was_partial(&self.state.snapshot);
        self
    }

    pub(in crate::node) fn leased(mut self, reading: ReadLease) -> Self {
        self.state.reading = Some(Arc::new(reading));
        self
    }

    /// The position in the list, which is ordered newest first.
    fn place(&self) -> (Hlc, SnapshotId) {
        (self.state.initiated_at, self.state.snapshot.clone())
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> SnapshotStatus {
        match (self.root, self.state.is_complete()) {
            (None, _) => SnapshotStatus::InProgress,
            (Some(_), true) => SnapshotStatus::Complete,
            (Some(_), false) => SnapshotStatus::Partial,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;
    use crate::history::global::Completeness;
    use crate::node::fixture::{Fixture, process};
    use crate::process::clock::Lamport;
    use crate::process::decision::Actor;

    const SNAPSHOTS: usize = 64;

    // Without this, a node that deletes while a client lists by pin stops for good: it answers nothing and cannot be ended.
    #[tokio::test]
    async fn lists_by_pin_go_on_beside_pins_and_deletions() {
        let fixture = Fixture::new();
        let store = Arc::clone(fixture.parts.worker.store());
        let ids: Vec<SnapshotId> = (1..)
            .take(SNAPSHOTS)
            .map(|start| {
                let id = SnapshotId::parse(&format!("s{start}")).expect("a valid id");
                let (time, clock) = (Hlc::at(start), Lamport(start));
                let mut state = GlobalState::begun(id.clone(), process("p"), time, clock);
                (state.revision, state.completeness) = (1, Completeness::Complete);
                store.history().publish(&state).expect("it is written");
                id
            })
            .collect();
        let (ended, ends) = mpsc::channel();
        // Not joined: in a deadlock neither would end.
        std::thread::spawn({
            let store = Arc::clone(&store);
            move || {
                let retention = store.retention();
                for (id, start) in ids.iter().zip(1..) {
                    let actor = Actor::default();
                    let pinned =
                        retention.pin(id, start % 2 == 0, &process("p"), actor, Hlc::at(start));
                    pinned.expect("it is written");
                    retention
                        .delete(std::slice::from_ref(id))
                        .expect("it is written");
                }
                ended.send(())
            }
        });
        let list = |pinned| {
            let filter = SnapshotFilter {
                pinned: Some(pinned),
                limit: 1000,
                ..SnapshotFilter::default()
            };
            filter
                .page(&store, Vec::new())
                .expect("it is readable")
                .views
                .len()
        };
        let begun = std::time::Instant::now();
        let mut lists = 0;
        while ends.try_recv().is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "after {lists} lists"
            );
            list(true);
            list(false);
            lists += 2;
        }
        assert_eq!((list(true), list(false)), (SNAPSHOTS / 2, 0));
    }
}
