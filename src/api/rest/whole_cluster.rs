//! All processes and channels of the cluster, each asked for its own figures: `GET /v1/cluster?scope=all`.

use serde::Serialize;

use crate::access::caller::Caller;
use crate::api::error::Failure;
use crate::api::member::{self, Seen};
use crate::api::time::rfc3339;
use crate::cluster::vitals::{self, ClusterVitals};
use crate::config::Currency;
use crate::history::vitals::{SendingEnd, StoreSpace, Vitals};
use crate::node::Handle;
use crate::process::ids::ChannelId;

/// The whole cluster as this node sees it now. What is not known is null.
#[derive(Serialize)]
pub(super) struct WholeCluster<'a> {
    cluster: &'a str,
    asked: &'a str,
    asked_at: String,
    currency: Option<CurrencyResponse<'a>>,
    processes: Vec<ProcessResponse<'a>>,
    channels: Vec<ChannelResponse<'a>>,
}

#[derive(Serialize)]
pub(super) struct CurrencyResponse<'a> {
    label: &'a str,
    exponent: u8,
}

impl<'a> From<&'a Currency> for CurrencyResponse<'a> {
    fn from(currency: &'a Currency) -> Self {
        Self {
            label: &currency.label,
            exponent: currency.exponent,
        }
    }
}

#[derive(Serialize)]
struct ProcessResponse<'a> {
    process: &'a str,
    state: &'static str,
    since: Option<String>,
    last_seen: Option<String>,
    transport: &'static str,
    grpc: &'a str,
    rest: Option<&'a str>,
    clock_skew_seconds: Option<f64>,
    error: Option<String>,
    version: Option<&'a str>,
    boot: Option<String>,
    journal_position: Option<u64>,
    records: Option<u64>,
    accounts: Option<u64>,
    store: Option<StoreResponse>,
    ready: Option<bool>,
    not_ready: Option<&'a str>,
    warnings: Option<&'a [String]>,
}

#[derive(Serialize)]
struct StoreResponse {
    disk_bytes: u64,
    free_bytes: u64,
}

#[derive(Serialize)]
struct ChannelResponse<'a> {
    from: &'a str,
    to: &'a str,
    state: Option<&'static str>,
    error: Option<&'a str>,
    sent: Option<u64>,
    acknowledged: Option<u64>,
    delivered: Option<u64>,
    waiting: Option<u64>,
    waiting_amount: Option<i128>,
    oldest_at: Option<String>,
    recording: Option<bool>,
}

/// What is known before the processes are asked, and what they answered.
pub(super) struct Found {
    members: Vec<Seen>,
    vitals: ClusterVitals,
    channels: Vec<ChannelId>,
    asked_us: u64,
}

impl Found {
    /// Asks all processes.
    pub(super) async fn ask(handle: &Handle) -> Result<Self, Failure> {
        let vitals = vitals::all(handle).await?;
        Ok(Self {
            members: member::all(handle),
            vitals,
            channels: handle.config().topology.channels().collect(),
            asked_us: handle.now_us(),
        })
    }

    /// The answer for this caller.
    pub(super) fn show<'a>(&'a self, handle: &'a Handle, caller: &Caller) -> WholeCluster<'a> {
        let config = handle.config();
        let shows_amounts = caller.may_audit();
        let processes = self.members.iter();
        let channels = self.channels.iter();
        WholeCluster {
            cluster: &config.cluster,
            asked: config.me.as_str(),
            asked_at: rfc3339(self.asked_us),
            currency: config.currency.as_ref().map(CurrencyResponse::from),
            processes: processes.map(|seen| self.process(seen)).collect(),
            channels: channels
                .map(|channel| self.channel(channel, shows_amounts))
                .collect(),
        }
    }

    fn process<'a>(&'a self, seen: &'a Seen) -> ProcessResponse<'a> {
        let vitals = self.vitals.of(&seen.process);
        let failure = self.vitals.failure(&seen.process);
        let error = seen.error.as_deref().or(failure);
        ProcessResponse {
            process: seen.process.as_str(),
            state: seen.state,
            since: seen.since_us.map(rfc3339),
            last_seen: seen.last_seen_us.map(rfc3339),
            transport: seen.transport,
            grpc: &seen.grpc,
            rest: seen.rest.as_deref(),
            clock_skew_seconds: seen.clock_skew_seconds,
            error: error.map(str::to_owned),
            version: vitals.map(|vitals| &*vitals.version),
            boot: vitals.map(|vitals| rfc3339(vitals.started_us)),
            journal_position: vitals.map(|vitals| vitals.position.0),
            records: vitals.map(|vitals| vitals.records),
            accounts: vitals.map(|vitals| vitals.accounts),
            store: vitals
                .and_then(|vitals| vitals.space)
                .map(StoreResponse::from),
            ready: vitals.map(|vitals| vitals.not_ready.is_none()),
            not_ready: vitals.and_then(|vitals| vitals.not_ready.as_deref()),
            warnings: vitals.map(|vitals: &Vitals| &*vitals.warnings),
        }
    }

    fn channel<'a>(&'a self, channel: &'a ChannelId, shows_amounts: bool) -> ChannelResponse<'a> {
        let view = self.vitals.channel(channel);
        let waiting = view.sending.and_then(|sending| sending.waiting);
        let oldest = waiting.and_then(|waiting| waiting.oldest);
        let end = view.end();
        ChannelResponse {
            from: channel.from.as_str(),
            to: channel.to.as_str(),
            state: end.map(|end| end.state.as_str()),
            error: end.and_then(|end| end.error.as_deref()),
            sent: view.sending.map(|sending| sending.sent.0),
            acknowledged: view.sending.map(|sending| sending.acknowledged.0),
            delivered: view.receiving.map(|receiving| receiving.delivered.0),
            waiting: view.sending.map(SendingEnd::waiting_messages),
            waiting_amount: waiting
                .filter(|_| shows_amounts)
                .map(|waiting| waiting.amount),
            oldest_at: oldest.map(|oldest| rfc3339(oldest.wall_us())),
            recording: view.receiving.map(|receiving| receiving.is_recording),
        }
    }
}

impl From<StoreSpace> for StoreResponse {
    fn from(space: StoreSpace) -> Self {
        Self {
            disk_bytes: space.disk,
            free_bytes: space.free,
        }
    }
}
