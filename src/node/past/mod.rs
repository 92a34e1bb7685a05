//! The past of the own process. Answers are final, because the clock first passes the instant durably. Also the past of other
//! processes from the own history.

pub(super) mod changes;
pub(super) mod excerpt;

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use super::error::{Unanswered, Unavailable};
use super::handle::Handle;
use crate::history::part::RecordedState;
use crate::history::past::{BalanceThen, JournalPosition, PastPoint};
use crate::history::process_totals::{ProcessTotals, StoresKnown, ToldTotals};
use crate::node::store_worker::StoreWorker;
use crate::process::clock::Hlc;
use crate::process::command::Advance;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};
use crate::process::query::{KnownPeers, ProcessStatus};
use crate::shipping::hold::Waits;
use crate::store::{StatementPage, StatementQuery};

/// The time limit for a process to report its newest turn.
const GREETING_MAX: Duration = Duration::from_secs(1);

// Refuses totals of another journal.
fn check(place: &JournalPosition, share: &ProcessTotals) -> Result<(), Unanswered> {
    match place.is_in(&share.journal) {
        true => Ok(()),
        false => Err(Unanswered::OtherJournal(place.position)),
    }
}

impl Handle {
    /// The newest instant that is not in the future: the wall clock, or the clock of the process if that is ahead.
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

    /// The instant by which everything that this process did has happened. After a gap there is no answer before the store has
    /// caught up with its peers; the instant of catching up, once past, counts as the newest event.
    pub(super) fn settled(&self) -> Hlc {
        let settled = self.shared.clocks.settled();
        let now = self.shared.peers.wall().now();
        let caught_up = self.store().gaps().caught_up_since();
        let caught_up = caught_up.filter(|since| *since <= now);
        settled.max(caught_up.unwrap_or_default())
    }

    /// An instant that every live process has passed durably: a question about it or an earlier one writes nothing anywhere. `None`
    /// if a live process does not tell its clock.
    #[must_use]
    pub fn passed_by_all(&self) -> Option<Hlc> {
        let peers = self.peers().into_iter();
        let asked = peers.filter(|peer| !peer.is_silent && !self.config().is_unary(&peer.process));
        let told = asked.map(|peer| Some(peer.settled).filter(|settled| *settled > Hlc::default()));
        told.chain([Some(self.settled())]).min().flatten()
    }

