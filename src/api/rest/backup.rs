//! A copy of the whole store of a running node, for `snapledger backup`.

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::response::Response;

use super::AppState;
use super::export;
use super::negotiation::{Format, negotiate};
use super::query::Parameters;
use crate::api::error::Failure;
use crate::api::serve::limits::{Client, Resource};

/// `GET /v1/backup`
pub(super) async fn stream(
    Extension(client): Extension<Client>,
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    negotiate(&headers, &[Format::Export])?;
    Parameters::of(&uri, &[])?;
    let permit = client.take(Resource::Backups, 1)?;
    let mut response = export::stream(&app.handle, Format::Export, permit, |store, sink| {
        Ok(store.back_up(sink)?)
    });
    let never_stored = HeaderValue::from_static("no-store");
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, never_stored);
    Ok(response)
}
