//! `latest` in place of a snapshot id on all routes below `/v1/snapshots`: the request is rewritten to the id, and
//! `Content-Location` names it, so that cursors belong to one snapshot.

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::Response;

use tokio::time::timeout;

use super::AppState;
use super::admission::TIMEOUT;
use super::encoding::{decode, encode_segment};
use crate::api::error::Failure;
use crate::api::guard;
use crate::api::named::{Among, ITS_ID_IS_LATEST, LATEST, named};
use crate::api::serve::limits::{Client, Resource};

/// `latest` encoded so that it matches only the route of ids.
const AS_AN_ID: &str = "%6Catest";

/// Replaces `latest` in the path of a request.
pub(super) async fn resolve(
    State(app): State<AppState>,
    Extension(client): Extension<Client>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let names_latest = names_latest(request.uri().path());
    // The guard of the route refuses a caller that may not see snapshots. What the newest one is must not show before.
    let authority = app.handle.config().auth.as_ref();
    if names_latest
        && authority.is_some_and(|authority| !guard::may_see_snapshots(authority, &request))
    {
        return Ok(next.run(request).await);
    }
    // The newest one is read from the store, before the route admits the request.
    let permit = names_latest
        .then(|| client.take(Resource::Requests, 1))
        .transpose()?;
    let resolved = timeout(TIMEOUT, resolved(&app, request.uri().path())).await;
    drop(permit);
    let Some((path, passing)) = resolved.map_err(|_| Failure::Timeout(TIMEOUT.as_secs()))?? else {
        return Ok(next.run(request).await);
    };
    let uri = with_path(request.uri(), &path);
    *request.uri_mut() = uri.map_err(|why| Failure::malformed("path", why))?;
    let mut response = next.run(request).await;
    if passing && (response.status().is_success() || response.status().is_redirection()) {
        let headers = response.headers_mut();
        // The snapshot is immutable, but this URL will refer to another one.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(path) = HeaderValue::try_from(path) {
            headers.insert(header::CONTENT_LOCATION, path);
        }
    }
    Ok(response)
}

// The path with ids only, and whether it will change; `None` if there is nothing to replace.
async fn resolved(app: &AppState, path: &str) -> Result<Option<(String, bool)>, Failure> {
    let mut segments: Vec<String> = path.split('/').map(str::to_owned).collect();
    // `/v1/snapshots/latest` is a route of its own, with filters.
    let whole = segments.len() == 4;
    let among = match segments.get(4).map(String::as_str) {
        Some("events") => Among::All,
        _ => Among::Finished,
    };
    let (mut changed, mut passing) = (false, false);
    for &index in id_segments(&segments) {
        let segment = match decode(&segments[index]).as_deref() {
            Some(LATEST) if whole => LATEST.to_owned(),
            Some(LATEST) => {
                passing = true;
                let id = named(&app.handle, "snapshot_id", LATEST, among).await?;
                match id.as_str() {
                    LATEST => AS_AN_ID.to_owned(),
                    other => encode_segment(other),
                }
            }
            Some(ITS_ID_IS_LATEST) => AS_AN_ID.to_owned(),
            _ => continue,
        };
        changed |= segments[index] != segment;
        segments[index] = segment;
    }
    Ok(changed.then(|| (segments.join("/"), passing)))
}

fn names_latest(path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    let mut ids = id_segments(&segments).iter();
    ids.any(|index| decode(segments[*index]).as_deref() == Some(LATEST))
}

// The segments that hold snapshot ids: `/v1/snapshots/{id}…` and `/v1/snapshots/{id}/diff/{other}`.
fn id_segments<S: AsRef<str>>(segments: &[S]) -> &'static [usize] {
    let named =
        |index: usize, name: &str| segments.get(index).is_some_and(|one| one.as_ref() == name);
    match segments.len() {
        4.. if !named(1, "v1") || !named(2, "snapshots") => &[],
        6 if named(4, "diff") => &[3, 5],
        4.. => &[3],
        _ => &[],
    }
}

fn with_path(uri: &Uri, path: &str) -> Result<Uri, axum::http::Error> {
    let query = uri.query().map(|query| format!("?{query}"));
    let mut parts = uri.clone().into_parts();
    let path = format!("{path}{}", query.unwrap_or_default());
    parts.path_and_query = Some(path.parse::<PathAndQuery>()?);
    Ok(Uri::from_parts(parts)?)
}
