//! Metrics: in the text format of Prometheus, or in OpenMetrics if the client prefers it.

use std::collections::BTreeSet;

use axum::extract::State;
use axum::http::{HeaderMap, Uri, header};
use axum::response::{IntoResponse, Response};

use super::AppState;
use super::negotiation::{Format, negotiate};
use super::query::Parameters;
use crate::api::error::Failure;

/// `GET /metrics`
pub(super) async fn show(
    State(app): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    answer(&uri, &headers, || app.handle.metrics())
}

/// Formats the metrics as the client accepts them.
pub(super) fn answer(
    uri: &Uri,
    headers: &HeaderMap,
    figures: impl FnOnce() -> String,
) -> Result<Response, Failure> {
    let format = negotiate(headers, &[Format::Metrics, Format::OpenMetrics])?;
    Parameters::of(uri, &[])?;
    let figures = figures();
    let (content_type, text) = match format {
        Format::OpenMetrics => (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            figures,
        ),
        _ => ("text/plain; version=0.0.4; charset=utf-8", plain(&figures)),
    };
    Ok(([(header::CONTENT_TYPE, content_type)], text).into_response())
}

// Converts OpenMetrics to version 0.0.4 of the text format: a counter has the name of its samples, and there are no
// units and no end mark.
fn plain(figures: &str) -> String {
    let counter = |line| str::strip_prefix(line, "# TYPE ")?.strip_suffix(" counter");
    let counters: BTreeSet<&str> = figures.lines().filter_map(counter).collect();
    let mut text = String::with_capacity(figures.len());
    for line in figures.lines() {
        let mut words = line.splitn(4, ' ');
        match [(); 4].map(|()| words.next()) {
            [Some("#"), Some("UNIT" | "EOF"), ..] => continue,
            [Some("#"), Some(kind), Some(name), Some(rest)] if counters.contains(name) => {
                text.extend(["# ", kind, " ", name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_called_as_its_samples_are() {
        let figures = "# HELP a_seconds How long.\n# TYPE a_seconds counter\n# UNIT a_seconds seconds\n\
                       a_seconds_total 1.5\n# HELP b What a b.\n# TYPE b gauge\nb{of=\"a b\"} 2\n# EOF\n";
        let expected = "# HELP a_seconds_total How long.\n# TYPE a_seconds_total counter\n\
                        a_seconds_total 1.5\n# HELP b What a b.\n# TYPE b gauge\nb{of=\"a b\"} 2\n";
        assert_eq!(plain(figures), expected);
    }
}
