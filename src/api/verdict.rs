//! A row of the table of failures: its name and its statuses.

use axum::http::StatusCode;
use tonic::Code;

/// A row of the table.
pub(super) struct Verdict {
    /// Stable: the last segment of `type` in problem documents.
    pub(super) kind: &'static str,
    /// The REST status.
    pub(super) http: StatusCode,
    /// The gRPC status; `None`: OK with `success = false`.
    pub(super) grpc: Option<Code>,
}

impl Verdict {
    /// The kind as a title: `no-channel` becomes `No channel`.
    pub(super) fn title(&self) -> String {
        let words = self.kind.replace('-', " ");
        words[..1].to_uppercase() + &words[1..]
    }
}
