//! Snapshots as they are shown: one of them at a time, or a page of the history with those that are in progress.

use std::cmp::Reverse;
use std::ops::Deref;
use std::sync::Arc;

use crate::history::global::GlobalState;
use crate::process::clock::Hlc;
use crate::process::ids::{Hash, ProcessId, SnapshotId};
use crate::store::{Published, ReadLease, SnapshotSummary, Store, StoreError};

/// A snapshot as it is now.
#[derive(Debug, Clone)]
pub struct SnapshotView {
    /// The newest published revision; revision 0 while in progress, with the parts so far.
    pub state: Leased,
    /// The root hash of the revision; `None` while in progress.
    pub root: Option<Hash>,
    /// Whether a partial revision of the snapshot was ever published; this one may be it.
    pub ever_partial: bool,
}

/// A global state, with the lease that keeps retention from deleting what it names. The two are never apart, wherever the
/// state goes. Lists, which show figures alone, have no lease.
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

/// How far a snapshot is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotStatus {
    /// Nothing is published yet.
    InProgress,
    /// Every part is there.
    Complete,
    /// Somebody is missing.
    Partial,
}

/// Which snapshots to list.
#[derive(Debug, Clone, Default)]
pub struct SnapshotFilter {
    /// Only those that are so far.
    pub status: Option<SnapshotStatus>,
    /// Only those that this process started.
    pub initiator: Option<ProcessId>,
    /// Only those of which a partial revision was ever published, or only the others.
    pub ever_partial: Option<bool>,
    /// Started at this instant or later.
    pub from: Option<Hlc>,
    /// Started before this instant.
    pub to: Option<Hlc>,
    /// Started before this one, which was the last of the page before.
    pub before: Option<(Hlc, SnapshotId)>,
    /// At most so many.
    pub limit: usize,
}

impl SnapshotStatus {
    /// The stable name on the public interface.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InProgress => "in_progress",
            Self::Complete => "complete",
            Self::Partial => "partial",
        }
    }
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
    /// What is on it, newest first.
    pub views: Vec<SnapshotView>,
    /// The last place of the page, where there may be more behind it.
    pub next: Option<(Hlc, SnapshotId)>,
}

impl SnapshotFilter {
    pub(in crate::node) fn page(
        &self,
        store: &Store,
        running: Vec<Arc<GlobalState>>,
    ) -> Result<SnapshotPage, StoreError> {
        // One more than is shown says whether there is another page.
        let published =
            store.newest_before(self.before.as_ref(), self.limit + 1, |place, line| {
                self.wants(place.0, &line.initiator, line.into(), line.ever_partial)
            })?;
        let published = published.into_iter().map(SnapshotView::of);
        let mut views: Vec<_> = published.map(|view| view.was_partial(store)).collect();
        let is_published = |state: &GlobalState| {
            let mut published = views.iter();
            published.any(|view| view.state.snapshot == state.snapshot)
        };
        let running = running.into_iter().filter(|state| !is_published(state));
        let running: Vec<_> = running
            .map(SnapshotView::in_progress)
            .filter(|view| self.wants_view(view))
            .collect();
        views.extend(running);
        views.sort_by_key(|view| Reverse(view.place()));
        let more = views.len() > self.limit;
        views.truncate(self.limit);
        let next = views.last().filter(|_| more).map(SnapshotView::place);
        Ok(SnapshotPage { views, next })
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

    pub(in crate::node) fn was_partial(mut self, store: &Store) -> Self {
        self.ever_partial |= store.was_partial(&self.state.snapshot);
        self
    }

    pub(in crate::node) fn leased(mut self, reading: ReadLease) -> Self {
        self.state.reading = Some(Arc::new(reading));
        self
    }

    /// Snapshots are listed in this order, newest first.
    fn place(&self) -> (Hlc, SnapshotId) {
        (self.state.initiated_at, self.state.snapshot.clone())
    }

    /// How far it is.
    #[must_use]
    pub fn status(&self) -> SnapshotStatus {
        match (self.root, self.state.is_complete()) {
            (None, _) => SnapshotStatus::InProgress,
            (Some(_), true) => SnapshotStatus::Complete,
            (Some(_), false) => SnapshotStatus::Partial,
        }
    }
}
