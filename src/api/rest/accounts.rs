//! Balances: current, at an instant, and as recorded in a snapshot.

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::AppState;
use super::body::Segments;
use super::cache_policy::CachePolicy;
use super::json::Json;
use super::negotiation::{Format, Plain, negotiate};
use super::query::{Parameters, REVISION};
use crate::api::error::{Failure, id};
use crate::api::named::{Among, LATEST, named};
use crate::api::recorded;
use crate::api::time::rfc3339;
use crate::cluster::members::Membership;
use crate::cluster::{balance, balance_at};
use crate::node::Handle;
use crate::process::clock::Hlc;
use crate::process::ids::{AccountId, ProcessId};

#[derive(Serialize)]
struct Balance<'a> {
    process: &'a str,
    account: &'a str,
    balance: i64,
    existed: bool,
    #[serde(flatten)]
    rests_on: RestsOn<'a>,
    journal_position: u64,
    #[serde(flatten)]
    reach: Option<InstantCoverage<'a>>,
}

/// Whether the answer about an instant is complete, and what is missing.
#[derive(Serialize)]
struct InstantCoverage<'a> {
    complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    known_until: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum RestsOn<'a> {
    At(String),
    Snapshot(&'a str),
}

/// `GET /v1/accounts/{account}`
pub(super) async fn own(
    _: Plain,
    State(app): State<AppState>,
    Segments(account): Segments<String>,
) -> Result<Response, Failure> {
    now(&app.handle, &AccountRef::own(&app.handle, &account)?).await
}

/// `GET /v1/processes/{process}/accounts/{account}`
pub(super) async fn of_process(
    _: Plain,
    State(app): State<AppState>,
    Segments((process, account)): Segments<(String, String)>,
) -> Result<Response, Failure> {
    let account_ref = AccountRef::of(&app.handle, &process, &account).await?;
    now(&app.handle, &account_ref).await
}

/// `GET /v1/accounts/{account}/balance`
pub(super) async fn own_balance(
    State(app): State<AppState>,
    Segments(account): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let account_ref = AccountRef::own(&app.handle, &account)?;
    balance_as_asked(&app.handle, &account_ref, &uri, &headers).await
}

/// `GET /v1/processes/{process}/accounts/{account}/balance`
pub(super) async fn balance_of_process(
    State(app): State<AppState>,
    Segments((process, account)): Segments<(String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let account_ref = AccountRef::of(&app.handle, &process, &account).await?;
    balance_as_asked(&app.handle, &account_ref, &uri, &headers).await
}

/// An account of a present or former process of this cluster.
pub(super) struct AccountRef {
    pub(super) process: ProcessId,
    pub(super) account: AccountId,
}

impl AccountRef {
    pub(super) fn own(handle: &Handle, account: &str) -> Result<Self, Failure> {
        Ok(Self {
            process: handle.config().me.clone(),
            account: id("account", account, AccountId::parse)?,
        })
    }

    pub(super) async fn of(handle: &Handle, process: &str, account: &str) -> Result<Self, Failure> {
        let process = id("process", process, ProcessId::parse)?;
        // A former member may still be in the history.
        Membership::of(handle, &process).await?;
        let account = id("account", account, AccountId::parse)?;
        Ok(Self { process, account })
    }
}

async fn balance_as_asked(
    handle: &Handle,
    account_ref: &AccountRef,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    negotiate(headers, &[Format::Json])?;
    let parameters = Parameters::of(uri, &["snapshot", REVISION, "at"])?;
    let snapshot = parameters.get("snapshot");
    let revision = parameters.revision(REVISION)?;
    if revision.is_some() && snapshot.is_none() {
        let why = "give it together with the snapshot it belongs to";
        return Err(Failure::malformed(REVISION, why));
    }
    match (snapshot, parameters.at(handle).await?) {
        (Some(_), Some(_)) => {
            let why = "give it alone: a snapshot has its own instant";
            Err(Failure::malformed("snapshot", why))
        }
        (Some(snapshot), None) => {
            in_snapshot(handle, account_ref, snapshot, revision, headers).await
        }
        (None, Some(at)) => at_instant(handle, account_ref, at).await,
        (None, None) => now(handle, account_ref).await,
    }
}

async fn at_instant(
    handle: &Handle,
    account_ref: &AccountRef,
    time: Hlc,
) -> Result<Response, Failure> {
    let then =
        balance_at::balance(handle, &account_ref.process, &account_ref.account, time).await?;
    let known = then.known.as_ref();
    let shown = Balance {
        process: account_ref.process.as_str(),
        account: account_ref.account.as_str(),
        balance: then.units.unwrap_or(0),
        existed: then.units.is_some(),
        rests_on: RestsOn::At(rfc3339(time.wall_us())),
        journal_position: then.position.0,
        reach: Some(InstantCoverage {
            complete: known.is_none(),
            known_until: known.map(|(until, _)| rfc3339(until.wall_us())),
            snapshot: known.map(|(_, snapshot)| snapshot.as_str()),
        }),
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response())
}

async fn now(handle: &Handle, account_ref: &AccountRef) -> Result<Response, Failure> {
    let found = balance::now(handle, &account_ref.process, account_ref.account.clone()).await?;
    let Some(units) = found.units else {
        return Err(Failure::UnknownAccount {
            process: account_ref.process.clone(),
            account: account_ref.account.clone(),
        });
    };
    let shown = Balance {
        process: account_ref.process.as_str(),
        account: account_ref.account.as_str(),
        balance: units,
        existed: true,
        rests_on: RestsOn::At(rfc3339(found.time.wall_us())),
        journal_position: found.position.0,
        reach: None,
    };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(shown)).into_response())
}

async fn in_snapshot(
    handle: &Handle,
    account_ref: &AccountRef,
    named_as: &str,
    revision: Option<u32>,
    headers: &HeaderMap,
) -> Result<Response, Failure> {
    let snapshot = named(handle, "snapshot", named_as, Among::Finished).await?;
    let view = recorded::view_of(handle, snapshot.clone(), revision).await?;
    let position = recorded::state_of(&view.state, &account_ref.process)?.position;
    let freshness = CachePolicy::of(&view, Format::Json).of_named(revision);
    let freshness = match named_as {
        LATEST => freshness.passing(),
        _ => freshness,
    };
    if freshness.is_known(headers) {
        return Ok(freshness.not_modified());
    }
    let (process, account) = (account_ref.process.clone(), account_ref.account.clone());
    let units = recorded::blocking(handle, move |store| {
        let state = recorded::state_of(&view.state, &process)?;
        Ok(recorded::balance(store.states(), state, &account)?)
    });
    let units = units.await?;
    let shown = Balance {
        process: account_ref.process.as_str(),
        account: account_ref.account.as_str(),
        balance: units.unwrap_or(0),
        existed: units.is_some(),
        rests_on: RestsOn::Snapshot(snapshot.as_str()),
        journal_position: position.0,
        reach: None,
    };
    Ok(freshness.mark(Json(shown).into_response()))
}
