//! All processes and channels of the cluster, each asked for its own figures.

use super::super::error::Failure;
use super::super::member::{self, Seen};
use crate::access::caller::Caller;
use crate::cluster::vitals::{self, ClusterVitals};
use crate::node::Handle;
use crate::proto::snapledger::{
    ChannelFigures, ClusterFigures, Currency, ProcessFigures, ProcessVitals,
};
use crate::transport::wire::{channel_to_wire, vitals_to_wire};

/// The whole cluster now, for this caller.
pub(super) async fn figures(handle: &Handle, caller: &Caller) -> Result<ClusterFigures, Failure> {
    let vitals = vitals::all(handle).await?;
    let config = handle.config();
    let shows_amounts = caller.may_audit();
    let channels = config.topology.channels().map(|channel| {
        let shown = channel_to_wire(&channel, vitals.channel(&channel));
        ChannelFigures {
            waiting_amount: shown.waiting_amount.filter(|_| shows_amounts),
            ..shown
        }
    });
    let currency = config.currency.as_ref().map(|currency| Currency {
        label: currency.label.clone(),
        exponent: currency.exponent.into(),
    });
    let members = member::all(handle).into_iter();
    Ok(ClusterFigures {
        cluster: config.cluster.clone(),
        asked: config.me.to_string(),
        asked_us: handle.now_us(),
        currency,
        processes: members.map(|seen| process(seen, &vitals)).collect(),
        channels: channels.collect(),
    })
}

fn process(seen: Seen, vitals: &ClusterVitals) -> ProcessFigures {
    let answered = vitals.of(&seen.process).map(|found| ProcessVitals {
        channels: Vec::new(),
        ..vitals_to_wire(&seen.process, found)
    });
    let failure = vitals.failure(&seen.process).map(str::to_owned);
    ProcessFigures {
        process: seen.process.to_string(),
        state: seen.state.to_owned(),
        since_us: seen.since_us,
        last_seen_us: seen.last_seen_us,
        transport: seen.transport.to_owned(),
        grpc: seen.grpc,
        rest: seen.rest.unwrap_or_default(),
        clock_skew_seconds: seen.clock_skew_seconds,
        error: seen.error.or(failure).unwrap_or_default(),
        vitals: answered,
    }
}
