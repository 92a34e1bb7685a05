//! Instants as text: RFC 3339, shown in UTC with microseconds. Every instant that a client writes, on REST, in a gRPC
//! string or in a command, is parsed here.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

use super::error::Failure;
use crate::config::parse_span;
use crate::node::Handle;
use crate::process::clock::Hlc;

const EPOCH: DateTime = DateTime::constant(1970, 1, 1, 0, 0, 0, 0);
const LAST: DateTime = DateTime::constant(9999, 12, 31, 23, 59, 59, 999_999_000);
const HOUR_S: i64 = 3600;

/// An instant from a client in microseconds since the Unix epoch. Clocks range from 1970 to 2112; a filter may name an
/// instant outside of that range, which then bounds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(i64);

impl Instant {
    /// From microseconds since the Unix epoch.
    pub(in crate::api) fn of_us(wall_us: u64) -> Self {
        Self(i64::try_from(wall_us).unwrap_or(i64::MAX))
    }

    /// The first clock value of the instant, clamped to the range of clocks; exact when used as a bound.
    pub(crate) fn bound(self) -> Hlc {
        Hlc::at(u64::try_from(self.0).unwrap_or(0))
    }
}

impl fmt::Display for Instant {
    // Years beyond 9999 are shown as the last representable instant.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let instant = EPOCH.checked_add(SignedDuration::from_micros(self.0));
        write!(f, "{:.6}Z", instant.unwrap_or(LAST))
    }
}

/// Formats microseconds since the Unix epoch in UTC.
pub(crate) fn rfc3339(wall_us: u64) -> String {
    Instant::of_us(wall_us).to_string()
}

/// A bound of a list: an instant, or a time before now.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    At(Instant),
    Ago(Duration),
}

impl Bound {
    pub(super) fn instant(self, present: Instant) -> Instant {
        match self {
            Self::At(instant) => instant,
            // A bound before all clock values has no effect.
            Self::Ago(before) => {
                let before_us = i64::try_from(before.as_micros()).unwrap_or(i64::MAX);
                Instant(present.0.saturating_sub(before_us))
            }
        }
    }
}

/// Parses a bound of a list.
pub(super) fn bound(field: &str, text: &str) -> Result<Bound, Failure> {
    let ago = before_now(text).map(Bound::Ago);
    let bound = ago.or_else(|| read(text).map(Bound::At));
    bound.ok_or_else(|| Failure::malformed(field, expected_at(text)))
}

/// The last clock value of a requested instant, which must be in the past. `now` and `-5m` are resolved by the clock of
/// this node.
pub(super) async fn asked(handle: &Handle, field: &str, text: &str) -> Result<Hlc, Failure> {
    let Some(before) = before_now(text) else {
        let instant = read(text);
        let why = || Failure::malformed(field, expected_at(text));
        return past(handle, field, instant.ok_or_else(why)?).await;
    };
    let present = handle.present().await?.wall_us();
    let before = u64::try_from(before.as_micros()).ok();
    let then = before.and_then(|before| present.checked_sub(before));
    let then = then.ok_or_else(|| Failure::malformed(field, before_1970(&text)))?;
    Ok(Hlc::at(then).last_of_label())
}

/// The time before now of `now` or `-5m`.
pub(crate) fn before_now(text: &str) -> Option<Duration> {
    match text.strip_prefix('-') {
        Some(before) => parse_span(before),
        None => (text == "now").then_some(Duration::ZERO),
    }
}

/// The expected syntax where `now` is allowed, for an error about `text`.
pub(crate) fn expected_at(text: &str) -> String {
    let expected = expected(text);
    format!("{expected}; or now, or how long ago: -90s, -5m, -2h, -1d")
}

/// The expected syntax of an instant, for an error about `text`.
fn expected(text: &str) -> String {
    // An unencoded + arrives as a space.
    let hint = match text.contains(' ') {
        true => " (in a URL, write + as %2B)",
        false => "",
    };
    format!(
        "{text:?} is no instant; give a time of RFC 3339 with its offset from UTC, such as 2026-01-31T12:00:00Z or \
         2026-01-31T13:00:00.5+01:00, or a date, such as 2026-01-31, for its first instant in UTC{hint}"
    )
}

/// Parses an RFC 3339 time, or a date as its first instant in UTC; `None` for other forms of ISO 8601. Digits beyond
/// microseconds are truncated.
pub(crate) fn read(text: &str) -> Option<Instant> {
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
    Some(Instant(since.as_micros().try_into().ok()?))
}

fn date_of(text: &str) -> Option<Date> {
    let [year, month, day] = numbers(text, "dddd-dd-dd")?;
    Date::new(year, month.try_into().ok()?, day.try_into().ok()?).ok()
}

fn time_of(text: &str) -> Option<Time> {
    let [hour, minute, second] = numbers(text, "dd:dd:dd")?.map(i8::try_from);
    Time::new(hour.ok()?, minute.ok()?, second.ok()?, 0).ok()
}

// The fraction at the start of a text such as `.25Z`, and the rest.
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

// The numbers of a text that matches a shape, in which every `d` stands for a digit and all else for itself.
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

