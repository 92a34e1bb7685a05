//! Instants for people: RFC 3339 in UTC with microseconds.

use jiff::Timestamp;

use super::error::Failure;
use crate::node::Handle;
use crate::process::clock::Hlc;

/// An instant, from microseconds since the Unix epoch.
pub(crate) fn rfc3339(wall_us: u64) -> String {
    let instant = i64::try_from(wall_us)
        .ok()
        .and_then(|us| Timestamp::from_microsecond(us).ok());
    format!("{:.6}", instant.unwrap_or(Timestamp::MAX))
}

/// Understands an instant; before 1970 there is nothing, so that is where such instants lie.
pub(super) fn parse(field: &str, text: &str) -> Result<Hlc, Failure> {
    let instant: Timestamp = text.parse().map_err(|why| {
        // A + that is not encoded arrives as a space.
        let hint = match text.contains(' ') {
            true => " (in a URL, write + as %2B)",
            false => "",
        };
        let example = "give an RFC 3339 instant such as 2026-01-31T12:00:00Z";
        Failure::malformed(
            field,
            format!("{text:?} is no instant: {why}; {example}{hint}"),
        )
    })?;
    Ok(Hlc::at(
        u64::try_from(instant.as_microsecond()).unwrap_or(0),
    ))
}

/// The last clock value of an instant, which must not be in the future: what will be then is not known.
pub(super) async fn past(handle: &Handle, field: &str, instant: Hlc) -> Result<Hlc, Failure> {
    let present = handle.present().await?;
    if instant.last_of_label() <= present {
        return Ok(instant.last_of_label());
    }
    let (asked, shown) = (rfc3339(instant.wall_us()), rfc3339(present.wall_us()));
    let why =
        format!("{asked} is in the future: it is {shown} here; ask about an instant that is over");
    Err(Failure::malformed(field, why))
}

/// Refuses two instants, each with its field, that are the wrong way round: an empty list would look like an answer.
pub(super) fn check_range(
    (earlier, from): (&str, Option<Hlc>),
    (later, to): (&str, Option<Hlc>),
) -> Result<(), Failure> {
    match from.zip(to) {
        Some((from, to)) if from > to => {
            let (from, to) = (rfc3339(from.wall_us()), rfc3339(to.wall_us()));
            let why = format!(
                "{to} is before {from}, which `{earlier}` says; give the earlier one there"
            );
            Err(Failure::malformed(later, why))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_have_six_digits_and_come_back() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        let text = rfc3339(1_700_000_000_123_456);
        assert_eq!(text, "2023-11-14T22:13:20.123456Z");
        assert_eq!(
            parse("from", &text).ok(),
            Some(Hlc::at(1_700_000_000_123_456))
        );
        assert_eq!(parse("from", "1969-01-01T00:00:00Z").ok(), Some(Hlc(0)));
        for odd in ["", "yesterday", "2023-11-14", "2023-11-14T22:13:20"] {
            let refused = parse("from", odd).expect_err(odd).to_string();
            assert!(!refused.contains("%2B"), "{refused}");
        }
        let unencoded = parse("from", "2023-11-14T22:13:20 01:00").expect_err("a space");
        assert!(unencoded.to_string().contains("%2B"), "{unencoded}");
    }
}
