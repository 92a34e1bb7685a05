//! The past of the own process, for whoever asks: final before it is answered, since the clock passes an instant durably
//! first; and what the history here knows of others.

pub(super) mod changes;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;

use super::error::{Unanswered, Unavailable};
use super::handle::Handle;
use crate::history::part::RecordedState;
use crate::history::process_totals::ProcessTotals;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, Hash, Lsn, ProcessId, SnapshotId};
use crate::process::input::{Input, Read};
use crate::proto::snapledger::peer_service_client::PeerServiceClient;
use crate::store::{StatementPage, StatementQuery, Store, StoreError};

/// How long a process may take to say until when something has happened there.
const GREETING_MAX: Duration = Duration::from_secs(1);

/// A point in the past of one process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PastPoint {
    /// After the newest turn that is not later.
    Time(Hlc),
    /// After the turn at a position.
    Place(JournalPosition),
    /// The same, where a state was recorded for this snapshot. A journal that begins later may still have its figures.
    Recorded(JournalPosition, SnapshotId),
}

/// A position of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalPosition {
    /// Which turn.
    pub position: Lsn,
    /// The hash of its entry, or the beginning of it: the same number in another journal is another place.
    pub journal: Vec<u8>,
}

/// What an account of this process held at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BalanceHere {
    /// Minor units; `None` where the account did not exist.
    pub units: Option<i64>,
    /// The newest turn that counts; 0 where the journal knows nothing of that time.
    pub position: Lsn,
    /// Whether peers that this store had not met by then may have known another one, which an audit finds out.
    pub is_doubtful: bool,
}

impl JournalPosition {
    /// Refuses a share of another journal.
    ///
    /// # Errors
    /// [`Unanswered::OtherJournal`].
    pub fn check(&self, share: &ProcessTotals) -> Result<(), Unanswered> {
        match self.is_in(&share.journal) {
            true => Ok(()),
            false => Err(Unanswered::OtherJournal(self.position)),
        }
    }

    /// Whether it is one of the journal that has this hash at its position.
    #[must_use]
    pub fn is_in(&self, journal: &Hash) -> bool {
        journal.0.starts_with(&self.journal)
    }
}

impl Handle {
    /// The newest instant that is not in the future: what the wall clock shows, or the clock of the process where that
    /// is ahead of it.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn present(&self) -> Result<Hlc, Unavailable> {
        let settled = self.ask(Input::Read(Read::Status)).await?;
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
            if let Some(channel) = self.peer_channel(&peer.process) {
                let greeting = self.greeting();
                asked.spawn(async move {
                    let mut client = PeerServiceClient::new(channel);
                    timeout(GREETING_MAX, client.greet(greeting)).await
                });
            }
        }
        let wall = self.shared.peers.wall();
        let mut latest = self.settled();
        while let Some(answered) = asked.join_next().await {
            let settled = match answered {
                Ok(Ok(Ok(greeting))) => greeting.into_inner().settled,
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
                place.check(&share)?;
                Ok(share)
            }
            PastPoint::Recorded(place, snapshot) => {
                let position = place.position;
                let found =
                    self.look_up(move |store| store.past().recorded_totals(&snapshot, position));
                let share = found.await?;
                place.check(&share)?;
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
    ) -> Result<BalanceHere, Unanswered> {
        self.reach(time).await?;
        let me = self.config().me.clone();
        let shared = Arc::clone(&self.shared);
        self.look_up(move |store| {
            let position = store.past().known_at(time)?;
            let held = |position| store.past().balance_at(&me, &account, position);
            let undecided = shared.meetings.undecided(store, time)?;
            let mut undecided = undecided.iter();
            Ok(BalanceHere {
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
        self.ask(Input::AdvanceClock { time }).await?;
        Ok(())
    }

    pub(super) async fn look_up<T: Send + 'static>(
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
