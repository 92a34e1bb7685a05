//! Files for auditors: a snapshot as one file, and the proof of one balance. Both can be verified offline.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::body::Segments;
use super::cache_policy::CachePolicy;
use super::encoding::encode_segment;
use super::export;
use super::json::Json;
use super::negotiation::{Format, negotiate};
use super::query::{Parameters, REVISION};
use crate::api::error::{Failure, id};
use crate::api::proof::ProofDocument;
use crate::api::recorded::{blocking, state_of, view_of};
use crate::api::serve::limits::{Client, Resource};
use crate::cluster::members::Membership;
use crate::process::ids::{AccountId, ProcessId, SnapshotId};

/// `GET /v1/snapshots/{id}/export`
pub(super) async fn export(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    Segments(text): Segments<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Export])?;
    let revision = Parameters::of(&uri, &[REVISION])?.revision(REVISION)?;
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    let view = view_of(&app.handle, snapshot, revision).await?;
    if view.root.is_none() {
        return Err(Failure::InProgress(view.state.snapshot.clone()));
    }
    let freshness = CachePolicy::of(&view, Format::Export).of_named(revision);
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    let handle = &app.handle;
    let cluster = app.handle.config().cluster.clone();
    let permit = client.take(Resource::Exports, 1)?;
    let name = encode_segment(view.state.snapshot.as_str());
    let mut response = export::stream(handle, Format::Export, permit, move |store, sink| {
        let state = &view.state;
        Ok(store
            .history()
            .export(&cluster, &state.snapshot, state.revision, sink)?)
    });
    let disposition = format!("attachment; filename=\"{name}.snapledger\"");
    if let Ok(disposition) = HeaderValue::try_from(disposition) {
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(freshness.mark(response))
}

/// `GET /v1/snapshots/{id}/balances/{process}/{account}/proof`
pub(super) async fn proof(
    State(app): State<AppState>,
    Segments((text, process, account)): Segments<(String, String, String)>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Json])?;
    let revision = Parameters::of(&uri, &[REVISION])?.revision(REVISION)?;
    let process = id("process", &process, ProcessId::parse)?;
    let account = id("account", &account, AccountId::parse)?;
    let snapshot = id("snapshot_id", &text, SnapshotId::parse)?;
    let view = view_of(&app.handle, snapshot, revision).await?;
    if view.root.is_none() {
        return Err(Failure::InProgress(view.state.snapshot.clone()));
    }
    let freshness = CachePolicy::of_proof(&view).of_named(revision);
    if let Err(not_recorded) = state_of(&view.state, &process) {
        // Distinguishes an unknown process.
        Membership::of(&app.handle, &process).await?;
        return Err(not_recorded);
    }
    if freshness.is_known(&headers) {
        return Ok(freshness.not_modified());
    }
    let document = blocking(&app.handle, move |store| {
        let state = &view.state;
        let proof = store
            .history()
            .prove(&state.snapshot, state.revision, &process, &account)?;
        let proof = proof.ok_or_else(|| Failure::NotRecorded {
            snapshot: view.state.snapshot.clone(),
            process: process.clone(),
        })?;
        // A proof that fails verification here is an error, not an answer.
        let proven = proof.of(&process, &account);
        let proven = proven.map_err(|unproven| Failure::Interrupted(unproven.to_string()))?;
        Ok(ProofDocument::new(&proof, &process, &account, &proven))
    });
    Ok(freshness.mark(Json(document.await?).into_response()))
}