/// The last clock value of an instant, which must not be in the future.
pub(in crate::api) async fn past(
    handle: &Handle,
    field: &str,
    instant: Instant,
) -> Result<Hlc, Failure> {
    let present = Instant::of_us(handle.present().await?.wall_us());
    let why = match instant {
        Instant(..0) => before_1970(&instant),
        _ if instant <= present => return Ok(instant.bound().last_of_label()),
        _ => format!(
            "{instant} is in the future: it is {present} here; ask about an instant that is over"
        ),
    };
    Err(Failure::malformed(field, why))
}

fn before_1970(instant: &impl fmt::Display) -> String {
    format!("{instant} is before 1970, where clocks begin; ask about a later instant")
}

/// Refuses two instants in the wrong order, since an empty list would look like a valid answer; otherwise returns them
/// as bounds of a list.
pub(super) fn range(
    (earlier, from): (&str, Option<Instant>),
    (later, to): (&str, Option<Instant>),
) -> Result<(Option<Hlc>, Option<Hlc>), Failure> {
    match from.zip(to) {
        Some((from, to)) if from > to => {
            let why = format!(
                "{to} is before {from}, which `{earlier}` says; give the earlier one there"
            );
            Err(Failure::malformed(later, why))
        }
        _ => Ok((from.map(Instant::bound), to.map(Instant::bound))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::Node;

    #[test]
    fn instants_have_six_digits_and_come_back() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000000Z");
        let text = rfc3339(1_700_000_000_123_456);
        assert_eq!(text, "2023-11-14T22:13:20.123456Z");
        assert_eq!(read(&text), Some(Instant(1_700_000_000_123_456)));
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999999Z");
    }

    #[test]
    fn times_of_rfc_3339_and_dates_are_read() {
        const NOON_US: i64 = 1_769_860_800_000_000;
        for (text, us) in [
            ("2026-01-31T12:00:00Z", NOON_US),
            ("2026-01-31t12:00:00z", NOON_US),
            ("2026-01-31T13:00:00.5+01:00", NOON_US + 500_000),
            ("2026-01-31T00:01:00-11:59", NOON_US),
            ("2026-01-31T12:00:00.123456789123Z", NOON_US + 123_456),
            ("2026-01-31", NOON_US - 12 * 3_600_000_000),
        ] {
            assert_eq!(read(text), Some(Instant(us)), "{text}");
        }
    }

    // Without this an answer about 1969 is one about 1970, and 9999 is shown as 2112.
    #[test]
    fn what_no_clock_reaches_stays_what_it_is() {
        for (text, bound) in [
            ("0000-01-01T00:00:00.000000Z", Hlc(0)),
            ("1969-12-31T23:59:59.999999Z", Hlc(0)),
            ("2113-01-01T00:00:00.000000Z", Hlc::at(u64::MAX)),
            ("9999-12-31T23:59:59.999999Z", Hlc::at(u64::MAX)),
        ] {
            let read = read(text).expect("a filter may be open");
            assert_eq!((&*read.to_string(), read.bound()), (text, bound));
        }
        let instant = |text| Some(read(text).expect("an instant"));
        let (before, after) = (instant("9999-01-01"), instant("9998-01-01"));
        let refused = range(("from", before), ("to", after)).expect_err("the wrong way round");
        let refused = refused.to_string();
        assert!(
            refused.contains("9998-01-01") && refused.contains("9999-01-01"),
            "{refused}"
        );
    }

    #[test]
    fn how_long_ago_is_read() {
        let ago = |text| before_now(text).map(|ago| ago.as_secs());
        assert_eq!(
            (ago("now"), ago("-5m"), ago("-1d"), ago("-0s")),
            (Some(0), Some(300), Some(86_400), Some(0))
        );
        for odd in [
            "",
            "-",
            "5m",
            "+5m",
            "--5m",
            "-now",
            "-5",
            "Now",
            "2026-01-31",
        ] {
            assert_eq!(ago(odd), None, "{odd}");
        }
    }

    #[tokio::test]
    async fn what_is_asked_about_is_over_and_after_1970() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let node = Node::alone(dir.path()).await;
        let handle = node.handle().clone();
        let before = handle.present().await.expect("it runs");
        let now = asked(&handle, "at", "now").await.expect("now is over");
        assert!(now >= before, "by the clock of the node");
        let ago = asked(&handle, "at", "-1h").await.expect("so is this");
        assert!(ago.wall_us() >= before.wall_us() - 3_600_000_000 && ago < before);
        for (odd, why) in [
            (
                "1969-12-31T23:59:59Z",
                "1969-12-31T23:59:59.000000Z is before 1970",
            ),
            ("-36000d", "-36000d is before 1970"),
            ("9999-12-31", "9999-12-31T00:00:00.000000Z is in the future"),
            ("2026-01-31T12:00:00 01:00", "write + as %2B"),
            ("then", "or now, or how long ago"),
        ] {
            let refused = asked(&handle, "at", odd).await.expect_err(odd).to_string();
            assert!(refused.contains(why), "{refused}");
        }
        node.stop().await;
    }

    // Without this a mistyped instant is taken for another one.
    #[test]
    fn what_only_looks_like_an_instant_is_refused_with_what_is_expected() {
        for odd in [
            "",
            "yesterday",
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
            let refused = bound("from", odd).expect_err(odd).to_string();
            let said = format!("from: {odd:?} is no instant; give a time of RFC 3339");
            assert!(refused.starts_with(&said), "{refused}");
            assert_eq!(refused.contains("%2B"), odd.contains(' '), "{refused}");
        }
    }
}
