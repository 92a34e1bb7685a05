//! This process, its peers and its channels.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::json::Json;
use super::negotiation::{Format, negotiate};
use super::query::Parameters;
use super::whole_cluster::{CurrencyResponse, Found};
use crate::access::caller::Caller;
use crate::api::error::Failure;
use crate::api::member::{state_name, transport_name};
use crate::api::serve::limits::{Client, Resource};
use crate::api::time::rfc3339;
use crate::cluster::local_query;
use crate::node::{Handle, PeerView};
use crate::process::status::Status;

/// The parameter that says whose view is asked for.
const SCOPE: &str = "scope";

#[derive(Serialize)]
struct Cluster<'a> {
    cluster: &'a str,
    process: &'a str,
    logical_clock: u64,
    journal_position: u64,
    clock_skew_seconds: f64,
    warnings: Vec<String>,
    caller: Option<CallerResponse<'a>>,
    currency: Option<CurrencyResponse<'a>>,
    peers: Vec<PeerResponse<'a>>,
    channels: Vec<ChannelResponse<'a>>,
}

/// Who asks, on a node with `[auth]`: a page shows what this role may do.
#[derive(Serialize)]
struct CallerResponse<'a> {
    name: &'a str,
    role: String,
}

#[derive(Serialize)]
struct PeerResponse<'a> {
    process: &'a str,
    grpc: &'a str,
    rest: Option<&'a str>,
    /// `native` for streams or `unary` for calls.
    transport: &'static str,
    state: &'static str,
    last_seen: Option<String>,
    clock_skew_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
}

// Values known only to the other end are null.
#[derive(Serialize)]
struct ChannelResponse<'a> {
    from: &'a str,
    to: &'a str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    sent: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    acknowledged: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivered: Option<u64>,
    in_flight: Option<u64>,
    recording: bool,
}

/// `GET /v1/cluster`
pub(super) async fn show(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let parameters = Parameters::of(&uri, &[SCOPE])?;
    let never_stored = [(header::CACHE_CONTROL, "no-store")];
    match parameters.get(SCOPE) {
        None | Some("own") => {}
        Some("all") => {
            // As expensive as an export: every process is asked.
            let _permit = client.take(Resource::Exports, 1)?;
            let found = Found::ask(&app.handle).await?;
            let cluster = Json(found.show(&app.handle, &caller));
            return Ok((never_stored, cluster).into_response());
        }
        Some(other) => {
            let why = format!("{other:?} is neither own nor all");
            return Err(Failure::malformed(SCOPE, why));
        }
    }
    let status = local_query::status(&app.handle).await?;
    let peers = app.handle.peers();
    let config = app.handle.config();
    let cluster = Cluster {
        cluster: &config.cluster,
        process: config.me.as_str(),
        logical_clock: status.clock.0,
        journal_position: status.position.0,
        clock_skew_seconds: app.handle.clock_skew_seconds(),
        warnings: app.handle.warnings(),
        caller: caller.grant().map(|grant| CallerResponse {
            name: &grant.name,
            role: grant.capacity.to_string(),
        }),
        currency: config.currency.as_ref().map(CurrencyResponse::from),
        peers: peers.iter().map(|peer| shown(&app.handle, peer)).collect(),
        channels: channels(&app.handle, &status),
    };
    Ok((never_stored, Json(cluster)).into_response())
}

fn channels<'a>(handle: &'a Handle, status: &'a Status) -> Vec<ChannelResponse<'a>> {
    let me = &handle.config().me;
    let outgoing = status.outgoing.iter().map(|(to, channel)| {
        let end = handle.end(me, to);
        ChannelResponse {
            from: me.as_str(),
            to: to.as_str(),
            state: end.state.as_str(),
            error: end.error,
            sent: Some(channel.sent.sequence.0),
            acknowledged: Some(channel.acknowledged.0),
            delivered: None,
            in_flight: Some(channel.in_flight()),
            recording: false,
        }
    });
    let incoming = status.incoming.iter().map(|(from, channel)| {
        let end = handle.end(from, me);
        ChannelResponse {
            from: from.as_str(),
            to: me.as_str(),
            state: end.state.as_str(),
            error: end.error,
            sent: None,
            acknowledged: None,
            delivered: Some(channel.delivered.sequence.0),
            in_flight: None,
            recording: status.recorded_channels.contains(from),
        }
    });
    outgoing.chain(incoming).collect()
}

fn shown<'a>(handle: &Handle, peer: &'a PeerView) -> PeerResponse<'a> {
    PeerResponse {
        process: peer.process.as_str(),
        grpc: &peer.grpc,
        rest: peer.rest.as_deref(),
        transport: transport_name(handle, &peer.process),
        state: state_name(peer.state),
        last_seen: peer.last_seen_us.map(rfc3339),
        clock_skew_seconds: handle.clock_skew_seconds_of(peer),
        error: peer.error.as_deref(),
    }
}
