//! How the channels of a node are connected, for status calls and logs.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::Closed;
use crate::process::ids::ChannelId;

/// The connection under one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum LinkState {
    /// Not connected; it is tried again and again.
    #[default]
    Closed,
    /// A stream is open.
    Open,
    /// The two ends do not belong together; the sentence says why.
    Stopped(String),
}

impl LinkState {
    /// The stable name on the public interface.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::Stopped(_) => "stopped",
        }
    }
}

/// The connections of all channels of a node.
#[derive(Debug, Clone, Default)]
pub struct Links(Arc<Mutex<BTreeMap<ChannelId, Link>>>);

#[derive(Debug, Default)]
struct Link {
    state: LinkState,
    /// Counts the streams, so that the end of an old one does not close its successor.
    generation: u64,
}

impl Links {
    /// How a channel is connected.
    #[must_use]
    pub fn get(&self, channel: &ChannelId) -> LinkState {
        let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        links
            .get(channel)
            .map(|link| link.state.clone())
            .unwrap_or_default()
    }

    /// Takes note of an open stream; the number is for [`Links::end`].
    #[must_use]
    pub fn open(&self, channel: &ChannelId) -> u64 {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(channel.clone()).or_default();
        link.generation += 1;
        if link.state != LinkState::Open {
            tracing::debug!(%channel, "channel open");
        }
        link.state = LinkState::Open;
        link.generation
    }

    /// Takes note of the end of the stream with this number, unless a newer one is open.
    pub fn end(&self, channel: &ChannelId, generation: u64, why: &Closed) {
        let mut links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let link = links.entry(channel.clone()).or_default();
        if link.generation != generation {
            return;
        }
        let state = match why {
            Closed::Broken(_) => LinkState::Closed,
            Closed::Stopped(sentence) => LinkState::Stopped(sentence.clone()),
        };
        if link.state != state {
            match why {
                Closed::Broken(why) => tracing::debug!(%channel, why, "channel closed"),
                Closed::Stopped(why) => tracing::error!(%channel, why, "channel stopped"),
            }
        }
        link.state = state;
    }

    /// Takes note of a stream that was never opened.
    pub fn fail(&self, channel: &ChannelId, why: &Closed) {
        let generation = {
            let links = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            links.get(channel).map_or(0, |link| link.generation)
        };
        self.end(channel, generation, why);
    }
}
