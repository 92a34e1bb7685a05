//! Instants as text: RFC 3339, shown in UTC with microseconds. Every instant that a client writes, on REST, in a gRPC
//! string or in a command, is parsed here.

use std::fmt;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::civil::{Date, DateTime, Time};

use crate::config::parse_span;
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

    /// The instant that lies so long before this one.
    pub(in crate::api) fn earlier_by(self, duration: Duration) -> Self {
        let us = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self(self.0.saturating_sub(us))
    }

    /// Whether it is before all clocks.
    pub(in crate::api) fn is_before_1970(self) -> bool {
        self.0 < 0
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
        "{text:?} is not a valid instant; give a time of RFC 3339 with its offset from UTC, such as \
         2026-01-31T12:00:00Z or 2026-01-31T13:00:00.5+01:00, or a date, such as 2026-01-31, for its first instant in \
         UTC{hint}"
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
