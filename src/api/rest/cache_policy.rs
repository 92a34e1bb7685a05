//! What a cache may keep: a complete revision for ever, everything else not at all.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::negotiation::Format;
use crate::node::SnapshotView;

/// How a difference is shown, which is no part of what the two roots vouch for. Another number where the same two snapshots get
/// other bytes. 2 names the processes that are in one of the two alone, and what was written off. 3 asks the journals whether the
/// two belong together. 4 has them say which channels have begun anew.
const DIFFERENCE: u32 = 4;

/// How long an answer about a snapshot holds, and by what it is known again.
pub(super) struct CachePolicy {
    etag: Option<String>,
    immutable: bool,
}

impl CachePolicy {
    /// Of an answer about one revision, in one format.
    pub(super) fn of(view: &SnapshotView, format: Format) -> Self {
        let mark = mark(format);
        Self {
            etag: view.root.map(|root| format!("\"{root}{mark}\"")),
            immutable: view.root.is_some() && view.state.is_complete(),
        }
    }

    /// Of an answer about two snapshots, in one format: known again once neither can change. Where the address names a
    /// revision of both, they never do.
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

    /// Of an answer under an address that names the revision, where it does: a revision never changes.
    pub(super) fn of_named(mut self, revision: Option<u32>) -> Self {
        self.immutable |= revision.is_some() && self.etag.is_some();
        self
    }

    /// Of an answer that is put together anew each time.
    pub(super) fn none() -> Self {
        Self {
            etag: None,
            immutable: false,
        }
    }

    /// Of an answer under an address that will show something else later.
    pub(super) fn passing(mut self) -> Self {
        self.immutable = false;
        self
    }

    /// Whether the client has this already.
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

    /// The answer to a client that has it.
    pub(super) fn not_modified(self) -> Response {
        self.mark(StatusCode::NOT_MODIFIED.into_response())
    }

    /// Says all this in the headers of an answer.
    pub(super) fn mark(self, mut response: Response) -> Response {
        let control = match self.immutable {
            true => "public, max-age=31536000, immutable",
            false => "no-store",
        };
        let headers = response.headers_mut();
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(control));
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if let Some(etag) = self.etag.and_then(|etag| etag.parse().ok()) {
            headers.insert(header::ETAG, etag);
        }
        response
    }
}

// Two formats of one revision are not the same bytes, and a strong tag must say so.
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
