//! The present figures of this node, for operators at any node.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::task::JoinSet;

use crate::history::vitals::{
    ChannelCondition, ChannelEnd, ReceivingEnd, SendingEnd, StoreSpace, Vitals,
};
use crate::node::error::Unavailable;
use crate::node::feed::Feed;
use crate::node::handle::Handle;
use crate::process::channel::Waiting;
use crate::process::ids::{ChannelId, Lsn, ProcessId};
use crate::process::query::ProcessStatus;
use crate::transport::link::LinkState;

impl Handle {
    /// The present figures of this process.
    ///
    /// # Errors
    /// [`Unavailable`].
    pub async fn vitals(&self) -> Result<Vitals, Unavailable> {
        let status = self.query(ProcessStatus).await?.reply;
        let me = &self.config().me;
        let mut vitals = Vitals {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_us: self.started_us(),
            position: status.position,
            records: self.records(),
            accounts: status.accounts,
            space: self.space().await?,
            not_ready: self.ready().err(),
            warnings: self.warnings(),
            outgoing: Default::default(),
            incoming: Default::default(),
        };
        let mut waiting = self.waiting().await;
        for (to, channel) in status.outgoing {
            let end = SendingEnd {
                end: self.end(me, &to),
                sent: channel.sent.sequence,
                acknowledged: channel.acknowledged,
                waiting: waiting.remove(&to),
            };
            vitals.outgoing.insert(to, end);
        }
        for (from, channel) in status.incoming {
            let end = ReceivingEnd {
                end: self.end(&from, me),
                delivered: channel.delivered.sequence,
                is_recording: status.recorded_channels.contains(&from),
            };
            vitals.incoming.insert(from, end);
        }
        Ok(vitals)
    }

    /// When this run started, microseconds since the Unix epoch.
    #[must_use]
    pub fn started_us(&self) -> u64 {
        self.shared.started_us
    }

    /// The present time of this node's wall clock, microseconds since the Unix epoch.
    #[must_use]
    pub fn now_us(&self) -> u64 {
        self.shared.peers.wall().wall_us()
    }

    /// The newest durable turn.
    #[must_use]
    pub fn durable_position(&self) -> Lsn {
        self.store().journal().position()
    }

    pub(in crate::node) fn feed(&self) -> &Feed {
        &self.shared.events.feed
    }

    /// The number of records made durable in this run.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.shared.metrics.records()
    }

    /// The state of a channel of this process, as its end here sees it.
    #[must_use]
    pub fn end(&self, from: &ProcessId, to: &ProcessId) -> ChannelEnd {
        let other = if *from == self.config().me { to } else { from };
        let channel = ChannelId {
            from: from.clone(),
            to: to.clone(),
        };
        // A native channel is open while its stream is; unary calls have no connection state.
        let state = match self.link(&channel) {
            LinkState::Open | LinkState::Closed if self.config().is_unary(other) => {
                ChannelCondition::Unary
            }
            LinkState::Open => ChannelCondition::Open,
            LinkState::WaitingForClock(_) => ChannelCondition::WaitingForClock,
            LinkState::Closed => ChannelCondition::Closed,
            LinkState::Stopped(_) => ChannelCondition::Stopped,
        };
        let error = self.link_error(&channel);
        ChannelEnd { state, error }
    }

    /// The messages that wait on each channel, read at once; what cannot be read soon is left out.
    pub(in crate::node) async fn waiting(&self) -> BTreeMap<ProcessId, Waiting> {
        let mut readings = JoinSet::new();
        for (to, outbox) in &self.shared.outboxes {
            let (to, outbox) = (to.clone(), Arc::clone(outbox));
            readings.spawn(async move { Some((to, outbox.waiting_soon().await?)) });
        }
        readings.join_all().await.into_iter().flatten().collect()
    }

    async fn space(&self) -> Result<Option<StoreSpace>, Unavailable> {
        let measured = self.store_worker().run(|store| match store.usage() {
            // Too many files are open; those of the store are usable.
            Err(error) if error.is_shortage() => Ok(None),
            measured => measured.map(Some),
        });
        let usage = measured.await?;
        Ok(usage.map(|usage| StoreSpace {
            disk: usage.disk,
            free: usage.free,
        }))
    }
}
