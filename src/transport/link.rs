//! The connections of a node's channels, shared by its tasks. [`crate::channel::links`] defines them and decides when a stream
//! must wait or end; here they are locked, and a change of slots wakes the streams.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::channel::Closed;
pub use crate::channel::links::LinkState;
use crate::channel::links::LinkTable;
use crate::process::ids::ChannelId;

/// The connections of all channels of a node.
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<LinkTable>,
    /// The number of slot changes.
    slots: watch::Sender<u64>,
}

impl Links {
    /// The state of a channel.
    #[must_use]
    pub fn get(&self, channel: &ChannelId) -> LinkState {
        self.with(|links| links.get(channel))
    }

    /// The fault of a channel, or of a second copy of the peer's store.
    #[must_use]
    pub fn error(&self, channel: &ChannelId) -> Option<String> {
        self.with(|links| links.error(channel))
    }

    /// The stopped channels, with the reasons.
    #[must_use]
    pub fn stopped(&self) -> Vec<(ChannelId, String)> {
        self.with(|links| links.stopped())
    }

    /// The channels that are stopped or whose messages wait for the clock, each as a sentence.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        self.with(|links| links.warnings())
    }

    /// Records an open connection. Returns its number for [`Links::end`].
    #[must_use]
    pub(super) fn open(&self, channel: &ChannelId) -> u64 {
        self.with(|links| links.open(channel))
    }

    /// Records the end of the connection with this number, unless a newer one is open.
    pub(super) fn end(&self, channel: &ChannelId, generation: u64, why: &Closed) {
        self.with(|links| links.end(channel, generation, why));
    }

    /// Records that a connection could not be opened. An open one is not affected.
    pub fn fail(&self, channel: &ChannelId, why: &Closed) {
        self.with(|links| links.fail(channel, why));
    }

    /// Reads or changes the connections, and wakes the streams if slots have changed.
    pub(super) fn with<T>(&self, act: impl FnOnce(&mut LinkTable) -> T) -> T {
        let mut table = self.0.table.lock().unwrap_or_else(PoisonError::into_inner);
        let before = table.slot_changes();
        let result = act(&mut table);
        let changes = table.slot_changes();
        if changes != before {
            self.0.slots.send_replace(changes);
        }
        result
    }

    /// Changes whenever streams must check their slots.
    pub(super) fn slot_changes(&self) -> watch::Receiver<u64> {
        self.0.slots.subscribe()
    }
}
