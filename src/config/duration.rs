//! Durations as people write them: `60s`, `500ms`, `2m`, `1h`, `30d`; and `off`.

use std::time::Duration;

use super::fault::Fault;

/// A positive whole number and its unit: `ms`, `s`, `m`, `h` or `d`.
///
/// # Errors
/// [`Fault::Duration`].
pub fn parse_duration(text: &str) -> Result<Duration, Fault> {
    positive(text).ok_or_else(|| Fault::Duration(text.to_owned()))
}

/// Nobody waits longer for the first revision of a snapshot; whoever is missing then is shown as missing.
const DEADLINE_MAX: Duration = Duration::from_secs(3600);

/// The deadline of one snapshot: a duration of at most an hour.
///
/// # Errors
/// [`Fault::Duration`], [`Fault::Deadline`].
pub fn parse_deadline(text: &str) -> Result<Duration, Fault> {
    match parse_duration(text)? {
        deadline if deadline <= DEADLINE_MAX => Ok(deadline),
        _ => Err(Fault::Deadline(text.to_owned())),
    }
}

/// A duration, or `off`, which is `None`.
///
/// # Errors
/// [`Fault::Interval`].
pub fn parse_interval(text: &str) -> Result<Option<Duration>, Fault> {
    if text == "off" {
        return Ok(None);
    }
    match positive(text) {
        Some(duration) => Ok(Some(duration)),
        None => Err(Fault::Interval(text.to_owned())),
    }
}

/// An age, or `off`, which is `None`.
///
/// # Errors
/// [`Fault::Age`].
pub fn parse_age(text: &str) -> Result<Option<Duration>, Fault> {
    parse_interval(text).map_err(|_| Fault::Age(text.to_owned()))
}

fn positive(text: &str) -> Option<Duration> {
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
    let ms = number.parse::<u64>().ok()?.checked_mul(unit_ms)?;
    // A century bounds what is added to a clock later, so that no sum overflows.
    (1..=3_155_760_000_000)
        .contains(&ms)
        .then(|| Duration::from_millis(ms))
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
        for bad in [
            "",
            "60",
            "s",
            "0s",
            "-1s",
            "1.5s",
            "1 s",
            "off",
            "99999999999h",
            "18446744073709551615h",
        ] {
            assert_eq!(
                parse_duration(bad),
                Err(Fault::Duration(bad.to_owned())),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_deadline_is_an_hour_at_most() {
        for good in ["1h", "60m", "1ms"] {
            assert!(parse_deadline(good).is_ok(), "{good}");
        }
        for long in ["2h", "61m", "3600001ms"] {
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
