//! Instants for people: RFC 3339, shown in UTC with microseconds. Every instant that a client writes, on REST, in a string
//! of gRPC or in a command, is read here.

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

use super::error::Failure;
use crate::node::Handle;
use crate::process::clock::Hlc;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const LAST: DateTime = DateTime::constant(9999, 12, 31, 23, 59, 59, 999_999_000);
const HOUR_S: i64 = 3600;

/// An instant, from microseconds since the Unix epoch. One that has five digits of a year is shown as the last that has four.
pub(crate) fn rfc3339(wall_us: u64) -> String {
    let since = i64::try_from(wall_us).ok().map(SignedDuration::from_micros);
    let instant = since.and_then(|since| EPOCH.checked_add(since).ok());
    format!("{:.6}Z", instant.unwrap_or(LAST))
}

/// Understands an instant of a request.
pub(super) fn parse(field: &str, text: &str) -> Result<Hlc, Failure> {
    read(text).ok_or_else(|| Failure::malformed(field, expected(text)))
}

/// What an instant looks like, to be said where `text` was given instead.
pub(crate) fn expected(text: &str) -> String {
    // A + that is not encoded arrives as a space.
    let hint = match text.contains(' ') {
        true => " (in a URL, write + as %2B)",
        false => "",
    };
    format!(
        "{text:?} is no instant; give a time of RFC 3339 with its offset from UTC, such as 2026-01-31T12:00:00Z or \
         2026-01-31T13:00:00.5+01:00, or a date, such as 2026-01-31, for its first instant in UTC{hint}"
    )
}

/// Reads a time of RFC 3339, or a date as its first instant in UTC; `None` for everything else that ISO 8601 allows, too.
/// Before 1970 there is nothing, so that is where such instants lie. Digits behind microseconds are cut off.
pub(crate) fn read(text: &str) -> Option<Hlc> {
    let (date, rest) = text.split_at_checked("yyyy-mm-dd".len())?;
    let date = date_of(date)?;
    let since = match rest.strip_prefix(['T', 't']) {
        Some(rest) => {
            let (time, rest) = rest.split_at_checked("hh:mm:ss".len())?;
            let (fraction, offset) = fraction_of(rest)?;
            date.to_datetime(time_of(time)?).duration_since(EPOCH) + fraction - offset_of(offset)?
        }
        None if rest.is_empty() => date.to_datetime(Time::midnight()).duration_since(EPOCH),
        None => return None,
    };
    Some(Hlc::at(u64::try_from(since.as_micros()).unwrap_or(0)))
}

fn date_of(text: &str) -> Option<Date> {
    let [year, month, day] = numbers(text, "dddd-dd-dd")?;
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

fn time_of(text: &str) -> Option<Time> {
    let [hour, minute, second] = numbers(text, "dd:dd:dd")?.map(i8::try_from);
    Time::new(hour.ok()?, minute.ok()?, second.ok()?, 0).ok()
}

// What `.25Z` begins with, and what comes behind it.
fn fraction_of(text: &str) -> Option<(SignedDuration, &str)> {
    let Some(text) = text.strip_prefix('.') else {
        return Some((SignedDuration::ZERO, text));
    };
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at(digits);
    let us = digits.bytes().chain(std::iter::repeat(b'0')).take(6);
    let us = us.fold(0, |us, digit| us * 10 + i64::from(digit - b'0'));
    (!digits.is_empty()).then_some((SignedDuration::from_micros(us), rest))
}

fn offset_of(text: &str) -> Option<SignedDuration> {
    if ["Z", "z"].contains(&text) {
        return Some(SignedDuration::ZERO);
    }
    let (sign, text) = text.split_at_checked(1)?;
    let [hours, minutes] = numbers(text, "dd:dd")?.map(i64::from);
    let ahead = SignedDuration::from_secs(hours * HOUR_S + minutes * 60);
    match sign {
        _ if hours > 23 || minutes > 59 => None,
        "+" => Some(ahead),
        "-" => Some(-ahead),
        _ => None,
    }
}

// The numbers of a text in which every `d` of the shape is a digit, and all else as in the shape.
fn numbers<const N: usize>(text: &str, shape: &str) -> Option<[i16; N]> {
    let fits = |(byte, wanted): (u8, u8)| match wanted {
        b'd' => byte.is_ascii_digit(),
        other => byte == other,
    };
    if text.len() != shape.len() || !text.bytes().zip(shape.bytes()).all(fits) {
        return None;
    }
    let mut numbers = text.split(['-', ':']).map(|number| number.parse().ok());
    let mut read = [0; N];
    for number in &mut read {
        *number = numbers.next()??;
    }
    Some(read)
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
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn times_of_rfc_3339_and_dates_are_read() {
        const NOON_US: u64 = 1_769_860_800_000_000;
        for (text, us) in [
            ("2026-01-31T12:00:00Z", NOON_US),
            ("2026-01-31t12:00:00z", NOON_US),
            ("2026-01-31T13:00:00.5+01:00", NOON_US + 500_000),
            ("2026-01-31T00:01:00-11:59", NOON_US),
            ("2026-01-31T12:00:00.123456789123Z", NOON_US + 123_456),
            ("2026-01-31", NOON_US - 12 * 3_600_000_000),
            ("1969-01-01T00:00:00Z", 0),
            ("0000-01-01", 0),
        ] {
            assert_eq!(parse("from", text).ok(), Some(Hlc::at(us)), "{text}");
        }
        let end = parse("to", "9999-12-31T23:59:59Z").ok();
        assert_eq!(end, Some(Hlc::at(u64::MAX)), "a filter may be open");
    }

    // Without this a mistyped instant would be taken for another one.
    #[test]
    fn what_only_looks_like_an_instant_is_refused_with_what_is_expected() {
        for odd in [
            "",
            "yesterday",
            "now",
            "-5m",
            "2023-11-14T22:13:20",
            "2026-01-31T12:00:60Z",
            "2026-01-31T24:00:00Z",
            "2026-02-30",
            "2026-01-31T12:00:00+25:00",
            "2026-01-31T12:00:00+01:60",
            "2026-01-31T12:00:00+01",
            "2026-01-31T12:00:00Z[Europe/Berlin]",
            "2026-01-31T12:00:00+01:00[Europe/Berlin]",
            "20260131T120000Z",
            "20260131",
            "2026-01-31T12:00:00,5Z",
            "2026-01-31T12:00:00.Z",
            "2026-01-31T12:00Z",
            "2026-01-31 12:00:00Z",
            "-000001-01-01T00:00:00Z",
            "+12026-01-31T12:00:00Z",
            "2026-W05-6",
            "2026-01-3\u{661}",
        ] {
            let refused = parse("from", odd).expect_err(odd).to_string();
            let said = format!("from: {odd:?} is no instant; give a time of RFC 3339");
            assert!(refused.starts_with(&said), "{refused}");
            assert_eq!(refused.contains("%2B"), odd.contains(' '), "{refused}");
        }
    }
}
