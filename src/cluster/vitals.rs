//! The present figures of all processes, for operators: every process is asked for its own at once, each for a short time.

use std::collections::BTreeMap;

use tokio::task::JoinSet;

use super::error::QueryError;
use crate::history::vitals::{ChannelView, Vitals};
use crate::node::Handle;
use crate::otel::carried;
use crate::process::ids::{ChannelId, ProcessId};
use crate::transport::peer_error::PeerError;

/// The processes that were asked, each with its figures or the reason why there are none.
pub(crate) struct ClusterVitals(BTreeMap<ProcessId, Result<Vitals, String>>);

/// Asks every process that runs this program and does not stay silent.
pub(crate) async fn all(handle: &Handle) -> Result<ClusterVitals, QueryError> {
    let mut asked = JoinSet::new();
    let here = handle.clone();
    asked.spawn(async move { (here.config().me.clone(), here.vitals().await.map_err(why)) });
    for peer in handle.peers().into_iter().filter(|peer| !peer.is_silent) {
        let Some(client) = handle.peer_client(&peer.process) else {
            continue;
        };
        asked.spawn(carried(async move {
            let found = client.vitals().await;
            let found = found.map_err(|error| match error {
                PeerError::Unsupported(_) => {
                    "its program is older and does not tell its figures".to_owned()
                }
                error => why(error),
            });
            (peer.process, found)
        }));
    }
    let mut vitals = BTreeMap::new();
    while let Some(answered) = asked.join_next().await {
        let stopped = |error: tokio::task::JoinError| QueryError::Interrupted(error.to_string());
        let (process, found) = answered.map_err(stopped)?;
        vitals.insert(process, found);
    }
    Ok(ClusterVitals(vitals))
}

fn why(error: impl std::fmt::Display) -> String {
    error.to_string()
}

impl ClusterVitals {
    /// The figures of a process, if it has answered.
    pub(crate) fn of(&self, process: &ProcessId) -> Option<&Vitals> {
        self.0.get(process)?.as_ref().ok()
    }

    /// Why a process that was asked has not answered.
    pub(crate) fn failure(&self, process: &ProcessId) -> Option<&str> {
        self.0.get(process)?.as_ref().err().map(String::as_str)
    }

    /// A channel as far as its ends have answered.
    pub(crate) fn channel(&self, channel: &ChannelId) -> ChannelView<'_> {
        let sender = self.of(&channel.from);
        let receiver = self.of(&channel.to);
        ChannelView {
            sending: sender.and_then(|vitals| vitals.outgoing.get(&channel.to)),
            receiving: receiver.and_then(|vitals| vitals.incoming.get(&channel.from)),
        }
    }
}
