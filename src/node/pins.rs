//! A pin holds at every node. Like the history it is pulled: every greeting says how many words on pins have come to a
//! peer, and who knows of fewer asks for them. So a node that was away hears of them when it is back, before it deletes
//! anything; and what it had deleted before it heard comes back from who has it.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval, sleep};
use tokio_stream::StreamExt as _;
use tonic::transport::Channel;

use super::collector::Collector;
use super::error::Unavailable;
use super::handle::Handle;
use super::parts::Unfetched;
use crate::process::clock::Hlc;
use crate::process::ids::{ProcessId, SnapshotId};
use crate::proto::snapledger::ListedPin;
use crate::store::Pin;

/// Peers say in every greeting how many words have come to them.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// After a list could not be had.
const PAUSE: Duration = Duration::from_secs(2);

/// Per process, in which of its runs how many of its words were heard here.
pub(super) type Heard = BTreeMap<ProcessId, (u64, u64)>;

impl Collector {
    /// Takes note of what a peer knows of pins, for ever.
    pub(super) async fn follow_pins(&self, peer: &ProcessId) {
        let Some(connection) = self.peers.connection(peer) else {
            return;
        };
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            looks.tick().await;
            let Some(view) = self.peers.view(peer) else {
                return;
            };
            if self.heard().get(peer) == Some(&view.pins) || !self.peers.is_up(peer) {
                continue;
            }
            match self.hear(&connection, view.pins.1).await {
                Ok(()) => _ = self.heard().insert(peer.clone(), view.pins),
                Err(error) => {
                    tracing::debug!(%peer, %error, "its pins could not be heard");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    /// Whether every word on pins is known here that can be: nobody else answers.
    pub(super) fn knows_pins(&self) -> bool {
        let heard = self.heard().clone();
        let mut processes = self.config.topology.processes();
        processes.all(|process| {
            let is_peer = *process != self.config.me && self.peers.connection(process).is_some();
            if !is_peer || self.peers.is_gone(process) {
                return true;
            }
            let view = self.peers.view(process);
            let said = view.map(|view| view.pins);
            self.peers.is_up(process) && said.as_ref() == heard.get(process)
        })
    }

    async fn hear(&self, connection: &Channel, count: u64) -> Result<(), Unfetched> {
        // A program that knows of no pins says so by their number.
        if count == 0 {
            return Ok(());
        }
        let mut listed = self.parts.list_pins(connection.clone()).await?;
        let mut pins = Vec::new();
        while let Some(pin) = listed.next().await.transpose()? {
            pins.extend(read(&pin));
        }
        let wanted = self.parts.blocking(move |store| store.note_pins(pins));
        if !wanted.await?.is_empty() {
            // Whoever has it has listed it long ago.
            self.revived.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        let heard = &self.pins_heard;
        heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read(listed: &ListedPin) -> Option<(SnapshotId, Pin)> {
    let pin = Pin {
        pinned: listed.pinned,
        // A clock that has run away leaves room for a later word.
        at: Hlc::default().receive(Hlc(listed.time)),
        by: ProcessId::parse(&listed.process).ok()?,
    };
    Some((SnapshotId::parse(&listed.snapshot_id).ok()?, pin))
}

impl Handle {
    /// Pins a snapshot, or takes the pin away: durable here when answered, and on its way to the others. `None` where
    /// the snapshot is not in this history.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn pin(&self, id: &SnapshotId, pinned: bool) -> Result<Option<()>, Unavailable> {
        if self.snapshot(id).await?.is_none() {
            return Ok(None);
        }
        let (id, me) = (id.clone(), self.config().me.clone());
        let now = self.shared.peers.wall().now();
        let parts = self.parts();
        let pin = parts.blocking(move |store| store.pin(&id, pinned, (&me, now)));
        pin.await
    }
}
