//! Durations in options and files: `60s`, `500ms`, `2m`, `1h`, `30d`; and `off`.

use std::time::Duration;

use super::fault::Fault;

/// One century. The limit keeps later additions to a clock from overflowing.
const DURATION_MAX_MS: u64 = 3_155_760_000_000;

/// A positive whole number and a unit: `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`Fault::Duration`], [`Fault::TooShort`], [`Fault::TooLong`].
pub fn parse_duration(text: &str) -> Result<Duration, Fault> {
    let duration = parse_span(text).ok_or_else(|| Fault::Duration(text.to_owned()))?;
    let text = text.to_owned();
    match duration {
        Duration::ZERO => Err(Fault::TooShort(text)),
        _ if duration > Duration::from_millis(DURATION_MAX_MS) => Err(Fault::TooLong(text)),
        _ => Ok(duration),
    }
}

/// As [`parse_duration`], but zero is valid; `None` if the text is not a duration.
#[must_use]
pub fn parse_span(text: &str) -> Option<Duration> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return None,
    };
    if number.is_empty() {
        return None;
    }
    let ms = number.parse::<u64>().unwrap_or(u64::MAX);
    Some(Duration::from_millis(ms.saturating_mul(unit_ms)))
}

/// The longest wait for the first revision of a snapshot. Processes that have not reported by then are listed as
/// missing.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);

/// The deadline of one snapshot: a duration of at most one hour.
///
/// # Errors
/// As [`parse_duration`]; [`Fault::Deadline`].
pub fn parse_deadline(text: &str) -> Result<Duration, Fault> {
    match parse_duration(text) {
        Ok(deadline) if deadline <= DEADLINE_MAX => Ok(deadline),
        Ok(_) | Err(Fault::TooLong(_)) => Err(Fault::Deadline(text.to_owned())),
        Err(fault) => Err(fault),
    }
}

/// A duration, or `off`, which gives `None`.
///
/// # Errors
/// [`Fault::Interval`], [`Fault::IntervalTooShort`], [`Fault::TooLong`].
pub fn parse_interval(text: &str) -> Result<Option<Duration>, Fault> {
    if text == "off" {
        return Ok(None);
    }
    parse_duration(text).map(Some).map_err(|fault| match fault {
        Fault::Duration(text) => Fault::Interval(text),
        Fault::TooShort(text) => Fault::IntervalTooShort(text),
        fault => fault,
    })
}

/// An age, or `off`, which gives `None`.
///
/// # Errors
/// [`Fault::Age`], otherwise as [`parse_interval`].
pub fn parse_age(text: &str) -> Result<Option<Duration>, Fault> {
    parse_interval(text).map_err(|fault| match fault {
        Fault::Interval(text) => Fault::Age(text),
        fault => fault,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit_and_are_positive() {
        assert_eq!(parse_duration("60s"), Ok(Duration::from_secs(60)));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("2m"), Ok(Duration::from_secs(120)));
        assert_eq!(parse_duration("1h"), Ok(Duration::from_secs(3600)));
        assert_eq!(parse_duration("30d"), Ok(Duration::from_secs(30 * 86_400)));
        for bad in ["", "60", "s", "-1s", "1.5s", "1 s", "off"] {
            assert_eq!(
                parse_duration(bad),
                Err(Fault::Duration(bad.to_owned())),
                "{bad}"
            );
        }
    }

    // Guards against reporting 0s as malformed, which would send the user looking for a syntax error.
    #[test]
    fn a_duration_out_of_range_is_called_so() {
        let sentence = |text: &str| parse_duration(text).expect_err(text).to_string();
        for short in ["0s", "00ms"] {
            assert_eq!(
                sentence(short),
                format!("`{short}` is too short; give at least 1ms")
            );
            let interval = parse_interval(short).expect_err(short).to_string();
            assert_eq!(
                interval,
                format!("`{short}` is too short; give at least 1ms, or off")
            );
        }
        for long in [
            "99999999999h",
            "18446744073709551615h",
            "99999999999999999999ms",
        ] {
            assert_eq!(
                sentence(long),
                format!("`{long}` is too long; give at most 36525d")
            );
        }
        assert_eq!(parse_duration("36525d").ok(), parse_span("36525d"));
        assert_eq!(parse_span("0s"), Some(Duration::ZERO));
    }

    #[test]
    fn a_deadline_is_an_hour_at_most() {
        for good in ["1h", "60m", "1ms"] {
            assert!(parse_deadline(good).is_ok(), "{good}");
        }
        for long in ["2h", "61m", "3600001ms", "99999999999h"] {
            assert_eq!(parse_deadline(long), Err(Fault::Deadline(long.to_owned())));
        }
        assert!(parse_deadline("5").is_err());
    }

    #[test]
    fn an_interval_may_be_off() {
        assert_eq!(parse_interval("off"), Ok(None));
        assert_eq!(parse_interval("1s"), Ok(Some(Duration::from_secs(1))));
        assert_eq!(
            parse_interval("never"),
            Err(Fault::Interval("never".to_owned()))
        );
        assert_eq!(parse_age("15"), Err(Fault::Age("15".to_owned())));
    }
}