    /// The instant to use for a query without one: everything that a live process has acknowledged has happened by then. It
    /// stays the same while nothing else happens, so repeated queries write nothing.
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
            // A process that does not report its newest turn may have made one until now.
            let settled = match settled {
                0 => wall.now(),
                settled => Hlc(settled),
            };
            // A turn of a process whose clock is too far ahead belongs to future instants.
            if wall.too_early(settled).is_none() {
                latest = latest.max(settled);
            }
        }
        latest.last_of_label()
    }

    /// The totals of this process at a point of its past. They are unknown ([`ProcessTotals::is_known`]) if the journal does
    /// not know that time. For an audit there is with them what it knows now of the stores of the others.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn share(&self, point: PastPoint) -> Result<ToldTotals, Unanswered> {
        if let PastPoint::Recorded(..) = point {
            let (totals, stores) = (self.totals(point).await?, None);
            return Ok(ToldTotals { totals, stores });
        }
        let (totals, stores) = tokio::join!(self.totals(point), self.stores_known());
        let totals = totals?;
        Ok(ToldTotals { totals, stores })
    }

    // `None` if it may have forgotten some with the turns that its store lacks, or if too much waits: the totals count without it.
    async fn stores_known(&self) -> Option<StoresKnown> {
        let known = self.query(KnownPeers).await.ok()?.reply;
        let has_forgotten = self.store().gaps().are_any();
        (!has_forgotten).then(|| known.into())
    }

    async fn totals(&self, point: PastPoint) -> Result<ProcessTotals, Unanswered> {
        match point {
            PastPoint::Time(time) => {
                self.reach(time).await?;
                self.store_worker()
                    .look_up(move |store| match store.past().known_at(time)? {
                        Some(position) => store.past().totals_at(position),
                        None if store.past().begins_after(time)? => {
                            let store = store.identity().store;
                            Ok(ProcessTotals::before_all_turns(store))
                        }
                        None => Ok(ProcessTotals::default()),
                    })
                    .await
            }
            PastPoint::Place(place) => {
                let position = place.position;
                let share = self
                    .store_worker()
                    .look_up(move |store| store.past().totals_at(position))
                    .await?;
                check(&place, &share)?;
                Ok(share)
            }
            PastPoint::Recorded(place, snapshot) => {
                let position = place.position;
                let found = self
                    .store_worker()
                    .look_up(move |store| store.past().recorded_totals(&snapshot, position));
                let share = found.await?;
                check(&place, &share)?;
                Ok(share)
            }
        }
    }

    /// The balance of an account of this process at an instant.
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
        self.store_worker()
            .look_up(move |store| {
                let position = store.past().known_at(time)?;
                let held = |position| store.past().balance_at(&me, &account, position);
                let undecided = shared.handshakes.undecided(store, time)?;
                let mut undecided = undecided.iter();
                Ok(BalanceThen {
                    units: position.map(held).transpose()?.flatten(),
                    position: position.unwrap_or_default(),
                    is_doubtful: undecided.any(|peer| shared.peers.was_seen(peer)),
                })
            })
            .await
    }

    /// Whether the store of a peer was given up on this node and not replaced.
    #[must_use]
    pub fn has_given_up(&self, peer: &ProcessId) -> bool {
        self.shared.handshakes.has_given_up(peer)
    }

    /// A page of the statement of an account of this process.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn statement(&self, query: StatementQuery) -> Result<StatementPage, Unanswered> {
        let me = self.config().me.clone();
        let page = self
            .store_worker()
            .look_up(move |store| store.past().statement(&me, &query))
            .await?;
        self.shown().await?;
        Ok(page)
    }

    // Waits until what was read of the journal may be shown: not before the archive has it, if everything waits for that.
    pub(super) async fn shown(&self) -> Result<(), Unanswered> {
        let archive = self.config().archive.as_ref();
        if archive.is_some_and(|archive| archive.waits() == Waits::Everything) {
            let time = Hlc::default();
            self.ask_for_all(Advance { time }).await?;
        }
        Ok(())
    }

    /// The recorded state of a process in the newest snapshot of the own history that satisfies `is_wanted`. `not_after` is the
    /// latest time that can satisfy it, if known.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn recorded(
        &self,
        process: ProcessId,
        not_after: Option<Hlc>,
        is_wanted: impl Fn(&RecordedState) -> bool + Send + 'static,
    ) -> Result<Option<(SnapshotId, RecordedState)>, Unanswered> {
        self.store_worker()
            .look_up(move |store| store.past().newest_recorded(&process, not_after, is_wanted))
            .await
    }

    // Advances the clock past an instant. When this returns, everything decided before is durable, and no later turn belongs to
    // the instant. An instant too far ahead is refused, so that a query cannot move the clock either.
    pub(super) async fn reach(&self, time: Hlc) -> Result<(), Unanswered> {
        let wall = self.shared.peers.wall();
        if !wall.settled().await {
            return Err(Unavailable::Stopped("it is stopping".to_owned()).into());
        }
        if let Some(why) = wall.too_early(time) {
            return Err(Unanswered::Ahead(why));
        }
        // Nothing that others hear of the past may be lost with the disk, whoever asks.
        let advanced = self.ask_for_all(Advance { time }).await;
        advanced.map(|_| ()).map_err(|error| match error {
            // A question can be repeated: nothing of it is unknown.
            Unavailable::NotArchived(why) => {
                let refused = self.shared.admission.borrow().archived().err();
                refused.unwrap_or(Unavailable::NotYet(why)).into()
            }
            error => error.into(),
        })
    }

    /// Work on the store, on blocking threads.
    #[must_use]
    pub fn store_worker(&self) -> &StoreWorker {
        &self.shared.parts.worker
    }
}
