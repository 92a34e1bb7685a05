//! Content negotiation by the `Accept` header (RFC 9110 §12.5.1).

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};

use super::super::error::Failure;
use super::query::Parameters;

/// A format of answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// One JSON document.
    Json,
    /// Comma-separated values with a header row.
    Csv,
    /// One JSON document per line.
    Ndjson,
    /// Server-sent events.
    Events,
    /// A binary file for download.
    Export,
    /// An HTML page.
    Html,
    /// The text format of Prometheus.
    Metrics,
    /// OpenMetrics.
    OpenMetrics,
}

impl Format {
    /// The media type without parameters.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv",
            Self::Ndjson => "application/x-ndjson",
            Self::Events => "text/event-stream",
            Self::Export => "application/octet-stream",
            Self::Html => "text/html",
            Self::Metrics => "text/plain",
            Self::OpenMetrics => "application/openmetrics-text",
        }
    }
}

/// Extractor for requests without parameters that are answered in JSON.
pub(super) struct Plain;

impl<S: Sync> FromRequestParts<S> for Plain {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Failure> {
        negotiate(&parts.headers, &[Format::Json])?;
        Parameters::of(&parts.uri, &[]).map(|_| Self)
    }
}

/// The offered format with the highest quality value; on a tie, the first offered.
pub(super) fn negotiate(headers: &HeaderMap, offered: &[Format]) -> Result<Format, Failure> {
    let accepted: Vec<&str> = headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|range| !range.is_empty())
        .collect();
    let is_given = !accepted.is_empty();
    let mut best: Option<(u16, Format)> = None;
    for format in offered {
        let quality = if is_given {
            quality(&accepted, *format)
        } else {
            1000
        };
        if quality > best.map_or(0, |(quality, _)| quality) {
            best = Some((quality, *format));
        }
    }
    best.map(|(_, format)| format).ok_or_else(|| {
        let offers: Vec<&str> = offered.iter().map(|format| format.media_type()).collect();
        Failure::NotAcceptable(offers.join(", "))
    })
}

/// Whether the request names the format itself, not only a range such as `*/*`, and accepts it.
pub(super) fn is_named(headers: &HeaderMap, format: Format) -> bool {
    let named = headers.get_all(header::ACCEPT).iter();
    let named = named.filter_map(|value| value.to_str().ok());
    let mut ranges = named.flat_map(|value| value.split(',')).map(str::trim);
    ranges.any(|range| {
        let name = range.split(';').next().unwrap_or(range).trim();
        name.eq_ignore_ascii_case(format.media_type()) && quality(&[range], format) > 0
    })
}

// The quality value in thousandths from the most specific matching range; 0 is not acceptable.
fn quality(accepted: &[&str], format: Format) -> u16 {
    let wanted = format.media_type();
    let family = wanted.split('/').next().unwrap_or(wanted);
    let fitting = accepted.iter().filter_map(|range| {
        let mut parameters = range.split(';').map(str::trim);
        let name = parameters.next()?.to_ascii_lowercase();
        let closeness = match name.strip_suffix("/*") {
            _ if name == wanted => 2,
            Some("*") => 0,
            Some(prefix) if prefix == family => 1,
            _ => return None,
        };
        let weight = parameters.find_map(|parameter| {
            let (name, value) = parameter.split_once('=')?;
            name.trim()
                .eq_ignore_ascii_case("q")
                .then_some(value.trim())
        });
        Some((closeness, weight.map_or(1000, thousandths)))
    });
    fitting.max().map_or(0, |(_, quality)| quality)
}

// Parses `0`, `1`, `0.5`, `1.000`; an invalid weight counts as 0.
fn thousandths(text: &str) -> u16 {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = format!("{whole}{fraction:0<3}");
    match digits.parse() {
        Ok(weight) if fraction.len() <= 3 && weight <= 1000 => weight,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    const ALL: [Format; 3] = [Format::Json, Format::Csv, Format::Ndjson];

    fn chosen(accept: &'static str) -> Option<Format> {
        let headers = HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
        negotiate(&headers, &ALL).ok()
    }

    // Browsers name it; curl and most libraries accept anything.
    #[test]
    fn a_range_names_no_format() {
        let is_named = |accept: &'static str| {
            let headers =
                HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]);
            is_named(&headers, Format::Html)
        };
        for named in [
            "text/html",
            "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
            "application/json, TEXT/HTML;q=0.1",
        ] {
            assert!(is_named(named), "{named}");
        }
        for other in ["", "*/*", "text/*", "text/html;q=0", "application/json"] {
            assert!(!is_named(other), "{other}");
        }
    }

    #[test]
    fn the_clients_choice_is_met_or_refused() {
        assert_eq!(negotiate(&HeaderMap::new(), &ALL).ok(), Some(Format::Json));
        assert_eq!(chosen(""), Some(Format::Json));
        assert_eq!(chosen("*/*"), Some(Format::Json));
        assert_eq!(chosen("text/csv"), Some(Format::Csv));
        assert_eq!(
            chosen("TEXT/*;q=0.5, application/x-ndjson"),
            Some(Format::Ndjson)
        );
        assert_eq!(
            chosen("application/json;q=0.1, text/csv; q=0.9"),
            Some(Format::Csv)
        );
        assert_eq!(
            chosen("application/*, application/json;q=0"),
            Some(Format::Ndjson)
        );
        for never in ["text/html", "application/json;q=0", "application/json;q=x"] {
            assert_eq!(chosen(never), None, "{never}");
        }
    }
}
