//! The processes missing from an answer, in a header, since a table has no other place for them.

use axum::http::{HeaderName, HeaderValue};
use axum::response::Response;

use super::encoding::encode_segment;
use crate::history::global::GlobalState;
use crate::process::ids::ProcessId;

/// The missing processes, each as `SIDE/PROCESS`, percent-encoded; a side is a snapshot or an instant.
pub(in crate::api) const MISSING: &str = "snapledger-missing";

/// The value of the header; `None` if no process is missing.
pub(in crate::api) fn named<'a>(
    missing: impl Iterator<Item = (String, &'a ProcessId)>,
) -> Option<String> {
    let named = missing.map(|(side, process)| {
        let process = encode_segment(process.as_str());
        format!("{}/{process}", encode_segment(&side))
    });
    let named: Vec<String> = named.collect();
    (!named.is_empty()).then(|| named.join(", "))
}

/// The value for a snapshot: the requested processes whose state it does not contain.
pub(in crate::api) fn from_snapshot(
    state: &GlobalState,
    wanted: Option<&ProcessId>,
) -> Option<String> {
    let missing = state.missing().iter().map(|missing| &missing.process);
    let missing = missing.filter(|process| wanted.is_none_or(|wanted| wanted == *process));
    named(missing.map(|process| (state.snapshot.to_string(), process)))
}

/// Sets the header.
pub(super) fn mark(mut response: Response, missing: Option<String>) -> Response {
    let value = missing.and_then(|names| HeaderValue::try_from(names).ok());
    if let Some(value) = value {
        let name = HeaderName::from_static(MISSING);
        response.headers_mut().insert(name, value);
    }
    response
}
