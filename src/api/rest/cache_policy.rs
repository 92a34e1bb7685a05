//! Cache headers: a client may cache a complete revision forever, everything else not at all. Balances are private, so caches
//! that several clients share keep nothing.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::negotiation::Format;
use crate::node::SnapshotView;

/// The version of the representation of differences, which is part of the ETag since the two roots do not cover it.
/// Increase it when the same two snapshots produce other bytes. 2: processes that are in only one of the two, and
/// write-offs. 3: the journals are asked whether the two belong together. 4: they also report channels that were restarted.
const DIFFERENCE: u32 = 4;

/// The version of the representation of a partial revision, part of its ETag in the same way. A complete revision has its
/// root alone (the published interface), so its bytes never change. 2: `unfinished_channels`. 3: `started_by` and `deadline`.
const PARTIAL: &str = "-3";

/// The version of the representation of a proof, part of its ETag likewise. Before 2 it was a document of whole chunks.
const PROOF: &str = "-proof-2";

/// How long an answer about a snapshot is valid, and its ETag.
pub(super) struct CachePolicy {
    etag: Option<String>,
    immutable: bool,
}

impl CachePolicy {
    /// For an answer about one revision in one format.
    pub(super) fn of(view: &SnapshotView, format: Format) -> Self {
        let mark = mark(format);
        let is_complete = view.state.is_complete();
        let version = if is_complete { "" } else { PARTIAL };
        Self {
            etag: view.root.map(|root| format!("\"{root}{version}{mark}\"")),
            immutable: view.root.is_some() && is_complete,
        }
    }

    /// For the proof of a balance in a revision.
    pub(super) fn of_proof(view: &SnapshotView) -> Self {
        Self {
            etag: view.root.map(|root| format!("\"{root}{PROOF}\"")),
            ..Self::of(view, Format::Json)
        }
    }

    /// For an answer about two snapshots in one format: it has an ETag when neither can change, and is immutable if the
    /// URL names both revisions.
    pub(super) fn of_both(
        one: &SnapshotView,
        other: &SnapshotView,
        format: Format,
        named: Option<u32>,
    ) -> Self {
        let lasts = |view: &SnapshotView| named.is_some() || view.state.is_complete();
        let complete = |view: &SnapshotView| view.root.filter(|_| lasts(view));
        let roots = complete(one).zip(complete(other));
        let mark = mark(format);
        Self {
            etag: roots.map(|(one, other)| format!("\"{one}-{other}-{DIFFERENCE}{mark}\"")),
            immutable: roots.is_some(),
        }
    }

    /// Makes the answer immutable if the URL names the revision.
    pub(super) fn of_named(mut self, revision: Option<u32>) -> Self {
        self.immutable |= revision.is_some() && self.etag.is_some();
        self
    }

    /// For an answer that is computed anew for each request.
    pub(super) fn none() -> Self {
        Self {
            etag: None,
            immutable: false,
        }
    }

    /// For a URL whose answer will change.
    pub(super) fn passing(mut self) -> Self {
        self.immutable = false;
        self
    }

    /// Whether the client has this version (If-None-Match).
    pub(super) fn is_known(&self, headers: &HeaderMap) -> bool {
        let Some(etag) = &self.etag else {
            return false;
        };
        let values = headers.get_all(header::IF_NONE_MATCH).iter();
        let mut tags = values
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(str::trim);
        tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
    }

    /// The 304 answer.
    pub(super) fn not_modified(self) -> Response {
        self.mark(StatusCode::NOT_MODIFIED.into_response())
    }

    /// Sets the headers of an answer.
    pub(super) fn mark(self, mut response: Response) -> Response {
        let control = match self.immutable {
            true => "private, max-age=31536000, immutable",
            false => "no-store",
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
        headers.insert(
            header::VARY,
            HeaderValue::from_static("Accept, Authorization"),
        );
        if let Some(etag) = self.etag.and_then(|etag| etag.parse().ok()) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

// Formats of one revision differ in bytes, so a strong ETag must differ as well.
fn mark(format: Format) -> &'static str {
    match format {
        Format::Csv => "-csv",
        Format::Ndjson => "-ndjson",
        Format::Export => "-export",
        Format::Json | Format::Events | Format::Html | Format::Metrics | Format::OpenMetrics => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_recognised_in_every_form() {
        let fresh = CachePolicy {
            etag: Some("\"07\"".to_owned()),
            immutable: true,
        };
        let known = |text: &'static str| {
            let value = HeaderValue::from_static(text);
            fresh.is_known(&HeaderMap::from_iter([(header::IF_NONE_MATCH, value)]))
        };
        assert!(known("\"07\"") && known("*") && known("W/\"07\"") && known("\"1\", \"07\""));
        assert!(!known("\"08\"") && !known("07") && !known(""));
        assert!(!fresh.is_known(&HeaderMap::new()));
    }
}
