//! The past of the own process, for whoever asks: final before it is answered, since the clock passes an instant durably
//! first; and what the history here knows of others.

pub(super) mod changes;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::error::{Unanswered, Unavailable};
use super::handle::Handle;
use crate::history::part::RecordedState;
use crate::history::past::{BalanceThen, JournalPosition, PastPoint};
use crate::history::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::command::Advance;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::process::query::ProcessStatus;
use crate::store::{StatementPage, StatementQuery, Store, StoreError};

/// How long a process may take to say until when something has happened there.
const GREETING_MAX: Duration = Duration::from_secs(1);

// Refuses totals of another journal.
fn check(place: &JournalPosition, share: &ProcessTotals) -> Result<(), Unanswered> {
    match place.is_in(&share.journal) {
        true => Ok(()),
        false => Err(Unanswered::OtherJournal(place.position)),
    }
}

impl Handle {
    /// The newest instant that is not in the future: what the wall clock shows, or the clock of the process where that
    /// is ahead of it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn present(&self) -> Result<Hlc, Unavailable> {
        let settled = self.query(ProcessStatus).await?;
        Ok(settled
            .time
            .max(self.shared.peers.wall().now())
            .last_of_label())
    }

    /// By when everything has happened that this process did. Behind a gap there is no answer before the store has caught up with
    /// its peers: once that is over, it counts as the newest thing that happened.
    pub(super) fn settled(&self) -> Hlc {
        let settled = self.shared.clocks.settled();
        let now = self.shared.peers.wall().now();
        let caught_up = self.store().gaps().caught_up_since();
        let caught_up = caught_up.filter(|since| *since <= now);
        settled.max(caught_up.unwrap_or_default())
    }

    /// The instant to answer for where none is asked about: everything that a live process has acknowledged has happened
    /// by then. As long as nothing else happens it stays the same, and once it has been asked about nothing is written.
    pub async fn latest(&self) -> Hlc {
        let mut asked = JoinSet::new();
        for peer in self.peers().into_iter().filter(|peer| !peer.is_silent) {
            if let Some(client) = self.peer_client(&peer.process) {
                let greeting = self.greeting();
                asked.spawn(async move { client.greet(greeting, GREETING_MAX).await });
            }
        }
        let wall = self.shared.peers.wall();
        let mut latest = self.settled();
        while let Some(answered) = asked.join_next().await {
            let settled = match answered {
                Ok(Ok(greeting)) => greeting.settled,
                _ => 0,
            };
            // What a process does not say may have happened until now.
            let settled = match settled {
                0 => wall.now(),
                settled => Hlc(settled),
            };
            // What a process did whose clock is too far ahead belongs to instants that are not over.
            if wall.too_early(settled).is_none() {
                latest = latest.max(settled);
            }
        }
        latest.last_of_label()
    }

    /// The figures of this process at a point of its past. They are not known ([`ProcessTotals::is_known`]) where the journal knows
    /// nothing of that time.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn share(&self, point: PastPoint) -> Result<ProcessTotals, Unanswered> {
        match point {
            PastPoint::Time(time) => {
                self.reach(time).await?;
                self.look_up(move |store| match store.past().known_at(time)? {
                    Some(position) => store.past().totals_at(position),
                    None => Ok(ProcessTotals::default()),
                })
                .await
            }
            PastPoint::Place(place) => {
                let position = place.position;
                let share = self
                    .look_up(move |store| store.past().totals_at(position))
                    .await?;
                check(&place, &share)?;
                Ok(share)
            }
            PastPoint::Recorded(place, snapshot) => {
                let position = place.position;
                let found =
                    self.look_up(move |store| store.past().recorded_totals(&snapshot, position));
                let share = found.await?;
                check(&place, &share)?;
                Ok(share)
            }
        }
    }

    /// What an account of this process held at an instant.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn balance_at(
        &self,
        account: AccountId,
        time: Hlc,
    ) -> Result<BalanceThen, Unanswered> {
        self.reach(time).await?;
        let me = self.config().me.clone();
        let shared = Arc::clone(&self.shared);
        self.look_up(move |store| {
            let position = store.past().known_at(time)?;
            let held = |position| store.past().balance_at(&me, &account, position);
            let undecided = shared.meetings.undecided(store, time)?;
            let mut undecided = undecided.iter();
            Ok(BalanceThen {
                units: position.map(held).transpose()?.flatten(),
                position: position.unwrap_or_default(),
                is_doubtful: undecided.any(|peer| shared.peers.was_seen(peer)),
            })
        })
        .await
    }

    /// Whether the store of a peer is given up here, and none has taken its place.
    #[must_use]
    pub fn has_given_up(&self, peer: &ProcessId) -> bool {
        self.shared.meetings.has_given_up(peer)
    }

    /// A page of the statement of an account of this process.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn statement(&self, query: StatementQuery) -> Result<StatementPage, Unanswered> {
        let me = self.config().me.clone();
        self.look_up(move |store| store.past().statement(&me, &query))
            .await
    }

    /// What the newest snapshot in the history here holds of a process whose recorded state is as it should be; if it must
    /// not be later than an instant, that is given, too.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn recorded(
        &self,
        process: ProcessId,
        not_after: Option<Hlc>,
        is_wanted: impl Fn(&RecordedState) -> bool + Send + 'static,
    ) -> Result<Option<(SnapshotId, RecordedState)>, Unanswered> {
        self.look_up(move |store| store.past().newest_recorded(&process, not_after, is_wanted))
            .await
    }

    // What was decided before the clock passed the instant is durable when this returns, and nothing later belongs to it.
    // Whoever asks does not pull the clock either.
    pub(super) async fn reach(&self, time: Hlc) -> Result<(), Unanswered> {
        let wall = self.shared.peers.wall();
        if !wall.settled().await {
            return Err(Unavailable::Stopped("it is stopping".to_owned()).into());
        }
        if let Some(why) = wall.too_early(time) {
            return Err(Unanswered::Ahead(why));
        }
        self.ask(Advance { time }).await?;
        Ok(())
    }

    /// Reads the store on a blocking thread.
    ///
    /// # Errors
    /// [`Unanswered`]; a fatal error ends the node.
    pub async fn look_up<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Unanswered> {
        let store = Arc::clone(&self.shared.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        let done = done.map_err(|error| Unavailable::Stopped(error.to_string()))?;
        done.map_err(|error| match error.is_fatal() {
            false => Unanswered::Store(error),
            true => {
                let unavailable = Unavailable::Stopped(error.to_string());
                self.parts().failures.report("blocking", error);
                unavailable.into()
            }
        })
    }
}
