//! A JSON document as an answer. It ends with a newline for terminals.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// The value to serialize.
pub(super) struct Json<T>(pub(super) T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        let mut text = match serde_json::to_vec(&self.0) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(%error, "cannot encode an answer as JSON");
                return StatusCode::INTERNAL_SERVER_ERROR.into_response();
            }
        };
        text.push(b'\n');
        let media_type = HeaderValue::from_static("application/json");
        ([(header::CONTENT_TYPE, media_type)], text).into_response()
    }
}

/// The JSON text of the data of an event.
pub(super) fn text(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("a struct of strings and numbers is always JSON")
}
